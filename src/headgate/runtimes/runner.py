"""The process of one served model version: `python -m headgate.runtimes.runner`, started by the supervisor.

Reads frames from the workers on a Unix socket, runs together what waits together, answers. One thread; a call that
takes longer than the limit ends the process, because nothing else stops a native operator.
"""

import argparse
import contextlib
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.ids import monotonic_s
from headgate.runtimes.bundle import EXPECTED_FILE, SAMPLE_FILE, BundleDamaged, verified
from headgate.runtimes.limits import confine
from headgate.wire.frames import (
    BUSY,
    GOODBYE,
    HELLO,
    OUTPUTS,
    REFUSED,
    Frame,
    FrameError,
    FrameReader,
    Tensor,
    decode,
    encode,
)

if TYPE_CHECKING:
    from headgate.runtimes.session import Session

_READ_BYTES = 256 << 10
_HIGH_BYTES = 64 << 20
_DRAIN_S = 10.0
CANNOT_SERVE = 3
"""Exit code: the bundle or the model is not fit; starting it again will not help."""


@dataclass(eq=False)
class _Peer:
    """One connection from a worker."""

    socket: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    unsent: bytes = b""


class Runner:
    """Serves one session on one listening socket."""

    def __init__(self, session: "Session", listener: socket.socket, *, timeout_s: float, joins: bool) -> None:
        self._session = session
        self._listener = listener
        self._timeout_s = timeout_s
        self._joins = joins and session.can_join
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[tuple[_Peer, Frame]] = deque()
        self._peers: set[_Peer] = set()
        self._queue_limit = 1024
        self._rows_limit = 4096
        self._stop_by_s: float | None = None
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def stop(self) -> None:
        """Take no new connection; end once the workers have closed theirs."""
        self._stop_by_s = monotonic_s() + _DRAIN_S
        self._accept()
        self._selector.unregister(self._listener)
        self._listener.close()
        for peer in list(self._peers):
            self._send(peer, encode(0, GOODBYE))

    def run(self, wake: socket.socket) -> None:
        """Serve until ``stop`` and the workers' leaving; ``wake`` is readable when a signal came."""
        self._selector.register(wake, selectors.EVENT_READ, None)
        while self._stop_by_s is None or (self._peers and monotonic_s() < self._stop_by_s):
            for key, events in self._selector.select(1.0 if self._stop_by_s else None):
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(64)
                    if self._stop_by_s is None:
                        self.stop()
                elif key.data is None:
                    self._accept()
                else:
                    self._serve(key.data, events)
            while self._waiting:
                self._run_next()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, OSError):
                return
            connection.setblocking(False)
            peer = _Peer(connection)
            self._peers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)
            self._send(peer, encode(0, HELLO))

    def _serve(self, peer: _Peer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(peer, b"")
        if not events & selectors.EVENT_READ or peer not in self._peers:
            return
        try:
            data = peer.socket.recv(_READ_BYTES)
            if not data:
                self._drop(peer)
                return
            for raw in peer.reader.feed(data):
                self._take(peer, decode(raw))
        except BlockingIOError:
            return
        except (OSError, FrameError):
            self._drop(peer)

    def _take(self, peer: _Peer, frame: Frame) -> None:
        if len(self._waiting) >= self._queue_limit:
            self._send(peer, encode(frame.id, BUSY))
        else:
            self._waiting.append((peer, frame))

    def _run_next(self) -> None:
        """Run the oldest call, and with it all that wait and fit."""
        batch = [self._waiting.popleft()]
        if self._joins and self._waiting:
            key, rows = _kind(batch[0][1]), batch[0][1].tensors[0].rows
            rest: deque[tuple[_Peer, Frame]] = deque()
            while self._waiting:
                one = self._waiting.popleft()
                more = one[1].tensors[0].rows if one[1].tensors else 0
                if _kind(one[1]) == key and rows + more <= self._rows_limit:
                    batch.append(one)
                    rows += more
                else:
                    rest.append(one)
            self._waiting = rest
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
        try:
            self._answer(batch)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _answer(self, batch: Sequence[tuple[_Peer, Frame]]) -> None:
        from headgate.runtimes.arrays import CallRefused

        if len(batch) > 1:
            try:
                results = self._session.run_joined([frame.tensors for _, frame in batch])
            except CallRefused:
                for one in batch:  # one of them is at fault; the others are not to suffer for it
                    self._answer([one])
                return
            for (peer, frame), outputs in zip(batch, results, strict=True):
                self._send(peer, encode(frame.id, OUTPUTS, outputs))
            return
        peer, frame = batch[0]
        try:
            self._send(peer, encode(frame.id, OUTPUTS, self._session.run(frame.tensors)))
        except (CallRefused, FrameError) as error:
            self._send(peer, encode(frame.id, REFUSED, text=str(error)))

    def _send(self, peer: _Peer, data: bytes) -> None:
        if peer not in self._peers:
            return
        data = peer.unsent + data if peer.unsent else data
        try:
            sent = peer.socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(peer)
            return
        had, peer.unsent = bool(peer.unsent), data[sent:]
        if had != bool(peer.unsent) or len(peer.unsent) > _HIGH_BYTES:
            events = selectors.EVENT_READ
            if peer.unsent:  # who does not read its answers is not asked for more
                events = selectors.EVENT_WRITE | (selectors.EVENT_READ if len(peer.unsent) < _HIGH_BYTES else 0)
            self._selector.modify(peer.socket, events, peer)

    def _drop(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        self._selector.unregister(peer.socket)
        peer.socket.close()


def _kind(frame: Frame) -> tuple[object, ...]:
    """Calls of one kind can be run together: equal types, and shapes that differ in the rows only."""
    return tuple((tensor.code, tensor.shape[1:]) for tensor in frame.tensors)


def warm_up(session: "Session", directory: Path) -> None:
    """Run the stored sample; raises BundleDamaged when the answer is not the stored one."""
    from headgate.runtimes.arrays import TOLERANCE, CallRefused, array_of, differences

    try:
        sample = decode((directory / SAMPLE_FILE).read_bytes()).tensors
        wanted = decode((directory / EXPECTED_FILE).read_bytes()).tensors
        got: list[Tensor] = session.run(sample)
    except (OSError, FrameError, CallRefused) as error:
        raise BundleDamaged(f"the stored sample cannot be run ({error})") from error
    for number, (one, two) in enumerate(zip(got, wanted, strict=True)):
        apart = differences(array_of(one), array_of(two))
        if apart.size and float(apart.max()) > TOLERANCE:
            raise BundleDamaged(f"output {number} of the stored sample is {float(apart.max()):.3g} off what it was")


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; the exit code is 3 when this version cannot be served at all."""
    parser = argparse.ArgumentParser(prog="headgate.runtimes.runner")
    parser.add_argument("--name", required=True, help="for people: name@7")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening Unix socket")
    parser.add_argument("--ready-fd", type=int, help="a byte is written here once calls are served")
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--alone", action="store_true", help="run every call by itself")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    wake = _wake_on_term()
    try:
        manifest = verified(given.bundle, given.sha256)
        confine(memory_mb=given.memory_mb)
        from headgate.runtimes.session import Session

        signal.setitimer(signal.ITIMER_REAL, max(60.0, given.timeout_s))
        session = Session(given.bundle, manifest.signature)
        warm_up(session, given.bundle)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except ImportError as error:
        _say(given.name, f'onnxruntime cannot be imported ({error}). Install it: pip install "headgate[models]"')
        return CANNOT_SERVE
    except Exception as error:  # border: plug-in call. Loading a model runs onnxruntime, which raises what it likes.
        _say(given.name, f"{type(error).__name__}: {error}")
        return CANNOT_SERVE
    runner = Runner(session, socket.socket(fileno=given.fd), timeout_s=given.timeout_s, joins=not given.alone)
    if given.ready_fd is not None:
        os.write(given.ready_fd, b"\n")
        os.close(given.ready_fd)
    runner.run(wake)
    return 0


def _wake_on_term() -> socket.socket:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    return reader


def _say(name: str, text: str) -> None:
    print(f"headgate: model runner {name}: {text}"[:2000], file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process tree: opens the sockets, starts control and workers, replaces what dies, drains on the way out."""

import contextlib
import errno
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import FrameType

import msgspec

from headgate import __version__
from headgate.core.errors import ConfigurationError, HeadgateError, HomeError
from headgate.core.home import Home, ServerInfo
from headgate.core.ids import monotonic_s, now_us
from headgate.core.settings import DEMO_BASE_URL, Settings, admin_key, child_environment
from headgate.core.terminal import STANDARD_ERROR, STANDARD_OUTPUT, Terminal
from headgate.pricing.providers import provider_of
from headgate.snapshot import SnapshotReader, snapshot_path
from headgate.supervisor.banner import Banner
from headgate.supervisor.child import Child
from headgate.supervisor.runners import Runners
from headgate.supervisor.workers import Workers

_READY_S = 30.0
_CONTROL_STOP_S = 20.0
_POLL_S = 0.2
_UNSETTLED_S = 0.5
_REST_S = 5.0
"""Between two looks while nothing is under way: a signal, the end of a child, a new snapshot or a wish for a model ends
it sooner."""
_BACKLOG = 2048


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `headgate serve` was asked for."""

    settings: Settings
    home: Path
    demo: bool = False
    live: str | None = None  # plain | json | off; None: by what standard output is


class Supervisor:
    """One running server."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._settings = options.settings
        self._home = Home(options.home)
        self._stops = 0
        self._restarts_wanted = 0
        self._banner: Banner | None = None
        self._out, self._err = Terminal(STANDARD_OUTPUT), Terminal(STANDARD_ERROR)
        self._announced: ServerInfo | None = None
        self._control: Child
        self._demo: Child | None = None
        self._retrieval: Child | None = None
        self._workers: Workers | None = None
        self._runners: Runners | None = None

    # Start.

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        self._home.prepare()
        with self._home.locked() as lock_fd:
            listener = _listen(self._settings.server.host, self._settings.server.port)
            port = listener.getsockname()[1]
            self._settings = _complete(self._settings, port)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_stop)
            signal.signal(signal.SIGHUP, self._on_restart)
            wake = _wake_on_signals()
            try:
                self._start(listener, lock_fd)
                self._watch(wake)
            except _StartFailed as error:
                self._say(error.sentence)
                return error.exit_code
            finally:
                try:
                    self._stop_all(listener)
                finally:
                    with contextlib.suppress(OSError):
                        self._home.withdraw()
                    self._out.flush()
                    self._err.flush()
        return 0

    def _start(self, listener: socket.socket, lock_fd: int) -> None:
        path, home = self._home.path, self._home
        settings_file = home.run / "settings.msgpack"
        _write_private(settings_file, msgspec.msgpack.encode(self._settings))
        numbers = range(2 * self._settings.server.workers)  # of each worker, and of the one that may replace it
        for stale in home.run.glob("worker-*.counters"):
            if stale.stem.partition("-")[2] not in map(str, numbers):
                stale.unlink()
        plain = child_environment(self._settings, with_secrets=False)
        with_secrets = child_environment(self._settings, with_secrets=True)
        live = self._options.live or ("plain" if sys.stdout.isatty() else "json")
        self._start_control(plain, settings_file, lock_fd, live)
        with contextlib.ExitStack() as stack:
            wait_fd = go_fd = None
            if not self._has_own_snapshot():
                # Their imports need not wait for the snapshot, only they themselves, for a byte each.
                wait_fd, go_fd = os.pipe()
                stack.callback(os.close, wait_fd)
                stack.callback(os.close, go_fd)
            runners, workers = self._start_workers(plain, with_secrets, listener, wait_fd)
            self._start_aside(plain)
            self._await_ready([self._control], has_fallback=snapshot_path(path).exists())
            if self._stops:
                return
            runners.step()
            if go_fd is not None:
                os.write(go_fd, bytes(len(workers.serving)))
            self._await_ready([*workers.serving, *([self._demo] if self._demo else [])])
        if self._stops:
            return
        url = f"http://{_shown_host(self._settings.server.host)}:{self._settings.server.port}"
        self._announced = ServerInfo(pid=os.getpid(), url=url, started_at_us=now_us(), version=__version__)
        home.announce(self._announced)
        self._banner = Banner(self._out, self._settings, path, url, demo=self._options.demo, as_json=live == "json")
        self._banner.show()

    def _start_control(self, plain: Mapping[str, str], settings_file: Path, lock_fd: int, live: str) -> None:
        key = admin_key()
        control_fd = _listen_unix(self._home, "control")
        self._control = Child(
            "control process",
            (
                *("headgate.control.main", "--home", str(self._home.path), "--settings", str(settings_file)),
                *("--fd", str(control_fd), "--live", live),
            ),
            plain,
            (control_fd, lock_fd),  # with the lock: a server that follows a killed one waits for its control process
            # Not by its environment, which other processes of this user can read as long as it runs.
            secret=None if key is None else ("--admin-key-fd", key.encode()),
        )
        self._control.start()

    def _start_workers(
        self, plain: Mapping[str, str], with_secrets: Mapping[str, str], listener: socket.socket, wait_fd: int | None
    ) -> tuple[Runners, Workers]:
        """The processes that need a snapshot."""
        runners = self._runners = Runners(self._home, self._settings.models, plain, self._say)
        if wait_fd is None:
            runners.step()
        workers = self._workers = Workers(
            self._home.path, self._settings.server, with_secrets, listener.fileno(), self._say
        )
        workers.start(wait_fd=wait_fd)
        return runners, workers

    def _start_aside(self, plain: Mapping[str, str]) -> None:
        """The processes that a call may be passed on to: nothing waits for them."""
        home = self._home
        retrieval_fd = _listen_unix(home, "retrieval")
        self._retrieval = Child(
            "retrieval process",
            ("headgate.retrieval.main", "--home", str(home.path), "--fd", str(retrieval_fd)),
            # One search takes about a millisecond; threads of the linear algebra would only wait for each other.
            {**plain, "OPENBLAS_NUM_THREADS": "1"},
            (retrieval_fd,),
            tells_ready=False,
        )
        self._retrieval.start()
        if any(upstream.base_url == DEMO_BASE_URL for upstream in self._settings.upstreams.values()):
            demo_fd = _listen_unix(home, "demo")
            self._demo = Child(
                "demo upstream", ("headgate.providers.demo", "--fd", str(demo_fd)), plain, (demo_fd,), tells_ready=False
            )
            self._demo.start()

    def _has_own_snapshot(self) -> bool:
        """Whether workers may serve before the control process has published: what it published last is whole and of
        these very settings. Every change of a key or an alias is published as it is made, by commands on a stopped home
        too, so only settings can have become stricter since, and the environment's admin key have ended a former one.
        """
        reader = SnapshotReader(self._home.path)
        try:
            snapshot, key = reader.load(), admin_key()
        except HeadgateError:
            return False
        if key is not None and sha256(key.encode("utf-8", "surrogateescape")).hexdigest() not in snapshot.keys:
            return False
        found = snapshot.settings
        same_port = replace(found, server=replace(found.server, port=self._settings.server.port))
        # As the control process reads them: what the file says as 1 may be 1.0 by then.
        own = msgspec.msgpack.decode(msgspec.msgpack.encode(self._settings), type=Settings)
        return reader.fault is None and same_port == own

    def _await_ready(self, children: Sequence[Child], *, has_fallback: bool = False) -> None:
        """Wait until all serve. A child that dies stops the whole with its reason, unless there is a fallback."""
        deadline_s = monotonic_s() + _READY_S
        while not self._stops and not all(child.is_ready for child in children):
            select.select([child.ready_fd for child in children if not child.is_ready], [], [], _POLL_S)
            for child in children:
                child.check_ready()
                code = child.exit_code()
                if code is not None:
                    if has_fallback and code not in (2, 70):
                        return
                    raise _StartFailed(child.name, code)
            if monotonic_s() > deadline_s:
                if has_fallback:
                    return
                raise HomeError(
                    f"{', '.join(c.name for c in children if not c.is_ready)} did not start in {_READY_S:g} s.",
                    hint="Its messages are above; headgate doctor looks further.",
                )

    # Run.

    def _watch(self, wake: socket.socket) -> None:
        while not self._stops:
            select.select([wake, *(self._runners.wait_on() if self._runners else [])], [], [], self._pause_s())
            _drain(wake)
            if self._runners is not None:
                self._runners.step()
            for child in self._children():
                code = child.exit_code()
                child.check_ready()
                if code is not None and child.revive():
                    self._say(f"{child.name} ended ({_reason(code)}) and was started again.")
            if self._workers is not None:
                self._step_restart(self._workers)

    def _pause_s(self) -> float:
        """How long to wait for a word, at most: shorter while something is due by the clock."""
        workers, runners = self._workers, self._runners
        has_ended = any(child.exit_code() is not None for child in self._children())
        if has_ended or (workers is not None and workers.is_replacing):
            return _POLL_S
        is_settled = (workers is None or not workers.is_draining) and (runners is None or runners.is_settled)
        return _REST_S if is_settled else _UNSETTLED_S

    def _step_restart(self, workers: Workers) -> None:
        if self._restarts_wanted and not workers.is_replacing:
            self._restarts_wanted = 0
            workers.replace_all()
        if workers.step() and self._announced is not None:
            self._announced = replace(self._announced, restarts=workers.restarts)
            self._home.announce(self._announced)

    def _children(self) -> list[Child]:
        workers = [] if self._workers is None else self._workers.serving
        return [*(child for child in (self._demo, self._retrieval) if child), self._control, *workers]

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        if self._stops > 1 and self._workers is not None:
            for child in self._workers.all:
                child.signal(signal.SIGKILL)

    def _on_restart(self, number: int, frame: FrameType | None) -> None:
        self._restarts_wanted += 1

    # Stop.

    def _stop_all(self, listener: socket.socket) -> None:
        """Workers first, so that the control process can take in all they wrote."""
        workers = [] if self._workers is None else self._workers.all
        for child in workers:
            child.signal(signal.SIGTERM)
        listener.close()
        if self._announced is not None:
            with contextlib.suppress(OSError):
                self._home.announce(replace(self._announced, is_stopping=True))
        if self._banner is not None:
            self._banner.stopping(self._settings.server.drain_s)
        self._end(workers, self._settings.server.drain_s + 2)
        if self._runners is not None:
            self._runners.stop(5.0)
        if hasattr(self, "_control"):
            self._control.signal(signal.SIGTERM)
            self._end([self._control], _CONTROL_STOP_S)
        self._end_aside()

    def _end_aside(self) -> None:
        """The processes that nothing is stored through: together, at last."""
        aside = [child for child in (self._retrieval, self._demo) if child is not None]
        for child in aside:
            child.signal(signal.SIGTERM)
        self._end(aside, 3.0)

    def _end(self, children: Sequence[Child], timeout_s: float) -> None:
        deadline_s = monotonic_s() + timeout_s
        for child in children:
            if not child.wait(deadline_s - monotonic_s()):
                self._say(f"{child.name} did not end in {timeout_s:g} s and was killed.")
                child.signal(signal.SIGKILL)
                child.wait(5.0)

    def _say(self, text: str) -> None:
        self._err.write(f"headgate: {text}")


class _StartFailed(HeadgateError):
    """A child ended before it served; it has printed why."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"The {name} could not start ({_reason(code)}).", hint="Its reason is printed above.")
        self.exit_code = 2 if code == 2 else 70


def _complete(settings: Settings, port: int) -> Settings:
    """The settings with the port that was taken, and whose prices count where a known host tells."""
    upstreams = {
        name: replace(upstream, provider=upstream.provider or provider_of(upstream.base_url))
        for name, upstream in settings.upstreams.items()
    }
    return replace(settings, server=replace(settings.server, port=port), upstreams=upstreams)


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint=_listen_hint(error, port)
        ) from error
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)
    return listener


def _listen_hint(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Check --host: it must be an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them."
    if error.errno == errno.EACCES:
        return "This user may not listen there; take a port above 1023: --port 4400."
    other = 4401 if port != 4401 else 4402
    return f"Stop what listens there, or take another: --port {other}."


def _write_private(path: Path, data: bytes) -> None:
    """Replace a file by one that only this user can read, whatever the rights of the one before were."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


def _listen_unix(home: Home, name: str) -> int:
    (home.run / f"{name}.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(home.socket_address(name))
    (home.run / f"{name}.sock").chmod(0o600)
    listener.listen(_BACKLOG)
    return listener.detach()


def _wake_on_signals() -> socket.socket:
    """A socket that becomes readable on every signal, so that a wait ends at once."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return reader


def _drain(wake: socket.socket) -> None:
    try:
        while wake.recv(4096):
            pass
    except BlockingIOError:
        pass


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def run(options: ServeOptions) -> int:
    """Start a server and keep it running until SIGTERM or SIGINT; the exit code. Raises HeadgateError."""
    return Supervisor(options).run()

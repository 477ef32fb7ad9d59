"""The process of one gateway worker: `python -m headgate.gateway.main`, started by the supervisor."""

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from headgate.core.errors import HeadgateError
from headgate.core.heap import keep_freed_memory
from headgate.core.terminal import TerminalHandler
from headgate.core.unhurried import Unhurried
from headgate.gateway.app import create_app
from headgate.gateway.edge import EdgeProtocol, protocol_for
from headgate.gateway.sockets import stop_accepting
from headgate.gateway.worker import Worker

_FILES = 65536


class _Server(Unhurried, uvicorn.Server):
    """uvicorn's server; draining marks the worker before connections are told."""

    def __init__(self, config: uvicorn.Config, worker: Worker, ready_fd: int | None) -> None:
        super().__init__(config)
        self._worker = worker
        self._ready_fd = ready_fd

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again after its shutdown, before the spool is closed.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end)
        loop.add_signal_handler(signal.SIGUSR2, self._give_way)
        yield

    def _give_way(self) -> None:
        """Another worker has taken this one's place: drain without closing what a client may be writing to."""
        self._worker.is_replaced = True
        self.end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_fd is not None and self.started:
            os.write(self._ready_fd, b"\n")
            os.close(self._ready_fd)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.is_draining = True
        await stop_accepting(self.servers)
        await super().shutdown(sockets)
        self._worker.stop_waiting()


async def _serve(worker: Worker, listener: socket.socket, ready_fd: int | None) -> None:
    config = uvicorn.Config(
        create_app(worker),
        http=protocol_for(worker),
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(worker.settings.server.drain_s),
    )
    server = _Server(config, worker, ready_fd)
    worker.on_sweep(_sweeper(lambda: server.server_state.connections))
    worker.open_connections = lambda: len(server.server_state.connections)
    beat = asyncio.create_task(worker.run())
    try:
        await server.serve([listener])
    finally:
        beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beat
        worker.close()


def _sweeper(connections: Callable[[], set[Any]]) -> Callable[[float], None]:
    """A sweep that closes old connections of a uvicorn server."""

    def sweep(now_s: float) -> None:
        for connection in list(connections()):
            if isinstance(connection, EdgeProtocol):
                connection.check_age(now_s)

    return sweep


def _allow_many_files() -> None:
    """As many open files as allowed: a request takes two, and shells set 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _may_begin(wait_fd: int) -> bool:
    """Wait for leave to begin; False where it does not come any more."""
    leave = os.read(wait_fd, 1)
    os.close(wait_fd)
    return leave != b""


def main(arguments: list[str]) -> int:
    """Serve on the inherited listening socket until SIGTERM, or SIGUSR2 when another worker takes over."""
    parser = argparse.ArgumentParser(prog="headgate.gateway.main")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--ready-fd", type=int, help="a byte is written here once requests are served")
    parser.add_argument("--wait-fd", type=int, help="a byte comes from here once there is a snapshot to serve from")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.WARNING, format=f"worker {options.number}: %(message)s", handlers=[TerminalHandler()]
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    _allow_many_files()
    keep_freed_memory()
    if options.wait_fd is not None and not _may_begin(options.wait_fd):
        return 0
    try:
        worker = Worker(options.home, options.number)
    except HeadgateError as error:
        print(f"worker {options.number}: {error.sentence}", file=sys.stderr)  # noqa: T201
        return 2
    listener = socket.socket(fileno=options.fd)
    asyncio.run(_serve(worker, listener, options.ready_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

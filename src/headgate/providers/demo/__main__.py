"""Runs the demo upstream: ``python -m headgate.providers.demo --fd N`` (a listening socket inherited from the
supervisor) or ``--port N`` on loopback.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from headgate.core.parent import parent_ended
from headgate.core.unhurried import Unhurried
from headgate.providers.demo.app import create_app


class _Server(Unhurried, uvicorn.Server):
    """uvicorn that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(config: uvicorn.Config, listener: socket.socket, *, follows_parent: bool) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone, so that a killed supervisor leaves nothing behind."""
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    watching = asyncio.create_task(_watch_parent(server)) if follows_parent else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if watching is not None:
            watching.cancel()


async def _watch_parent(server: _Server) -> None:
    await parent_ended()
    server.end()


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Drops uvicorn's complaint about answers that `demo-cut` breaks off on purpose."""
    return "without completing response" not in record.getMessage()


def _listener(arguments: argparse.Namespace) -> socket.socket:
    if arguments.fd is not None:
        return socket.socket(fileno=arguments.fd)
    return socket.create_server((arguments.host, arguments.port), backlog=512)


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT, or until the parent process is gone (with ``--fd``)."""
    parser = argparse.ArgumentParser(prog="python -m headgate.providers.demo", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="number of an inherited listening socket")
    where.add_argument("--port", type=int, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on with --port")
    parser.add_argument("--speed", type=float, default=1.0, help="2 answers twice as fast, 0 without any delay")
    parser.add_argument("--fast", action="store_true", help="the same as --speed 0")
    arguments = parser.parse_args(argv)
    config = uvicorn.Config(
        create_app(speed=0.0 if arguments.fast else arguments.speed),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    asyncio.run(serve(config, _listener(arguments), follows_parent=arguments.fd is not None))
    return 0


if __name__ == "__main__":
    sys.exit(main())

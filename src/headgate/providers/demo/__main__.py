"""Runs the demo upstream: ``python -m headgate.providers.demo --fd N`` (a listening socket inherited from the
supervisor) or ``--port N`` on loopback.
"""

import argparse
import contextlib
import logging
import os
import socket
import sys

import uvicorn

from headgate.providers.demo.app import create_app

_TICKS_PER_CHECK = 10


class _Server(uvicorn.Server):
    """Ends when its parent is gone, so that a killed supervisor leaves no demo upstream behind."""

    def __init__(self, config: uvicorn.Config, *, parent: int | None) -> None:
        super().__init__(config)
        self.parent = parent

    async def on_tick(self, counter: int) -> bool:
        if self.parent is not None and counter % _TICKS_PER_CHECK == 0 and os.getppid() != self.parent:
            self.should_exit = True
        return await super().on_tick(counter)


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
    server = _Server(config, parent=os.getppid() if arguments.fd is not None else None)
    # uvicorn hands a SIGINT on after its shutdown.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[_listener(arguments)])
    return 0


if __name__ == "__main__":
    sys.exit(main())

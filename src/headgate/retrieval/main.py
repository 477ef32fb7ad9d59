"""The retrieval process: `python -m headgate.retrieval.main`, started by the supervisor with its Unix socket.

`POST /search` takes a question for one version and answers with chunks. It holds no secret and opens no connection.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from headgate.core.parent import parent_ended
from headgate.core.terminal import TerminalHandler
from headgate.core.unhurried import Unhurried
from headgate.retrieval.service import Service


class _Server(Unhurried, uvicorn.Server):
    """uvicorn that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(home: Path, listener: socket.socket) -> None:
    """Serve until SIGTERM or the parent's end."""
    config = uvicorn.Config(
        Service(home),
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.end)
    watching = asyncio.create_task(_watch_parent(server.end))
    try:
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()


async def _watch_parent(stop: Callable[[], None]) -> None:
    await parent_ended()
    stop()


def main(arguments: list[str]) -> int:
    """Serve on the inherited Unix socket."""
    parser = argparse.ArgumentParser(prog="headgate.retrieval", description="Started by headgate serve.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the listening Unix socket")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, handlers=[TerminalHandler()], format="headgate retrieval: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    asyncio.run(serve(options.home.absolute(), socket.socket(fileno=options.fd)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

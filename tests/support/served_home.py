"""A home with the demo's settings, served over loopback by the real control application, without workers."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn

from headgate.control.app import build
from headgate.control.main import prepare
from headgate.control.state import ControlApp
from headgate.core.home import Home, ServerInfo
from headgate.core.ids import now_us
from headgate.core.settings import Settings, load
from support.made_homes import copy_home


@contextmanager
def served_home(path: Path, settings: Settings | None = None) -> Iterator[tuple[ControlApp, str]]:
    """The application and its address; the home is locked and announced as a server does it."""
    if not path.exists():
        copy_home("demo", _make_demo, path)
    home = Home(path)
    with _prepared(home, settings or _demo()) as control, _served(home, control) as url:
        yield control, url


def _demo() -> Settings:
    return load(None, demo=True, environ={})


def _make_demo(path: Path) -> None:
    with _prepared(Home(path), _demo()):
        pass


@contextmanager
def _prepared(home: Home, settings: Settings) -> Iterator[ControlApp]:
    home.prepare()
    with home.locked():
        control = build(home.path, settings)
        try:
            prepare(control, settings)
            yield control
        finally:
            control.close()


@contextmanager
def _served(home: Home, control: ControlApp) -> Iterator[str]:
    with ExitStack() as stack:
        assert control.asgi is not None
        config = uvicorn.Config(
            control.asgi, log_config=None, lifespan="off", http="httptools", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def serve() -> None:
            control.stored.bind(asyncio.get_running_loop())
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        home.announce(ServerInfo(pid=os.getpid(), url=url, started_at_us=now_us(), version="0"))
        stack.callback(home.withdraw)
        yield url

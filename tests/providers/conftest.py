"""The demo upstream on a real loopback socket, without delays."""

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from headgate.providers.demo.app import create_app


@pytest.fixture(scope="session")
def demo_url() -> Iterator[str]:
    config = uvicorn.Config(
        create_app(speed=0), host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the demo upstream did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)

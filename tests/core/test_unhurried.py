"""A server that sleeps while nothing happens ends at once, and dates its answers by when they are given."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest
import uvicorn

from headgate.core import unhurried
from headgate.core.ids import now_us
from headgate.core.unhurried import DatedHeaders, Unhurried


class Server(Unhurried, uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_an_answer_has_one_date_and_the_headers_of_its_server() -> None:
    before_s = now_us() // 1_000_000
    given = asyncio.run(one_answer())
    (date,) = given.headers.get_list("date")
    assert before_s <= parsedate_to_datetime(date).timestamp() <= now_us() / 1e6
    assert given.headers["x-of-all"] == "1"
    assert given.headers["server"] == "uvicorn"


async def one_answer() -> httpx2.Response:
    config = uvicorn.Config(answer, lifespan="off", log_config=None, headers=[("x-of-all", "1")], http="httptools")
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient() as client:
            given = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=20)
        server.end()
        await asyncio.wait_for(serving, 20)
    return given


def test_each_answer_has_the_date_of_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = DatedHeaders([(b"server", b"x")], has_date=True)
    seen = []
    for at_s in (1_700_000_000, 1_700_000_000, 1_700_003_600):
        monkeypatch.setattr(unhurried, "now_us", lambda at_s=at_s: at_s * 1_000_000)
        seen.append(headers + [(b"a", b"b")])
    assert seen[0] == seen[1] == [
        (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"server", b"x"), (b"a", b"b")
    ]  # fmt: skip
    assert list(seen[2])[0] == (b"date", b"Tue, 14 Nov 2023 23:13:20 GMT")


def test_a_server_that_wants_no_date_has_none() -> None:
    assert list(DatedHeaders([(b"server", b"x")], has_date=False)) == [(b"server", b"x")]

"""An application as a transport: streamed, bounded, and honest about its end."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.cli.inprocess import InProcess, event_loop


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with event_loop() as running:
        yield running


def client_of(app: ASGIApp, loop: asyncio.AbstractEventLoop) -> httpx2.Client:
    return httpx2.Client(base_url="http://offline", transport=InProcess(app, loop), trust_env=False)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    text = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} ".encode() + body
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": text, "more_body": False})


def test_a_request_arrives_whole_and_so_does_its_answer(loop: asyncio.AbstractEventLoop) -> None:
    with client_of(echo, loop) as client:
        answer = client.post("/a%2Fb", params={"q": "ä"}, content=b"body")
    assert (answer.status_code, answer.headers["x-own"]) == (201, "1")
    assert answer.text == "POST /a/b q=%C3%A4 body"


def test_a_long_answer_waits_for_its_reader(loop: asyncio.AbstractEventLoop) -> None:
    sent = 0

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(500):
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with client_of(long, loop) as client:
        with client.stream("GET", "/") as answer:
            first = next(answer.iter_raw())
            assert first and sent < 100
        with client.stream("GET", "/") as answer:
            assert len(answer.read()) == 50_000


def test_a_failure_before_the_answer_is_raised(loop: asyncio.AbstractEventLoop) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no")

    with client_of(broken, loop) as client, pytest.raises(RuntimeError, match="no"):
        client.get("/")


def test_a_failure_within_the_answer_is_raised(loop: asyncio.AbstractEventLoop) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("no")

    with client_of(broken, loop) as client, pytest.raises(RuntimeError, match="no"):
        client.get("/")


def test_an_application_that_says_nothing_gives_no_answer(loop: asyncio.AbstractEventLoop) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return None

    with client_of(silent, loop) as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get("/")

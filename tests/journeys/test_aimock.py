"""WebSockets of a mock that nobody here wrote, by the real openai client, through a whole server, with their cost."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.aimock import PACKAGE, Aimock
from support.environments import node_with
from support.later import Later
from support.server import RunningServer, eventually

openai = Later("openai")
pytestmark = pytest.mark.slow
NewServer = Callable[..., RunningServer]
CONFIG = """
[server]
default_upstream = {{openai = "mock"}}

[upstreams.mock]
kind = "openai"
provider = "openai"
base_url = "{base_url}"

[[routes]]
model = "*"
targets = [{{upstream = "mock"}}]
"""
USAGE = {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}
FIXTURES: list[dict[str, object]] = [
    {"match": {"userMessage": "weather"}, "response": {"content": "Sunny, with a chance of frames.", "usage": USAGE}},
]
SAID = "Sunny, with a chance of frames."


@pytest.fixture(scope="module")
def aimock(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    modules = node_with(pytestconfig, tmp_path_factory, "aimock", PACKAGE)
    mock = Aimock(modules, tmp_path_factory.mktemp("aimock-run"), FIXTURES)
    yield mock
    mock.close()


def rows(server: RunningServer, session: str, count: int) -> list[dict[str, Any]]:
    """The rows of one connection, oldest first: it, then its responses."""
    found = eventually(
        lambda: got if len(got := server.rows(session=session)) >= count else None,
        within_s=10,
        what=f"{count} rows of {session}",
    )
    assert len(found) == count
    return sorted(found, key=lambda row: str(row["request_id"]))


async def hear(client: Any, session: str) -> str:
    """What a realtime session answers."""
    heard = ""
    headers = {"x-headgate-session": session}
    async with client.realtime.connect(model="gpt-realtime", extra_headers=headers) as connection:
        content: Any = [{"type": "input_text", "text": "How is the weather?"}]
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_text.delta" or event.type == "response.output_audio_transcript.delta":
                heard += event.delta
            elif event.type == "response.done":
                break
            assert event.type != "error", event
    return heard


def read(client: Any, session: str) -> list[str]:
    """What two responses over one connection say."""
    found = []
    with client.responses.connect(extra_headers={"x-headgate-session": session}) as connection:
        for model in ("gpt-5-mini", "gpt-5-nano"):
            connection.response.create(model=model, input="How is the weather?")
            said = ""
            for event in connection:
                if event.type == "response.output_text.delta":
                    said += event.delta
                if event.type == "response.completed":
                    break
                assert event.type != "error", event
            found.append(said)
    return found


def test_realtime_and_responses_over_websocket_are_the_same_through_headgate_and_each_is_priced(
    new_server: NewServer, aimock: Aimock
) -> None:
    server = new_server(CONFIG.format(base_url=aimock.base_url)).start()
    through = f"http://127.0.0.1:{server.port}/v1"
    for base_url in (aimock.base_url, through):
        assert asyncio.run(hear(openai.AsyncOpenAI(base_url=base_url, api_key="unused"), "voice")) == SAID
        assert read(openai.OpenAI(base_url=base_url, api_key="unused"), "text") == [SAID, SAID]

    whole, response = rows(server, "voice", 2)
    assert (whole["endpoint"], whole["status"], whole["outcome"], whole["cost_usd"]) == ("other", 101, "ok", None)
    assert (response["endpoint"], response["outcome"], response["model"]) == ("openai.realtime", "ok", "gpt-realtime")
    talk = server.api(f"/api/requests/{response['request_id']}")["transcript"]
    assert talk["messages"][-1]["parts"][0]["text"] == "How is the weather?"
    assert talk["output"][0]["text"] == SAID

    _, mini, nano = rows(server, "text", 3)
    assert [row["model_requested"] for row in (mini, nano)] == ["gpt-5-mini", "gpt-5-nano"]
    for row in (mini, nano):
        assert (row["endpoint"], row["outcome"], row["usage_source"]) == ("openai.responses", "ok", "provider")
        assert row["cost_usd"] is not None
        talk = server.api(f"/api/requests/{row['request_id']}")["transcript"]
        assert talk["output"][0]["text"] == SAID
    server.stop()

"""The anthropic SDK through Headgate: what it reads is what the provider said, and the log has it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from headgate.client import Client
from support.calls import Calls
from support.later import Later
from support.server import RunningServer, eventually

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Later("anthropic")

MODEL = "claude-sonnet-4-6"
WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION: Any = {"max_tokens": 2000, "messages": [{"role": "user", "content": "What is 17 * 23?"}]}
WEATHER_QUESTION: Any = {"max_tokens": 2000, "messages": [{"role": "user", "content": "What is the weather in Oslo?"}]}


class Reply(pydantic.BaseModel):
    answer: str
    confidence: float


def test_a_message_is_answered_and_logged_with_tokens_and_cost(
    anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    answer: Any = anthropic_client.messages.create(model=MODEL, **QUESTION)
    assert "391" in answer.content[0].text
    row = calls.priced(endpoint="anthropic.messages", model=MODEL, model_requested=MODEL, stream=False)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert (row["response_id"], row["upstream"], row["finish_reason"]) == (answer.id, "anthropic", "end_turn")
    assert row["client"].startswith("Anthropic/Python 2.")


def test_a_stream_is_read_by_events_and_by_the_helper(anthropic_client: anthropic.Anthropic, calls: Calls) -> None:
    events = list(anthropic_client.messages.create(model=MODEL, stream=True, **QUESTION))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    first = calls.priced(endpoint="anthropic.messages", stream=True, finish_reason="end_turn", model=MODEL)
    with anthropic_client.messages.stream(model=MODEL, **QUESTION) as stream:
        assert "391" in "".join(stream.text_stream)
        final = stream.get_final_message()
    row = calls.priced(endpoint="anthropic.messages", stream=True, response_id=final.id)
    assert (row["input_tokens"], row["output_tokens"]) == (final.usage.input_tokens, final.usage.output_tokens)
    assert row["output_tokens"] == first["output_tokens"] > 0
    assert row["ttft_ms"] is not None


def test_tools_are_used_and_answered(anthropic_client: anthropic.Anthropic, calls: Calls) -> None:
    with anthropic_client.messages.stream(model=MODEL, tools=[WEATHER], **WEATHER_QUESTION) as stream:
        block: Any = stream.get_final_message().content[0]
    assert (block.type, block.input) == ("tool_use", {"city": "Oslo"})
    calls.priced(stream=True, finish_reason="tool_use")
    messages: Any = [
        *WEATHER_QUESTION["messages"],
        {"role": "assistant", "content": [block.to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"}]},
    ]
    answer: Any = anthropic_client.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=[WEATHER])
    assert "returned: rain" in answer.content[0].text
    calls.priced(stream=False, finish_reason="end_turn")


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_comes_with_its_signature(anthropic_client: anthropic.Anthropic, calls: Calls, stream: bool) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    answer: Any
    if stream:
        with anthropic_client.messages.stream(model=MODEL, thinking=thinking, **QUESTION) as helper:
            answer = helper.get_final_message()
    else:
        answer = anthropic_client.messages.create(model=MODEL, thinking=thinking, **QUESTION)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature
    row = calls.priced(stream=stream)
    assert 0 < row["reasoning_tokens"] < row["output_tokens"]


def test_structured_output_is_parsed(anthropic_client: anthropic.Anthropic, calls: Calls) -> None:
    parsed: Any = anthropic_client.messages.parse(model=MODEL, output_format=Reply, **QUESTION)
    assert isinstance(parsed.parsed_output, Reply)
    calls.priced(endpoint="anthropic.messages")


def test_cached_input_is_part_of_the_input_and_written_apart(
    anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    system: Any = [{"type": "text", "text": "Be brief. " * 300, "cache_control": {"type": "ephemeral"}}]
    answer = anthropic_client.messages.create(model=MODEL, system=system, **QUESTION)
    usage = answer.usage
    assert usage.cache_creation_input_tokens
    row = calls.priced()
    assert row["cache_write_tokens"] == usage.cache_creation_input_tokens
    assert row["input_tokens"] == usage.input_tokens + usage.cache_creation_input_tokens + (
        usage.cache_read_input_tokens or 0
    )


def test_tokens_are_counted_by_the_provider(anthropic_client: anthropic.Anthropic, calls: Calls) -> None:
    counted = anthropic_client.messages.count_tokens(model=MODEL, messages=QUESTION["messages"])
    assert counted.input_tokens > 5
    calls.row(endpoint="other", path="/v1/messages/count_tokens", outcome="ok", status=200, upstream="anthropic")


def test_models_are_listed_and_retrieved_in_this_dialect(
    server: RunningServer, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    message = {"role": "user", "content": "Hi"}
    with Client(server.url) as client:
        client.push_prompts([("listed.yaml", json.dumps({"name": "listed", "model": MODEL, "messages": [message]}))])
    wanted = {"demo-chat", "prompt:listed@latest"}
    eventually(
        lambda: wanted <= {model.id for model in anthropic_client.models.list(limit=100)},
        within_s=5,
        what="the prompt is listed",
    )
    calls.row(endpoint="other", path="/v1/models", outcome="ok")
    assert anthropic_client.models.retrieve(MODEL).id == MODEL
    calls.row(endpoint="other", upstream="anthropic", status=200)


def test_an_image_arrives_as_it_was_sent(anthropic_client: anthropic.Anthropic, calls: Calls) -> None:
    gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    source = {"type": "base64", "media_type": "image/gif", "data": gif}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "Hello"}]
    answer: Any = anthropic_client.messages.create(
        model=MODEL, max_tokens=500, messages=[{"role": "user", "content": content}]
    )
    assert "1x1 gif" in answer.content[0].text
    calls.priced()


def test_the_async_client_gets_messages_and_streams(server: RunningServer, calls: Calls) -> None:
    async def run() -> None:
        http = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [calls.note_async]}, trust_env=False)
        async with anthropic.AsyncAnthropic(
            base_url=server.url, api_key="sk-ant-x", max_retries=0, http_client=http
        ) as client:
            whole: Any = await client.messages.create(model=MODEL, **QUESTION)
            async with client.messages.stream(model=MODEL, **QUESTION) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == whole.content[0].text
            async with await client.messages.create(model=MODEL, stream=True, **QUESTION) as events:
                assert [event.type async for event in events][-1] == "message_stop"
            assert (await client.messages.count_tokens(model=MODEL, messages=QUESTION["messages"])).input_tokens

    asyncio.run(run())
    rows = [server.row(request_id) for request_id in calls.ids]
    assert [row["stream"] for row in rows] == [False, True, True, False]
    assert all(row["outcome"] == "ok" for row in rows)
    assert all(row["cost_usd"] is not None for row in rows[:3])

"""The demo upstream read by the real anthropic client, with its strict validation of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pydantic
import pytest

from support.later import Later

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Later("anthropic")

NOTES = "<context>\n[r-1] Goods can be returned within 30 days.\n[s-1] Express shipping costs $12.\n</context>"
WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Reply(pydantic.BaseModel):
    answer: str
    sources: list[str]
    confidence: float


@pytest.fixture
def client(demo_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=demo_url, api_key="none", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def ask(client: anthropic.Anthropic, text: str, **more: Any) -> Any:
    defaults = {
        "model": "demo-chat",
        "max_tokens": 2000,
        "system": NOTES,
        "messages": [{"role": "user", "content": text}],
    }
    return client.messages.create(**{**defaults, **more})


def test_a_message_comes_from_the_notes(client: anthropic.Anthropic) -> None:
    answer = ask(client, "What does express shipping cost?")
    assert answer.content[0].text == "This is Headgate's demo model. Express shipping costs $12. [s-1]"
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 10


def test_a_stream_says_what_the_whole_message_says_and_pings(client: anthropic.Anthropic, demo_url: str) -> None:
    whole = ask(client, "What does express shipping cost?")
    with client.messages.stream(
        model="demo-chat",
        max_tokens=2000,
        system=NOTES,
        messages=[{"role": "user", "content": "What does express shipping cost?"}],
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    raw = httpx2.post(f"{demo_url}/v1/messages", json=body).text
    names = [line[7:] for line in raw.splitlines() if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_thinking_precedes_the_text_and_is_signed_and_counted(client: anthropic.Anthropic) -> None:
    answer = ask(client, "Can goods be returned?", thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature
    assert 0 < answer.usage.output_tokens_details.thinking_tokens < answer.usage.output_tokens
    with client.messages.stream(
        model="demo-chat",
        max_tokens=2000,
        messages=[{"role": "user", "content": "Hello"}],
        thinking={"type": "adaptive"},
    ) as stream:
        final = stream.get_final_message()
    assert final.content[0].type == "thinking"
    assert final.content[0].signature
    with pytest.raises(anthropic.BadRequestError, match="budget_tokens"):
        ask(client, "Hello", thinking={"type": "enabled", "budget_tokens": 10})


def test_tools_are_used_and_their_results_answered(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="demo-chat",
        max_tokens=2000,
        tools=[WEATHER],
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
    ) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    block = first.content[0]
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "Oslo"})
    messages = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": [block.to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"}]},
    ]
    answer = ask(client, "", messages=messages, tools=[WEATHER])
    assert "get_weather returned: rain" in answer.content[0].text
    assert ask(client, "Hi", tools=[WEATHER], tool_choice={"type": "any"}).stop_reason == "tool_use"


def test_limits_and_stop_sequences_are_kept(client: anthropic.Anthropic) -> None:
    short = ask(client, "Can goods be returned?", max_tokens=3)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 3)
    stopped = ask(client, "Can goods be returned?", stop_sequences=["Goods"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Goods")


def test_cached_parts_are_written_first_and_read_later(client: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": NOTES, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = ask(client, "Can goods be returned?", system=system).usage
    turns = [
        {"role": "user", "content": "Can goods be returned?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And shipping?"},
    ]
    later = ask(client, "", system=system, messages=turns).usage
    plain = ask(client, "Can goods be returned?").usage
    assert first.cache_creation_input_tokens == first.cache_creation.ephemeral_1h_input_tokens > 0
    assert (first.cache_read_input_tokens, later.cache_creation_input_tokens) == (0, 0)
    assert later.cache_read_input_tokens == first.cache_creation_input_tokens
    assert first.input_tokens + first.cache_creation_input_tokens == plain.input_tokens


def test_structures_are_parsed_and_filled_from_the_notes(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(
        model="demo-chat",
        max_tokens=2000,
        system=NOTES,
        messages=[{"role": "user", "content": "What does express shipping cost?"}],
        output_format=Reply,
    ).parsed_output
    assert parsed == Reply(answer="Express shipping costs $12.", sources=["s-1"], confidence=0.8)


def test_tokens_are_counted_as_they_are_billed(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(
        model="demo-chat", system=NOTES, messages=[{"role": "user", "content": "Can goods be returned?"}]
    )
    assert counted.input_tokens == ask(client, "Can goods be returned?").usage.input_tokens


def test_models_have_the_shape_of_the_dialect(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == ["demo-chat", "demo-small", "demo-embed"]
    assert client.models.retrieve("demo-chat").display_name == "Demo Chat"


def test_errors_come_in_the_dialect_with_their_status(client: anthropic.Anthropic, demo_url: str) -> None:
    cases: list[tuple[str, int, str]] = [
        ("missing-x", 404, "not_found_error"),
        ("demo-error-429", 429, "rate_limit_error"),
        ("demo-error-500", 500, "api_error"),
        ("demo-overloaded", 529, "overloaded_error"),
    ]
    for model, status, kind in cases:
        with pytest.raises(anthropic.APIStatusError) as raised:
            ask(client, "Hello", model=model)
        body: Any = raised.value.body
        assert (raised.value.status_code, body["error"]["type"]) == (status, kind)
        assert body["request_id"] == raised.value.response.headers["request-id"]
    lacking = httpx2.post(
        f"{demo_url}/v1/messages", json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    )
    assert (lacking.status_code, lacking.json()["error"]["message"]) == (400, "max_tokens: Field required")
    unknown = httpx2.get(f"{demo_url}/v1/messages/batches")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")


def test_the_async_client_reads_answers_and_streams(demo_url: str) -> None:
    async def go() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=demo_url, api_key="none", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "Say 'pong'"}]
            whole = await client.messages.create(model="demo-chat", max_tokens=99, messages=messages)
            async with client.messages.stream(model="demo-chat", max_tokens=99, messages=messages) as stream:
                text = await stream.get_final_text()
            block = whole.content[0]
            return text, block.text if block.type == "text" else ""

    assert asyncio.run(go()) == ("pong", "pong")

"""The openai SDK through Headgate: what it reads is what the provider said, and the log has it."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from support.calls import Calls
from support.later import Later
from support.server import RunningServer

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

MODEL = "gpt-4o-mini"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
QUESTION: Any = [{"role": "user", "content": "What is 17 * 23?"}]


class Invoice(pydantic.BaseModel):
    number: str
    total: float
    paid: bool


def test_a_chat_completion_is_answered_and_logged_with_tokens_and_cost(
    openai_client: openai.OpenAI, calls: Calls
) -> None:
    answer = openai_client.chat.completions.create(model=MODEL, messages=QUESTION, user="u-1")
    assert "391" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    row = calls.priced(endpoint="openai.chat", model=MODEL, model_requested=MODEL, stream=False, finish_reason="stop")
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (row["response_id"], row["upstream"], row["route"]) == (answer.id, "openai", "gpt-*")
    assert row["client"].startswith("OpenAI/Python 3.")


@pytest.mark.parametrize("asks_for_usage", [True, False, None])
def test_a_streamed_chat_has_its_usage_in_the_log_and_in_the_stream_only_when_asked_for(
    openai_client: openai.OpenAI, calls: Calls, asks_for_usage: bool | None
) -> None:
    options: Any = {} if asks_for_usage is None else {"stream_options": {"include_usage": asks_for_usage}}
    with openai_client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True, **options) as stream:
        chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "391" in text
    assert len(chunks) > 3
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usage) == (1 if asks_for_usage else 0)
    if asks_for_usage is False:  # the client's own word: nothing is added, so the tokens are counted here
        row = calls.row(outcome="ok", stream=True, usage_source="estimated", endpoint="openai.chat", model=MODEL)
        assert row["input_tokens"] > 0 and row["output_tokens"] > 0 and row["cost_usd"] is not None
        return
    assert all(chunk.choices for chunk in chunks[: len(chunks) - len(usage)])
    row = calls.priced(endpoint="openai.chat", model=MODEL, stream=True, finish_reason="stop")
    assert row["ttft_ms"] is not None
    assert row["output_tokens"] > 0
    if usage:
        assert (row["input_tokens"], row["output_tokens"]) == (usage[0].prompt_tokens, usage[0].completion_tokens)


def test_the_stream_helper_gathers_a_tool_call(openai_client: openai.OpenAI, calls: Calls) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
    with openai_client.chat.completions.stream(model=MODEL, messages=messages, tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        tool_calls = stream.get_final_completion().choices[0].message.tool_calls
    assert tool_calls is not None
    assert tool_calls[0].function.parsed_arguments == {"city": "Oslo"}
    calls.priced(endpoint="openai.chat", stream=True, finish_reason="tool_calls")


def test_a_tool_result_is_sent_back(openai_client: openai.OpenAI, calls: Calls) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
    first = openai_client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER]).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.tool_calls is not None
    calls.priced(finish_reason="tool_calls")
    messages += [
        first.message.to_dict(),
        {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "4 degrees"},
    ]
    second = openai_client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert "returned: 4 degrees" in (second.choices[0].message.content or "")
    calls.priced(finish_reason="stop")


def test_an_image_arrives_as_it_was_sent(openai_client: openai.OpenAI, calls: Calls) -> None:
    content: Any = [
        {"type": "text", "text": "Hello"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(640, 480)}"}},
    ]
    answer = openai_client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert "an image (640x480 png)" in (answer.choices[0].message.content or "")
    calls.priced(endpoint="openai.chat")


def _png(width: int, height: int) -> str:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return base64.b64encode(data).decode()


def test_structured_output_is_parsed(openai_client: openai.OpenAI, calls: Calls) -> None:
    messages: Any = [{"role": "user", "content": "An invoice"}]
    parsed = openai_client.chat.completions.parse(model=MODEL, messages=messages, response_format=Invoice)
    assert isinstance(parsed.choices[0].message.parsed, Invoice)
    calls.priced(endpoint="openai.chat", stream=False)


def test_responses_are_answered_parsed_and_streamed(openai_client: openai.OpenAI, calls: Calls) -> None:
    whole = openai_client.responses.create(model=MODEL, input="What is 17 * 23?", instructions="Be brief.")
    assert "391" in whole.output_text
    assert whole.usage is not None
    row = calls.priced(endpoint="openai.responses", model=MODEL, stream=False, response_id=whole.id)
    assert (row["input_tokens"], row["output_tokens"]) == (whole.usage.input_tokens, whole.usage.output_tokens)
    parsed = openai_client.responses.parse(model=MODEL, input="An invoice", text_format=Invoice)
    assert isinstance(parsed.output_parsed, Invoice)
    with openai_client.responses.create(model=MODEL, input="What is 17 * 23?", stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.completed"
    row = calls.priced(endpoint="openai.responses", stream=True, response_id=events[-1].response.id)
    assert row["ttft_ms"] is not None
    with openai_client.responses.stream(model=MODEL, input="What is 17 * 23?") as helper:
        for _ in helper:
            pass
        assert "391" in helper.get_final_response().output_text
    calls.priced(endpoint="openai.responses", stream=True)


def test_completions_are_answered_and_streamed(openai_client: openai.OpenAI, calls: Calls) -> None:
    model = "gpt-3.5-turbo-instruct"
    assert "391" in openai_client.completions.create(model=model, prompt="What is 17 * 23?").choices[0].text
    calls.priced(endpoint="openai.completions", model=model, stream=False)
    with openai_client.completions.create(model=model, prompt="What is 17 * 23?", stream=True) as stream:
        assert "391" in "".join(choice.text for chunk in stream for choice in chunk.choices)
    calls.priced(endpoint="openai.completions", stream=True)


def test_embeddings_come_as_numbers_either_way(openai_client: openai.OpenAI, calls: Calls) -> None:
    model = "text-embedding-3-small"
    coded = openai_client.embeddings.create(model=model, input=["a gate", "a gateway"])  # base64 on the wire
    plain = openai_client.embeddings.create(model=model, input=["a gate", "a gateway"], encoding_format="float")
    assert len(coded.data) == len(plain.data) == 2
    assert coded.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    for request_id in calls.ids:
        calls.ids.append(request_id)
        row = calls.priced(endpoint="openai.embeddings", model=model, stream=False)
        assert row["input_tokens"] == coded.usage.prompt_tokens
        calls.ids.pop()


def test_models_are_listed_and_retrieved(openai_client: openai.OpenAI, calls: Calls) -> None:
    names = {model.id for model in openai_client.models.list()}
    assert {"demo-chat", "unreachable"} <= names
    calls.row(endpoint="other", path="/v1/models", method="GET", outcome="ok", cost_usd=None)
    assert openai_client.models.retrieve(MODEL).id == MODEL
    calls.row(endpoint="other", path=f"/v1/models/{MODEL}", method="GET", status=200, upstream="openai")


def test_a_path_unknown_to_headgate_goes_to_the_upstream_raw(openai_client: openai.OpenAI, calls: Calls) -> None:
    with pytest.raises(openai.NotFoundError, match="Unknown request URL: POST /v1/moderations") as caught:
        openai_client.moderations.create(model="gpt-anything", input="x")
    assert "headgate:" not in str(caught.value)
    calls.row(endpoint="other", path="/v1/moderations", status=404, outcome="upstream_error", cost_usd=None)


def in_async_client(server: RunningServer, calls: Calls, use: Callable[[openai.AsyncOpenAI], Awaitable[None]]) -> None:
    async def run() -> None:
        http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [calls.note_async]}, trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="sk-anything", max_retries=0, http_client=http
        ) as client:
            await use(client)

    asyncio.run(run())


def test_the_async_client_gets_chats_streams_responses_and_embeddings(server: RunningServer, calls: Calls) -> None:
    async def use(client: openai.AsyncOpenAI) -> None:
        whole = await client.chat.completions.create(model=MODEL, messages=QUESTION)
        assert "391" in (whole.choices[0].message.content or "")
        text = ""
        async with await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True) as stream:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
        assert text == whole.choices[0].message.content
        async with client.responses.stream(model=MODEL, input="What is 17 * 23?") as responses:
            async for _ in responses:
                pass
            assert "391" in (await responses.get_final_response()).output_text
        assert (await client.embeddings.create(model="text-embedding-3-small", input="x")).data
        parsed = await client.chat.completions.parse(model=MODEL, messages=QUESTION, response_format=Invoice)
        assert isinstance(parsed.choices[0].message.parsed, Invoice)

    in_async_client(server, calls, use)
    rows = [server.row(request_id) for request_id in calls.ids]
    assert [(row["endpoint"], row["stream"]) for row in rows] == [
        ("openai.chat", False),
        ("openai.chat", True),
        ("openai.responses", True),
        ("openai.embeddings", False),
        ("openai.chat", False),
    ]
    assert all(row["outcome"] == "ok" and row["cost_usd"] is not None for row in rows)


def test_many_async_calls_at_once_each_get_their_own_answer(server: RunningServer, calls: Calls) -> None:
    async def use(client: openai.AsyncOpenAI) -> None:
        async def ask(number: int) -> str:
            messages: Any = [{"role": "user", "content": f"What is {number} * 7?"}]
            answer = await client.chat.completions.create(model=MODEL, messages=messages)
            return answer.choices[0].message.content or ""

        answers = await asyncio.gather(*(ask(number) for number in range(40)))
        assert all(f"= {number * 7}." in answer for number, answer in enumerate(answers))

    in_async_client(server, calls, use)
    assert len(set(calls.ids)) == 40
    assert all(server.row(request_id)["outcome"] == "ok" for request_id in calls.ids)


def test_a_client_that_leaves_a_stream_is_logged_as_gone(openai_client: openai.OpenAI, calls: Calls) -> None:
    messages: Any = [{"role": "user", "content": "Repeat: " + "many words and more, " * 20_000}]
    # Paced: an answer without delays is often complete before the client has left, and `ok` is then true.
    stream = openai_client.chat.completions.create(model="paced", messages=messages, stream=True)
    for _ in stream:
        break
    stream.close()
    calls.row(outcome="client_closed", stream=True, status=200, endpoint="openai.chat")

"""The demo upstream read by the real openai client, with its strict validation of every answer."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pydantic
import pytest

from support.later import Later

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

NOTES = "Answer from these notes:\n[r-1] Goods can be returned within 30 days.\n[s-1] Express shipping costs $12."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Invoice(pydantic.BaseModel):
    number: str = pydantic.Field(pattern=r"^INV-\d{4}$")
    lines: list[str] = pydantic.Field(min_length=2)
    total: float = pydantic.Field(gt=0, le=10)
    paid: bool
    parent: Invoice | None = None


@pytest.fixture
def client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{demo_url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def ask(client: openai.OpenAI, text: str, **more: Any) -> Any:
    messages = [{"role": "system", "content": NOTES}, {"role": "user", "content": text}]
    return client.chat.completions.create(**{"model": "demo-chat", "messages": messages, **more})


def test_a_chat_answer_comes_from_the_notes_and_says_it_is_a_demo(client: openai.OpenAI) -> None:
    answer = ask(client, "What does express shipping cost?")
    assert answer.choices[0].message.content == "This is Headgate's demo model. Express shipping costs $12. [s-1]"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_equal_requests_get_equal_bytes_and_different_ones_different_ids(demo_url: str) -> None:
    def post(text: str) -> bytes:
        body = {"model": "any/name:1", "messages": [{"role": "user", "content": text}]}
        return httpx2.post(f"{demo_url}/v1/chat/completions", json=body).content

    assert post("hello") == post("hello")
    assert json.loads(post("hello"))["id"] != json.loads(post("hello!"))["id"]
    assert json.loads(post("hello"))["model"] == "any/name:1"


def test_a_stream_says_what_the_whole_answer_says_and_ends_with_usage_when_asked(client: openai.OpenAI) -> None:
    whole = ask(client, "Can goods be returned?")
    chunks = list(ask(client, "Can goods be returned?", stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert len(chunks) > 5
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert all(chunk.usage is None for chunk in ask(client, "Can goods be returned?", stream=True))


def test_the_stream_helper_gathers_text_and_tool_calls(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Oslo, in fahrenheit?"}]
    with client.chat.completions.stream(model="demo-chat", messages=messages, tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        call = stream.get_final_completion().choices[0].message.tool_calls
    assert call is not None
    assert call[0].function.parsed_arguments == {"city": "Oslo", "unit": "fahrenheit"}


def test_tools_are_called_when_named_or_required_and_not_otherwise(client: openai.OpenAI) -> None:
    assert ask(client, "Hello", tools=[WEATHER]).choices[0].message.tool_calls is None
    assert ask(client, "Use get_weather", tools=[WEATHER], tool_choice="none").choices[0].message.tool_calls is None
    required = ask(client, "Hello", tools=[WEATHER], tool_choice="required").choices[0]
    assert (required.finish_reason, required.message.content) == ("tool_calls", None)
    assert required.message.tool_calls[0].function.name == "get_weather"


def test_a_tool_result_is_answered_in_text(client: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: Any = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4 degrees, rain"},
    ]
    answer = client.chat.completions.create(model="demo-chat", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == (
        "This is Headgate's demo model. The tool get_weather returned: 4 degrees, rain"
    )


def test_structured_output_fits_the_schema(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="demo-chat", messages=[{"role": "user", "content": "An invoice"}], response_format=Invoice
    )
    assert isinstance(parsed.choices[0].message.parsed, Invoice)
    plain = ask(client, "What does express shipping cost?", response_format={"type": "json_object"})
    assert json.loads(plain.choices[0].message.content)["sources"] == ["s-1"]


def test_limits_stops_and_alternatives_are_kept(client: openai.OpenAI) -> None:
    short = ask(client, "What does express shipping cost?", max_completion_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    stopped = ask(client, "What does express shipping cost?", stop=["Express"])
    assert stopped.choices[0].message.content == "This is Headgate's demo model. "
    three = ask(client, "What does express shipping cost?", n=3)
    assert len({choice.message.content for choice in three.choices}) == 3
    indexes = {chunk.choices[0].index for chunk in ask(client, "Hello", n=2, stream=True)}
    assert indexes == {0, 1}


def test_an_image_is_described_by_its_size(client: openai.OpenAI) -> None:
    head = struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    content: Any = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": content}])
    assert "I was given an image (640x480 png)." in (answer.choices[0].message.content or "")


def test_reasoning_effort_is_counted_as_reasoning_tokens(client: openai.OpenAI) -> None:
    usage = ask(client, "Can goods be returned?", reasoning_effort="high").usage
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens


def test_completions_answer_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="demo-chat", prompt=["What is 6 * 7?", "Hello"])
    assert "6 * 7 = 42" in whole.choices[0].text
    assert [choice.index for choice in whole.choices] == [0, 1]
    # The client's strict types know no null finish_reason, which OpenAI sends in this stream.
    with openai.OpenAI(base_url=client.base_url, api_key="none", max_retries=0) as lenient:
        chunks = lenient.completions.create(
            model="demo-chat", prompt="What is 6 * 7?", stream=True, stream_options={"include_usage": True}
        )
        pieces = list(chunks)
    assert "6 * 7 = 42" in "".join(piece.choices[0].text for piece in pieces if piece.choices)
    assert pieces[-1].usage is not None


def test_embeddings_of_similar_texts_are_near_in_both_encodings(demo_url: str) -> None:
    texts = ["How do I return a pair of shoes?", "returning shoes", "Weather in Oslo tomorrow"]
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="none", max_retries=0) as client:
        vectors = [item.embedding for item in client.embeddings.create(model="demo-embed", input=texts).data]
        floats = client.embeddings.create(model="demo-embed", input=texts[0], encoding_format="float").data[0].embedding
        small = client.embeddings.create(model="demo-embed", input=[[1, 2], [3]], dimensions=32)
    near = sum(a * b for a, b in zip(vectors[0], vectors[1], strict=True))
    far = sum(a * b for a, b in zip(vectors[0], vectors[2], strict=True))
    assert near > 0.4 > far
    assert len(floats) == 256
    assert floats == pytest.approx(vectors[0], abs=1e-6)
    assert [len(item.embedding) for item in small.data] == [32, 32]


def test_models_are_listed_and_any_other_name_but_missing_ones_is_known(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo-chat", "demo-small", "demo-embed"]
    assert client.models.retrieve("vendor/some:model").id == "vendor/some:model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("missing-1")


def test_responses_answer_whole_with_usage(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="demo-chat", instructions=NOTES, input="What does express shipping cost?")
    assert answer.output_text == "This is Headgate's demo model. Express shipping costs $12. [s-1]"
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    cut = client.responses.create(model="demo-chat", input="Hello", max_output_tokens=2)
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_responses_stream_numbers_its_events_and_ends_with_the_response(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="demo-chat", input="Say 'pong pong'", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events if not event.type.endswith("delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "pong pong"
    cut = list(client.responses.create(model="demo-chat", input="Hello", stream=True, max_output_tokens=2))
    assert cut[-1].type == "response.incomplete"


def test_responses_call_tools_and_parse_structures_in_a_stream(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", **WEATHER["function"]}
    with client.responses.stream(
        model="demo-chat",
        input="The weather in Oslo, please",
        tools=[tool],
        reasoning={"effort": "high", "summary": "auto"},
    ) as stream:
        for _ in stream:
            pass
        output = stream.get_final_response().output
    assert [item.type for item in output] == ["reasoning", "function_call"]
    assert output[1].type == "function_call"
    assert json.loads(output[1].arguments)["city"] == "Oslo"
    parsed = client.responses.parse(model="demo-chat", input="An invoice", text_format=Invoice)
    assert isinstance(parsed.output_parsed, Invoice)
    calls: Any = [
        {"role": "user", "content": "The weather in Oslo?"},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    assert "get_weather returned: rain" in client.responses.create(model="demo-chat", input=calls).output_text


def test_state_that_is_not_kept_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="resp_1") as refused:
        client.responses.create(model="demo-chat", input="Hello", previous_response_id="resp_1")
    assert refused.value.code == "previous_response_not_found"


def test_the_async_client_reads_answers_and_streams(demo_url: str) -> None:
    async def go() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{demo_url}/v1", api_key="none", max_retries=0) as client:
            chunks = await client.chat.completions.create(
                model="demo-chat", messages=[{"role": "user", "content": "Say 'pong'"}], stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            return text, (await client.responses.create(model="demo-chat", input="Say 'pong'")).output_text

    assert asyncio.run(go()) == ("pong", "pong")


def test_errors_come_in_the_dialect_with_their_status(client: openai.OpenAI) -> None:
    cases: list[tuple[str, type[openai.APIStatusError]]] = [
        ("missing-x", openai.NotFoundError),
        ("demo-error-429", openai.RateLimitError),
        ("demo-error-500", openai.InternalServerError),
        ("demo-overloaded", openai.InternalServerError),
    ]
    for model, expected in cases:
        with pytest.raises(expected) as raised:
            ask(client, "Hello", model=model)
        assert raised.value.request_id
        if model == "missing-x":
            assert raised.value.code == "model_not_found"
        if model == "demo-error-429":
            assert raised.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.NotFoundError, match="Unknown request URL"):
        client.files.list()


def test_an_answer_of_demo_cut_breaks_off(client: openai.OpenAI) -> None:
    received: list[str] = []
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        for chunk in ask(client, "Can goods be returned?", model="demo-cut", stream=True):
            received.append(chunk.choices[0].delta.content or "")
    assert "".join(received).startswith("This is")
    with pytest.raises(openai.APIConnectionError):
        ask(client, "Can goods be returned?", model="demo-cut")

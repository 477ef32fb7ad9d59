"""Requests and answers read back as conversations, whatever the dialect, the split or the damage."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.transcript import MAX_CHARS, Message, Part, Transcript, input_text, output_text, transcript

RECORDINGS = {path.name: path.read_bytes() for path in sorted(Path(__file__).parent.glob("recordings/*.sse"))}
SSE = "text/event-stream"
ENDPOINTS = [
    "openai.chat",
    "openai.completions",
    "openai.responses",
    "openai.realtime",
    "openai.embeddings",
    "anthropic.messages",
    "other",
]


def said(value: str) -> Part:
    return Part(kind="text", text=value)


def read(endpoint: str, request: Any, response: Any = None) -> Transcript:
    answer = b"" if response is None else json.dumps(response).encode()
    return transcript(endpoint, json.dumps(request).encode(), answer, "application/json")


def streamed(endpoint: str, name: str) -> list[Part]:
    return transcript(endpoint, b"{}", RECORDINGS[name], SSE).output


def test_what_was_said_on_a_realtime_connection_before_a_response_reads_as_its_request() -> None:
    tool = {"type": "function", "name": "hang_up"}
    events = [
        {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief.", "tools": [tool]}},
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]},
        },
        {"type": "conversation.item.input_audio_transcription.completed", "transcript": "And you?"},
        {"type": "response.create", "response": {"max_output_tokens": 9}},
        "damaged",
    ]
    answer = {"output": [{"type": "message", "content": [{"type": "output_audio", "transcript": "Fine."}]}]}
    found = read("openai.realtime", events, answer)
    assert found.messages == [
        Message(role="system", parts=[said("Be brief.")]),
        Message(role="user", parts=[said("Hello?")]),
        Message(role="user", parts=[said("And you?")]),
    ]
    assert (found.output, found.tools, found.parameters) == ([said("Fine.")], ["hang_up"], {"max_output_tokens": 9})
    cut = b'data: {"type":"response.output_audio_transcript.delta","output_index":0,"delta":"Fi"}\n\n'
    assert transcript("openai.realtime", b"[]", cut, SSE).output == [said("Fi")]


def test_chat_with_tools_images_and_a_system_message() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    request = {
        "model": "gpt-5",
        "temperature": 0.2,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "weather"}}, {"type": "web_search"}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAABBBB"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "4 °C"},
        ],
    }
    answer = {"choices": [{"message": {"role": "assistant", "content": "Cold.", "refusal": None}}]}
    got = read("openai.chat", request, answer)
    assert got.messages == [
        Message(role="system", parts=[said("Be brief.")]),
        Message(
            role="user",
            parts=[
                said("What is this?"),
                Part(kind="image", text="image/png, 6 bytes"),
                Part(kind="image", text="https://example.com/a.png"),
                Part(kind="other", text="wav, 3 bytes", name="audio"),
                Part(kind="other", text="application/pdf, 3 bytes", name="a.pdf"),
            ],
        ),
        Message(role="assistant", parts=[Part(kind="tool_call", text='{"city":"Oslo"}', name="weather", id="c1")]),
        Message(role="tool", parts=[Part(kind="tool_result", text="4 °C", id="c1")]),
    ]
    assert got.output == [said("Cold.")]
    assert got.tools == ["weather", "web_search"]
    assert got.parameters == {"model": "gpt-5", "temperature": 0.2, "response_format": {"type": "json_object"}}
    assert got.note is None


def test_anthropic_messages_with_system_thinking_and_tool_results() -> None:
    request = {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "max_tokens": 10,
        "tools": [{"name": "lookup", "input_schema": {}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "tool_use", "id": "t1", "name": "lookup", "input": {"q": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [
                            {"type": "text", "text": "found"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        ],
                    }
                ],
            },
        ],
    }
    got = read(
        "anthropic.messages", request, {"content": [{"type": "text", "text": "Done"}], "stop_reason": "end_turn"}
    )
    assert [message.role for message in got.messages] == ["system", "user", "assistant", "user"]
    assert got.messages[2].parts == [
        Part(kind="thinking", text="Hm"),
        Part(kind="thinking", text="[redacted]"),
        Part(kind="tool_call", text='{"q":1}', name="lookup", id="t1"),
    ]
    assert got.messages[3].parts == [Part(kind="tool_result", text="found\n[image image/png, 3 bytes]", id="t1")]
    assert (got.output, got.tools, got.parameters) == ([said("Done")], ["lookup"], {"max_tokens": 10})


def test_responses_with_instructions_items_and_reasoning() -> None:
    request = {
        "instructions": "Be exact.",
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "file_id": "f"}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
        ],
        "prompt": {"id": "hg:x"},
    }
    got = read("openai.responses", request)
    assert [(message.role, message.parts) for message in got.messages] == [
        ("system", [said("Be exact.")]),
        ("user", [said("Hi"), Part(kind="image", text="f")]),
        ("assistant", [Part(kind="tool_call", text="{}", name="f", id="c")]),
        ("tool", [Part(kind="tool_result", text="7", id="c")]),
    ]
    assert got.parameters == {"prompt": {"id": "hg:x"}}
    assert streamed("openai.responses", "openai_responses.sse") == [
        Part(kind="thinking", text="Think."),
        Part(kind="tool_call", text='{"q":1}', name="lookup", id="call_9"),
        said("Hello — you"),
    ]


def test_stream_that_broke_off_shows_what_came() -> None:
    whole = streamed("openai.responses", "openai_responses.sse")
    assert streamed("openai.responses", "openai_responses_cut.sse") == whole
    assert streamed("anthropic.messages", "anthropic_error.sse") == [
        said("Part"),
        Part(kind="other", text="Overloaded", name="error", id="overloaded_error"),
    ]
    assert streamed("openai.chat", "error_chat.sse")[0] == said("Half an ans")
    assert streamed("openai.responses", "unnamed_responses.sse") == [said("Hello — you")]


def test_streams_are_put_together() -> None:
    assert streamed("openai.chat", "openai_chat.sse") == [said("Grüße from 東京 🗼")]
    assert streamed("openai.chat", "openai_chat_tools.sse") == [
        Part(kind="tool_call", text='{"city":"Oslo"}', name="weather", id="call_1"),
        Part(kind="tool_call", text="{}", name="time", id="call_2"),
    ]
    assert streamed("openai.chat", "odd_usage_chat.sse") == [Part(kind="thinking", text="hmm"), said("four")]
    assert streamed("openai.completions", "openai_completions.sse") == [said("One, two")]
    assert streamed("anthropic.messages", "anthropic_tools.sse") == [
        Part(kind="thinking", text="Which city?"),
        said("Ich schau’ nach 🌦"),
        Part(kind="tool_call", text='{"city": "Paris"}', name="weather", id="toolu_1"),
    ]


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_line_ends_and_a_missing_content_type_change_nothing(name: str) -> None:
    endpoint = "anthropic.messages" if "anthropic" in name else "openai.responses" if "resp" in name else "openai.chat"
    wanted = transcript(endpoint, b"{}", RECORDINGS[name], SSE)
    for line_end in (b"\r\n", b"\r"):
        assert transcript(endpoint, b"{}", RECORDINGS[name].replace(b"\n", line_end), None) == wanted


def test_embeddings_and_completions_show_their_input() -> None:
    got = read("openai.embeddings", {"input": ["a", "b"], "model": "e"}, {"data": [{"embedding": "AAAAAAAAAAA="}]})
    assert got.messages == [Message(role="user", parts=[said("a"), said("b")])]
    assert got.output == [Part(kind="other", text="1 × 2 numbers", name="embedding")]
    assert read("openai.embeddings", {"input": [[1, 2], [3]]}).messages[0].parts[0].text == "3 token ids"
    several = {"choices": [{"text": "x"}, {"text": "y"}]}
    got = read("openai.completions", {"prompt": "Say", "best_of": 2}, several)
    assert got.output == [said("x"), Part(kind="text", text="y", name="choice 2")]
    assert (got.messages[0].parts, got.parameters) == ([said("Say")], {"best_of": 2})


def test_error_answers_show_their_error() -> None:
    got = read("openai.chat", {}, {"error": {"message": "No such model", "type": "not_found"}})
    assert got.output == [Part(kind="other", text="No such model", name="error", id="not_found")]
    assert read("openai.chat", {}, {"detail": "nope"}).output[0].text == "nope"
    html = transcript("openai.chat", b"{}", b"<html>502</html>", "text/html")
    assert html.output == [Part(kind="other", text="<html>502</html>", name="raw")]
    assert html.note == "the answer is not whole JSON"


def test_text_to_be_counted_has_all_that_costs_tokens() -> None:
    request = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "does f"}}],
    }
    given = input_text("openai.chat", json.dumps(request).encode())
    assert given.startswith("Hi\n") and "does f" in given
    assert input_text("openai.embeddings", b'{"input":[[1,2],[3]]}').split() == ["a"] * 3
    assert output_text("anthropic.messages", RECORDINGS["anthropic_tools.sse"], SSE).splitlines() == [
        "Which city?",
        "Ich schau’ nach 🌦",
        "weather",
        '{"city": "Paris"}',
    ]
    assert output_text("openai.chat", b'{"error":"x"}', "application/json") == ""


def test_long_exchanges_are_cut_with_a_note() -> None:
    request = {"messages": [{"role": "user", "content": "x" * 900_000} for _ in range(5)]}
    got = read("openai.chat", request)
    assert sum(len(part.text) for message in got.messages for part in message.parts) <= MAX_CHARS + 1
    assert got.note is not None and got.note.startswith("cut after")
    assert len(input_text("openai.chat", json.dumps(request).encode())) > 4_000_000
    many = read("openai.chat", {"messages": [{"role": "user", "content": ["a"] * 9000}]})
    assert len(many.messages[0].parts) == 5000 and many.note is not None


KEYS = ["messages", "role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "input", "output"]
KEYS += [
    "image_url",
    "url",
    "source",
    "data",
    "tools",
    "system",
    "prompt",
    "choices",
    "delta",
    "message",
    "error",
    "item",
]
KEYS += ["index", "output_index", "response", "content_block", "thinking", "summary", "id", "detail", "file", "refusal"]
TYPES = [
    "text",
    "image_url",
    "image",
    "tool_use",
    "tool_result",
    "thinking",
    "reasoning",
    "function_call",
    "file",
    "message",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)
EVENTS = ["message_start", "content_block_start", "content_block_delta", "error", "response.completed", "x"]
EVENTS += ["response.output_item.added", "response.output_item.done", "response.output_text.delta"]


@settings(deadline=None)
@given(st.sampled_from(ENDPOINTS), JSON, st.lists(st.tuples(st.sampled_from(EVENTS), JSON), max_size=4), st.binary())
def test_nothing_makes_a_transcript_raise(
    endpoint: str, request: Any, events: list[tuple[str, Any]], junk: bytes
) -> None:
    asked = json.dumps(request).encode()
    values = [{**value, "type": kind} if isinstance(value, dict) else value for kind, value in events]
    stream = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values) + junk
    for given_request in (asked, asked + junk, json.dumps({"messages": request, "input": request}).encode()):
        got = transcript(endpoint, given_request, stream, SSE)
        json.dumps([got.parameters, got.tools, got.note]).encode()
        for part in got.output + [part for message in got.messages for part in message.parts]:
            part.text.encode()
        input_text(endpoint, given_request).encode()
    for value in values:
        transcript(endpoint, asked, json.dumps(value).encode(), None)
    output_text(endpoint, junk, None)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_deep_nesting_and_lone_surrogates_do_no_harm(endpoint: str) -> None:
    nested = (
        b'{"messages":[{"content":' + b"[" * 500 + b'"\\ud800"' + b"]" * 500 + b'}],"input":"\\udfff","x":"\\ud800"}'
    )
    for request in (nested, b"[" * 100_000, b'{"a":' * 100_000):
        got = transcript(endpoint, request, request, "application/json")
        for part in got.output + [part for message in got.messages for part in message.parts]:
            part.text.encode()
        input_text(endpoint, request).encode()

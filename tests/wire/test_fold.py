"""Usage and facts read from answers of every dialect, streamed or not, cut anywhere, hostile or not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.fold import Folded, fold_for
from headgate.wire.fold_anthropic import merge_usage
from headgate.wire.folded import StreamFold

RECORDINGS = {path.name: path.read_bytes() for path in sorted(Path(__file__).parent.glob("recordings/*.sse"))}
TEXT_ENDPOINTS = ["openai.chat", "openai.completions", "openai.responses", "anthropic.messages"]
ENDPOINTS = [*TEXT_ENDPOINTS, "openai.embeddings", "other", "model.infer"]


def endpoint_of(name: str) -> str:
    if "anthropic" in name:
        return "anthropic.messages"
    if "responses" in name:
        return "openai.responses"
    return "openai.completions" if "completions" in name else "openai.chat"


def fold(endpoint: str, content_type: str, *pieces: bytes) -> Folded:
    reader = fold_for(endpoint, content_type)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def recorded(name: str) -> Folded:
    return fold(endpoint_of(name), "text/event-stream; charset=utf-8", RECORDINGS[name])


def body(endpoint: str, value: Any) -> Folded:
    return fold(endpoint, "application/json", json.dumps(value).encode())


def usage(folded: Folded) -> Any:
    return json.loads(folded.usage_raw or "null")


def test_chat_stream_gives_model_id_tier_finish_and_usage_as_sent() -> None:
    folded = recorded("openai_chat.sse")
    assert (folded.model, folded.response_id) == ("gpt-5-mini-2025-08-07", "chatcmpl-Bq1")
    assert (folded.service_tier, folded.finish_reason, folded.is_complete) == ("default", "stop", True)
    assert folded.output_chars == len("Grüße from 東京 🗼")
    assert folded.usage_raw is not None and folded.usage_raw.encode() in RECORDINGS["openai_chat.sse"]
    assert usage(folded)["prompt_tokens_details"]["cached_tokens"] == 16


def test_tool_calls_count_as_output_and_end_the_stream() -> None:
    folded = recorded("openai_chat_tools.sse")
    assert folded.finish_reason == "tool_calls"
    assert folded.output_chars == len('weather{"city":"Oslo"}time{}')


def test_usage_in_the_finish_chunk_of_a_stream_without_done_is_found() -> None:
    folded = recorded("transformers_chat.sse")
    assert usage(folded)["completion_tokens"] == 16
    assert (folded.is_complete, folded.finish_reason, folded.model) == (True, "length", "tiny@main")


def test_first_chunk_without_model_does_not_hide_the_later_ones() -> None:
    folded = recorded("azure_chat.sse")
    assert (folded.model, folded.response_id, usage(folded)["total_tokens"]) == (
        "gpt-5-mini-2025-08-07",
        "chatcmpl-Bq1",
        30,
    )


def test_last_usage_that_says_something_wins_on_whatever_chunk_it_comes() -> None:
    folded = recorded("odd_usage_chat.sse")
    assert usage(folded) == {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13, "cost": 1e-05}
    assert folded.output_chars == len("hmmfour")


def test_completions_stream_gives_its_text_and_usage() -> None:
    folded = recorded("openai_completions.sse")
    assert (folded.output_chars, usage(folded)["total_tokens"], folded.finish_reason) == (8, 7, "stop")


def test_error_in_the_middle_of_a_chat_stream_is_reported_and_the_stream_is_incomplete() -> None:
    folded = recorded("error_chat.sse")
    assert (folded.error_type, folded.error_message) == ("server_error", "The server had an error")
    assert not folded.is_complete and folded.usage_raw is None


@pytest.mark.parametrize(
    ("name", "finish", "complete", "error"),
    [
        ("openai_responses.sse", "completed", True, None),
        ("openai_responses_incomplete.sse", "max_output_tokens", True, None),
        ("openai_responses_failed.sse", "failed", True, "server_error"),
        ("openai_responses_error.sse", None, False, "rate_limit_exceeded"),
        ("openai_responses_cut.sse", None, False, None),
        ("unnamed_responses.sse", "completed", True, None),
    ],
)
def test_responses_end_in_each_of_their_ways(name: str, finish: str | None, complete: bool, error: str | None) -> None:
    folded = recorded(name)
    assert (folded.finish_reason, folded.is_complete, folded.error_type) == (finish, complete, error)
    assert (folded.model, folded.response_id) == ("gpt-5-2025-08-07", "resp_1")
    assert (folded.error_message is None) == (error is None)


def test_responses_usage_comes_from_the_terminal_event() -> None:
    folded = recorded("openai_responses.sse")
    assert usage(folded)["output_tokens_details"] == {"reasoning_tokens": 64}
    assert folded.service_tier == "default"
    assert folded.output_chars == len('Think.{"q":1}Hello — you')
    assert usage(recorded("openai_responses_incomplete.sse"))["output_tokens"] == 87


def test_anthropic_usage_is_merged_by_field_and_keeps_what_it_does_not_know() -> None:
    folded = recorded("anthropic_tools.sse")
    assert usage(folded) == {
        "input_tokens": 40,
        "output_tokens": 89,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
        "inference_geo": "global",
        "output_tokens_details": {"thinking_tokens": 12},
        "server_tool_use": {"web_search_requests": 1},
    }
    assert (folded.service_tier, folded.finish_reason, folded.is_complete) == ("standard", "tool_use", True)
    assert folded.output_chars == len('Which city?Ich schau’ nach 🌦weather{"city": "Paris"}')


def test_anthropic_input_that_comes_only_in_the_delta_is_taken_from_there() -> None:
    assert usage(recorded("anthropic_late_input.sse"))["input_tokens"] == 17


def test_anthropic_refusal_goes_back_to_no_output_while_a_zero_input_means_unchanged() -> None:
    folded = recorded("anthropic_refused.sse")
    assert usage(folded) == {"input_tokens": 25, "output_tokens": 0}
    assert folded.finish_reason == "refusal"


def test_anthropic_fallback_names_the_model_that_answered_and_ignores_unknown_events() -> None:
    folded = recorded("anthropic_fallback.sse")
    assert (folded.model, usage(folded)) == ("claude-sonnet-4-5", {"input_tokens": 25, "output_tokens": 8})


def test_anthropic_stream_cut_before_its_final_usage_does_not_claim_an_output_count() -> None:
    folded = recorded("anthropic_error.sse")
    assert usage(folded) == {"input_tokens": 25}
    assert (folded.error_type, folded.error_message, folded.is_complete) == ("overloaded_error", "Overloaded", False)
    assert folded.note is not None and folded.output_chars == len("Part")


@pytest.mark.parametrize("name", ["openai_chat.sse", "openai_responses.sse", "anthropic_tools.sse"])
def test_end_is_known_as_soon_as_its_event_is_whole(name: str) -> None:
    reader = fold_for(endpoint_of(name), "text/event-stream")
    assert isinstance(reader, StreamFold)
    reader.feed(RECORDINGS[name][:-1])
    assert not reader.ended
    reader.feed(RECORDINGS[name][-1:])
    assert reader.ended


def test_merging_usage_never_sums_and_never_forgets() -> None:
    first = {"input_tokens": 10, "output_tokens": 1, "cache_creation": {"a": 3}, "x": [1]}
    assert merge_usage(first, {"output_tokens": 7, "cache_creation": {"b": 2}, "input_tokens": None, "x": [2]}) == {
        "input_tokens": 10,
        "output_tokens": 7,
        "cache_creation": {"a": 3, "b": 2},
        "x": [2],
    }


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(RECORDINGS)), st.booleans(), st.lists(st.integers(0, 10**6)))
def test_fold_does_not_depend_on_the_byte_split(name: str, crlf: bool, at: list[int]) -> None:
    data = RECORDINGS[name].replace(b"\n", b"\r\n") if crlf else RECORDINGS[name]
    places = sorted({place % (len(data) + 1) for place in at})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    assert fold(endpoint_of(name), "text/event-stream", *pieces) == recorded(name)
    single = [data[i : i + 1] for i in range(len(data))]
    assert fold(endpoint_of(name), "text/event-stream", *single) == recorded(name)


def test_whole_chat_body_gives_everything() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    message = {"role": "assistant", "content": "Hello", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    folded = body(
        "openai.chat",
        {"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}], "usage": counts},
    )
    assert folded == Folded(
        model="m",
        response_id="c",
        finish_reason="stop",
        usage_raw=json.dumps(counts),
        is_complete=True,
    )


def test_characters_are_counted_where_no_usage_came() -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert body("openai.chat", {"choices": [{"message": message}]}).output_chars == 8
    content = [{"type": "thinking", "thinking": "ab", "signature": "zzz"}, {"type": "text", "text": "cd"}]
    assert body("anthropic.messages", {"content": content}).output_chars == 4


def test_whole_bodies_of_the_other_dialects_give_their_usage() -> None:
    anthropic = body(
        "anthropic.messages",
        {
            "id": "msg",
            "model": "claude",
            "content": [{"type": "thinking", "thinking": "ab", "signature": "zzz"}, {"type": "text", "text": "cd"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 2, "service_tier": "priority"},
        },
    )
    assert (anthropic.finish_reason, anthropic.service_tier) == ("end_turn", "priority")
    responses = body(
        "openai.responses",
        {"id": "r", "status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "usage": {"a": 1}},
    )
    assert (responses.finish_reason, responses.usage_raw) == ("content_filter", '{"a": 1}')
    vectors = body("openai.embeddings", {"data": [{"embedding": "AAAA"}], "model": "e", "usage": {"prompt_tokens": 8}})
    assert (vectors.model, usage(vectors), vectors.output_chars) == ("e", {"prompt_tokens": 8}, None)


def test_parser_is_chosen_by_the_content_type_of_the_answer() -> None:
    assert fold("openai.responses", "Application/JSON; charset=utf-8", b'{"id":"r"}').response_id == "r"
    assert fold("openai.chat", "application/problem+json", b'{"error":"x"}').error_message == "x"
    assert fold("openai.chat", "audio/mpeg", b"\xff\xfb") == Folded(is_complete=True)
    assert fold("openai.chat", "", b"{}") == Folded(is_complete=True)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({"error": {"message": "No", "type": "invalid_request_error", "code": "x"}}, "invalid_request_error", "No"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "overloaded_error", "Busy"),
        ({"error": {"code": 400, "message": "Bad", "status": "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT", "Bad"),
        ([{"error": {"code": 400, "message": "Bad"}}], "400", "Bad"),
        ({"error": "out of memory"}, "error", "out of memory"),
        ({"error": {"odd": [1]}}, "error", '{"odd":[1]}'),
        ({"detail": "Unexpected keys: 'x'"}, None, "Unexpected keys: 'x'"),
        ({"error": {"message": "a" * 9000, "type": None}}, "error", "a" * 2000),
    ],
)
def test_errors_are_read_in_every_shape(answer: Any, kind: str | None, message: str) -> None:
    folded = body("openai.chat", answer)
    assert (folded.error_type, folded.error_message, folded.is_complete) == (kind, message, True)


def test_body_that_is_cut_is_not_complete() -> None:
    assert not fold("openai.chat", "application/json", b'{"id":"c","usage":{"a":1}').is_complete
    assert fold("openai.chat", "application/json").note == "the answer is empty"


def test_usage_of_a_long_embeddings_answer_is_read_from_its_end() -> None:
    vector = {"embedding": "A" * 50_000, "usage": {"fake": 1}}
    data = json.dumps({"data": [vector] * 40, "model": "big", "usage": {"prompt_tokens": 9}}).encode()
    folded = fold("openai.embeddings", "application/json", *(data[i : i + 65536] for i in range(0, len(data), 65536)))
    assert (folded.model, usage(folded), folded.is_complete) == ("big", {"prompt_tokens": 9}, True)
    assert folded.note is not None
    nested = json.dumps({"model": "x", "usage": None, "data": [vector] * 40, "z": {"usage": {"fake": 2}}}).encode()
    assert fold("openai.embeddings", "application/json", nested).usage_raw is None


@pytest.mark.parametrize(
    "answer", [b'{"id":"a\\ud800","model":"m\\u0000","usage":{"n":1e400}}', b'{"model":"\xff\xfe"}']
)
def test_text_that_cannot_be_stored_is_made_storable(answer: bytes) -> None:
    for content in (answer, b"data: " + answer + b"\n\n"):
        folded = fold("openai.chat", "text/event-stream" if content[:1] == b"d" else "application/json", content)
        for field in (folded.model, folded.response_id, folded.usage_raw):
            assert field is None or "\0" not in field.encode().decode()


KEYS = ["id", "model", "usage", "choices", "delta", "message", "content", "text", "error", "type", "response", "item"]
KEYS += ["index", "finish_reason", "tool_calls", "function", "arguments", "service_tier", "status", "output", "detail"]
KEYS += ["stop_reason", "content_block", "input", "name", "thinking", "incomplete_details", "reason"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
EVENT = st.sampled_from(
    ["message_start", "message_delta", "content_block_delta", "content_block_start", "error", "message_stop", "ping"]
    + ["response.created", "response.completed", "response.failed", "response.output_text.delta", "x"]
)


@settings(deadline=None)
@given(st.sampled_from(ENDPOINTS), st.lists(st.tuples(EVENT, JSON), max_size=4), st.binary(max_size=8))
def test_no_answer_makes_a_fold_raise(endpoint: str, values: list[tuple[str, Any]], junk: bytes) -> None:
    for kind, value in values:
        event = {**value, "type": kind} if isinstance(value, dict) else value
        text = json.dumps(event).encode() + junk
        fold(endpoint, "text/event-stream", b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n")
        fold(endpoint, "application/json", json.dumps(value).encode() + junk)
        fold(endpoint, "application/json", json.dumps(value).encode())


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_deep_nesting_and_huge_numbers_do_no_harm(endpoint: str) -> None:
    for value in (b"[" * 200_000, b'{"usage":' * 50_000, b'{"usage":{"a":' + b"9" * 9000 + b"}}"):
        fold(endpoint, "application/json", value)
        fold(endpoint, "text/event-stream", b"data: " + value + b"\n\n")

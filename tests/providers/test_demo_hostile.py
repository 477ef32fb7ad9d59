"""Requests that are damaged or made to hurt get an error of their dialect or an answer, soon, and never a 500."""

import copy
import json
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.providers.demo import anthropic_shapes, model, openai_responses, openai_shapes
from headgate.providers.demo.ask import Ask, AskError, Turn
from headgate.providers.demo.reading import dump

_junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just([{"type": 1}]),
    st.just({"type": "function", "name": 3, "function": 4}),
    st.just("\ud800"),
)
_SCHEMA: dict[str, Any] = {
    "$defs": {"x": {"type": "string", "pattern": "^a+$", "minLength": 1, "maxLength": 3, "format": "date"}},
    "type": "object",
    "properties": {
        "a": {"$ref": "#/$defs/x"},
        "b": {"anyOf": [{"type": "null"}, {"enum": [1]}]},
        "c": {"type": ["array", "null"], "items": {"type": "number", "minimum": 1, "maximum": 2, "multipleOf": 1}},
        "d": {"allOf": [{"properties": {"k": {"const": 1}}, "required": ["k"]}], "minItems": 1, "uniqueItems": True},
        "verdict": {"type": "string", "description": "PASS or FAIL"},
    },
    "required": ["a"],
}
_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Context: cats purr."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "user", "content": "use f to judge <answer>a</answer> from 1 to 5"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"schema": _SCHEMA}},
    "stream_options": {"include_usage": True},
    "n": 1,
    "stop": ["x"],
    "temperature": 1,
    "max_tokens": 9,
    "reasoning_effort": "high",
}
_MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "base64", "data": "AA", "media_type": "a/b"}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]}],
        },
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["x"],
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "cache_control": {"type": "ephemeral"},
}
_RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "s",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
        {"type": "reasoning", "summary": []},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}],
    "tool_choice": "auto",
    "text": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "reasoning": {"effort": "high", "summary": "auto"},
    "max_output_tokens": 9,
}
_SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "chat": (openai_shapes.chat, _CHAT),
    "messages": (anthropic_shapes.messages, _MESSAGES),
    "count": (anthropic_shapes.count_tokens, _MESSAGES),
    "responses": (openai_responses.responses, _RESPONSES),
    "embeddings": (openai_shapes.embeddings, {"model": "m", "input": ["a", [1]], "dimensions": 3}),
    "completions": (openai_shapes.completions, {"model": "m", "prompt": ["a", [1]], "n": 2, "echo": True}),
}


def places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        found += places(value[key])
    return found


@settings(deadline=None)
@given(st.sampled_from(sorted(_SHAPES)), st.lists(st.tuples(st.integers(0, 10_000), _junk), max_size=3), st.booleans())
def test_any_damaged_request_is_answered_or_refused(shape: str, damage: list[tuple[int, Any]], is_stream: bool) -> None:
    answerer, sound = _SHAPES[shape]
    body = copy.deepcopy(sound)
    for where, junk in damage:
        holder, key = places(body)[where % len(places(body))] if places(body) else (body, "model")
        holder[key] = copy.deepcopy(junk)
    body["stream"] = is_stream
    try:
        answer = answerer(body, b"\0" * 32)
    except AskError:
        return
    written = b"".join(event.data for event in answer.events) if answer.events else dump(answer.body)
    assert written.decode("utf-8")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"model": NaN}',
        b"\xff\xfe{}",
        b"[" * 200_000,
        b"1" * 10_000,
        b'{"model": ""}',
        b'{"model":"m"}',
    ],
)
def test_malformed_bodies_get_400_in_the_dialect(demo_url: str, path: str, body: bytes) -> None:
    answer = httpx2.post(demo_url + path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert ("request_id" in answer.json()) == (path == "/v1/messages")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/chat/completions"), ("DELETE", "/v1/x"), ("PUT", "/"), ("POST", "/v1/v1/x")]
)
def test_every_other_path_is_404_in_the_dialect(demo_url: str, method: str, path: str) -> None:
    plain = httpx2.request(method, demo_url + path)
    assert (plain.status_code, plain.json()["error"]["code"]) == (404, "unknown_url")
    anthropic = httpx2.request(method, demo_url + path, headers={"anthropic-version": "2023-06-01"})
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "\n" * 100_000,
        "judge <answer>" * 10_000,
        "<answer>x</answer>\n" * 5_000 + "judge",
        "BEGIN ANSWER x\n" + "END ANSWER x\n" * 10_000 + "judge",
        "<document>" * 20_000,
        "[a] b c\n" * 20_000 + "\nwhat b?",
        "classify into " + "a or " * 30_000,
        "judge <answer>a</answer> " + "a/" * 50_000,
        "1+" * 50_000,
    ],
)
def test_texts_made_to_take_long_are_answered(text: str) -> None:
    assert model.reply(Ask(model="m", turns=(Turn(role="user", text=text),), seed=b"\0" * 32)).text


def test_lone_surrogates_and_long_texts_travel(demo_url: str) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Say '\ud800 x'"}]})
    answer = httpx2.post(f"{demo_url}/v1/chat/completions", content=body)
    assert answer.json()["choices"][0]["message"]["content"] == "? x"
    long = {"model": "m", "messages": [{"role": "user", "content": "word " * 80_000}]}
    assert httpx2.post(f"{demo_url}/v1/chat/completions", json=long).status_code == 200

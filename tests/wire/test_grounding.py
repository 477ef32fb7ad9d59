"""Chunks that go with a request: where they stand in each dialect, and what is asked."""

import json
from typing import Any

import pytest

from headgate.core.errors import MalformedRequest
from headgate.wire.grounding import query_of, with_context

CHUNK = {"id": "1a2b", "source": "refunds.md", "heading": "Time", "text": "Five days."}


def grounded(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(with_context(endpoint, json.dumps(body).encode(), "handbook@3", [CHUNK]))
    return found


def test_the_question_is_the_last_thing_the_user_said() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "text", "text": "two"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "so?"}]
    assert query_of("openai.chat", json.dumps({"messages": turns}).encode()) == "one\ntwo"
    assert query_of("openai.responses", b'{"input": "hello"}') == "hello"
    items = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}, {"type": "function_call"}]
    assert query_of("openai.responses", json.dumps({"input": items}).encode()) == "hi"
    assert query_of("anthropic.messages", b'{"messages": []}') == ""
    with pytest.raises(MalformedRequest, match="cannot be used on this endpoint"):
        query_of("openai.embeddings", b"{}")
    with pytest.raises(MalformedRequest, match="not a list of messages"):
        query_of("openai.chat", b'{"messages": 3}')


def test_in_chat_they_are_a_system_message_behind_the_leading_ones() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "When?"}]
    found = grounded("openai.chat", {"messages": messages, "n": 1})
    assert [message["role"] for message in found["messages"]] == ["system", "system", "user"]
    assert "[1a2b] refunds.md › Time\nFive days." in found["messages"][1]["content"]
    assert "handbook@3" in found["messages"][1]["content"] and found["n"] == 1


def test_on_responses_and_messages_they_end_the_instructions() -> None:
    assert grounded("openai.responses", {"input": "x"})["instructions"].startswith("These excerpts")
    assert grounded("openai.responses", {"input": "x", "instructions": "A."})["instructions"].startswith("A.\n\nThese")
    assert grounded("anthropic.messages", {"messages": [], "system": "A."})["system"].startswith("A.\n\nThese")
    blocks = grounded("anthropic.messages", {"messages": [], "system": [{"type": "text", "text": "A."}]})["system"]
    assert [block["type"] for block in blocks] == ["text", "text"] and "Five days." in blocks[1]["text"]


def test_without_chunks_no_byte_changes() -> None:
    body = b'{ "messages" : [] }'
    assert with_context("openai.chat", body, "h@1", []) is body

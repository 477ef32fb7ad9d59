"""The provider request of a stored prompt, in three dialects, and what the caller may add to it."""

import json
from typing import Any

import msgspec
import pytest

from headgate.core.errors import MalformedRequest
from headgate.prompts.faults import PromptConflict
from headgate.prompts.model import PromptContent, PromptMessage, RenderedMessage
from headgate.prompts.request import body_for

DIALECTS = ["openai.chat", "openai.responses", "anthropic.messages"]
SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "d", "parameters": SCHEMA, "strict": True}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
RENDERED = (RenderedMessage(role="system", content="S"), RenderedMessage(role="user", content="U"))


def content(**fields: Any) -> PromptContent:
    base = PromptContent(model="gpt-5-mini", messages=(PromptMessage(role="user", content="U"),))
    return msgspec.structs.replace(base, **fields)


def body(
    version: PromptContent,
    endpoint: str,
    caller: dict[str, Any] | None = None,
    rendered: tuple[RenderedMessage, ...] = RENDERED,
    *,
    from_model_name: bool = False,
) -> dict[str, Any]:
    raw = json.dumps(caller or {}).encode()
    made: dict[str, Any] = json.loads(body_for(version, rendered, endpoint, raw, from_model_name=from_model_name))
    return made


def conflict(version: PromptContent, endpoint: str, caller: dict[str, Any], *, from_model_name: bool = False) -> str:
    with pytest.raises(PromptConflict) as caught:
        body(version, endpoint, caller, from_model_name=from_model_name)
    assert (caught.value.status, caught.value.code) == (400, "prompt_conflict")
    return caught.value.sentence


def test_messages_go_where_the_dialect_has_them() -> None:
    assert body(content(), "openai.chat") == {
        "model": "gpt-5-mini",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
    }
    assert body(content(), "openai.responses") == {
        "model": "gpt-5-mini",
        "instructions": "S",
        "input": [{"role": "user", "content": "U"}],
    }
    assert body(content(), "anthropic.messages") == {
        "model": "gpt-5-mini",
        "system": "S",
        "messages": [{"role": "user", "content": "U"}],
    }


def test_several_system_messages_are_joined_in_order() -> None:
    rendered = tuple(RenderedMessage(role=role, content=role[0]) for role in ("system", "developer", "user", "system"))
    assert body(content(), "anthropic.messages", None, rendered)["system"] == "s\n\nd\n\ns"
    responses = body(content(), "openai.responses", None, rendered)
    assert responses["instructions"] == "s\n\nd"
    assert [item["role"] for item in responses["input"]] == ["user", "system"]
    assert [item["role"] for item in body(content(), "openai.chat", None, rendered)["messages"]] == [
        "system", "developer", "user", "system",
    ]  # fmt: skip


def test_neutral_limit_is_written_as_each_dialect_wants_it_and_others_as_they_stand() -> None:
    version = content(parameters={"max_output_tokens": 600, "temperature": 0.2, "top_k": 3})
    names = ["max_completion_tokens", "max_output_tokens", "max_tokens"]
    for endpoint, name in zip(DIALECTS, names, strict=True):
        made = body(version, endpoint)
        assert (made[name], made["temperature"], made["top_k"]) == (600, 0.2, 3)
        assert len([key for key in made if key.startswith("max_")]) == 1


def test_tools_and_formats_are_renamed_and_keep_their_order() -> None:
    version = content(tools=(TOOL,), response_format=FORMAT, parameters={"tool_choice": "required"})
    chat, responses, anthropic = (body(version, endpoint) for endpoint in DIALECTS)
    assert (chat["tools"], chat["response_format"], chat["tool_choice"]) == ([TOOL], FORMAT, "required")
    assert responses["tools"] == [
        {"type": "function", "name": "find", "description": "d", "parameters": SCHEMA, "strict": True}
    ]
    assert responses["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    assert responses["tool_choice"] == "required"
    assert anthropic["tools"] == [{"name": "find", "description": "d", "input_schema": SCHEMA, "strict": True}]
    assert anthropic["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert anthropic["tool_choice"] == {"type": "any"}
    assert list(responses["text"]["format"]["schema"]["properties"]) == ["z", "a"]


def test_named_tool_choice_and_tools_of_a_dialects_own_shape() -> None:
    own = {"type": "web_search_20250305", "name": "web_search"}
    version = content(tools=(own,), parameters={"tool_choice": {"type": "function", "function": {"name": "find"}}})
    assert [body(version, endpoint)["tool_choice"] for endpoint in DIALECTS] == [
        {"type": "function", "function": {"name": "find"}},
        {"type": "function", "name": "find"},
        {"type": "tool", "name": "find"},
    ]
    assert all(body(version, endpoint)["tools"] == [own] for endpoint in DIALECTS)


def test_format_is_added_to_what_the_parameters_say_in_the_same_field() -> None:
    version = content(
        response_format=FORMAT, parameters={"text": {"verbosity": "low"}, "output_config": {"effort": "low"}}
    )
    assert set(body(version, "openai.responses")["text"]) == {"verbosity", "format"}
    assert set(body(version, "anthropic.messages")["output_config"]) == {"effort", "format"}


def test_formats_that_anthropic_has_no_field_for_are_refused() -> None:
    assert "json_object" in conflict(content(response_format={"type": "json_object"}), "anthropic.messages", {})
    assert "output_config" not in body(content(response_format={"type": "text"}), "anthropic.messages")


def test_messages_sent_along_follow_the_prompts_own_as_the_bytes_they_are() -> None:
    caller = b'{"messages": [ {"role":"user","content":"\\u00e9\\ud83d\\ude00","x":1.0e5} ] , "metadata" : {"n": 1e2}}'
    made = body_for(content(), RENDERED, "openai.chat", caller, from_model_name=False)
    assert b'{"role":"user","content":"\\u00e9\\ud83d\\ude00","x":1.0e5}' in made and b'{"n": 1e2}' in made
    assert [message["role"] for message in json.loads(made)["messages"]] == ["system", "user", "user"]
    assert body(content(), "openai.responses", {"input": "more"})["input"][-1] == {"role": "user", "content": "more"}
    spaced = json.loads(
        body_for(content(), RENDERED, "openai.responses", b'{"input" :  "more" }', from_model_name=False)
    )
    assert spaced["input"][-1] == {"role": "user", "content": "more"}
    item = {"type": "function_call_output", "call_id": "c", "output": "o"}
    assert body(content(), "openai.responses", {"input": [item]})["input"][-1] == item
    assert len(body(content(), "openai.chat", {"messages": []})["messages"]) == 2
    assert len(body(content(), "openai.chat", {"messages": None})["messages"]) == 2
    assert len(body(content(), "openai.responses", {"input": ""})["input"]) == 1


@pytest.mark.parametrize("endpoint", DIALECTS)
def test_always_the_callers_fields_pass(endpoint: str) -> None:
    caller = {
        "stream": True, "stream_options": {"include_usage": True}, "metadata": {"a": "b"}, "user": "u", "store": False,
        "safety_identifier": "s", "prompt_cache_key": "k", "service_tier": "flex",
    }  # fmt: skip
    made = body(content(), endpoint, caller)
    assert {name: made[name] for name in caller} == caller


@pytest.mark.parametrize("model", [None, "", "gpt-5-mini", "prompt:x@production", "prompt:other"])
def test_models_that_say_nothing_else_pass(model: str | None) -> None:
    assert body(content(), "openai.chat", {"model": model})["model"] == "gpt-5-mini"


@pytest.mark.parametrize("model", ["gpt-5", 3, ["gpt-5-mini"], "x" * 5000])
def test_other_models_are_refused(model: Any) -> None:
    said = conflict(content(), "openai.chat", {"model": model})
    assert '"gpt-5-mini"' in said and "Leave model out" in said and len(said) < 300


def test_parameters_may_differ_only_when_overridable() -> None:
    fixed, free = content(parameters={"temperature": 0.2}), content(overridable=("temperature",))
    assert body(fixed, "openai.chat", {"temperature": 0.2, "top_p": None})["temperature"] == 0.2
    assert 'request\'s "temperature" differs' in conflict(fixed, "openai.chat", {"temperature": 0.9})
    assert body(free, "openai.chat", {"temperature": 0.9})["temperature"] == 0.9
    assert "request's \"top_p\" is not the caller's" in conflict(free, "openai.chat", {"top_p": 0.9})


def test_limit_may_be_overridden_under_its_neutral_or_its_own_name() -> None:
    version = content(parameters={"max_output_tokens": 600}, overridable=("max_output_tokens",))
    made = body(version, "openai.chat", {"max_tokens": 900})
    assert made["max_tokens"] == 900 and "max_completion_tokens" not in made
    assert body(version, "openai.responses", {"max_output_tokens": 900})["max_output_tokens"] == 900
    assert body(version, "anthropic.messages", {"max_tokens": 900})["max_tokens"] == 900
    named = content(parameters={"max_output_tokens": 600}, overridable=("max_tokens",))
    assert body(named, "openai.chat", {"max_tokens": 900})["max_tokens"] == 900
    fixed = content(parameters={"max_output_tokens": 600})
    assert body(fixed, "openai.chat", {"max_tokens": 600})["max_completion_tokens"] == 600
    assert "list max_output_tokens (or max_tokens)" in conflict(fixed, "openai.chat", {"max_tokens": 60})


def test_limit_that_anthropics_sdk_must_send_passes_up_to_the_prompts_own() -> None:
    fixed = content(parameters={"max_output_tokens": 600})
    assert body(fixed, "anthropic.messages", {"max_tokens": 600})["max_tokens"] == 600
    assert body(fixed, "anthropic.messages", {"max_tokens": 100})["max_tokens"] == 100
    assert "max_tokens" in conflict(fixed, "anthropic.messages", {"max_tokens": 601})
    assert "max_tokens" in conflict(fixed, "anthropic.messages", {"max_tokens": "1"})
    assert body(content(), "anthropic.messages", {"max_tokens": 4096})["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("endpoint", "caller", "name"),
    [
        ("openai.chat", {"tools": []}, "tools"),
        ("openai.chat", {"response_format": {"type": "text"}}, "response_format"),
        ("openai.chat", {"n": 3}, "n"),
        ("openai.chat", {"variables": {}}, "variables"),
        ("openai.chat", {"input": "x"}, "input"),
        ("openai.responses", {"instructions": "ignore all"}, "instructions"),
        ("openai.responses", {"messages": []}, "messages"),
        ("anthropic.messages", {"system": "ignore all"}, "system"),
        ("anthropic.messages", {"x" * 500: 1}, "xxx"),
    ],
)
def test_anything_else_is_refused_by_name(endpoint: str, caller: dict[str, Any], name: str) -> None:
    said = conflict(content(), endpoint, caller)
    assert f'"{name}' in said and "Leave it out" in said and len(said) < 400


def test_what_called_the_prompt_is_removed_and_the_other_way_of_calling_is_not() -> None:
    called = {"prompt": {"id": "x", "variables": {"q": "v"}}}
    assert "prompt" not in body(content(), "openai.chat", called)
    assert '"prompt"' in conflict(content(), "openai.chat", called, from_model_name=True)
    by_name = {"model": "prompt:x", "variables": {"q": "v"}}
    assert "variables" not in body(content(), "openai.chat", by_name, from_model_name=True)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"nonsense", b'{"a":', b'{"messages": 3}', b'{"messages": {"a": 1}}', b'{"model": ' + b"[" * 5000],
)
def test_unreadable_bodies_are_400(raw: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        body_for(content(), RENDERED, "openai.chat", raw, from_model_name=False)
    assert caught.value.status == 400


@pytest.mark.parametrize("endpoint", ["openai.embeddings", "openai.completions", "other"])
def test_endpoints_without_messages_call_no_prompt(endpoint: str) -> None:
    assert "Call it on /v1/chat/completions" in conflict(content(), endpoint, {})


def test_a_limit_written_as_a_dialect_writes_it_is_replaced_not_doubled() -> None:
    version = content(parameters={"max_tokens": 10}, overridable=("max_output_tokens",))
    sent = json.loads(body_for(version, (), "openai.chat", b'{"max_completion_tokens": 500}', from_model_name=True))
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == {"max_completion_tokens": 500}
    with pytest.raises(PromptConflict):
        body_for(
            content(parameters={"max_tokens": 10}),
            (),
            "openai.chat",
            b'{"max_completion_tokens": 500}',
            from_model_name=True,
        )

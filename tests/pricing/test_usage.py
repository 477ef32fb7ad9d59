"""Reading token counts from every shape the providers send them in."""

import json
from typing import Any

import msgspec
import pytest
from genai_prices import extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.pricing.usage import Usage, usage_from

ENDPOINTS = [
    "openai.chat",
    "openai.responses",
    "openai.completions",
    "openai.embeddings",
    "anthropic.messages",
    "other",
]


def read(endpoint: str, **fields: Any) -> Usage:
    return usage_from(endpoint, json.dumps(fields))


def test_realtime_usage_tells_sound_from_text_and_cached_sound_too_as_genai_prices_does() -> None:
    cached = {"text_tokens": 60, "audio_tokens": 4}
    fields: dict[str, Any] = {
        "total_tokens": 253,
        "input_tokens": 132,
        "output_tokens": 121,
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "cached_tokens": 64,
            "cached_tokens_details": cached,
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }
    usage = read("openai.realtime", **fields)
    body = {
        "type": "response.done",
        "response": {"object": "realtime.response", "usage": fields},
        "model": "gpt-realtime",
    }
    theirs = extract_usage(body, provider_id="openai", api_flavor="realtime").usage
    ours = usage.counts()
    assert ours.keys() == {"cache_read_tokens", "cache_audio_read_tokens"} | {
        f"{side}{kind}_tokens" for side in ("input", "output") for kind in ("", "_audio")
    }
    assert ours == {name: getattr(theirs, name) for name in ours}


def test_chat_usage_counts_cached_input_as_part_of_the_input() -> None:
    usage = read(
        "openai.chat",
        prompt_tokens=100,
        completion_tokens=50,
        total_tokens=150,
        prompt_tokens_details={"cached_tokens": 40, "audio_tokens": 10},
        completion_tokens_details={"reasoning_tokens": 20, "audio_tokens": 0},
    )
    assert (usage.input_tokens, usage.output_tokens) == (100, 50)
    assert (usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (40, None, 20)
    assert usage.detail == {"input_audio_tokens": 10}
    assert (usage.source, usage.problem) == ("provider", None)


def test_responses_usage_is_read_with_its_cache_writes() -> None:
    usage = read(
        "openai.responses",
        input_tokens=100,
        input_tokens_details={"cached_tokens": 40, "cache_write_tokens": 30},
        output_tokens=50,
        output_tokens_details={"reasoning_tokens": 20},
    )
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (100, 40, 30)
    assert (usage.output_tokens, usage.reasoning_tokens) == (50, 20)


def test_anthropic_input_is_the_sum_of_uncached_read_and_written_tokens() -> None:
    usage = read(
        "anthropic.messages",
        input_tokens=3,
        cache_creation_input_tokens=12_304,
        cache_read_input_tokens=100,
        cache_creation={"ephemeral_5m_input_tokens": 304, "ephemeral_1h_input_tokens": 12_000},
        output_tokens=50,
        output_tokens_details={"thinking_tokens": 12},
        server_tool_use={"web_search_requests": 2},
        service_tier="batch",
        speed="fast",
    )
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (12_407, 100, 12_304)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.reasoning_tokens) == (304, 12_000, 12)
    assert (usage.service_tier, usage.speed, usage.detail) == ("batch", "fast", {"web_searches": 2})


def test_an_embedding_has_no_output_and_says_so() -> None:
    usage = read("openai.embeddings", prompt_tokens=8, total_tokens=8)
    assert (usage.input_tokens, usage.output_tokens, usage.problem) == (8, 0, None)


def test_reasoning_that_xai_counts_apart_is_added_to_the_output() -> None:
    usage = read(
        "openai.chat",
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=115,
        completion_tokens_details={"reasoning_tokens": 100},
    )
    assert (usage.output_tokens, usage.reasoning_tokens) == (105, 100)


def test_deepseek_names_cached_input_in_its_own_way() -> None:
    assert read("openai.chat", prompt_tokens=9, completion_tokens=1, prompt_cache_hit_tokens=7).cached_input_tokens == 7


def test_output_left_out_is_taken_from_the_total() -> None:
    assert read("openai.chat", prompt_tokens=9, total_tokens=12).output_tokens == 3


def test_the_shape_is_told_from_the_fields_when_a_server_answers_in_another_dialect() -> None:
    assert read("openai.responses", prompt_tokens=5, completion_tokens=2).input_tokens == 5
    assert read("other", input_tokens=5, cache_read_input_tokens=10, output_tokens=2).input_tokens == 15


@pytest.mark.parametrize("raw", [None, "", "null"])
def test_absent_usage_is_none_and_not_zero(raw: str | None) -> None:
    usage = usage_from("openai.chat", raw)
    assert (usage.source, usage.input_tokens, usage.output_tokens) == ("none", None, None)
    assert usage.problem == "no usage in the answer"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("{", "unusable usage"),
        ("[]", "not a JSON object"),
        ("{}", "names no token counts"),
        ('{"type":"duration","seconds":12}', "names no token counts"),
        ('{"prompt_tokens":"7","completion_tokens":1}', "prompt_tokens is no whole number"),
        ('{"prompt_tokens":true,"completion_tokens":1}', "prompt_tokens is no whole number"),
        ('{"prompt_tokens":-7,"completion_tokens":1}', "prompt_tokens is below 0"),
        ('{"prompt_tokens":7,"completion_tokens":1e400}', "out of range"),
        ('{"prompt_tokens":7,"completion_tokens":9223372036854775808}', "completion_tokens is above"),
        ('{"prompt_tokens":1,"completion_tokens":1,"x":"' + "a" * 70_000 + '"}', "characters long"),
    ],
)
def test_unreadable_usage_has_a_reason_and_no_counts(raw: str, says: str) -> None:
    usage = usage_from("openai.chat", raw)
    assert (usage.source, usage.input_tokens, usage.output_tokens) == ("none", None, None)
    assert says in (usage.problem or "")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}, "11 cached"),
        ({"completion_tokens": 1}, "names no input tokens"),
        ({"prompt_tokens": 1}, "names no output tokens"),
        ({"prompt_tokens": 0, "completion_tokens": 0}, "no tokens at all"),
    ],
)
def test_contradicting_counts_are_kept_but_flagged(fields: dict[str, Any], says: str) -> None:
    usage = read("openai.chat", **fields)
    assert usage.source == "provider"
    assert usage.input_tokens == fields.get("prompt_tokens")
    assert says in (usage.problem or "")


def test_whole_floats_count_and_null_details_are_no_details() -> None:
    usage = read("openai.chat", prompt_tokens=3.0, completion_tokens=1, prompt_tokens_details=None)
    assert (usage.input_tokens, usage.cached_input_tokens, usage.problem) == (3, None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cache_creation"]
NAMES += ["prompt_tokens_details", "cache_creation_input_tokens", "cache_read_input_tokens", "service_tier", "speed"]


@given(st.sampled_from(ENDPOINTS), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6) | JSON)
@settings(deadline=None)
def test_any_json_gives_a_usage_with_counts_or_a_reason(endpoint: str, value: object) -> None:
    usage = usage_from(endpoint, msgspec.json.encode(value).decode())
    assert usage.problem is not None or (usage.input_tokens is not None and usage.output_tokens is not None)


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_a_usage(text: str) -> None:
    assert usage_from("other", text).source in {"none", "provider"}

"""From what the log knows of a request to its tokens and cost, estimates included."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.pricing.catalog import Catalog
from headgate.pricing.reasons import group_of
from headgate.pricing.request import Priced, price_request

CATALOG = Catalog()
AT_US = round(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1_000_000)
USAGE = '{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":40}}'


def unread() -> str:
    raise AssertionError("a text was read although the usage is known")


def priced(**known: Any) -> Priced:
    about: dict[str, Any] = {"endpoint": "openai.chat", "provider": "openai", "upstream": "openai", "model": "gpt-4o"}
    return price_request(CATALOG, at_us=AT_US, **{**about, **known})


def test_reported_usage_is_priced_without_reading_a_text() -> None:
    result = priced(usage_raw=USAGE, input_text=unread, output_text=unread)
    assert result.usage.source == "provider"
    assert result.cost.cost_usd == Decimal("0.0007")


def test_an_answer_without_usage_is_estimated_marked_and_priced() -> None:
    result = priced(input_text=lambda: "Hello, world!", output_text=lambda: "Hi")
    assert (result.usage.source, result.usage.input_tokens, result.usage.output_tokens) == ("estimated", 10, 1)
    assert result.cost.cost_usd == Decimal("0.000035")


def test_lengths_are_enough_for_an_estimate_when_bodies_are_not_kept() -> None:
    result = priced(input_chars=16, output_chars=8)
    assert (result.usage.source, result.usage.input_tokens, result.usage.output_tokens) == ("estimated", 10, 2)


def test_unreadable_usage_is_estimated_too() -> None:
    assert priced(usage_raw="{", input_chars=4, output_chars=4).usage.source == "estimated"


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"status": None}, "no usage: the request was sent and no answer came"),
        ({"status": 504, "reached": "silent"}, "no usage: the request was sent and no answer came"),
        ({"status": 502, "reached": "nobody"}, "not sent: no upstream was reached"),
        ({"status": None, "reached": "nobody"}, "not sent: no upstream was reached"),
        ({"status": 429}, "failed at the upstream: status 429"),
        ({"status": 503}, "failed at the upstream: status 503"),
        ({"endpoint": "other"}, "not a priced endpoint"),
        ({"endpoint": "other", "reached": "nobody"}, "not a priced endpoint"),
        ({"endpoint": "other", "status": 404}, "failed at the upstream: status 404"),
        ({"endpoint": "images"}, "requests of this kind are not estimated"),
        ({}, "neither text nor length of the input"),
        ({"input_chars": 3}, "neither text nor length of the output"),
    ],
)
def test_without_usage_and_without_an_estimate_there_is_a_reason(known: dict[str, Any], says: str) -> None:
    result = priced(**known)
    assert result.cost.cost_usd is None
    assert says in (result.cost.reason or "")


@pytest.mark.parametrize(
    ("known", "group"),
    [
        ({"status": 502, "reached": "nobody"}, "not_sent"),
        ({"status": 429}, "failed"),
        ({"endpoint": "other"}, "not_priced"),
        ({"status": 504, "reached": "silent"}, "unpriced"),
        ({"model": "nobody-knows", "usage_raw": USAGE}, "unpriced"),
    ],
)
def test_only_what_may_have_cost_something_counts_as_unpriced(known: dict[str, Any], group: str) -> None:
    assert group_of(priced(**known).cost.reason) == group


def test_usage_in_an_error_answer_is_still_priced() -> None:
    assert priced(status=500, usage_raw=USAGE).cost.cost_usd == Decimal("0.0007")


MESSAGES: dict[str, Any] = {
    "endpoint": "anthropic.messages",
    "provider": "anthropic",
    "model": "claude-sonnet-4-5",
    "usage_raw": '{"input_tokens":10,"output_tokens":1}',
    "output_text": lambda: "one two three four five",
}


def test_a_cut_off_anthropic_stream_has_its_output_estimated_from_what_came() -> None:
    result = priced(**MESSAGES, outcome="client_closed")
    assert (result.usage.source, result.usage.input_tokens, result.usage.output_tokens) == ("estimated", 10, 5)
    assert result.cost.cost_usd == Decimal("0.000105")


def test_an_anthropic_stream_that_had_its_final_usage_keeps_it() -> None:
    assert priced(**MESSAGES, outcome="client_closed", finish_reason="end_turn").usage.output_tokens == 1
    assert priced(**MESSAGES).usage.output_tokens == 1


def test_a_stream_whose_usage_names_no_output_has_what_came_counted_even_when_it_is_nothing() -> None:
    raw = '{"input_tokens":10}'
    nothing = priced(**{**MESSAGES, "usage_raw": raw, "output_text": lambda: ""}, outcome="client_closed")
    assert (nothing.usage.output_tokens, nothing.usage.source, nothing.usage.problem) == (0, "estimated", None)
    assert nothing.cost.cost_usd == Decimal("0.00003")
    unknown = priced(**{**MESSAGES, "usage_raw": raw, "output_text": lambda: None}, outcome="client_closed")
    assert (unknown.usage.output_tokens, unknown.usage.source) == (None, "provider")
    assert unknown.cost.reason == "the answer's usage names no output tokens"


TEXTS = st.none() | st.text(max_size=20)


@given(
    st.sampled_from(["openai.chat", "openai.responses", "openai.embeddings", "anthropic.messages", "other", "?"]),
    TEXTS | st.sampled_from(["openai", "anthropic", "demo", "deepseek"]),
    TEXTS | st.sampled_from(["gpt-4o", "demo-chat", "claude-opus-4-6"]),
    TEXTS | st.sampled_from([USAGE, MESSAGES["usage_raw"], "[1]", '{"input_tokens":{}}']),
    st.none() | st.integers(100, 599),
    TEXTS,
    TEXTS,
    st.none() | st.integers(0, 10**9),
)
@settings(deadline=None)
def test_whatever_is_known_there_is_a_cost_or_a_reason(
    endpoint: str,
    provider: str | None,
    model: str | None,
    raw: str | None,
    status: int | None,
    asked: str | None,
    answered: str | None,
    chars: int | None,
) -> None:
    result = price_request(
        CATALOG,
        endpoint=endpoint,
        provider=provider,
        upstream=asked,
        model=model,
        at_us=AT_US,
        tier=answered,
        usage_raw=raw,
        status=status,
        outcome="upstream_aborted",
        input_text=lambda: asked,
        output_text=lambda: answered,
        input_chars=chars,
        output_chars=chars,
    )
    assert (result.cost.cost_usd is None) == (result.cost.source == "unpriced")
    assert result.cost.cost_usd is not None or result.cost.reason

"""Our multiplication against genai-prices' own, and the promises of a Cost."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.pricing.catalog import Catalog
from headgate.pricing.cost import Cost, PriceRow, Rate
from headgate.pricing.units import COUNTED
from headgate.pricing.usage import Usage

CATALOG = Catalog()
PICO_USD = Decimal("1e-12")
WELL_KNOWN = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.4"),
    ("openai", "o3"),
    ("openai", "gpt-4o-mini-realtime-preview"),
    ("openai", "text-embedding-3-small"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-6"),
    ("azure", "gpt-4o"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),
    ("perplexity", "sonar-deep-research"),
    ("openrouter", "google/gemini-2.5-flash"),
    ("openrouter", "deepseek/deepseek-chat:free"),
]


def at(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1_000_000)  # type: ignore[misc,arg-type]


@cache
def every_model() -> list[tuple[str, str]]:
    return [(provider.id, model.id) for provider in providers for model in provider.models]


def counts_of(limit: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, 7, 199_999, 200_000, 200_001, 272_001]) | st.integers(0, limit)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Mostly coherent: parts are drawn within their whole."""
    total = draw(counts_of(1_200_000))
    cached = draw(st.none() | st.integers(0, total))
    written = draw(st.none() | st.integers(0, total - (cached or 0)))
    hour = draw(st.none() | st.integers(0, written or 0))
    output = draw(counts_of(300_000))
    detail = {
        "input_audio_tokens": draw(st.integers(0, 3)) and draw(st.integers(0, total)),
        "cache_audio_read_tokens": draw(st.integers(0, 1)) and draw(st.integers(0, cached or 0)),
        "output_audio_tokens": draw(st.integers(0, 1)) and draw(st.integers(0, output)),
        "web_searches": draw(st.integers(0, 3)),
        "output_citation_tokens": draw(st.integers(0, 1)) and draw(st.integers(0, output)),
    }
    return Usage(
        source="provider",
        input_tokens=total,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        cache_write_5m_tokens=None if hour is None else (written or 0) - hour,
        reasoning_tokens=draw(st.none() | st.integers(0, output)),
        detail={key: count for key, count in detail.items() if count},
    )


def reference(provider: str, model: str, usage: Usage, at_us: int, context: dict[str, str]) -> Decimal | str:
    counts: dict[str, Any] = {
        **usage.counts(),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    when = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**counts),
            model,
            provider_id=provider,
            genai_request_timestamp=when,
            price_context=context,
        )
    except (ValueError, LookupError) as error:
        return str(error)
    return price.total_price.quantize(PICO_USD)


@given(
    st.sampled_from(WELL_KNOWN) | st.deferred(lambda: st.sampled_from(every_model())),
    usages(),
    st.sampled_from(
        [at(2025, 1, 1), at(2025, 6, 10), at(2026, 3, 13, 0, 29, 59), at(2026, 11, 23, 17), at(2026, 11, 23)]
    ),
    st.sampled_from([None, "default", "flex", "priority", "batch", "scale"]),
    st.sampled_from([None, "fast", "standard"]),
)
@settings(deadline=None)
def test_cost_equals_the_price_lists_own_calculation(
    which: tuple[str, str], usage: Usage, at_us: int, tier: str | None, speed: str | None
) -> None:
    provider, model = which
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier} if tier else {}
    if speed:
        context["speed"] = speed
    usage = Usage(**{**{name: getattr(usage, name) for name in usage.__struct_fields__}, "speed": speed})
    cost = CATALOG.price(provider=provider, upstream="u", model=model, at_us=at_us, tier=tier, usage=usage)
    expected = reference(provider, model, usage, at_us, context)
    check_promises(cost)
    if cost.cost_usd is not None:
        assert cost.cost_usd == expected
    elif isinstance(expected, Decimal):
        # Where they take an unlisted price for 0, we say that it is unknown.
        assert any(word in (cost.reason or "") for word in ("has no price for", "without a price"))


def check_promises(cost: Cost) -> None:
    assert (cost.cost_usd is None) == (cost.source == "unpriced")
    if cost.cost_usd is None:
        assert cost.reason and not cost.lines
        return
    assert cost.price_id
    assert sum((line.usd for line in cost.lines), Decimal(0)) == cost.cost_usd
    assert cost.cost_usd == cost.cost_usd.quantize(PICO_USD)
    for line in cost.lines:
        assert abs(line.usd - line.usd_per_mtok * line.tokens / 1_000_000) <= PICO_USD * len(cost.lines)


@pytest.mark.parametrize("tier", [None, "flex", "priority", "batch"])
@pytest.mark.parametrize(("provider", "model"), WELL_KNOWN)
def test_well_known_models_agree_to_the_pico_dollar(provider: str, model: str, tier: str | None) -> None:
    usage = Usage(source="provider", input_tokens=300_001, output_tokens=777, cached_input_tokens=100_003)
    context = {"processing": tier} if tier == "batch" else {"service_tier": tier} if tier else {}
    cost = CATALOG.price(provider=provider, upstream="u", model=model, at_us=at(2026, 11, 23), tier=tier, usage=usage)
    if cost.cost_usd is None:
        assert "has no price for output tokens" in (cost.reason or "")  # the embedding model
    else:
        assert cost.cost_usd == reference(provider, model, usage, at(2026, 11, 23), context)


def test_every_listed_model_agrees_or_is_unpriced_with_a_reason() -> None:
    usage = Usage(
        source="provider",
        input_tokens=250_001,
        output_tokens=777,
        cached_input_tokens=100_003,
        cache_write_tokens=50_000,
        cache_write_5m_tokens=30_000,
        cache_write_1h_tokens=20_000,
        reasoning_tokens=100,
    )
    equal = 0
    for provider, model in every_model():
        cost = CATALOG.price(provider=provider, upstream="u", model=model, at_us=at(2026, 11, 23), usage=usage)
        check_promises(cost)
        if cost.cost_usd is not None:
            assert cost.cost_usd == reference(provider, model, usage, at(2026, 11, 23), {})
            equal += 1
    assert equal > 0.8 * len(every_model())


def test_our_units_are_those_of_the_price_list() -> None:
    for key, unit in COUNTED.items():
        assert (unit.per, dict(unit.dimensions)) == (unit_data[key]["per"], unit_data[key]["dimensions"])


def row(**prices: str) -> PriceRow:
    rates = [Rate(unit=COUNTED[key], usd_per_mtok=Decimal(price)) for key, price in prices.items()]
    return PriceRow(price_id="test", source="custom", rates=rates)


@given(
    st.decimals(0, 1000, places=17),
    st.decimals(0, 1000, places=17),
    st.decimals(0, 1000, places=17),
    st.integers(0, 1_000_000),
    st.integers(0, 1_000_000),
)
@settings(deadline=None)
def test_lines_sum_exactly_to_the_cost_whatever_the_rounding(
    first: Decimal, second: Decimal, third: Decimal, cached: int, output: int
) -> None:
    prices = row(input_tokens=str(first), cache_read_tokens=str(second), output_tokens=str(third))
    usage = Usage(source="provider", input_tokens=1_000_000, cached_input_tokens=cached, output_tokens=output)
    cost = prices.charge(usage)
    exact = (first * (1_000_000 - cached) + second * cached + third * output) / 1_000_000
    check_promises(cost)
    assert cost.cost_usd == exact.quantize(PICO_USD)


def test_parts_larger_than_their_whole_are_a_reason() -> None:
    usage = Usage(source="provider", input_tokens=5, output_tokens=1, detail={"input_audio_tokens": 9})
    cost = row(input_tokens="1", output_tokens="1", input_audio_tokens="2").charge(usage)
    assert (cost.cost_usd, cost.source) == (None, "unpriced")
    assert "9 tokens counted as parts of 5 input tokens" in (cost.reason or "")


def test_a_part_that_may_hide_in_two_others_is_a_reason() -> None:
    prices = row(
        input_tokens="1", cache_read_tokens="1", input_audio_tokens="9", cache_audio_read_tokens="2", output_tokens="1"
    )
    detail = {"input_audio_tokens": 3}
    cost = prices.charge(
        Usage(source="provider", input_tokens=9, cached_input_tokens=3, output_tokens=1, detail=detail)
    )
    assert "but not cache_audio_read_tokens" in (cost.reason or "")


def test_output_without_an_output_price_is_unknown_and_not_free() -> None:
    cost = row(input_tokens="1").charge(Usage(source="provider", input_tokens=5, output_tokens=1))
    assert cost.cost_usd is None
    assert cost.reason == "test has no price for output tokens (it prices input)"


def test_a_cost_that_the_log_cannot_hold_is_a_reason() -> None:
    cost = row(input_tokens="1000000", output_tokens="1").charge(
        Usage(source="provider", input_tokens=1_000_000, output_tokens=0)
    )
    assert cost.reason == "unusable usage: it would cost 1,000,000 USD"


def test_many_shapes_of_usage_do_not_pile_up() -> None:
    prices = row(input_tokens="1", output_tokens="1")
    keys = list(COUNTED)[5:]
    for mask in range(1 << len(keys)):
        detail = {key: 1 for i, key in enumerate(keys) if mask >> i & 1}
        prices.charge(Usage(source="provider", input_tokens=9, output_tokens=9, detail=detail))
    assert len(prices._plans) <= 256

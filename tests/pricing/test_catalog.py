"""Which row of prices holds: own before listed, by day, by tier, and never a silent zero."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import genai_prices
import pytest

from headgate.core.settings_types import Price
from headgate.pricing.catalog import Catalog
from headgate.pricing.cost import Cost
from headgate.pricing.usage import Usage

TODAY = (2026, 11, 23)
VERSION = f"genai-prices {genai_prices.__version__}"


def at(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1_000_000)  # type: ignore[misc,arg-type]


def tokens(input_tokens: int = 1_000_000, output_tokens: int = 1_000_000, cached: int | None = None) -> Usage:
    return Usage(source="provider", input_tokens=input_tokens, output_tokens=output_tokens, cached_input_tokens=cached)


def listed(
    provider: str | None,
    model: str | None,
    usage: Usage | None = None,
    *,
    day: tuple[int, ...] = TODAY,
    tier: str | None = None,
) -> Cost:
    return Catalog().price(
        provider=provider, upstream="u", model=model, at_us=at(*day), tier=tier, usage=usage or tokens()
    )


def test_hand_checked_openai_cost_with_cached_input() -> None:
    cost = listed("openai", "gpt-4o", tokens(100, 50, 40))
    assert cost.cost_usd == Decimal("0.00070")  # 60 at 2.5, 40 at 1.25, 50 at 10 per million
    assert [(line.unit, line.tokens, str(line.usd_per_mtok)) for line in cost.lines] == [
        ("input", 60, "2.5"),
        ("cached input", 40, "1.25"),
        ("output", 50, "10"),
    ]
    assert (cost.source, cost.reason) == ("listed", None)
    assert cost.price_id == f"{VERSION} openai/gpt-4o 2026-11-23 default"


@pytest.mark.parametrize(("lifetime", "usd"), [("5m", "0.046929"), ("1h", "0.074613")])
def test_anthropic_cache_writes_cost_by_their_lifetime(lifetime: str, usd: str) -> None:
    raw = json.dumps(
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 12_304,
            "cache_read_input_tokens": 100,
            "cache_creation": {f"ephemeral_{lifetime}_input_tokens": 12_304},
            "output_tokens": 50,
        }
    )
    cost = Catalog().price(
        provider="anthropic",
        upstream="u",
        model="claude-sonnet-4-5",
        at_us=at(*TODAY),
        endpoint="anthropic.messages",
        usage_raw=raw,
    )
    assert cost.cost_usd == Decimal(usd)


@pytest.mark.parametrize(
    ("day", "tier", "usd"),
    [
        ((2025, 1, 1), None, 50),
        ((2025, 6, 9, 23, 59, 59), None, 50),
        ((2025, 6, 10), None, 10),
        ((2026, 11, 1), "flex", 5),
        ((2026, 11, 1), "priority", Decimal("17.5")),
        ((2026, 11, 1), "batch", 5),
        ((2026, 11, 1), "default", 10),
    ],
)
def test_prices_follow_the_day_and_the_tier(day: tuple[int, ...], tier: str | None, usd: Decimal) -> None:
    cost = listed("openai", "o3", day=day, tier=tier)
    assert (cost.cost_usd, cost.reason) == (usd, None)


def test_a_tier_that_is_not_listed_takes_the_standard_price_and_says_so() -> None:
    before = listed("openai", "o3", day=(2026, 1, 1), tier="flex")
    assert before.cost_usd == 10
    assert before.reason == "no listed price for service_tier 'flex': the standard price was taken"
    assert (before.price_id or "").endswith("openai/o3 2026-01-01 default")


def test_tier_and_speed_are_taken_from_anthropic_usage() -> None:
    usage = Usage(source="provider", input_tokens=1_000_000, output_tokens=0, service_tier="batch")
    assert listed("anthropic", "claude-opus-4-6", usage).cost_usd == Decimal("2.5")
    fast = Usage(source="provider", input_tokens=1_000_000, output_tokens=0, speed="fast")
    cost = listed("anthropic", "claude-opus-4-6", fast)
    assert cost.reason is None or "speed 'fast'" in cost.reason


def test_a_long_context_puts_every_token_on_the_higher_price() -> None:
    below = listed("anthropic", "claude-sonnet-4-5", tokens(200_000, 1))
    above = listed("anthropic", "claude-sonnet-4-5", tokens(200_001, 1))
    assert (below.cost_usd, above.cost_usd) == (Decimal("0.600015"), Decimal("1.2000285"))
    assert (above.price_id or "").endswith("default >200000")


def test_a_price_that_changes_within_the_day_is_found_by_the_hour() -> None:
    catalog = Catalog()
    usd = [
        catalog.price(
            provider="deepseek", upstream="u", model="deepseek-chat", at_us=at(*TODAY, *hour), usage=tokens()
        ).cost_usd
        for hour in ((0, 29, 59), (0, 30), (16, 29, 59), (16, 30))
    ]
    assert usd == [Decimal("0.685"), Decimal("1.37"), Decimal("1.37"), Decimal("0.685")]


@pytest.mark.parametrize(
    ("provider", "model", "says"),
    [
        (None, "gpt-4o", "unknown provider: set provider on the upstream"),
        ("acme", "gpt-4o", "unknown provider 'acme'"),
        ("openai-proxy", "gpt-4o", "unknown provider 'openai-proxy'"),
        ("openai", "frob-1", "unknown model 'frob-1': not in the price list of provider 'openai'"),
        ("openai", "x" * 10_000, "unknown model 'xxx"),
        ("openai", "", "unknown model: neither"),
        ("openai", None, "unknown model: neither"),
        ("openai", "whisper-1", "has no price for input tokens (it prices audio seconds"),
        ("cerebras", "qwen-3-coder-480b", "is in the price list without a price"),
    ],
)
def test_what_is_not_known_has_a_reason_and_no_cost(provider: str | None, model: str | None, says: str) -> None:
    cost = listed(provider, model)
    assert (cost.cost_usd, cost.source, cost.lines) == (None, "unpriced", ())
    assert says in (cost.reason or "")
    assert len(cost.reason or "") < 300


def test_a_model_listed_as_free_costs_zero() -> None:
    cost = listed("openrouter", "deepseek/deepseek-chat:free")
    assert (cost.cost_usd, cost.source) == (Decimal(0), "listed")


CONTRADICTION = '{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}'


@pytest.mark.parametrize(("raw", "says"), [(None, "no usage in the answer"), (CONTRADICTION, "2 cached")])
def test_missing_and_contradicting_usage_have_a_reason(raw: str | None, says: str) -> None:
    cost = Catalog().price(
        provider="openai", upstream="u", model="gpt-4o", at_us=at(*TODAY), endpoint="openai.chat", usage_raw=raw
    )
    assert cost.cost_usd is None and says in (cost.reason or "")


def own(*prices: Price) -> Catalog:
    return Catalog(prices)


def on(catalog: Catalog, upstream: str, model: str, day: tuple[int, ...] = TODAY, provider: str | None = None) -> Cost:
    return catalog.price(provider=provider, upstream=upstream, model=model, at_us=at(*day), usage=tokens())


def own_price(model: str, usd: str, upstream: str | None = "local", since: date | None = None) -> Price:
    price = Decimal(usd)
    return Price(upstream=upstream, model=model, from_date=since, input_mtok=price, output_mtok=price)


def test_own_prices_come_before_the_list_and_cover_unknown_providers() -> None:
    catalog = own(own_price("*", "0.10"), own_price("gpt-4o", "7", upstream="openai"))
    cost = on(catalog, "local", "Llama-3.1-8B")
    assert (cost.cost_usd, cost.source, cost.price_id) == (Decimal("0.20"), "custom", "[[prices]] local *")
    assert on(catalog, "openai", "gpt-4o", provider="openai").cost_usd == 14
    assert on(catalog, "openai", "gpt-4o-mini", provider="openai").source == "listed"


def test_the_newest_own_price_not_after_the_day_holds() -> None:
    catalog = own(
        own_price("*", "1", since=date(2026, 1, 1)),
        own_price("*", "2", since=date(2026, 6, 1)),
        own_price("*", "3", since=date(2027, 1, 1)),
    )
    assert on(catalog, "local", "m", (2025, 12, 31, 23, 59)).source == "unpriced"
    assert on(catalog, "local", "m", (2026, 1, 1)).cost_usd == 2
    assert on(catalog, "local", "m", (2026, 5, 31, 23, 59)).cost_usd == 2
    assert on(catalog, "local", "m", (2026, 6, 1)).cost_usd == 4
    assert on(catalog, "local", "m").price_id == "[[prices]] local * from 2026-06-01"


def test_among_own_prices_of_the_same_day_the_first_written_holds() -> None:
    catalog = own(own_price("qwen-*", "1"), own_price("*", "2"))
    assert on(catalog, "local", "qwen-3").cost_usd == 2
    assert on(catalog, "local", "other").cost_usd == 4


def test_an_own_price_without_upstream_holds_for_all() -> None:
    assert on(own(own_price("m", "1", upstream=None)), "anything", "m").cost_usd == 2


def test_an_own_price_of_zero_is_free_and_custom() -> None:
    cost = on(own(own_price("*", "0")), "local", "m")
    assert (cost.cost_usd, cost.source) == (Decimal(0), "custom")


def test_own_prices_for_cached_input_and_one_hour_writes_are_used() -> None:
    price = Price(
        model="*",
        input_mtok=Decimal(4),
        output_mtok=Decimal(8),
        cached_input_mtok=Decimal(1),
        cache_write_mtok=Decimal(5),
        cache_write_1h_mtok=Decimal(6),
    )
    usage = Usage(
        source="provider",
        input_tokens=1_000_000,
        output_tokens=0,
        cached_input_tokens=250_000,
        cache_write_tokens=500_000,
        cache_write_1h_tokens=250_000,
    )
    cost = own(price).price(provider=None, upstream="u", model="m", at_us=at(*TODAY), usage=usage)
    assert cost.cost_usd == Decimal(4) / 4 + Decimal(1) / 4 + Decimal(5) / 4 + Decimal(6) / 4


@pytest.mark.parametrize("model", ["demo-chat", "demo-small", "some-model"])
def test_the_demo_has_marked_prices_for_every_model(model: str) -> None:
    cost = listed("demo", model, tokens(100, 50))
    assert cost.cost_usd is not None and cost.cost_usd > 0
    assert (cost.source, cost.price_id) == ("listed", "demo")


def test_the_demo_prices_embeddings() -> None:
    assert listed("demo", "demo-embed", tokens(100, 0)).cost_usd == Decimal("0.000002")


def test_endless_model_names_do_not_pile_up() -> None:
    catalog = Catalog()
    for i in range(8_300):
        on(catalog, "u", f"model-{i}")
    assert len(catalog._days) <= 8_192

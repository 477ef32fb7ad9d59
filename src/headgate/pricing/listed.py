"""The built-in price list (genai-prices, offline): from provider, model, time and tier to one row of prices."""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from headgate.core.ids import utc
from headgate.pricing.cost import PriceRow, Rate
from headgate.pricing.units import Unit

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, PriceVariant, Provider, TieredPrices

DAY_US = 86_400_000_000
_MODEL_LIMIT_CHARS = 256
_STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand", "not_available"})
# The list writes "no charge" as an empty row; these words in its comment tell it from a price nobody knows.
_FREE = re.compile(r"free of charge|included in the subscription", re.IGNORECASE)
_OTHER_NAMES = {
    "xai": "x-ai",
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "azure-openai": "azure",
    "moonshot": "moonshotai",
    "voyage": "voyageai",
    "together-ai": "together",
}

Context = tuple[tuple[str, str], ...]
Day = tuple[tuple[int, PriceRow | str], ...]
"""A day's prices: (microsecond of the day from which, row or the reason for none), ascending from 0."""


def price_context(tier: str | None, speed: str | None) -> Context:
    """What of ``tier`` and ``speed`` may change the price, in the price list's words."""
    context = []
    tier = (tier or "").lower()
    if tier == "batch":
        context.append(("processing", "batch"))
    elif tier not in _STANDARD_TIERS:
        context.append(("service_tier", tier[:32]))
    if speed and speed.lower() != "standard":
        context.append(("speed", speed.lower()[:32]))
    return tuple(context)


def listed_day(provider: str | None, model: str, at_us: int, context: Context) -> Day:
    """The listed prices of ``model`` on the UTC day of ``at_us``; never raises, takes up to a millisecond."""
    if provider is None:
        return ((0, "unknown provider: set provider on the upstream, or add [[prices]] for it"),)
    found = _providers().get(_OTHER_NAMES.get(provider.lower(), provider.lower()))
    if found is None:
        hint = "use an id of the price list, or add [[prices]] for the upstream"
        return ((0, f"unknown provider {provider[:80]!r}: {hint}"),)
    info = None
    if len(model) <= _MODEL_LIMIT_CHARS:
        info = found.find_model(model, all_providers=list(_providers().values()))
    if info is None:
        return ((0, f"unknown model {model[:80]!r}: not in the price list of provider {found.id!r}"),)
    midnight_us = at_us - at_us % DAY_US
    return tuple((start, _row(found, info, midnight_us + start, context)) for start in _changes(info))


@cache
def _providers() -> "dict[str, Provider]":
    # Imported here: it takes 0.3 s, and a Headgate without requests needs no prices.
    from genai_prices.data_snapshot import get_snapshot

    return {provider.id: provider for provider in get_snapshot().providers}


@cache
def _units() -> dict[str, Unit]:
    from genai_prices.data_units import unit_data

    return {
        raw.get("price_key", key): Unit(key, raw["per"], frozenset(raw["dimensions"].items()))
        for key, raw in unit_data.items()
    }


@cache
def _list_name() -> str:
    return f"genai-prices {version('genai-prices')}"


def _conditions(info: "ModelInfo") -> "Iterator[ConditionalPrice | PriceVariant]":
    if isinstance(info.prices, list):
        yield from info.prices
    yield from info.price_variants or ()


def _changes(info: "ModelInfo") -> list[int]:
    """The microseconds of a day at which some price of ``info`` may change; mostly just midnight."""
    from genai_prices.types import TimeOfDateConstraint

    changes = {0}
    for condition in _conditions(info):
        if isinstance(condition.constraint, TimeOfDateConstraint):
            for at in (condition.constraint.start_time, condition.constraint.end_time):
                shift = at.utcoffset()
                shift_us = 0 if shift is None else int(shift.total_seconds()) * 1_000_000
                clock_us = ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond
                changes.add((clock_us - shift_us) % DAY_US)
    return sorted(changes)


def _row(provider: "Provider", info: "ModelInfo", at_us: int, context: Context) -> PriceRow | str:
    at = utc(at_us)
    name = f"{provider.id}/{info.id}"
    # A model taken over from another provider's list does not take over that provider's tiers.
    is_own = any(info is model for model in provider.models)
    prices = info.get_prices(at, dict(context) if is_own else None)
    listed = [pair for pair in context if is_own and _has_variant(info, at_us, *pair)]
    unlisted = [f"{key} {value!r}" for key, value in context if (key, value) not in listed]
    clock = f" {at:%H:%M}" if at_us % DAY_US else ""
    tier = "+".join(value for _, value in listed) or "default"
    price_id = f"{_list_name()} {name} {at:%Y-%m-%d}{clock} {tier}"
    rates = [rate for key, price in prices.__dict__.items() if (rate := _rate(key, price)) is not None]
    is_free = not rates and (info.id.endswith(":free") or bool(_FREE.search(info.price_comments or "")))
    if not rates and not is_free:
        return f"model {name!r} is in the price list without a price: add [[prices]] for it"
    note = f"no listed price for {' and '.join(unlisted)}: the standard price was taken" if unlisted else None
    return PriceRow(price_id=price_id, source="listed", rates=rates, is_free=is_free, note=note)


def _has_variant(info: "ModelInfo", at_us: int, key: str, value: str) -> bool:
    at = utc(at_us)
    return any(
        variant.when.get(key) == value and (variant.constraint is None or variant.constraint.active(at))
        for variant in info.price_variants or ()
    )


def _rate(price_key: str, price: "Decimal | TieredPrices | None") -> Rate | None:
    """None for what is no price, or is priced by something this version of the list does not define."""
    unit = _units().get(price_key)
    if unit is None or price is None:
        return None
    scale = Decimal(1_000_000) / unit.per
    if isinstance(price, Decimal):
        return Rate(unit=unit, usd_per_mtok=price * scale)
    steps = tuple((tier.start, tier.price * scale) for tier in price.tiers)
    return Rate(unit=unit, usd_per_mtok=price.base * scale, steps=steps)

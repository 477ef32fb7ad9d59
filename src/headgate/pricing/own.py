"""Prices that do not come from the price list: `[[prices]]` of the configuration, and the demo's made-up ones."""

import fnmatch
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files

from headgate.core.settings_types import Price
from headgate.pricing.cost import PriceRow, Rate
from headgate.pricing.units import COUNTED, Unit

DEMO = "demo"

_UNITS: Mapping[str, Unit] = {
    "input_mtok": COUNTED["input_tokens"],
    "output_mtok": COUNTED["output_tokens"],
    "cached_input_mtok": COUNTED["cache_read_tokens"],
    "cache_read_mtok": COUNTED["cache_read_tokens"],
    "cache_write_mtok": COUNTED["cache_write_tokens"],
    "cache_write_1h_mtok": COUNTED["cache_write_1h_tokens"],
}


class OwnPrices:
    """The `[[prices]]` of a configuration, in the order written."""

    def __init__(self, prices: Sequence[Price]) -> None:
        self._prices = [(price, re.compile(fnmatch.translate(price.model.lower()))) for price in prices]

    def row(self, upstream: str | None, model: str, day: date) -> PriceRow | None:
        """The row for ``model`` on ``upstream``: the newest `from` not after ``day``, the first written of equals."""
        name = model.lower()
        best: Price | None = None
        for price, pattern in self._prices:
            if price.upstream is not None and price.upstream != upstream:
                continue
            if price.from_date is not None and price.from_date > day or pattern.match(name) is None:
                continue
            if best is None or _since(price) > _since(best):
                best = price
        return None if best is None else _row(best)


def _since(price: Price) -> date:
    return price.from_date or date.min


def _row(price: Price) -> PriceRow:
    since = "" if price.from_date is None else f" from {price.from_date}"
    rates = [
        Rate(unit=_UNITS[field.name], usd_per_mtok=value)
        for field in fields(price)
        if field.name in _UNITS and (value := getattr(price, field.name)) is not None
    ]
    return PriceRow(price_id=f"[[prices]] {price.upstream or '*'} {price.model}{since}", source="custom", rates=rates)


def demo_row(model: str) -> PriceRow:
    """The made-up prices of the demo upstream; a model it does not name costs what the row ``*`` says."""
    rows = _demo_rows()
    return rows.get(model.lower(), rows["*"])


@cache
def _demo_rows() -> dict[str, PriceRow]:
    text = files("headgate.pricing").joinpath("data", "demo_prices.toml").read_text(encoding="utf-8")
    return {
        model: PriceRow(
            price_id=DEMO,
            source="listed",
            rates=[Rate(unit=_UNITS[key], usd_per_mtok=price) for key, price in prices.items()],
        )
        for model, prices in tomllib.loads(text, parse_float=Decimal)["models"].items()
    }

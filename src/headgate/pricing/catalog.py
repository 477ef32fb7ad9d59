"""The one answer to "what did this cost": own prices first, then the demo's, then the built-in list."""

from collections.abc import Sequence

from headgate.core.ids import utc
from headgate.core.settings_types import Price
from headgate.pricing.cost import Cost, unpriced
from headgate.pricing.listed import DAY_US, Day, listed_day, price_context
from headgate.pricing.own import DEMO, OwnPrices, demo_row
from headgate.pricing.usage import Usage, usage_from

_CACHE_LIMIT = 8_192  # model names come from outside; past this many the cache starts over

_Key = tuple[str | None, str | None, str, int, str | None, str | None]


class Catalog:
    """All prices of one configuration. Rows are looked up once per upstream, model, day and tier, then kept.

    Safe to use from several threads: the cache is only ever a shortcut.
    """

    def __init__(self, prices: Sequence[Price] = ()) -> None:
        self._own = OwnPrices(prices)
        self._days: dict[_Key, Day] = {}

    def price(
        self,
        *,
        provider: str | None,
        upstream: str | None,
        model: str | None,
        at_us: int,
        tier: str | None = None,
        endpoint: str = "other",
        usage_raw: str | None = None,
        usage: Usage | None = None,
    ) -> Cost:
        """The cost of ``usage`` (read from ``usage_raw`` when not given) at the prices of the UTC day of ``at_us``.

        Never raises and never answers 0 for what it does not know: no usage, usage that contradicts itself,
        unknown providers and models give a Cost without an amount and with the reason.
        """
        if usage is None:
            usage = usage_from(endpoint, usage_raw)
        if usage.problem is not None:
            return unpriced(usage.problem)
        if not model:
            return unpriced("unknown model: neither the request nor the answer names one")
        key = (provider, upstream, model, at_us // DAY_US, tier or usage.service_tier, usage.speed)
        day = self._days.get(key)
        if day is None:
            if len(self._days) >= _CACHE_LIMIT:
                self._days.clear()
            day = self._days[key] = self._day(key, at_us)
        row = day[0][1]
        if len(day) > 1:
            at_us %= DAY_US
            row = next(row for start, row in reversed(day) if at_us >= start)
        return unpriced(row) if isinstance(row, str) else row.charge(usage)

    def _day(self, key: _Key, at_us: int) -> Day:
        provider, upstream, model, _, tier, speed = key
        own = self._own.row(upstream, model, utc(at_us).date())
        if own is not None:
            return ((0, own),)
        if provider == DEMO:
            return ((0, demo_row(model)),)
        return listed_day(provider, model, at_us, price_context(tier, speed))

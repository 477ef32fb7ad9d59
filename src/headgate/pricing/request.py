"""One call that turns what the log knows of a request into its tokens and its cost."""

from collections.abc import Callable
from typing import Literal

import msgspec

from headgate.pricing.catalog import Catalog
from headgate.pricing.cost import Cost
from headgate.pricing.reasons import FAILED, NOT_PRICED, NOT_SENT
from headgate.pricing.tokens import estimate, estimated_tokens, is_estimable
from headgate.pricing.usage import Usage, usage_from
from headgate.pricing.vocabulary import VocabularyDamaged

Text = Callable[[], str | None]
"""Gives a text when it is needed, or None when it was not kept; must not raise."""


Reached = Literal["nobody", "silent", "answered"]
"""Who saw the request: no upstream; one that gave no answer, so nobody knows what it charged; one that answered."""


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """All that the log stores of tokens and money for one request."""

    usage: Usage
    cost: Cost


def _nothing() -> None:
    return None


def price_request(
    catalog: Catalog,
    *,
    endpoint: str,
    provider: str | None,
    upstream: str | None,
    model: str | None,
    at_us: int,
    tier: str | None = None,
    usage_raw: str | None = None,
    status: int | None = 200,
    reached: Reached = "answered",
    outcome: str = "ok",
    finish_reason: str | None = None,
    input_text: Text = _nothing,
    output_text: Text = _nothing,
    input_chars: int | None = None,
    output_chars: int | None = None,
) -> Priced:
    """Reads the usage, estimates it where an answer came without one, and prices it; never raises.

    ``input_text`` and ``output_text`` are called only when an estimate needs them. A stream cut off before its
    final usage gets its output estimated from what had come, as the provider charges for that.
    """
    usage = usage_from(endpoint, usage_raw)
    if usage.source == "none":
        problem = _why_none(endpoint, status, reached)
        if problem is not None:
            usage = Usage(source="none", problem=problem)
        else:
            usage = _without_usage(usage, endpoint, model, (input_text, output_text), (input_chars, output_chars))
    elif _is_cut_off(usage, endpoint, outcome, finish_reason):
        usage = _with_seen_output(usage, model, output_text, output_chars)
    cost = catalog.price(
        provider=provider, upstream=upstream, model=model, at_us=at_us, tier=tier, endpoint=endpoint, usage=usage
    )
    return Priced(usage=usage, cost=cost)


def _why_none(endpoint: str, status: int | None, reached: Reached) -> str | None:
    """Why there is no usage, and nothing to estimate one from; None: there is an answer to estimate it from."""
    is_good = status is not None and (200 <= status < 300 or status == 101)
    if endpoint == "other" and is_good:
        return NOT_PRICED
    if reached == "nobody":
        return NOT_SENT
    if reached == "silent" or status is None:
        return "no usage: the request was sent and no answer came"
    return None if is_good else f"{FAILED}{status}"


def _without_usage(
    usage: Usage,
    endpoint: str,
    model: str | None,
    texts: tuple[Text, Text],
    chars: tuple[int | None, int | None],
) -> Usage:
    if not is_estimable(endpoint):
        return Usage(source="none", problem=f"{usage.problem}, and requests of this kind are not estimated")
    read_input, read_output = texts
    try:
        return estimate(endpoint, model, read_input(), read_output(), input_chars=chars[0], output_chars=chars[1])
    except VocabularyDamaged as error:
        return Usage(source="none", problem=f"no usage in the answer, and no estimate: {error.sentence}")


def _is_cut_off(usage: Usage, endpoint: str, outcome: str, finish_reason: str | None) -> bool:
    if usage.output_tokens is None:
        return is_estimable(endpoint)
    # An Anthropic stream begins with an output count of a few tokens; the real one comes with the stop reason.
    return endpoint == "anthropic.messages" and outcome != "ok" and finish_reason is None


def _with_seen_output(usage: Usage, model: str | None, output_text: Text, output_chars: int | None) -> Usage:
    """``usage`` with the output counted from what came, where that is more than the usage says."""
    try:
        seen = estimated_tokens(output_text(), output_chars, model)
    except VocabularyDamaged:
        return usage
    if seen is None or (usage.output_tokens is not None and seen <= usage.output_tokens):
        return usage
    problem = usage.problem if usage.input_tokens is None else None
    return msgspec.structs.replace(usage, source="estimated", output_tokens=seen, problem=problem)

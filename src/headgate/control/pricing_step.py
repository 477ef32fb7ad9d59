"""Between the spool's records and the price list: what ingest calls for each request, and the pages to show the sum."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from headgate.control.bodies import decoded
from headgate.control.ingest import BodiesLazy
from headgate.control.record_rows import Priced as RowPrice
from headgate.pricing.catalog import Catalog
from headgate.pricing.request import Priced, Reached, Text, price_request
from headgate.spool.record import FinalRecord
from headgate.store.values import Bodies
from headgate.wire.transcript import input_text, output_text

_NEVER_SENT = frozenset({"connect", "connect_timeout", "stale_connection"})  # kinds of attempts that nobody saw
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


def pricer(catalog: Catalog) -> Callable[[FinalRecord, BodiesLazy], RowPrice]:
    """What ingest calls for each final record; reads bodies only where a text must be counted."""

    def price(record: FinalRecord, bodies: BodiesLazy) -> RowPrice:
        return _row_price(price_of_record(catalog, record, bodies.read))

    return price


def price_of_record(catalog: Catalog, record: FinalRecord, bodies_of: Callable[[], Bodies | None]) -> Priced:
    """Tokens and cost of one record; never raises."""
    text_in, text_out = _texts(
        record.endpoint, bodies_of, record.request_encoding, record.response_encoding, record.response_content_type
    )
    return price_request(
        catalog,
        endpoint=record.endpoint,
        provider=record.provider,
        upstream=record.upstream,
        model=record.model or record.model_requested,
        at_us=record.started_at_us,
        tier=record.service_tier,
        usage_raw=record.usage_raw,
        status=record.status,
        reached=reached_of(
            [(attempt.status, attempt.error_type) for attempt in record.attempts], record.outcome, record.upstream
        ),
        outcome=record.outcome,
        finish_reason=record.finish_reason,
        input_text=text_in,
        output_text=text_out,
        input_chars=record.prompt_chars,
        output_chars=record.output_chars,
    )


def price_of_row(catalog: Catalog, row: Mapping[str, Any], more: Mapping[str, Any], bodies: Bodies | None) -> Priced:
    """The arithmetic behind a stored row, done again from the raw usage; never raises."""
    text_in, text_out = _texts(
        row["endpoint"],
        lambda: bodies,
        more["request_encoding"],
        more["response_encoding"],
        more["response_content_type"],
    )
    return price_request(
        catalog,
        endpoint=row["endpoint"],
        provider=row["provider"],
        upstream=row["upstream"],
        model=row["model"] or row["model_requested"],
        at_us=(row["started_at"] - _EPOCH) // timedelta(microseconds=1),
        tier=row["service_tier"],
        usage_raw=row["usage_raw"],
        status=row["status"],
        reached=reached_of(
            [(attempt["status"], attempt["error_type"]) for attempt in more["attempt_list"] or []],
            row["outcome"],
            row["upstream"],
        ),
        outcome=row["outcome"],
        finish_reason=row["finish_reason"],
        input_text=text_in,
        output_text=text_out,
        input_chars=more["prompt_chars"],
        output_chars=more["output_chars"],
    )


def reached_of(attempts: Sequence[tuple[int | None, str | None]], outcome: str, upstream: str | None) -> Reached:
    """Who saw a request: by the status and error of each attempt, and how it ended."""
    if not attempts:
        # A client that leaves, or a gateway that stops, ends an attempt before it comes to anything.
        return "silent" if outcome in ("client_closed", "interrupted") and upstream is not None else "nobody"
    if attempts[-1][0] is not None:
        return "answered"
    unanswered = [error for status, error in attempts if status is None]
    if any(error not in _NEVER_SENT for error in unanswered):
        return "silent"
    return "nobody" if len(unanswered) == len(attempts) else "answered"


def _row_price(priced: Priced) -> RowPrice:
    usage, cost = priced.usage, priced.cost
    return RowPrice(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_source=usage.source,
        cost_usd=cost.cost_usd,
        cost_source=cost.source,
        cost_reason=cost.reason,
        price_id=cost.price_id,
    )


def _texts(
    endpoint: str,
    bodies_of: Callable[[], Bodies | None],
    request_encoding: str | None,
    response_encoding: str | None,
    response_type: str | None,
) -> tuple[Text, Text]:
    """The texts an estimate counts, read only if it asks, and once."""
    kept = cache(bodies_of)

    def text_in() -> str | None:
        bodies = kept()
        if bodies is None or not bodies.request:
            return None
        return input_text(endpoint, decoded(bodies.request, request_encoding)[0])

    def text_out() -> str | None:
        bodies = kept()
        if bodies is None or not bodies.response:
            return None
        return output_text(endpoint, decoded(bodies.response, response_encoding)[0], response_type)

    return text_in, text_out

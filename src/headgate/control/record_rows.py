"""A spool record and its price as a row of the log."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import msgspec

from headgate.control.starts import OpenStart
from headgate.spool.record import Attempt, FinalRecord, Identity
from headgate.store.rows import AttemptRow, RequestRow
from headgate.store.values import Location

_DIED = "the gateway process ended before the answer did"
_NO_ROOM = "the disk had no room for the record of its end"
_LARGEST_COUNT = 2**53
_LARGEST_COST = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What pricing says of one exchange. Unknown is None, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: Literal["provider", "estimated", "none"] = "none"
    cost_usd: Decimal | None = None
    cost_source: Literal["listed", "custom", "unpriced"] = "unpriced"
    cost_reason: str | None = None
    price_id: str | None = None


# Told by both records under the names that the columns have too.
_SHARED = tuple(
    name for name in Identity.__struct_fields__ if name in RequestRow.__struct_fields__ and name not in ("tags",)
)
_OF_FINAL = (
    *("model", "upstream_request_id", "response_id", "service_tier", "status", "outcome", "error_type"),
    *("error_message", "finish_reason", "fallback_from", "usage_raw", "request_bytes", "response_bytes", "capture"),
    *("request_encoding", "request_content_type", "response_encoding", "response_content_type", "fold_note"),
    *("output_chars", "prompt_chars"),
)


def row_of(final: FinalRecord, location: Location, length: int, priced: Priced) -> RequestRow:
    """The row of one final record."""
    cost, reason, source = _stored_cost(priced)
    same: dict[str, Any] = {name: getattr(final, name) for name in _SHARED + _OF_FINAL}
    return RequestRow(
        **same,
        spool_id=location.spool_id,
        segment=location.segment,
        offset=location.offset,
        length=length,
        attempts=len(final.attempts),
        input_tokens=_count(priced.input_tokens),
        output_tokens=_count(priced.output_tokens),
        cached_input_tokens=_count(priced.cached_input_tokens),
        cache_write_tokens=_count(priced.cache_write_tokens),
        reasoning_tokens=_count(priced.reasoning_tokens),
        usage_source=priced.usage_source,
        cost_usd=cost,
        cost_source=source,
        cost_reason=reason,
        price_id=priced.price_id,
        latency_ms=final.latency_us / 1000,
        ttft_ms=_ms(final.ttft_us),
        overhead_ms=_ms(final.overhead_us),
        upstream_ms=_ms(final.upstream_us),
        tags=_json(final.tags),
        attempt_list=[_attempt(attempt) for attempt in final.attempts],
    )


def interrupted_row(spool_id: str, start: OpenStart, *, is_dropped: bool = False) -> RequestRow:
    """The row of a start whose writer died, or had no room for its end: what came of the call is unknown."""
    record = start.record
    same: dict[str, Any] = {name: getattr(record, name) for name in _SHARED}
    return RequestRow(
        **same,
        spool_id=spool_id,
        segment=start.segment,
        offset=start.offset,
        outcome="interrupted",
        error_type="record_dropped" if is_dropped else "interrupted",
        attempts=1,
        cost_reason=_NO_ROOM if is_dropped else _DIED,
        capture="none",
        tags=_json(record.tags),
    )


def _stored_cost(priced: Priced) -> tuple[Decimal | None, str | None, str]:
    if priced.cost_usd is not None and not abs(priced.cost_usd) < _LARGEST_COST:
        return None, f"a cost of {priced.cost_usd:.3e} USD is not believable", "unpriced"
    return priced.cost_usd, priced.cost_reason, priced.cost_source


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < _LARGEST_COUNT else None


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000


def _json(tags: dict[str, str] | None) -> str | None:
    return msgspec.json.encode(tags).decode() if tags else None


def _attempt(attempt: Attempt) -> AttemptRow:
    return AttemptRow(
        upstream=attempt.upstream,
        model=attempt.model,
        status=attempt.status,
        error_type=attempt.error_type,
        started_ms=attempt.started_us / 1000,
        latency_ms=attempt.latency_us / 1000,
    )

"""A spool record and its price as a row of the log."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import msgspec

from headgate.control.starts import OpenStart
from headgate.spool.record import Attempt, FinalRecord
from headgate.store.rows import AttemptRow, RequestRow
from headgate.store.values import Location

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


def row_of(final: FinalRecord, location: Location, length: int, priced: Priced) -> RequestRow:
    """The row of one final record."""
    cost, reason, source = _stored_cost(priced)
    return RequestRow(
        request_id=final.request_id,
        started_at_us=final.started_at_us,
        spool_id=location.spool_id,
        segment=location.segment,
        offset=location.offset,
        length=length,
        purpose=final.purpose,
        trace_id=final.trace_id,
        session_id=final.session_id,
        user_id=final.user_id,
        project=final.project,
        key_id=final.key_id,
        client=final.client,
        endpoint=final.endpoint,
        method=final.method,
        path=final.path,
        stream=final.stream,
        model_requested=final.model_requested,
        model=final.model,
        provider=final.provider,
        upstream=final.upstream,
        upstream_request_id=final.upstream_request_id,
        response_id=final.response_id,
        service_tier=final.service_tier,
        route=final.route,
        prompt_name=final.prompt_name,
        prompt_version=final.prompt_version,
        prompt_alias=final.prompt_alias,
        prompt_sha256=final.prompt_sha256,
        prompt_vars=final.prompt_vars,
        kb_name=final.kb_name,
        kb_version=final.kb_version,
        kb_chunks=final.kb_chunks,
        arm=final.arm,
        status=final.status,
        outcome=final.outcome,
        error_type=final.error_type,
        error_message=final.error_message,
        finish_reason=final.finish_reason,
        attempts=len(final.attempts),
        fallback_from=final.fallback_from,
        input_tokens=_count(priced.input_tokens),
        output_tokens=_count(priced.output_tokens),
        cached_input_tokens=_count(priced.cached_input_tokens),
        cache_write_tokens=_count(priced.cache_write_tokens),
        reasoning_tokens=_count(priced.reasoning_tokens),
        usage_source=priced.usage_source,
        usage_raw=final.usage_raw,
        cost_usd=cost,
        cost_source=source,
        cost_reason=reason,
        price_id=priced.price_id,
        latency_ms=final.latency_us / 1000,
        ttft_ms=_ms(final.ttft_us),
        overhead_ms=_ms(final.overhead_us),
        upstream_ms=_ms(final.upstream_us),
        request_bytes=final.request_bytes,
        response_bytes=final.response_bytes,
        capture=final.capture,
        tags=_json(final.tags),
        request_encoding=final.request_encoding,
        request_content_type=final.request_content_type,
        response_encoding=final.response_encoding,
        response_content_type=final.response_content_type,
        fold_note=final.fold_note,
        output_chars=final.output_chars,
        prompt_chars=final.prompt_chars,
        attempt_list=[_attempt(attempt) for attempt in final.attempts],
    )


def interrupted_row(spool_id: str, start: OpenStart) -> RequestRow:
    """The row of a start whose writer died: the upstream was called, what came of it is unknown."""
    record = start.record
    return RequestRow(
        request_id=record.request_id,
        started_at_us=record.started_at_us,
        spool_id=spool_id,
        segment=start.segment,
        offset=start.offset,
        purpose=record.purpose,
        trace_id=record.trace_id,
        session_id=record.session_id,
        user_id=record.user_id,
        project=record.project,
        key_id=record.key_id,
        client=record.client,
        endpoint=record.endpoint,
        method=record.method,
        path=record.path,
        stream=record.stream,
        model_requested=record.model_requested,
        provider=record.provider,
        upstream=record.upstream,
        route=record.route,
        prompt_name=record.prompt_name,
        prompt_version=record.prompt_version,
        prompt_alias=record.prompt_alias,
        prompt_sha256=record.prompt_sha256,
        prompt_vars=record.prompt_vars,
        kb_name=record.kb_name,
        kb_version=record.kb_version,
        kb_chunks=record.kb_chunks,
        arm=record.arm,
        outcome="interrupted",
        error_type="interrupted",
        attempts=1,
        cost_reason="the gateway process ended before the answer did",
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

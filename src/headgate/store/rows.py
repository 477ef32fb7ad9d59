"""One row of the log as a value, and many of them as an Arrow table that DuckDB loads in one go."""

import json
from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
from arro3.core import Array, DataType, Field, Schema, Table, list_array, struct_array

from headgate.store.columns import EXCHANGE_COLUMNS, Column


class AttemptRow(msgspec.Struct, kw_only=True):
    """One try at one upstream, as the log keeps it."""

    upstream: str
    model: str | None = None
    status: int | None = None
    error_type: str | None = None
    started_ms: float = 0.0
    latency_ms: float = 0.0


class RequestRow(msgspec.Struct, kw_only=True):
    """One row of ``exchanges``: the columns of the view ``requests`` and where the bodies are. Unknown is None."""

    request_id: str
    started_at_us: int
    spool_id: str
    segment: int
    offset: int
    length: int = 0  # 0: no frame with bodies belongs to this row
    seq: int = 0  # given by the log when the row is stored
    purpose: str = "traffic"
    trace_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    project: str = "default"
    key_id: str | None = None
    client: str | None = None
    endpoint: str = "other"
    method: str = "POST"
    path: str = ""
    stream: bool = False
    model_requested: str | None = None
    model: str | None = None
    provider: str | None = None
    upstream: str | None = None
    upstream_request_id: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    route: str | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    prompt_alias: str | None = None
    prompt_sha256: str | None = None
    prompt_vars: str | None = None
    kb_name: str | None = None
    kb_version: int | None = None
    kb_chunks: list[str] | None = None
    arm: str | None = None
    status: int | None = None
    outcome: str = "ok"
    error_type: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    attempts: int = 0
    fallback_from: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: str = "none"
    usage_raw: str | None = None
    cost_usd: Decimal | None = None
    cost_source: str = "unpriced"
    cost_reason: str | None = None
    price_id: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    upstream_ms: float | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    capture: str = "full"
    tags: str | None = None
    request_encoding: str | None = None
    request_content_type: str | None = None
    response_encoding: str | None = None
    response_content_type: str | None = None
    fold_note: str | None = None
    output_chars: int | None = None
    prompt_chars: int | None = None
    attempt_list: list[AttemptRow] = []
    predictions: list[dict[str, Any]] = []  # rows of the table of that name


_ARROW_TYPES = {
    "BOOLEAN": DataType.bool(),
    "INTEGER": DataType.int32(),
    "BIGINT": DataType.int64(),
    "DOUBLE": DataType.float64(),
    "VARCHAR": DataType.utf8(),
    "BLOB": DataType.binary(),
}
_ATTEMPT_FIELDS = (
    ("upstream", DataType.utf8()),
    ("model", DataType.utf8()),
    ("status", DataType.int32()),
    ("error_type", DataType.utf8()),
    ("started_ms", DataType.float64()),
    ("latency_ms", DataType.float64()),
)


def _attempts_array(rows: Sequence[RequestRow]) -> Any:
    offsets, attempts = [0], []
    for row in rows:
        attempts.extend(row.attempt_list)
        offsets.append(len(attempts))
    fields = [Field(name, data_type) for name, data_type in _ATTEMPT_FIELDS]
    arrays = [Array(list(map(attrgetter(name), attempts)), data_type) for name, data_type in _ATTEMPT_FIELDS]
    return list_array(Array(offsets, DataType.int32()), struct_array(arrays, fields=fields))


def _array(column: Column, rows: Sequence[RequestRow]) -> Any:
    name = column.name.strip('"')
    if name == "attempt_list":
        return _attempts_array(rows)
    if name == "started_at":
        return Array([row.started_at_us for row in rows], DataType.int64()).cast(DataType.timestamp("us"))
    values: list[Any] = list(map(attrgetter(name), rows))
    if name == "cost_usd":
        values = [None if value is None else format(value, "f") for value in values]
    elif name == "kb_chunks":
        values = [None if value is None else json.dumps(value) for value in values]
    return Array(values, _ARROW_TYPES.get(column.sql_type, DataType.utf8()))


def _cast(column: Column) -> str:
    name = column.name
    if column.sql_type == "UUID":
        return f"TRY_CAST({name} AS UUID)"
    if name == "cost_usd":
        return "CAST(cost_usd AS DECIMAL(18,12))"
    if name == "kb_chunks":
        return """from_json(kb_chunks, '["VARCHAR"]')"""
    return name


INSERT_EXCHANGES = "INSERT INTO exchanges SELECT " + ", ".join(map(_cast, EXCHANGE_COLUMNS)) + " FROM batch"
"""Loads what ``arrow_table`` makes, registered as ``batch``."""


def arrow_table(rows: Sequence[RequestRow]) -> Any:
    """``rows`` column by column; raises when a value does not fit its column."""
    arrays = [_array(column, rows) for column in EXCHANGE_COLUMNS]
    fields = [Field(column.name.strip('"'), array.type) for column, array in zip(EXCHANGE_COLUMNS, arrays, strict=True)]
    return Table.from_arrays(arrays, schema=Schema(fields))

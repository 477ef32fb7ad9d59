"""The result of a query as a value, and its cells as JSON values."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb

_LARGEST_INTEGER = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Column names, their SQL types, and the rows; ``is_truncated`` when there were more rows than asked for."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_truncated: bool = False

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Each row by column name, values as DuckDB gives them."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def json_dicts(self) -> Iterator[dict[str, Any]]:
        """Each row by column name, values fit for JSON (see ``json_value``)."""
        return (dict(zip(self.columns, map(json_value, row), strict=True)) for row in self.rows)


def first_row(connection: duckdb.DuckDBPyConnection, sql: str, params: Sequence[object] = ()) -> tuple[Any, ...] | None:
    """The first row of a query's result, which is read to its end: DuckDB 2 wants that before anything else."""
    rows: list[tuple[Any, ...]] = connection.execute(sql, list(params)).fetchall()
    return rows[0] if rows else None


def json_value(value: Any) -> Any:
    """``value`` as JSON can say it: money, ids, huge integers as text, times ISO-8601 with Z, bytes as base64."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(json_value(key)): json_value(item) for key, item in value.items()}
    return _json_text(value)


def _json_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        naive = value.replace(tzinfo=None) if value.tzinfo is None else (value - (value.utcoffset() or timedelta()))
        return naive.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    return str(value)

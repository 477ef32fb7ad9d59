"""The tables beside the requests (scores, results of runs, moves): loaded in one go, and stripped with retention."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
from arro3.core import Array, DataType, Field, Schema, Table

from headgate.store.columns import SMALL_TABLES, Column, TableName

_TYPES = {
    "INTEGER": DataType.int32(),
    "BIGINT": DataType.int64(),
    "DOUBLE": DataType.float64(),
    "BOOLEAN": DataType.bool(),
}
_CONTENT_TABLES: tuple[TableName, ...] = ("scores", "eval_results", "predictions")


def insert_small(connection: duckdb.DuckDBPyConnection, table: TableName, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows by column name, absent ones as NULL, in one statement."""
    if not rows:
        return
    columns = SMALL_TABLES[table]
    names = [column.name.strip('"') for column in columns]
    arrays = [_array(column, [row.get(name) for row in rows]) for column, name in zip(columns, names, strict=True)]
    fields = [Field(name, array.type) for name, array in zip(names, arrays, strict=True)]
    batch = Table.from_arrays(arrays, schema=Schema(fields))
    casts = ", ".join(f"CAST({column.name} AS {column.sql_type})" for column in columns)
    connection.register("small_batch", batch)
    try:
        connection.execute(f"INSERT INTO {table} SELECT {casts} FROM small_batch")
    finally:
        connection.unregister("small_batch")


def expire_small_tables(connection: duckdb.DuckDBPyConnection, what: str, before: datetime) -> None:
    """What people and judges said of requests goes with them: their words with the bodies, the rest with the rows.

    Ids sort by time, so the oldest id of a time tells which requests are older, those already gone included.
    """
    oldest = oldest_id(before)
    if what == "rows":
        connection.execute(
            "DELETE FROM labels WHERE coalesce(request_id < ?::UUID, coalesce(as_of, created_at) < ?)", [oldest, before]
        )
    for table in _CONTENT_TABLES:
        columns = SMALL_TABLES[table]
        content = next(column.name for column in columns if column.is_content)
        older = f"request_id < '{oldest}'::UUID"
        if what == "rows":
            connection.execute(f"DELETE FROM {table} WHERE {older}")
            continue
        # Rows are never updated: see docs/design/store.md.
        kept = ", ".join("NULL" if column.is_content else column.name for column in columns)
        has_content = f"{older} AND {content} IS NOT NULL"
        connection.execute(f"INSERT INTO {table} SELECT {kept} FROM {table} WHERE {has_content}")
        connection.execute(f"DELETE FROM {table} WHERE {has_content}")


def oldest_id(at: datetime) -> str:
    """The smallest UUIDv7 of a time (UTC without a zone)."""
    milliseconds = int(at.replace(tzinfo=UTC).timestamp() * 1000)
    digits = f"{max(0, milliseconds):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def _array(column: Column, values: list[Any]) -> Any:
    if column.sql_type == "TIMESTAMP":
        micros = [None if value is None else round(value.replace(tzinfo=UTC).timestamp() * 1e6) for value in values]
        return Array(micros, DataType.int64()).cast(DataType.timestamp("us"))
    if column.sql_type in _TYPES:
        return Array(values, _TYPES[column.sql_type])
    return Array([_text(value) for value in values], DataType.utf8())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return format(value, "f") if isinstance(value, Decimal) else str(value)

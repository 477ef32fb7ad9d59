"""Two logs of the same requests, compared column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from headgate.core.errors import HeadgateError
from headgate.store.archive import copy_stream
from headgate.store.columns import EXCHANGE_COLUMNS, Column
from headgate.store.database import configuration
from headgate.store.rewrite import LONG_AGO, kept
from headgate.store.table_copies import SAID_TABLES, said_columns

if TYPE_CHECKING:
    from headgate.store.log import Log

_PRICED = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
PRICE_COLUMNS = (*_PRICED, "usage_source", "cost_usd", "cost_source", "cost_reason", "price_id")
"""Told by the prices of the day a record is stored: what is not sealed yet may be priced anew."""
_KEY = ("spool_id", "segment", '"offset"')
_SEALED = "(spool_id, segment) IN (SELECT (spool_id, segment) FROM sealed_segments)"


class LogDamaged(HeadgateError):
    """The log's file opens, but not everything in it can be read."""

    code = "log_damaged"
    hint = "headgate verify --rebuild makes it anew from sealed files and spool."


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs; ``extra`` rows are only in the fresh log, ``lost`` only in the old one."""

    compared: int
    lost: int
    extra: int
    columns: dict[str, int]  # column: rows that differ in it; only those with any
    repriced: int  # not sealed, and priced otherwise today
    tables: dict[str, int]  # table beside the requests: rows that only one of the two has

    @property
    def is_equal(self) -> bool:
        """Whether the fresh log can take the old one's place."""
        return not (self.lost or self.extra or self.columns or any(self.tables.values()))


def compare(old: "Log", fresh: "Log", folder: Path, beyond: str) -> Comparison:
    """Blocking: every column of every row. ``beyond`` is a SQL condition for rows of the fresh log that the old one
    cannot have yet. ``folder`` takes the files in between. Raises LogDamaged when the old log cannot be read.
    """
    _export(old, folder / "old")
    _export(fresh, folder / "fresh")
    config = configuration(folder, memory_limit_mb=384, threads=2, purpose="compare")
    with duckdb.connect(":memory:", config=config) as connection:
        for side in ("old", "fresh"):
            for table in ("exchanges", *SAID_TABLES):
                path = str(folder / side / f"{table}.parquet").replace("'", "''")
                connection.execute(f"CREATE VIEW {side}_{table} AS FROM read_parquet('{path}')")
        return _compared(connection, beyond)


def _compared(connection: duckdb.DuckDBPyConnection, beyond: str) -> Comparison:
    names = [column.name for column in EXCHANGE_COLUMNS if column.name not in ("seq", *_KEY)]
    counts = ", ".join(_count(name) for name in names)
    price_differs = " OR ".join(f"old.{name} IS DISTINCT FROM fresh.{name}" for name in PRICE_COLUMNS)
    row = connection.execute(
        f"""SELECT count(*) FILTER (old.request_id IS NOT NULL AND fresh.request_id IS NOT NULL),
                   count(*) FILTER (fresh.request_id IS NULL),
                   count(*) FILTER (old.request_id IS NULL AND NOT fresh.is_beyond),
                   count(*) FILTER (NOT old.is_sealed AND ({price_differs}) AND fresh.request_id IS NOT NULL), {counts}
            FROM old_exchanges AS old FULL JOIN (SELECT *, ({beyond}) AS is_beyond FROM fresh_exchanges) AS fresh
            USING ({", ".join(_KEY)})"""
    ).fetchall()[0]
    differing = {name: count for name, count in zip(names, row[4:], strict=True) if count}
    return Comparison(
        compared=row[0],
        lost=row[1],
        extra=row[2],
        repriced=row[3],
        columns=differing,
        tables={table: _unlike(connection, table) for table in SAID_TABLES},
    )


def _count(name: str) -> str:
    both = "old.request_id IS NOT NULL AND fresh.request_id IS NOT NULL"
    if name in PRICE_COLUMNS:
        both += " AND old.is_sealed"
    return f"count(*) FILTER ({both} AND old.{name} IS DISTINCT FROM fresh.{name})"


def _unlike(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of the old one that the fresh one lacks; the fresh one may know more of what is not stored yet."""
    row = connection.execute(f"SELECT count(*) FROM (FROM old_{table} EXCEPT ALL FROM fresh_{table})").fetchall()[0]
    return int(row[0])


def _export(log: "Log", folder: Path) -> None:
    folder.mkdir(mode=0o700)
    select = ", ".join(kept(column) for column in EXCHANGE_COLUMNS)
    columns: Sequence[Column] = (*EXCHANGE_COLUMNS, Column(name="is_sealed", sql_type="BOOLEAN", help=""))
    config = configuration(folder, memory_limit_mb=128, threads=1, purpose="compare")
    try:
        with duckdb.connect(":memory:", config=config) as writer, log.cursor() as cursor:
            relation = cursor.sql(
                f"SELECT {select}, {_SEALED} AS is_sealed FROM exchanges",
                params={"before": log.bodies_before or LONG_AGO},
            )
            copy_stream(writer, relation, columns, folder / "exchanges.parquet")
            for table in SAID_TABLES:
                known = tuple(
                    Column(name=name, sql_type="VARCHAR", help="") for name in said_columns(table).split(", ")
                )
                copy_stream(writer, cursor.sql(f"FROM {table}"), known, folder / f"{table}.parquet")
    except duckdb.Error as error:
        raise LogDamaged(f"The log {log.home} cannot be read in full: {str(error).splitlines()[0]}") from error

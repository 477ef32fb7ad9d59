"""Copy the log into a fresh file and swap it in: the only way DuckDB gives removed text and freed blocks back.

Most rows are copied beside running ingest; only the last ones, the small tables and the swap hold the writer up.
"""

import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from arro3.core import RecordBatchReader

from headgate.core.errors import Unavailable
from headgate.core.ids import now_us
from headgate.store.columns import EXCHANGE_COLUMNS, SMALL_TABLES, Column
from headgate.store.connection import SharedConnection
from headgate.store.database import DATABASE_NAME, configuration, migrate
from headgate.store.files import sync_directory
from headgate.store.table import first_row

LONG_AGO = datetime(1970, 1, 1)  # noqa: DTZ001
_CHUNK_ROWS = 100_000
_STATE_TABLES = ("marks", "sealed_segments", "file_changes", "deletions", "rewrites", "expiries", "tallies", "removals")


def rewrite(shared: SharedConnection, home: Path, bodies_before: datetime | None) -> None:
    """Replace the file by a copy of its live rows, expired content left out; crash safe at every step."""
    current = home / DATABASE_NAME
    fresh = home / f"{DATABASE_NAME}.new"
    _remove(fresh)
    if shutil.disk_usage(home).free < current.stat().st_size * 1.2:
        raise Unavailable(f"No room to rewrite {current} ({current.stat().st_size} bytes).", hint="Free disk space.")
    try:
        copy_log(shared, home, fresh, bodies_before, lambda: _swap(shared, fresh, current))
    finally:
        _remove(fresh)


def copy_log(
    shared: SharedConnection,
    home: Path,
    fresh: Path,
    bodies_before: datetime | None,
    and_then: Callable[[], None] = lambda: None,
) -> None:
    """Write the live rows and everything beside them to the new file ``fresh``, as of one moment; ``and_then`` still
    belongs to that moment: nothing is stored until it returns."""
    seen = _last_deletion(shared)
    target = duckdb.connect(str(fresh), config=configuration(home, memory_limit_mb=256, threads=1, purpose="rewrite"))
    try:
        os.chmod(fresh, 0o600)
        migrate(target)
        reached = _copy_rows(shared, target, 0, bodies_before)
        with shared.write_lock:
            _copy_rows(shared, target, reached, bodies_before)
            _copy_the_rest(shared, target, seen)
            target.execute("CHECKPOINT")
            target.close()
            and_then()
    finally:
        target.close()


def _last_deletion(shared: SharedConnection) -> int:
    """The number of the newest deletion; those that follow may leave text in the copy."""
    with shared.reading(30.0) as cursor:
        row = first_row(cursor, "SELECT coalesce(max(number), 0) FROM deletions")
    return int(row[0]) if row else 0


def _copy_rows(
    shared: SharedConnection, target: duckdb.DuckDBPyConnection, after: int, bodies_before: datetime | None
) -> int:
    """Copy rows with a seq above ``after`` in steps; returns the highest seq copied."""
    select = ", ".join(kept(column) for column in EXCHANGE_COLUMNS)
    while True:
        with shared.reading(30.0) as cursor:
            last = first_row(
                cursor,
                "SELECT max(seq) FROM (SELECT seq FROM exchanges WHERE seq > ? ORDER BY seq LIMIT ?)",
                [after, _CHUNK_ROWS],
            )
            if last is None or last[0] is None:
                return after
            source = cursor.sql(
                f"SELECT {select} FROM exchanges WHERE seq > $after AND seq <= $last ORDER BY seq",
                params={"before": bodies_before or LONG_AGO, "after": after, "last": last[0]},
            )
            _load(target, "exchanges", source, EXCHANGE_COLUMNS)
        after = last[0]


def kept(column: Column) -> str:
    """A column as it is kept: content and capture of rows before the parameter ``$before`` have expired."""
    if column.is_content:
        return f"CASE WHEN started_at < $before THEN NULL ELSE {column.name} END AS {column.name}"
    if column.name == "capture":
        return """CASE WHEN started_at < $before AND capture IN ('full', 'truncated')
                  THEN 'expired' ELSE capture END AS capture"""
    return column.name


def _load(target: duckdb.DuckDBPyConnection, table: str, source: Any, columns: tuple[Column, ...]) -> None:
    casts = ", ".join(f"CAST({column.name} AS {column.sql_type})" for column in columns)
    target.register("stream", RecordBatchReader.from_stream(source))
    try:
        target.execute(f"INSERT INTO {table} SELECT {casts} FROM stream")
    finally:
        target.unregister("stream")


def _copy_the_rest(shared: SharedConnection, target: duckdb.DuckDBPyConnection, seen: int) -> None:
    with shared.reading(30.0) as cursor:
        for name, columns in SMALL_TABLES.items():
            _load(target, name, cursor.sql(f"FROM {name}"), columns)
        for table in _STATE_TABLES:
            target.register("stream", RecordBatchReader.from_stream(cursor.sql(f"FROM {table}")))
            types = target.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
            casts = ", ".join(f'CAST("{name}" AS {sql_type})' for name, sql_type in types)
            target.execute(f"INSERT INTO {table} SELECT {casts} FROM stream")
            target.unregister("stream")
    # Rows removed while the first pass ran; their text waits for the next rewrite, so it stays noted as pending.
    target.execute("DELETE FROM exchanges WHERE request_id IN (SELECT request_id FROM deletions)")
    target.execute("DELETE FROM exchanges WHERE started_at < (SELECT max(before) FROM expiries WHERE what = 'rows')")
    target.execute("INSERT INTO rewrites VALUES (?, make_timestamp(?))", [seen, now_us()])


def _swap(shared: SharedConnection, fresh: Path, current: Path) -> None:
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    with shared.exclusive():
        wal = current.with_name(current.name + ".wal")
        if wal.exists() or fresh.with_name(fresh.name + ".wal").exists():
            raise Unavailable("The log was not rewritten: it could not be closed cleanly.", hint="It is tried again.")
        fresh.rename(current)
        sync_directory(current.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)

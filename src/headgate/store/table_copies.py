"""What lives in the log's file only (labels, scores, predictions, deletions, the account), copied to Parquet files
beside it, so that a log made anew from sealed files and spool has them too.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from headgate.core.errors import Unavailable
from headgate.core.ids import now_us
from headgate.store.archive import copy_stream
from headgate.store.columns import SMALL_TABLES, Column, TableName
from headgate.store.database import configuration
from headgate.store.files import sync_directory
from headgate.store.table import first_row

if TYPE_CHECKING:
    from headgate.store.log import Log

FOLDER = "tables"
SAID_TABLES: tuple[TableName, ...] = ("labels", "scores", "predictions")
_STATE_TABLES = ("deletions", "expiries", "sealed_segments", "tallies", "removals", "marks")
_CHANGES = """
    SELECT (SELECT count(*) FROM labels), (SELECT count(*) FROM scores), (SELECT count(*) FROM predictions),
           (SELECT count(*) FROM deletions), (SELECT coalesce(max(number), 0) FROM deletions),
           (SELECT count(*) FROM expiries), (SELECT count(*) FROM sealed_segments), (SELECT sum(rows) FROM removals)
"""


def newest_copy(home: Path) -> Path | None:
    """The directory of the newest whole copy."""
    whole = [path for path in (home / FOLDER).glob("[0-9]*") if path.is_dir()]
    return max(whole, key=lambda path: path.name, default=None)


class TableCopies:
    """Keeps the copy of one log up to date; one thread at a time."""

    def __init__(self, log: "Log") -> None:
        self._log = log
        self._copied: tuple[object, ...] | None = None

    def bring_up_to_date(self) -> bool:
        """Blocking: write a new copy when something changed since the last one; whether it did."""
        now = tuple(self._log.query(_CHANGES).rows[0])
        if now == self._copied and newest_copy(self._log.home) is not None:
            return False
        write_copy(self._log)
        self._copied = now
        return True


def write_copy(log: "Log") -> Path:
    """Write all tables as of one moment to a new directory, then remove the older ones; raises Unavailable."""
    folder = log.home / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for stale in folder.glob(".new-*"):
        shutil.rmtree(stale, ignore_errors=True)
    name = f"{now_us():020d}"
    made = folder / f".new-{name}"
    made.mkdir(mode=0o700)
    writer = duckdb.connect(
        ":memory:", config=configuration(log.home, memory_limit_mb=128, threads=1, purpose="tables")
    )
    try:
        with log.cursor() as cursor:
            cursor.execute("BEGIN")
            for table in (*SAID_TABLES, *_STATE_TABLES):
                copy_stream(writer, cursor.sql(f"FROM {table}"), _columns(cursor, table), made / f"{table}.parquet")
            cursor.execute("ROLLBACK")
    except duckdb.Error as error:
        raise Unavailable(f"The tables of the log could not be copied: {error}") from error
    finally:
        writer.close()
    for path in made.iterdir():
        with path.open("rb") as written:
            os.fsync(written.fileno())
    sync_directory(made)
    final = made.rename(folder / name)
    sync_directory(folder)
    for old in folder.glob("[0-9]*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    return final


def _columns(cursor: duckdb.DuckDBPyConnection, table: str) -> tuple[Column, ...]:
    described = cursor.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
    return tuple(Column(name=f'"{name}"', sql_type=sql_type, help="") for name, sql_type in described)


def restore(log: "Log", copy: Path, tables: Sequence[str], conditions: dict[str, str]) -> dict[str, int]:
    """Read tables of a copy into the log, as far as each one's condition holds; how many rows came by table.

    Columns that the copy does not have are NULL, those that the log does not know are left. Raises Unavailable.
    """
    counts = {}
    with log.writing() as connection:
        for table in tables:
            path = copy / f"{table}.parquet"
            if not path.exists():
                continue
            given = set(log.archive.column_names(path))
            known = [name for name in _names(connection, table) if name in given]
            listed = ", ".join(f'"{name}"' for name in known)
            batch = log.archive.whole(path)
            connection.register("batch", batch)
            try:
                types = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall())
                casts = ", ".join(f'CAST("{name}" AS {types[name]}) AS "{name}"' for name in known)
                condition = conditions.get(table, "true")
                sql = f"INSERT INTO {table} ({listed}) SELECT * FROM (SELECT {casts} FROM batch) WHERE {condition}"
                row = first_row(connection, sql)
                counts[table] = int(row[0]) if row else 0
            finally:
                connection.unregister("batch")
    log.checkpoint()
    log.load_state()
    return counts


def _names(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()]


def said_columns(table: TableName) -> str:
    """The columns of one of the tables in which people and judges speak, as a SQL list."""
    return ", ".join(column.name for column in SMALL_TABLES[table])

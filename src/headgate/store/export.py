"""Requests copied out of the log into a Parquet or DuckDB file that anyone's tools open."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
from arro3.core import Table

from headgate.core.errors import Unavailable
from headgate.store.archive import with_bodies
from headgate.store.columns import ATTEMPT_COLUMNS, BODY_COLUMNS, REQUEST_COLUMNS, definitions, names
from headgate.store.database import configuration
from headgate.store.log import Log

_MEMORY_MB = 256


class ExportFile:
    """A file being written, some requests at a time; every method blocks. Raises Unavailable when the disk refuses."""

    def __init__(self, home: Path, path: Path, kind: Literal["parquet", "duckdb"], *, has_bodies: bool) -> None:
        self._path, self._kind, self._has_bodies = path, kind, has_bodies
        # Parquet is written in one go at the end, so that its rows need not fit in memory: they wait in a file.
        self._database = path if kind == "duckdb" else path.with_name(path.name + ".rows")
        self._columns = REQUEST_COLUMNS + (BODY_COLUMNS if has_bodies else ())
        settings = configuration(home, memory_limit_mb=_MEMORY_MB, threads=1, purpose="export")
        self._connection = duckdb.connect(str(self._database), config=settings)
        os.chmod(self._database, 0o600)
        self._connection.execute(f"CREATE TABLE requests ({definitions(self._columns)})")
        self._connection.execute(f"CREATE TABLE attempts ({definitions(ATTEMPT_COLUMNS)})")

    def add(self, log: Log, request_ids: Sequence[str]) -> None:
        """Copy these requests, with their attempts and, where asked for, their bodies."""
        condition = "request_id IN (SELECT CAST(unnest($ids::VARCHAR[]) AS UUID))"
        try:
            with log.cursor() as cursor:
                params = {"ids": list(request_ids)}
                rows = cursor.sql(f"SELECT {names(REQUEST_COLUMNS)} FROM requests WHERE {condition}", params=params)
                batch: Any = Table.from_arrow(rows)
                tries = cursor.sql(f"SELECT {names(ATTEMPT_COLUMNS)} FROM attempts WHERE {condition}", params=params)
                attempts: Any = Table.from_arrow(tries)
            if self._has_bodies:
                ids = [str(value) for value in _ids(batch)]
                batch = Table.from_batches([with_bodies(batch, [log.body_of(request_id) for request_id in ids])])
            self._insert("requests", batch, self._columns)
            self._insert("attempts", attempts, ATTEMPT_COLUMNS)
        except duckdb.Error as error:
            raise Unavailable(f"The export could not be written: {str(error).splitlines()[0]}") from error

    def _insert(self, table: str, batch: Any, columns: Sequence[Any]) -> None:
        typed = ", ".join(f"CAST({column.name} AS {column.sql_type})" for column in columns)
        self._connection.register("batch", batch)
        try:
            self._connection.execute(f"INSERT INTO {table} SELECT {typed} FROM batch")
        finally:
            self._connection.unregister("batch")

    def finish(self) -> None:
        """Complete the file: its rows newest first."""
        try:
            if self._kind == "parquet":
                target = str(self._path).replace("'", "''")
                self._connection.execute(
                    f"COPY (FROM requests ORDER BY request_id DESC) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
                )
                os.chmod(self._path, 0o600)
        except duckdb.Error as error:
            raise Unavailable(f"The export could not be written: {str(error).splitlines()[0]}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of everything but the finished file; may be called again."""
        self._connection.close()
        if self._kind == "parquet":
            for path in (self._database, self._database.with_name(self._database.name + ".wal")):
                path.unlink(missing_ok=True)


def _ids(batch: Any) -> list[Any]:
    values: list[Any] = batch.column("request_id").to_pylist()
    return values

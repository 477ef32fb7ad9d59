"""The sealed Parquet files: written, merged, stripped and read by an in-memory DuckDB instance of their own."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema, Table

from headgate.core.errors import Unavailable
from headgate.store.columns import BODY_COLUMNS, EXCHANGE_COLUMNS, REQUEST_COLUMNS, Column, definitions, names
from headgate.store.database import configuration
from headgate.store.files import TEMPORARY, SealedFile, hash_of, sync_directory
from headgate.store.table import first_row
from headgate.store.values import Bodies

_COPY_OPTIONS = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 2048)"
_ALL_COLUMNS = EXCHANGE_COLUMNS + BODY_COLUMNS
_METADATA_ROWS = 50_000
_CONTENT = {column.name for column in (*REQUEST_COLUMNS, *BODY_COLUMNS) if column.is_content}
_BODY_TYPES = {"VARCHAR": DataType.utf8(), "BLOB": DataType.binary()}


def with_bodies(metadata: Any, bodies: Sequence[Bodies | None]) -> Any:
    """A record batch of ``metadata`` (an Arrow table of exchange columns) with one entry of ``bodies`` per row."""
    arrays = [metadata.column(index).combine_chunks() for index in range(metadata.num_columns)]
    fields = [metadata.schema.field(index) for index in range(metadata.num_columns)]
    texts: dict[str, list[str | None]] = {"request": [], "sent": [], "response": []}
    raws: dict[str, list[bytes | None]] = {"request_raw": [], "sent_raw": [], "response_raw": []}
    for item in bodies:
        for name in ("request", "sent", "response"):
            text, raw = _text_or_raw(getattr(item, name) if item is not None else None)
            texts[name].append(text)
            raws[f"{name}_raw"].append(raw)
    for column in BODY_COLUMNS:
        values: list[Any] = texts[column.name] if column.name in texts else raws[column.name]
        arrays.append(Array(values, _BODY_TYPES[column.sql_type]))
        fields.append(Field(column.name, _BODY_TYPES[column.sql_type]))
    return RecordBatch.from_arrays(arrays, schema=Schema(fields))


def _text_or_raw(value: bytes | None) -> tuple[str | None, bytes | None]:
    if value is None:
        return None, None
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, value


def _typed(columns: Iterable[Column], *, is_stripped: bool = False) -> str:
    """A select list with every column in its declared type; without content when ``is_stripped``."""
    parts = []
    for column in columns:
        value = column.name
        if is_stripped and column.name in _CONTENT:
            value = "NULL"
        elif is_stripped and column.name == "capture":
            value = "CASE WHEN capture IN ('full', 'truncated') THEN 'expired' ELSE capture END"
        parts.append(f"CAST({value} AS {column.sql_type}) AS {column.name}")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a file that lies in the archive's directory is, and the spool segments whose rows it has."""

    file: SealedFile
    segments: frozenset[tuple[str, int]]


class Archive:
    """One at a time: a lock covers every call. External access is on here, and no user's text ever runs here."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "bodies"
        self._lock = threading.Lock()
        config = configuration(home, memory_limit_mb=384, threads=1, purpose="archive")
        self._connection = duckdb.connect(":memory:", config=config)

    def write(self, name: str, batches: Iterator[Any]) -> SealedFile | None:
        """Write record batches (``with_bodies``) to the file ``name``; None when there were none."""
        first = next(batches, None)
        if first is None:
            return None

        def all_batches() -> Iterator[Any]:
            yield first
            yield from batches

        reader = RecordBatchReader.from_batches(first.schema, all_batches())
        with self._using({"sealing": reader}) as connection:
            return self._copy(connection, f"SELECT {_typed(_ALL_COLUMNS)} FROM sealing", [], name, has_bodies=True)

    def merge(
        self, paths: Sequence[str], name: str, *, has_bodies: bool, without: Sequence[str] = ()
    ) -> SealedFile | None:
        """Copy the rows of ``paths`` into one new file, minus the request ids ``without``; None when no row is left.

        ``has_bodies=False`` leaves all content out.
        """
        with self._using({}) as connection:
            sql = f"""SELECT {_typed(_ALL_COLUMNS, is_stripped=not has_bodies)}
                      FROM read_parquet(?::VARCHAR[], union_by_name = true, hive_partitioning = false)
                      WHERE CAST(request_id AS VARCHAR) NOT IN (SELECT unnest(?::VARCHAR[]))"""
            full = [str(self.directory / path) for path in paths]
            return self._copy(connection, sql, [full, list(without)], name, has_bodies=has_bodies)

    def _copy(
        self, connection: duckdb.DuckDBPyConnection, sql: str, params: list[Any], name: str, *, has_bodies: bool
    ) -> SealedFile | None:
        final = self.directory / name
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = final.with_name(final.name + TEMPORARY)
        try:
            connection.execute(f"COPY ({sql}) TO '{_quoted(temporary)}' {_COPY_OPTIONS}", params)
            facts = first_row(
                connection, "SELECT count(*), min(started_at), max(started_at) FROM read_parquet(?)", [str(temporary)]
            )
            if facts is None or facts[0] == 0:
                return None
            os.chmod(temporary, 0o600)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            size, digest = temporary.stat().st_size, hash_of(temporary)
            temporary.rename(final)
            sync_directory(final.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return SealedFile(
            path=name,
            rows=facts[0],
            bytes=size,
            has_bodies=has_bodies,
            min_started_at=facts[1],
            max_started_at=facts[2],
            sha256=digest,
        )

    def holds_any(self, path: str, request_ids: Sequence[str]) -> bool:
        """Whether the file has a row of any of these requests."""
        with self._using({}) as connection:
            row = first_row(
                connection,
                """SELECT 1 FROM read_parquet(?)
                   WHERE request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))
                   LIMIT 1""",
                [str(self.directory / path), list(request_ids)],
            )
        return row is not None

    def examine(self, name: str) -> Examined:
        """What the file says of itself; raises Unavailable when it is damaged or no sealed file, OSError when gone."""
        path = self.directory / name
        size = path.stat().st_size
        has_content = " OR ".join(f"bool_or({column} IS NOT NULL)" for column in sorted(_CONTENT))
        with self._using({}) as connection:
            # Every column is named, so that a file without one of them is none of ours.
            connection.execute(f"SELECT {names(_ALL_COLUMNS)} FROM read_parquet(?) LIMIT 0", [str(path)])
            facts = first_row(
                connection,
                f"""SELECT count(*), coalesce({has_content} OR bool_or(capture IN ('full', 'truncated')), false),
                           min(started_at), max(started_at) FROM read_parquet(?)""",
                [str(path)],
            )
            segments = connection.execute(
                "SELECT DISTINCT spool_id, segment FROM read_parquet(?)", [str(path)]
            ).fetchall()
        if facts is None or facts[0] == 0:
            raise Unavailable(f"{name} holds no row.")
        file = SealedFile(
            path=name,
            rows=facts[0],
            bytes=size,
            has_bodies=facts[1],
            min_started_at=facts[2],
            max_started_at=facts[3],
            sha256=hash_of(path),
        )
        return Examined(file=file, segments=frozenset((row[0], row[1]) for row in segments))

    def rows(self, sql: str, params: dict[str, object]) -> list[tuple[Any, ...]]:
        """All rows of one query of ours over files; raises Unavailable."""
        with self._using({}) as connection:
            return connection.execute(sql, params).fetchall()

    def column_names(self, path: Path) -> list[str]:
        """The columns of a Parquet file of ours; raises Unavailable."""
        with self._using({}) as connection:
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        return [row[0] for row in described]

    def whole(self, path: Path) -> Any:
        """All of a small Parquet file as an Arrow table; raises Unavailable."""
        with self._using({}) as connection:
            return Table.from_arrow(connection.sql("FROM read_parquet($path)", params={"path": str(path)}))

    def shared(self, name: str, others: Sequence[str], deleted: Sequence[str] = ()) -> list[str]:
        """The requests of the file ``name`` that are in one of ``others`` too, or are among ``deleted``."""
        sql = """SELECT CAST(request_id AS VARCHAR) FROM read_parquet($path) AS mine
                 WHERE request_id IN (SELECT CAST(unnest($deleted::VARCHAR[]) AS UUID))"""
        params: dict[str, object] = {"path": str(self.directory / name), "deleted": list(deleted)}
        if others:
            params["others"] = [str(self.directory / other) for other in others]
            sql += """ OR EXISTS (SELECT 1 FROM read_parquet($others::VARCHAR[], union_by_name = true) AS other
                WHERE other.spool_id = mine.spool_id AND other.segment = mine.segment
                AND other."offset" = mine."offset")"""
        with self._using({}) as connection:
            return [row[0] for row in connection.execute(sql, params).fetchall()]

    def metadata(self, name: str) -> Iterator[Any]:
        """The file's rows without bodies, as Arrow tables of some thousand rows, in the order they were stored."""
        first = 0
        while True:
            with self._using({}) as connection:
                relation = connection.sql(
                    f"""SELECT {_typed(EXCHANGE_COLUMNS)} FROM read_parquet($path, file_row_number = true)
                        WHERE file_row_number >= $first AND file_row_number < $last ORDER BY seq""",
                    params={"path": str(self.directory / name), "first": first, "last": first + _METADATA_ROWS},
                )
                table = Table.from_arrow(relation)
            if table.num_rows == 0:
                return
            yield table
            first += _METADATA_ROWS

    def bodies_of(self, paths: Sequence[Path], request_id: str) -> Bodies | None:
        """The bodies of one request, looked for in ``paths``; None when no file has them."""
        if not paths:
            return None
        with self._using({}) as connection:
            row = first_row(
                connection,
                """SELECT request, request_raw, sent, sent_raw, response, response_raw
                   FROM read_parquet(?::VARCHAR[], union_by_name = true, hive_partitioning = false)
                   WHERE request_id = CAST(? AS UUID) LIMIT 1""",
                [[str(path) for path in paths], request_id],
            )
        if row is None:
            return None
        request, sent, response = (_bytes(row[index], row[index + 1]) for index in (0, 2, 4))
        if request is None and response is None:
            return None
        return Bodies(request=request or b"", sent=sent, response=response or b"")

    def bodies_of_many(self, paths: Sequence[Path], request_ids: Sequence[str]) -> dict[str, Bodies]:
        """The bodies of several requests by id, as far as the files have them; the caller bounds their size."""
        if not paths or not request_ids:
            return {}
        with self._using({}) as connection:
            rows = connection.execute(
                """SELECT CAST(request_id AS VARCHAR), request, request_raw, sent, sent_raw, response, response_raw
                   FROM read_parquet(?::VARCHAR[], union_by_name = true, hive_partitioning = false)
                   WHERE request_id IN (SELECT CAST(unnest(?::VARCHAR[]) AS UUID))""",
                [[str(path) for path in paths], list(request_ids)],
            ).fetchall()
        found = {}
        for request_id, *cells in rows:
            request, sent, response = (_bytes(cells[index], cells[index + 1]) for index in (0, 2, 4))
            if request is not None or response is not None:
                found[request_id] = Bodies(request=request or b"", sent=sent, response=response or b"")
        return found

    @contextmanager
    def _using(self, views: dict[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            cursor = self._connection.cursor()
            try:
                for name, source in views.items():
                    cursor.register(name, source)
                yield cursor
            except duckdb.Error as error:
                text = str(error).splitlines()
                raise Unavailable(f"The sealed files could not be used: {text[0] if text else error!r}") from error
            finally:
                cursor.close()

    def close(self) -> None:
        """End the instance."""
        with self._lock:
            self._connection.close()


def copy_stream(connection: duckdb.DuckDBPyConnection, relation: Any, columns: Sequence[Column], path: Path) -> None:
    """Write what ``relation`` (of any instance) gives to a Parquet file, every column in its declared type."""
    connection.register("handed", RecordBatchReader.from_stream(relation))
    try:
        connection.execute(f"COPY (SELECT {_typed(columns)} FROM handed) TO '{_quoted(path)}' (FORMAT parquet)")
    finally:
        connection.unregister("handed")
    os.chmod(path, 0o600)


def _bytes(text: str | None, raw: bytes | None) -> bytes | None:
    return raw if text is None else text.encode()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def empty_table_text(name: str) -> str:
    """CREATE TABLE for a table with every column of a sealed file."""
    return f"CREATE TABLE {name} ({definitions(_ALL_COLUMNS)})"

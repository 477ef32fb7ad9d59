"""What was read of each spool segment, and what was taken out of it since: stored beside the rows they speak of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from headgate.core.ids import now_us
from headgate.store.columns import EXCHANGE_COLUMNS
from headgate.store.table import first_row

if TYPE_CHECKING:
    from headgate.store.log import Log

Segment = tuple[str, int]
"""A spool and the number of one of its segments."""

_SCAN_S = 600.0
PROVEN_COLUMNS = tuple(
    column.name
    for column in EXCHANGE_COLUMNS
    if not column.is_content and column.name not in ("seq", "capture")  # what retention and rebuilding may change
)


def insert_tallies(connection: duckdb.DuckDBPyConnection, tallies: Sequence[tuple[str, int, str]]) -> None:
    """Store (spool, segment, tally) in the transaction that is open."""
    for spool_id, segment, tally in tallies:
        connection.execute(
            "INSERT INTO tallies VALUES (?, ?, ?, make_timestamp(?))", [spool_id, segment, tally, now_us()]
        )


def note_removals(connection: duckdb.DuckDBPyConnection, condition: str, params: Sequence[object]) -> None:
    """Count the rows that are about to be taken out, in the transaction that takes them."""
    connection.execute(
        f"""INSERT INTO removals SELECT spool_id, segment, count(*), make_timestamp({now_us()}) FROM exchanges
            WHERE {condition} GROUP BY ALL""",
        list(params),
    )


def merge_tallies(log: "Log", merge: Callable[[Sequence[str]], str]) -> int:
    """Put one tally in the place of several of the same segment; returns how many went."""
    with log.writing() as connection:
        several = connection.execute(
            """SELECT spool_id, segment, list(tally) FROM tallies GROUP BY ALL HAVING count(*) > 1"""
        ).fetchall()
        for spool_id, segment, texts in several:
            connection.execute("DELETE FROM tallies WHERE spool_id = ? AND segment = ?", [spool_id, segment])
            insert_tallies(connection, [(spool_id, segment, merge(texts))])
        connection.execute(
            """CREATE TEMP TABLE merged AS
               SELECT spool_id, segment, sum(rows)::BIGINT AS rows, max(noted_at) AS noted_at
               FROM removals GROUP BY ALL"""
        )
        connection.execute("DELETE FROM removals")
        connection.execute("INSERT INTO removals SELECT * FROM merged")
        connection.execute("DROP TABLE merged")
    return sum(len(texts) - 1 for _, _, texts in several)


def tallied_segments(log: "Log", spool_id: str) -> set[int]:
    """The segments of a spool that were read, in whole or in part."""
    rows = log.query("SELECT DISTINCT segment FROM tallies WHERE spool_id = ?", [spool_id]).rows
    return {row[0] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCounts:
    """One consistent view of what the log says of itself."""

    tallies: list[tuple[str, int, str]]
    positions: dict[str, tuple[int, int]]  # spool to (segment, offset)
    closed: set[str]
    rows: dict[Segment, int]
    removed: dict[Segment, int]
    sealed: set[Segment]
    twice: list[str]  # ids of requests that have several rows; at most some


def stored_counts(log: "Log", *, with_rows: bool = True) -> StoredCounts:
    """All of it from one read transaction; without counting rows, which takes a scan, unless ``with_rows``."""
    with log.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            marks = cursor.execute(
                'SELECT spool_id, max((segment, "offset")), bool_or(is_closed) FROM marks GROUP BY spool_id'
            ).fetchall()
            return StoredCounts(
                tallies=cursor.execute("SELECT spool_id, segment, tally FROM tallies").fetchall(),
                positions={spool_id: (at[0], at[1]) for spool_id, at, _ in marks},
                closed={spool_id for spool_id, _, is_closed in marks if is_closed},
                rows=_counts(cursor, "SELECT spool_id, segment, count(*) FROM exchanges GROUP BY ALL")
                if with_rows
                else {},
                removed=_counts(cursor, "SELECT spool_id, segment, sum(rows)::BIGINT FROM removals GROUP BY ALL"),
                sealed=set(cursor.execute("SELECT DISTINCT spool_id, segment FROM sealed_segments").fetchall()),
                twice=_twice(cursor) if with_rows else [],
            )
        finally:
            cursor.execute("ROLLBACK")


def _counts(cursor: duckdb.DuckDBPyConnection, sql: str) -> dict[Segment, int]:
    return {(spool_id, segment): count for spool_id, segment, count in cursor.execute(sql).fetchall()}


def _twice(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    facts = first_row(cursor, "SELECT count(*), count(DISTINCT request_id) FROM exchanges")
    if facts is None or facts[0] == facts[1]:
        return []
    rows = cursor.execute(
        "SELECT request_id::VARCHAR FROM exchanges GROUP BY request_id HAVING count(*) > 1 ORDER BY 1 LIMIT 20"
    ).fetchall()
    return [row[0] for row in rows]


_DIGEST = f"count(*), bit_xor(hash({', '.join(PROVEN_COLUMNS)}))"
Digests = dict[Segment, tuple[int, int]]
"""Per segment: how many rows there are, and a checksum of everything in them that never changes."""


def log_digests(log: "Log") -> Digests:
    """Of the rows that the log has of sealed segments."""
    table = log.query(
        f"""SELECT spool_id, segment, {_DIGEST} FROM exchanges
            WHERE (spool_id, segment) IN (SELECT (spool_id, segment) FROM sealed_segments) GROUP BY ALL""",
        timeout_s=_SCAN_S,
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in table.rows}


def file_digests(log: "Log", paths: Sequence[str]) -> Digests:
    """Of the rows that these sealed files have and that were not taken out since; raises Unavailable."""
    if not paths:
        return {}
    deleted = [str(row[0]) for row in log.query("SELECT request_id FROM deletions").rows]
    gone_before = log.query("SELECT max(before) FROM expiries WHERE what = 'rows'").rows[0][0]
    columns = ", ".join(f"CAST({column.name} AS {column.sql_type}) AS {column.name}" for column in EXCHANGE_COLUMNS)
    rows = log.archive.rows(
        f"""SELECT spool_id, segment, {_DIGEST} FROM (
                SELECT {columns} FROM read_parquet($paths::VARCHAR[], union_by_name = true, hive_partitioning = false)
            ) WHERE CAST(request_id AS VARCHAR) NOT IN (SELECT unnest($deleted::VARCHAR[]))
              AND started_at >= coalesce($gone_before::TIMESTAMP, '-infinity'::TIMESTAMP) GROUP BY ALL""",
        {
            "paths": [str(log.bodies_directory / path) for path in paths],
            "deleted": deleted,
            "gone_before": gone_before,
        },
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}

"""`headgate sql`: a user's SELECT runs in a process of its own, over files handed to it, and can hold nothing up."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import msgspec

from headgate.core.errors import QueryRefused, Unavailable
from headgate.core.ids import now_us, uuid7
from headgate.store.archive import copy_stream
from headgate.store.columns import LOCATOR_COLUMNS, REQUEST_COLUMNS, SMALL_TABLES
from headgate.store.database import configuration
from headgate.store.log import Log
from headgate.store.sandbox_child import Answer, Task, timed_out
from headgate.store.table import Table, first_row

MAX_RESULT_BYTES = 16 << 20
MAX_AT_ONCE = 2
_START_S = 20.0  # its process has the lowest priority, and only the query is stopped after its own time
_LIVE_COLUMNS = (*REQUEST_COLUMNS, LOCATOR_COLUMNS[-1])
_slots = threading.BoundedSemaphore(MAX_AT_ONCE)


def select(log: Log, query: str, *, timeout_s: float = 10.0, memory_mb: int = 256, max_rows: int = 10_000) -> Table:
    """Run a user's SELECT over the views; cells come back fit for JSON (money, ids and times as text).

    Raises QueryRefused for a text outside the sandbox, a failing one, or one over its time or memory, and
    Unavailable at once while ``MAX_AT_ONCE`` others run.
    """
    # Never waited for: who asks from a pool of threads would fill it with those who wait.
    if not _slots.acquire(blocking=False):
        raise Unavailable(
            f"{MAX_AT_ONCE} SQL queries are running already.", code="busy", hint="Try again in a few seconds."
        )
    try:
        for is_last in (False, False, True):
            with handed_over(log, query) as task:
                task.query, task.timeout_s, task.memory_mb, task.max_rows = query, timeout_s, memory_mb, max_rows
                answer = run_select(task)
                # A file may be merged or stripped between the listing and the reading: list again.
                is_stale = answer.error is not None and any(not Path(path).exists() for path in task.sealed)
            if is_last or not is_stale:
                return _table(answer)
        raise AssertionError
    finally:
        _slots.release()


def run_select(task: Task) -> Answer:
    """Run one task in a fresh process, killed when its time is over; raises QueryRefused then."""
    command = [sys.executable, "-I", "-m", "headgate.store.sandbox_child"]
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(task),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=task.timeout_s + _START_S,
            env={},  # no secret of ours is within reach
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise timed_out(task.timeout_s) from error
    if done.returncode != 0 or not done.stdout:
        raise QueryRefused(
            f"The query ended its process (status {done.returncode}): most often, over {task.memory_mb} MB.",
            code="query_too_large",
            hint="Narrow it to a shorter time range or fewer columns.",
        )
    return msgspec.json.decode(done.stdout, type=Answer)


def _table(answer: Answer) -> Table:
    if answer.error is not None:
        raise QueryRefused(answer.error, code=answer.code, hint=answer.hint)
    return Table(
        columns=tuple(answer.columns),
        types=tuple(answer.types),
        rows=[tuple(row) for row in answer.rows],
        is_truncated=answer.is_truncated,
    )


@contextmanager
def handed_over(log: Log, query: str) -> Iterator[Task]:
    """One consistent state of the log as files: sealed ones as they are, everything else written out for this query."""
    directory = log.home.absolute() / "tmp" / f"sql-{uuid7(now_us())}"
    directory.mkdir(mode=0o700, parents=True)
    writer = duckdb.connect(":memory:", config=configuration(log.home, memory_limit_mb=256, threads=1, purpose="sql"))
    try:
        with log.cursor() as cursor:
            cursor.execute("BEGIN")
            yielded = _snapshot(log, cursor, writer, directory, query.lower())
            cursor.execute("COMMIT")
        yield yielded
    finally:
        writer.close()
        shutil.rmtree(directory, ignore_errors=True)


def _snapshot(
    log: Log, cursor: duckdb.DuckDBPyConnection, writer: duckdb.DuckDBPyConnection, directory: Path, query: str
) -> Task:
    sealed, live, deleted = [], None, None
    if "requests" in query or "attempts" in query:
        paths = cursor.execute(
            """SELECT path FROM file_changes WHERE change = 'added'
               AND path NOT IN (SELECT path FROM file_changes WHERE change = 'removed') ORDER BY min_started_at"""
        ).fetchall()
        sealed = [str((log.bodies_directory / row[0]).absolute()) for row in paths]
        live = str(directory / "live.parquet")
        names = ", ".join(column.name for column in _LIVE_COLUMNS)
        unsealed = "(spool_id, segment) NOT IN (SELECT (spool_id, segment) FROM sealed_segments)"
        floor = log.unsealed_from
        relation = cursor.sql(
            f"SELECT {names} FROM exchanges WHERE seq >= $floor AND {unsealed}", params={"floor": floor}
        )
        copy_stream(writer, relation, _LIVE_COLUMNS, Path(live))
        lowest = first_row(cursor, f"SELECT min(seq) FROM exchanges WHERE seq >= ? AND {unsealed}", [floor])
        log.note_unsealed_from(lowest[0] if lowest and lowest[0] is not None else floor)
        if _has_rows(cursor, "deletions"):
            deleted = str(directory / "deleted.parquet")
            copy_stream(writer, cursor.sql("SELECT request_id FROM deletions"), REQUEST_COLUMNS[:1], Path(deleted))
    tables = {}
    for name, columns in SMALL_TABLES.items():
        if name in query and _has_rows(cursor, name):
            tables[str(name)] = str(directory / f"{name}.parquet")
            copy_stream(writer, cursor.sql(f"FROM {name}"), columns, Path(tables[name]))
    marks = first_row(
        cursor,
        """SELECT max(before) FILTER (WHERE what = 'bodies')::VARCHAR, max(before) FILTER (WHERE what = 'rows')::VARCHAR
           FROM expiries""",
    )
    return Task(
        query="",
        sealed=sealed,
        live=live,
        deleted=deleted,
        tables=tables,
        bodies_before=marks[0] if marks else None,
        rows_before=marks[1] if marks else None,
        timeout_s=0,
        memory_mb=0,
        max_rows=0,
        max_bytes=MAX_RESULT_BYTES,
        temporary=str(directory / "spill"),
    )


def _has_rows(cursor: duckdb.DuckDBPyConnection, table: str) -> bool:
    return first_row(cursor, f"SELECT 1 FROM {table} LIMIT 1") is not None

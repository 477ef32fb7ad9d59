"""The sandbox's process: a task from stdin, one checked SELECT over the views, the answer to stdout."""

import ctypes
import os
import resource
import signal
import sys
import threading
from typing import Any

import duckdb
import msgspec

from headgate.core.errors import HeadgateError, QueryRefused
from headgate.store.columns import ATTEMPT_COLUMNS, LOCATOR_COLUMNS, REQUEST_COLUMNS, SMALL_TABLES, Column, definitions
from headgate.store.database import Config, spare_pandas
from headgate.store.sandbox_check import checked
from headgate.store.table import json_value

_PR_SET_PDEATHSIG = 1
_ATTEMPT_LIST = LOCATOR_COLUMNS[-1]
_FETCH_ROWS = 500


class Task(msgspec.Struct, kw_only=True):
    """What the sandbox is asked to do and with which files."""

    query: str
    sealed: list[str]
    live: str | None
    deleted: str | None
    tables: dict[str, str]
    bodies_before: str | None
    rows_before: str | None
    timeout_s: float
    memory_mb: int
    max_rows: int
    max_bytes: int
    temporary: str


class Answer(msgspec.Struct, kw_only=True):
    """A result, or why there is none."""

    columns: list[str] = []
    types: list[str] = []
    rows: list[list[Any]] = []
    is_truncated: bool = False
    error: str | None = None
    code: str = ""
    hint: str = ""


def main() -> int:
    """Serve one job."""
    spare_pandas()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    _confine(task)
    try:
        answer = run(task)
    except HeadgateError as error:
        answer = Answer(error=str(error), code=error.code, hint=error.hint)
    except MemoryError:
        answer = _too_large(task)
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()
    return 0


def _confine(task: Task) -> None:
    """Die with the parent, stay behind every other process, and stop at hard limits."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(10)
    os.chdir("/")
    seconds = int(task.timeout_s) * 2 + 5
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    size = (task.memory_mb + 1536) << 20  # address space, of which DuckDB reserves more than it uses
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def run(task: Task) -> Answer:
    """Answer one task; raises QueryRefused."""
    connection = locked_instance(task)
    try:
        return answered(connection, task)
    finally:
        connection.close()


def locked_instance(task: Task) -> duckdb.DuckDBPyConnection:
    """An instance with the task's views, that reaches nothing else and cannot be changed any more."""
    config: Config = {
        "memory_limit": f"{task.memory_mb}MB",
        "threads": 2,
        "temp_directory": task.temporary,
        "max_temp_directory_size": "1GB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    for statement in views(task):
        connection.execute(statement)
    files = [*task.sealed, *filter(None, (task.live, task.deleted)), *task.tables.values()]
    # Reading these files is all that is left open; the views name them, the checked query cannot.
    connection.execute(f"SET allowed_paths = [{', '.join(map(_text, files))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def answered(connection: duckdb.DuckDBPyConnection, task: Task) -> Answer:
    """The task's query, checked and run on a locked instance; raises QueryRefused."""
    text = checked(connection, task.query)
    timer = threading.Timer(task.timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        statements = connection.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryRefused("The query was refused: it is not one SELECT.")
        return _fetched(connection.execute(statements[0]), task)
    except duckdb.OutOfMemoryException:
        return _too_large(task)
    except duckdb.InterruptException as error:
        raise timed_out(task.timeout_s) from error
    except duckdb.Error as error:
        raise QueryRefused(f"The query failed: {_without_paths(str(error), task)}", code="query_failed") from error
    finally:
        timer.cancel()
        timer.join()


def timed_out(timeout_s: float) -> QueryRefused:
    """What a query that ran for too long is told."""
    return QueryRefused(
        f"The query was stopped after {timeout_s:g} s.",
        code="query_timeout",
        hint="Narrow it, for example: WHERE started_at > now()::TIMESTAMP - INTERVAL 1 DAY.",
    )


def views(task: Task) -> list[str]:
    """The statements that build the views over the files handed over."""
    columns = (*REQUEST_COLUMNS, _ATTEMPT_LIST)
    names = ", ".join(column.name for column in columns)
    sources = []
    if task.sealed:
        deleted = (
            f" AND request_id NOT IN (SELECT request_id FROM read_parquet({_text(task.deleted)}))"
            if task.deleted
            else ""
        )
        since = f"started_at >= {_time(task.rows_before)}"
        files = ", ".join(map(_text, task.sealed))
        sources.append(
            f"SELECT {names} FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false) "
            f"WHERE {since}{deleted}"
        )
    if task.live:
        sources.append(f"SELECT {names} FROM read_parquet({_text(task.live)})")
    if not sources:
        sources.append(f"SELECT {_nothing(columns)} WHERE false")
    everything = " UNION ALL ".join(sources)
    shown = ", ".join(_shown(column, task.bodies_before) for column in REQUEST_COLUMNS)
    tries = ", ".join(f"a.{column.name}" for column in ATTEMPT_COLUMNS[2:])
    statements = [
        f"CREATE VIEW requests AS SELECT {shown} FROM ({everything})",
        f"""CREATE VIEW attempts AS SELECT request_id, attempt, {tries} FROM (
            SELECT request_id, unnest(attempt_list) AS a, generate_subscripts(attempt_list, 1) AS attempt
            FROM ({everything}))""",
    ]
    for name, table_columns in SMALL_TABLES.items():
        if name in task.tables:
            statements.append(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({_text(task.tables[name])})")
        else:
            statements.append(f"CREATE TABLE {name} ({definitions(table_columns)})")
    return statements


def _shown(column: Column, bodies_before: str | None) -> str:
    if bodies_before is None:
        return column.name
    is_expired = f"started_at < {_time(bodies_before)}"
    if column.is_content:
        return f"CASE WHEN {is_expired} THEN NULL ELSE {column.name} END AS {column.name}"
    if column.name == "capture":
        return f"CASE WHEN {is_expired} AND capture IN ('full', 'truncated') THEN 'expired' ELSE capture END AS capture"
    return column.name


def _nothing(columns: tuple[Column, ...]) -> str:
    return ", ".join(f"CAST(NULL AS {column.sql_type}) AS {column.name}" for column in columns)


def _fetched(cursor: duckdb.DuckDBPyConnection, task: Task) -> Answer:
    answer = Answer(
        columns=[str(item[0]) for item in cursor.description or []],
        types=[str(item[1]) for item in cursor.description or []],
    )
    size = 0
    while rows := cursor.fetchmany(_FETCH_ROWS):
        for row in rows:
            cells = [json_value(cell) for cell in row]
            size += len(msgspec.json.encode(cells))
            if len(answer.rows) >= task.max_rows or size > task.max_bytes:
                answer.is_truncated = True
                return answer
            answer.rows.append(cells)
    return answer


def _too_large(task: Task) -> Answer:
    return Answer(
        error=f"The query needed more than {task.memory_mb} MB.",
        code="query_too_large",
        hint="Narrow it to a shorter time range or fewer columns.",
    )


def _without_paths(text: str, task: Task) -> str:
    for path in (*task.sealed, *filter(None, (task.live, task.deleted)), *task.tables.values(), task.temporary):
        text = text.replace(path, "(file)")
    return text.strip()[:2000]


def _text(value: str | None) -> str:
    return "'" + (value or "").replace("'", "''") + "'"


def _time(value: str | None) -> str:
    return f"TIMESTAMP {_text(value or '-infinity')}"


if __name__ == "__main__":
    sys.exit(main())

"""`headgate sql`: what a SELECT may do, and the many things no text may."""

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from headgate.control.seal import seal
from headgate.core.errors import QueryRefused, Unavailable
from headgate.core.ids import monotonic_s
from headgate.store import sandbox
from headgate.store.columns import REQUEST_COLUMNS
from headgate.store.sandbox_child import Answer, answered, locked_instance
from support.stored_home import StoredHome


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredHome]:
    """Thirty sealed and ten unsealed requests."""
    home = StoredHome(tmp_path_factory.mktemp("sandbox") / "home")
    for _ in range(30):
        home.exchange(request=b"body text", tags={"team": "a"}, kb_chunks=["x", "y"])
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    ids = [home.exchange(status=500) for _ in range(10)]
    home.store_all()
    home.log.append("scores", [{"request_id": ids[0], "name": "helpful", "value": 0.5}])
    yield home
    home.close()


ACCEPTED = [
    ("SELECT count(*), count(DISTINCT request_id), sum(cost_usd) FROM requests", [(40, 40, "0.040000000000")]),
    ("FROM requests SELECT count(*) WHERE status = 500;", [(10,)]),
    ("WITH a AS (SELECT model, count(*) AS n FROM requests GROUP BY ALL) SELECT sum(n) FROM a", [(40,)]),
    ("WITH requests AS (SELECT 1 AS one) SELECT one FROM requests", [(1,)]),
    ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT max(n) FROM t", [(5,)]),
    ("SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY request_id) AS n FROM requests)", [(40,)]),
    ("SELECT count(*) FROM requests r JOIN attempts a USING (request_id) WHERE a.attempt = 1", [(40,)]),
    ("SELECT count(*) FROM (SELECT unnest(kb_chunks) FROM requests)", [(60,)]),
    ("SELECT sum(x) FROM range(5) t(x)", [(10,)]),
    ("SELECT DISTINCT tags->>'team' FROM requests WHERE tags IS NOT NULL", [("a",)]),
    ("SELECT name, value FROM main.scores", [("helpful", 0.5)]),
    ("SELECT count(*) FROM requests WHERE request_id IN (SELECT request_id FROM scores)", [(1,)]),
    ("SELECT [1, 2], {'a': 1}, NULL, 'x'::BLOB, DATE '2026-01-01'", [([1, 2], {"a": 1}, None, "eA==", "2026-01-01")]),
    ("VALUES (1), (2)", [(1,), (2,)]),
    ("SELECT list_transform([1, 2], lambda x: x + 1)", [([2, 3],)]),
    ("SHOW TABLES", None),
    ("describe requests", None),
    ("SELECT count(*) FROM predictions, labels, eval_runs, eval_results, alias_moves", [(0,)]),
]

REFUSED = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('FILE')",
    "SELECT * FROM 'FILE'",
    'SELECT * FROM "FILE"',
    "SELECT request FROM 'FILE'",
    'SELECT * FROM (WITH "FILE" AS (SELECT 1) SELECT 1), "FILE"',
    "WITH t AS (SELECT * FROM read_blob('/etc/passwd')) SELECT * FROM t",
    "WITH requests AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM requests",
    "WITH a AS (SELECT 1) SELECT * FROM a, main.a",
    "WITH duckdb_settings AS (SELECT 1) SELECT * FROM duckdb_settings",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('FILE')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('requests')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT sleep_ms(100000)",
    "SELECT system.main.SLEEP_MS(1)",
    "SELECT 100000.sleep_ms()",
    "SELECT pg_sleep(100)",
    "SELECT * FROM requests WHERE sleep_ms(10) IS NULL",
    "SELECT write_log('x')",
    "SELECT getenv('HOME')",
    "SELECT system.main.getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT nextval('s')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM (DESCRIBE requests)",
    "SELECT * FROM (SHOW ALL TABLES)",
    "SUMMARIZE requests",
    "DESCRIBE secrets",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE scores",
    "ATTACH '/tmp/x.db'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "COPY scores FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/x'",
    "SET memory_limit = '99GB'",
    "RESET memory_limit",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO scores VALUES (NULL)",
    "DELETE FROM scores",
    "UPDATE scores SET value = 1",
    "CHECKPOINT",
    "BEGIN",
    "USE memory",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CREATE MACRO f() AS 1",
    "SELECT $1",
    "SELECT request FROM requests",
    "SELECT seq FROM requests",
    "SELECT nothing FROM",
    "",
    ";",
    "-- nothing",
    "SELECT 1\0; SELECT 2",
    "SELECT " + "(SELECT " * 150 + "1" + ")" * 150,
    "SELECT " + "1 + " * 20_000 + "1",
    "SELECT '" + "x" * 200_000 + "'",
]


@pytest.fixture(scope="module")
def ask(filled: StoredHome) -> Iterator[Callable[[str], Answer]]:
    """Runs a query the way its own process would, without a process for each."""
    with sandbox.handed_over(filled.log, "requests scores") as task:
        task.timeout_s, task.memory_mb, task.max_rows = 5, 128, 1000
        connection = locked_instance(task)
        yield lambda query: answered(connection, msgspec.structs.replace(task, query=query))
        connection.close()


@pytest.mark.parametrize(("query", "expected"), ACCEPTED)
def test_a_select_over_the_views_is_answered(
    ask: Callable[[str], Answer], query: str, expected: list[tuple[object, ...]] | None
) -> None:
    answer = ask(query)
    assert answer.error is None
    assert answer.rows
    if expected is not None:
        assert [tuple(row) for row in answer.rows] == expected


def test_everything_else_is_refused(filled: StoredHome, ask: Callable[[str], Answer]) -> None:
    file = str(filled.parquet()[0])
    accepted = []
    for query in REFUSED:
        try:
            accepted.append((query, ask(query.replace("FILE", file)).rows))
        except QueryRefused as error:
            assert str(error), query
    assert accepted == []


def test_a_refusal_says_what_is_allowed(filled: StoredHome) -> None:
    with pytest.raises(QueryRefused) as caught:
        sandbox.select(filled.log, "SELECT * FROM read_text('/etc/passwd')")
    assert str(caught.value) == "The query was refused: the table function read_text is not allowed."
    assert "requests, attempts" in caught.value.hint


def test_a_query_that_runs_on_is_stopped_and_holds_nothing_up(filled: StoredHome) -> None:
    began = monotonic_s()
    failures: list[BaseException] = []

    def endless() -> None:
        try:
            sandbox.select(filled.log, "SELECT count(*) FROM range(10000000000) a, range(100000) b", timeout_s=0.3)
        except QueryRefused as error:
            failures.append(error)

    thread = threading.Thread(target=endless)
    thread.start()
    request_id = filled.exchange()
    filled.store_all()
    assert request_id in filled.ids()
    filled.log.delete([request_id])
    thread.join()
    assert "stopped after 0.3 s" in str(failures[0])
    assert monotonic_s() - began < 30


def test_a_query_over_its_memory_is_stopped(filled: StoredHome) -> None:
    with pytest.raises(QueryRefused) as caught:
        sandbox.select(filled.log, "SELECT list(x || repeat('y', 1000)) FROM range(3000000) t(x)", memory_mb=64)
    assert caught.value.code == "query_too_large"


def test_rows_beyond_the_limit_are_left_out_and_said_so(filled: StoredHome) -> None:
    found = sandbox.select(filled.log, "SELECT * FROM range(1000)", max_rows=7)
    assert len(found.rows) == 7
    assert found.is_truncated


def test_describe_lists_every_column_with_its_meaning(filled: StoredHome) -> None:
    rows = sandbox.select(filled.log, "DESCRIBE requests").rows
    assert [row[0] for row in rows] == [column.name for column in REQUEST_COLUMNS]
    assert all(row[2] for row in rows)


def test_a_query_in_its_own_process_sees_sealed_and_waiting_rows_without_bodies(filled: StoredHome) -> None:
    found = sandbox.select(filled.log, "SELECT count(*), count(DISTINCT request_id), sum(cost_usd) FROM requests")
    assert found.rows == [(40, 40, "0.040000000000")]
    with pytest.raises(QueryRefused, match="request_id"):
        sandbox.select(filled.log, "SELECT request FROM requests")


def test_nothing_of_a_query_stays_on_disk(filled: StoredHome) -> None:
    sandbox.select(filled.log, "SELECT count(*) FROM requests")
    assert len(list((filled.path / "tmp").glob("sql-*"))) <= 1  # this module's own


def test_a_query_beyond_the_places_is_told_at_once_to_come_back(filled: StoredHome) -> None:
    long = "SELECT count(*) FROM range(10000000000) a, range(100000) b"
    stopped: list[QueryRefused] = []

    def run() -> None:
        with pytest.raises(QueryRefused) as caught:
            sandbox.select(filled.log, long, timeout_s=4)
        stopped.append(caught.value)

    threads = [threading.Thread(target=run) for _ in range(sandbox.MAX_AT_ONCE)]
    before = len(list((filled.path / "tmp").glob("sql-*")))
    for thread in threads:
        thread.start()
    while len(list((filled.path / "tmp").glob("sql-*"))) < before + sandbox.MAX_AT_ONCE:
        assert any(thread.is_alive() for thread in threads)
        time.sleep(0.01)
    began = monotonic_s()
    with pytest.raises(Unavailable) as caught:
        sandbox.select(filled.log, "SELECT 1")
    assert monotonic_s() - began < 3, "it waited for a place"
    assert caught.value.code == "busy"
    assert caught.value.status == 503
    assert "again in" in caught.value.hint
    for thread in threads:
        thread.join()
    assert len(stopped) == sandbox.MAX_AT_ONCE
    assert sandbox.select(filled.log, "SELECT 1").rows == [(1,)]

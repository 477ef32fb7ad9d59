"""The log survives a foreign holder, a broken WAL, a broken instance and too many readers."""

import os
import shutil
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from headgate.core.errors import HomeError, QueryRefused
from headgate.store import rewrite
from headgate.store.columns import EXCHANGE_COLUMNS, REQUEST_COLUMNS, SMALL_TABLES, VIEW_COLUMNS, Column
from headgate.store.connection import OutcomeUnknown
from headgate.store.log import Log, Mark
from headgate.store.rows import RequestRow
from support.stored_home import StoredHome


def _row(number: int, **fields: object) -> RequestRow:
    return RequestRow(
        request_id=f"01900000-0000-7000-8000-{number:012d}",
        started_at_us=1_790_000_000_000_000 + number,
        spool_id="0-x",
        segment=1,
        offset=number,
        **fields,  # type: ignore[arg-type]
    )


def _mark(offset: int) -> Mark:
    return Mark(spool_id="0-x", segment=1, offset=offset)


def test_the_tables_are_what_the_column_list_says(home: StoredHome) -> None:
    tables: dict[str, tuple[Column, ...]] = {"exchanges": EXCHANGE_COLUMNS, "requests": REQUEST_COLUMNS}
    tables.update({str(name): columns for name, columns in SMALL_TABLES.items()})
    for table, columns in tables.items():
        found = [
            (row[0], row[1])
            for row in home.log.query(f"DESCRIBE {table}").rows
            if row[0] != "seq" or table == "exchanges"
        ]
        assert found == [(column.name.strip('"'), column.sql_type) for column in columns]
    attempts = [row[0] for row in home.log.query("DESCRIBE attempts").rows]
    assert attempts == [column.name for column in VIEW_COLUMNS["attempts"]]


def test_the_file_has_the_storage_version_both_duckdb_lines_read(home: StoredHome) -> None:
    tags = home.log.query("SELECT tags FROM duckdb_databases() WHERE database_name = 'requests'").rows[0][0]
    assert tags["storage_version"].startswith("v1.5.0")
    assert (home.path / "requests.duckdb").stat().st_mode & 0o777 == 0o600


def test_the_logs_own_instance_reaches_no_file_and_cannot_be_unlocked(home: StoredHome) -> None:
    for text in ("SELECT * FROM read_text('/etc/hostname')", "ATTACH '/tmp/x.db'", "COPY (SELECT 1) TO '/tmp/x'"):
        with pytest.raises(duckdb.PermissionException):
            home.log.query(text)
    with pytest.raises(QueryRefused, match="configuration"):
        home.log.query("SET enable_external_access = true")


def test_a_second_process_is_refused_with_the_pid_of_the_first(home: StoredHome) -> None:
    text = (
        "import sys; from pathlib import Path; from headgate.store.log import Log\n"
        "from headgate.core.errors import HomeError\n"
        "try: Log.open(Path(sys.argv[1]))\n"
        "except HomeError as error: print(error.sentence)"
    )
    done = subprocess.run([sys.executable, "-c", text, str(home.path)], capture_output=True, text=True, check=True)
    assert f"is held by process {os.getpid()}" in done.stdout


def test_rows_and_mark_are_stored_together_or_not_at_all(home: StoredHome) -> None:
    home.log.store([_row(1)], _mark(10))
    assert not home.log.accepts(_row(2, status=2**40))
    with pytest.raises(OverflowError):
        home.log.store([_row(2), _row(3, status=2**40)], _mark(20))
    assert home.log.positions() == {"0-x": (1, 10)}
    home.log.store([_row(2)], _mark(20))
    assert [row[0] for row in home.log.query("SELECT seq FROM requests").rows] == [1, 2]


def test_after_a_fatal_error_the_log_is_reopened_and_says_the_outcome_is_unknown(home: StoredHome) -> None:
    home.log.store([_row(1)], _mark(10))
    before = home.log.generation
    with pytest.raises(OutcomeUnknown), home.log.writing() as connection:
        connection.execute("INSERT INTO marks VALUES ('0-y', 1, 1, false, 1, now()::TIMESTAMP)")
        raise duckdb.FatalException("database has been invalidated")
    assert home.log.generation == before + 1
    assert home.log.positions() == {"0-x": (1, 10)}
    home.log.store([_row(2)], _mark(20))
    assert len(home.ids()) == 2
    assert home.log.ping()


def test_ingest_goes_on_by_itself_after_a_failed_commit_that_was_durable(
    home: StoredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home.exchange()
    store = Log.store

    def durable_but_failing(log: Log, rows: list[RequestRow], mark: Mark, tallies: dict[int, str]) -> None:
        store(log, rows, mark, tallies)
        with log.writing():
            raise duckdb.FatalException("checkpoint failed after commit")

    monkeypatch.setattr(Log, "store", durable_but_failing)
    assert home.ingest.guarded_step() == 0
    assert home.ingest.problem is not None
    assert "reopened" in home.ingest.problem
    monkeypatch.undo()
    second = home.exchange()
    home.store_all()
    assert home.ids() == [first, second]
    assert home.ingest.problem is None


def test_a_wal_that_cannot_be_replayed_is_set_aside_and_the_spool_read_again(home: StoredHome, tmp_path: Path) -> None:
    ids = [home.exchange() for _ in range(5)]
    home.store_all()
    home.log.checkpoint()
    ids += [home.exchange() for _ in range(5)]
    home.store_all()
    copy = tmp_path / "crashed"
    shutil.copytree(home.path, copy)
    wal = copy / "requests.duckdb.wal"
    damaged = bytearray(wal.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    wal.write_bytes(damaged)
    other = StoredHome(copy)
    assert other.log.damaged_wal is not None
    assert other.log.damaged_wal.exists()
    assert len(other.ids()) == 5
    other.store_all()
    assert other.ids() == ids
    other.close()


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "requests.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(HomeError) as caught:
        Log.open(tmp_path)
    assert "cannot be opened" in str(caught.value)
    assert "bodies/" in caught.value.hint


def test_a_slow_query_is_stopped_at_its_limit_and_others_go_on(home: StoredHome) -> None:
    with pytest.raises(QueryRefused) as caught:
        home.log.query("SELECT count(*) FROM range(100000000) a, range(100000) b", timeout_s=0.1)
    assert caught.value.code == "query_timeout"
    assert home.log.query("SELECT 1").rows == [(1,)]


def test_more_readers_than_there_are_places_wait_their_turn(home: StoredHome) -> None:
    results: list[object] = []

    def read() -> None:
        results.append(home.log.query("SELECT count(*) FROM range(2000000) t(x) WHERE x % 7 = 0", timeout_s=30).rows)

    threads = [threading.Thread(target=read) for _ in range(10)]
    for thread in threads:
        thread.start()
    home.log.store([_row(1)], _mark(1))
    home.log.checkpoint()
    for thread in threads:
        thread.join()
    assert len(results) == 10


def test_a_reader_does_not_keep_a_checkpoint_or_a_rewrite_from_finishing(home: StoredHome) -> None:
    home.log.store([_row(number) for number in range(100)], _mark(1))
    held: AbstractContextManager[duckdb.DuckDBPyConnection] = home.log.cursor()
    with held as cursor:
        cursor.execute("BEGIN")
        assert cursor.execute("SELECT count(*) FROM exchanges").fetchall() == [(100,)]
        home.log.store([_row(100)], _mark(2))
        home.log.checkpoint()
        assert cursor.execute("SELECT count(*) FROM exchanges").fetchall() == [(100,)]
    home.log.rewrite()
    assert len(home.ids()) == 101
    assert home.log.positions() == {"0-x": (1, 2)}


def test_rows_deleted_while_the_log_is_rewritten_stay_deleted(
    home: StoredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.log.store([_row(number) for number in range(10)], _mark(1))
    copied = "headgate.store.rewrite._copy_the_rest"
    original = rewrite._copy_the_rest

    def late(*args: object) -> None:
        monkeypatch.undo()
        home.log.delete([_row(3).request_id])
        home.log.expire("rows", datetime(2000, 1, 1))  # noqa: DTZ001
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(copied, late)
    home.log.rewrite()
    assert len(home.ids()) == 9
    home.log.close()
    home.open()
    assert len(home.ids()) == 9


def test_seq_is_never_given_twice_even_after_the_newest_rows_are_gone(home: StoredHome) -> None:
    home.log.store([_row(1), _row(2)], _mark(1))
    home.log.delete([_row(2).request_id])
    home.log.rewrite()
    home.log.close()
    home.open()
    row = _row(3)
    home.log.store([row], _mark(2))
    assert row.seq == 3


def test_old_marks_are_pruned_and_positions_stay(home: StoredHome) -> None:
    for number in range(1, 6):
        home.log.store([_row(number)], _mark(number))
    home.log.store([], Mark(spool_id="0-y", segment=3, offset=9, is_closed=True))
    before = home.log.positions()
    home.log.prune_marks()
    assert home.log.positions() == before
    assert home.log.query("SELECT count(*) FROM marks").rows == [(2,)]
    assert home.log.closed_spools() == {"0-y"}

"""Segments become Parquet files, exactly once, and days become few files."""

import shutil
import threading
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from headgate.control import seal as seal_module
from headgate.control.seal import merge_days, seal
from headgate.core.ids import now_us
from headgate.store import sandbox
from headgate.store.files import record_files, sealed_files
from support.stored_home import StoredHome


def _days_ago(days: float) -> int:
    return now_us() - int(timedelta(days=days) / timedelta(microseconds=1))


def _finish_segment(home: StoredHome) -> None:
    home.stop_writing()
    home.store_all()
    home.ingest.step()


def test_a_sealed_segment_answers_as_before_and_is_gone_from_the_spool(home: StoredHome) -> None:
    full = home.exchange(request=b"question", sent=b"asked", response=b"\xfe\xff")
    bare = home.exchange(request=b"", response=b"", capture="metadata")
    _finish_segment(home)
    assert seal(home.log, home.ingest) == 1
    assert not list((home.path / "spool").iterdir())
    bodies = home.log.body_of(full)
    assert bodies is not None
    assert (bodies.request, bodies.sent, bodies.response) == (b"question", b"asked", b"\xfe\xff")
    assert home.log.body_of(bare) is None
    assert seal(home.log, home.ingest) == 0
    [file] = home.parquet()
    assert file.stat().st_mode & 0o777 == 0o600


def test_any_duckdb_can_read_the_sealed_files(home: StoredHome) -> None:
    request_id = home.exchange(request=b"find me", kb_chunks=["a", "b"], tags={"k": "v"})
    _finish_segment(home)
    seal(home.log, home.ingest)
    row = duckdb.execute(
        f"""SELECT request_id, request, response_raw, kb_chunks, cost_usd, tags->>'k', attempt_list[1].upstream
            FROM '{home.path}/bodies/*/*.parquet' WHERE request LIKE '%find%'"""
    ).fetchone()
    assert row is not None
    assert str(row[0]) == request_id
    assert row[1:4] == ("find me", None, ["a", "b"])
    assert (str(row[4]), row[5], row[6]) == ("0.001000000000", "v", "demo")


def test_a_segment_is_kept_until_its_starts_have_ended(home: StoredHome) -> None:
    home.segment_bytes = 16 << 10
    slow = home.start()
    for _ in range(200):
        home.exchange(request=b"y" * 200)
    home.store_all()
    seal(home.log, home.ingest)
    assert "00000001" in {path.stem for path in home.segments()}
    home.log.close()
    home.open()
    home.store_all()
    seal(home.log, home.ingest)
    assert "00000001" in {path.stem for path in home.segments()}
    home.finish(slow)
    _finish_segment(home)
    seal(home.log, home.ingest)
    assert home.segments() == []
    assert len(home.ids()) == 201


def test_an_unfinished_start_in_a_dead_writers_segment_is_sealed_with_it(home: StoredHome) -> None:
    home.exchange()
    home.start()
    _finish_segment(home)
    seal(home.log, home.ingest)
    assert sum(file.rows for file in sealed_files(home.log)) == 2


def test_a_crash_between_file_and_record_leaves_no_row_twice(home: StoredHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.exchange()
    _finish_segment(home)

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(seal_module, "record_files", crash)
    with pytest.raises(KeyboardInterrupt):
        seal(home.log, home.ingest)
    assert len(home.parquet()) == 1
    monkeypatch.setattr(seal_module, "record_files", record_files)
    home.log.close()
    home.open()
    assert home.parquet() == []
    home.store_all()
    seal(home.log, home.ingest)
    assert len(home.parquet()) == 1
    assert sandbox.select(home.log, "SELECT count(*) FROM requests").rows == [(1,)]


def test_a_crash_between_record_and_removal_seals_nothing_again(
    home: StoredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.exchange()
    _finish_segment(home)
    monkeypatch.setattr("headgate.spool.reader.SpoolReader.delete_segment", lambda self, number: False)
    monkeypatch.setattr("headgate.spool.reader.SpoolReader.delete_spool", lambda self: False)
    seal(home.log, home.ingest)
    assert home.segments()
    monkeypatch.undo()
    home.log.close()
    home.open()
    home.store_all()
    assert seal(home.log, home.ingest) == 0
    assert not list((home.path / "spool").iterdir())
    assert sandbox.select(home.log, "SELECT count(*) FROM requests").rows == [(1,)]


def test_a_segment_without_records_is_removed_without_a_file(home: StoredHome) -> None:
    assert home.writer.spool_id
    _finish_segment(home)
    seal(home.log, home.ingest)
    assert home.parquet() == []
    assert not list((home.path / "spool").iterdir())


def test_the_day_of_a_file_is_that_of_its_first_row(home: StoredHome) -> None:
    home.exchange(at_us=1_790_000_000_000_000)
    home.exchange()
    _finish_segment(home)
    seal(home.log, home.ingest)
    assert [file.parent.name for file in home.parquet()] == ["day=2026-09-21"]


def test_finished_days_are_merged_and_every_answer_stays(home: StoredHome) -> None:
    ids = []
    for _ in range(3):
        ids.append(home.exchange(at_us=_days_ago(2), response=b"old"))
        _finish_segment(home)
    today = home.exchange(response=b"new")
    _finish_segment(home)
    seal(home.log, home.ingest)
    assert merge_days(home.log) == 3
    assert merge_days(home.log) == 0
    assert len(home.parquet()) == 2
    for request_id, text in [*((one, b"old") for one in ids), (today, b"new")]:
        bodies = home.log.body_of(request_id)
        assert bodies is not None
        assert bodies.response == text
    assert sandbox.select(home.log, "SELECT count(*), count(DISTINCT request_id) FROM requests").rows == [(4, 4)]


def test_a_lost_wal_after_sealing_takes_nothing_away(home: StoredHome, tmp_path: Path) -> None:
    ids = [home.exchange() for _ in range(20)]
    _finish_segment(home)
    seal(home.log, home.ingest)
    copy = tmp_path / "copy"
    shutil.copytree(home.path, copy)
    (copy / "requests.duckdb.wal").unlink(missing_ok=True)
    other = StoredHome(copy)
    assert sorted(other.ids()) == sorted(ids)
    assert sandbox.select(other.log, "SELECT count(*) FROM requests").rows == [(20,)]
    other.close()


def test_two_seals_at_once_seal_once(home: StoredHome) -> None:
    home.segment_bytes = 8 << 10
    for _ in range(60):
        home.exchange(request=b"z" * 200)
    _finish_segment(home)
    threads = [threading.Thread(target=seal, args=(home.log, home.ingest)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sandbox.select(home.log, "SELECT count(*), count(DISTINCT request_id) FROM requests").rows
    assert found == [(60, 60)]

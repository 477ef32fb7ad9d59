"""A log that is missing or older than its sealed files is rebuilt from them; no file of the only copy goes."""

import logging
import os
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from headgate.control import seal as seal_module
from headgate.control.deletion import purge
from headgate.control.retention import retain
from headgate.control.seal import merge_days, seal
from headgate.core.ids import now_us
from headgate.core.settings_types import Log as LogSettings
from headgate.store import files, sandbox
from headgate.store.files import record_files, sealed_files
from support.stored_home import StoredHome

_COUNTS = "SELECT count(*), count(DISTINCT request_id) FROM requests"


def _days_ago(days: float) -> int:
    return now_us() - int(timedelta(days=days) / timedelta(microseconds=1))


def _sealed(home: StoredHome, count: int = 5, *, at_us: int | None = None) -> list[str]:
    ids = [home.exchange(at_us=at_us, response=b"answer %d" % number) for number in range(count)]
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    return ids


def _lose_the_log(home: StoredHome, to: Path) -> None:
    to.mkdir()
    for path in home.path.glob("requests.duckdb*"):
        shutil.move(path, to / path.name)


def _restart(home: StoredHome, change: object = None) -> None:
    home.log.close()
    if callable(change):
        change()
    home.open()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)


def _assert_all_there_once(home: StoredHome, ids: list[str]) -> None:
    assert sorted(home.ids()) == sorted(ids)
    assert sandbox.select(home.log, _COUNTS).rows == [(len(ids), len(ids))]
    assert all(home.log.body_of(request_id) for request_id in ids)


def test_a_log_that_was_moved_away_is_rebuilt_with_rows_and_bodies(
    home: StoredHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = _sealed(home)
    everything = "SELECT COLUMNS(c -> c <> 'seq') FROM exchanges ORDER BY seq"
    before = home.log.query(everything).rows
    before_files = home.parquet()
    home.log.close()
    _lose_the_log(home, tmp_path / "moved")
    with caplog.at_level(logging.WARNING):
        home.open()
    assert "the log was missing; 5 rows were rebuilt from 1 sealed file" in caplog.text
    assert home.parquet() == before_files
    assert home.log.query(everything).rows == before
    home.store_all()
    _assert_all_there_once(home, ids)
    caplog.clear()
    _restart(home)
    assert "rebuilt" not in caplog.text
    _assert_all_there_once(home, ids)


def test_what_the_spool_still_holds_is_read_again_beside_what_was_rebuilt(home: StoredHome, tmp_path: Path) -> None:
    home.segment_bytes = 16 << 10
    slow = home.start()
    ids = [home.exchange(request=b"y" * 200) for _ in range(140)]
    home.store_all()
    assert seal(home.log, home.ingest) > 1
    assert "00000001" in {path.stem for path in home.segments()}  # the slow start's
    sealed_segments = len(home.parquet())
    _restart(home, lambda: _lose_the_log(home, tmp_path / "moved"))
    assert len(home.parquet()) >= sealed_segments
    ids.append(home.finish(slow))
    home.stop_writing()
    _restart(home)
    assert home.segments() == []
    _assert_all_there_once(home, ids)
    assert home.log.query("SELECT count(*) FROM requests WHERE outcome = 'interrupted'").rows == [(0,)]


def test_an_older_copy_of_the_log_gets_the_newer_rows_once(
    home: StoredHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = _sealed(home, 3)
    ids += [home.exchange() for _ in range(2)]
    home.store_all()
    home.log.checkpoint()
    shutil.copy(home.path / "requests.duckdb", tmp_path / "old")
    ids += [home.exchange() for _ in range(2)]
    ids += _sealed(home, 4)
    with caplog.at_level(logging.WARNING):
        _restart(home, lambda: shutil.copy(tmp_path / "old", home.path / "requests.duckdb"))
    assert "the log was older than its sealed files; 6 rows were rebuilt from 1 sealed file" in caplog.text
    _assert_all_there_once(home, ids)


def test_an_older_copy_from_before_a_merge_gets_the_merged_file_instead(home: StoredHome, tmp_path: Path) -> None:
    ids = [*_sealed(home, 2, at_us=_days_ago(2)), *_sealed(home, 2, at_us=_days_ago(2))]
    home.log.checkpoint()
    shutil.copy(home.path / "requests.duckdb", tmp_path / "old")
    assert merge_days(home.log) == 2
    _restart(home, lambda: shutil.copy(tmp_path / "old", home.path / "requests.duckdb"))
    assert [home.path / "bodies" / file.path for file in sealed_files(home.log)] == home.parquet()
    assert len(home.parquet()) == 1
    _assert_all_there_once(home, ids)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_merge_cut_short_leaves_every_row_in_one_file(
    home: StoredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    ids = [*_sealed(home, 2, at_us=_days_ago(2)), *_sealed(home, 2, at_us=_days_ago(2))]

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(seal_module, "record_files", crash)
    with pytest.raises(KeyboardInterrupt):
        merge_days(home.log)
    monkeypatch.setattr(seal_module, "record_files", record_files)
    assert len(home.parquet()) == 3
    _restart(home, (lambda: _lose_the_log(home, tmp_path / "moved")) if is_lost else None)
    _assert_all_there_once(home, ids)
    assert sum(file.rows for file in sealed_files(home.log)) == 4
    assert len(home.parquet()) == len(sealed_files(home.log))


def test_of_files_that_share_some_rows_each_row_counts_once(home: StoredHome, tmp_path: Path) -> None:
    ids = _sealed(home, 3, at_us=_days_ago(2))
    [first] = home.parquet()
    shutil.copy(first, tmp_path / "first")
    ids += _sealed(home, 3, at_us=_days_ago(2))
    merge_days(home.log)
    home.log.delete(ids[:1])
    assert purge(home.path, home.log, home.ingest)

    def go_back() -> None:
        _lose_the_log(home, tmp_path / "moved")
        shutil.copy(tmp_path / "first", first)

    _restart(home, go_back)
    _assert_all_there_once(home, ids)  # nothing is left that knows of the deletion
    assert sorted(file.rows for file in sealed_files(home.log)) == [1, 5]
    assert not first.exists()
    assert len(home.parquet()) == 2
    _restart(home)
    _assert_all_there_once(home, ids)


def test_a_deletion_the_log_remembers_is_not_undone_by_a_file_put_back(home: StoredHome) -> None:
    ids = _sealed(home, 3)
    copy = home.parquet()[0].read_bytes()
    home.log.delete(ids[:1])
    assert purge(home.path, home.log, home.ingest)
    put_back = home.path / "bodies" / "day=2026-01-01" / "put-back.parquet"
    put_back.parent.mkdir()
    put_back.write_bytes(copy)
    _restart(home)
    _assert_all_there_once(home, ids[1:])
    assert not put_back.exists()


def test_a_file_put_back_with_bodies_that_expired_is_left_alone_and_named(
    home: StoredHome, caplog: pytest.LogCaptureFixture
) -> None:
    [old] = _sealed(home, 1, at_us=_days_ago(40))
    copy = home.parquet()[0].read_bytes()
    retain(home.path, home.log, LogSettings(body_days=30))
    put_back = home.parquet()[0].with_name("put-back.parquet")
    put_back.write_bytes(copy)
    with caplog.at_level(logging.WARNING):
        _restart(home)
    assert "put-back.parquet holds bodies that have expired" in caplog.text
    assert put_back.exists()
    assert home.log.body_of(old) is None
    assert sandbox.select(home.log, _COUNTS).rows == [(1, 1)]


def test_a_file_that_cannot_be_read_back_now_is_read_back_at_the_next_start(
    home: StoredHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = _sealed(home, 3)
    home.log.close()
    _lose_the_log(home, tmp_path / "moved")

    def fails(*args: object, **kwargs: object) -> None:
        raise duckdb.FatalException("no space left")

    monkeypatch.setattr(files, "_note", fails)
    with caplog.at_level(logging.WARNING):
        home.open()
    assert "the next start tries again" in caplog.text
    assert home.ids() == []
    assert len(home.parquet()) == 1
    monkeypatch.undo()
    _restart(home)
    _assert_all_there_once(home, ids)


def test_expired_content_and_rows_stay_expired_when_the_log_is_rebuilt(home: StoredHome, tmp_path: Path) -> None:
    [old] = _sealed(home, 1, at_us=_days_ago(40))
    [new] = _sealed(home, 1)
    retain(home.path, home.log, LogSettings(body_days=30))
    _restart(home, lambda: _lose_the_log(home, tmp_path / "moved"))
    assert home.ids() == [old, new]
    assert home.log.body_of(old) is None
    assert home.log.body_of(new) is not None
    assert [file.has_bodies for file in sealed_files(home.log)] == [False, True]


def test_files_that_are_no_sealed_files_are_left_alone_and_named(
    home: StoredHome, caplog: pytest.LogCaptureFixture
) -> None:
    ids = _sealed(home, 1)
    day = home.parquet()[0].parent
    (day / "damaged.parquet").write_bytes(b"PAR1 no more")
    duckdb.execute(f"COPY (SELECT 1 AS x) TO '{day}/foreign.parquet' (FORMAT parquet)")
    (day / "notes.txt").write_text("mine")
    (day / "directory.parquet").mkdir()
    (day / "half.parquet.tmp").write_bytes(b"PAR1")
    with caplog.at_level(logging.WARNING):
        _restart(home)
    assert {"damaged.parquet", "foreign.parquet", "notes.txt", "directory.parquet"} <= set(os.listdir(day))
    assert not (day / "half.parquet.tmp").exists()
    assert "damaged.parquet" in caplog.text
    assert "foreign.parquet" in caplog.text
    _assert_all_there_once(home, ids)


def test_sealed_files_that_are_missing_for_a_while_count_again_when_they_are_back(
    home: StoredHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = _sealed(home, 2)
    bodies = home.path / "bodies"
    with caplog.at_level(logging.WARNING):
        _restart(home, lambda: bodies.rename(tmp_path / "away"))
    assert "1 sealed file that the log names is not there" in caplog.text
    bodies.rmdir()
    _restart(home, lambda: (tmp_path / "away").rename(bodies))
    _assert_all_there_once(home, ids)

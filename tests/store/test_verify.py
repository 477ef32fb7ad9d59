"""`headgate verify`: clean homes are proven, and whatever is damaged, lost or added is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headgate.cli.main import main
from headgate.control.seal import seal
from headgate.registry.database import Database
from support.made_homes import copy_home
from support.proof import Capsys, filled, proof_of


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A filled home whose processes have all ended."""
    copy_home("stopped", _make_stopped, tmp_path / "home")
    return tmp_path / "home"


def _make_stopped(path: Path) -> None:
    filled(path).close()


def test_a_sound_home_is_proven_number_by_number(stopped: Path, capsys: Capsys) -> None:
    code, answer = proof_of(stopped, capsys)
    assert (code, answer["proven"], answer["faults"]) == (0, True, [])
    totals = answer["totals"]
    assert totals["started"] == totals["recorded"] + totals["interrupted"] == 67
    assert totals["interrupted"] == 1
    assert (totals["in_flight"], totals["dropped"], totals["missing"], totals["twice"]) == (0, 0, 0, 0)
    assert totals["rows"] == totals["rows_in_log"] == 67
    assert len(answer["spools"]) == 2
    assert all(spool["holds"] and spool["ended"] for spool in answer["spools"])
    assert main(["verify", "--home", str(stopped)]) == 0
    printed = capsys.readouterr().out
    assert "67 started = 66 recorded + 1 interrupted + 0 in flight + 0 dropped" in printed
    assert "Proven" in printed


def test_deleted_requests_are_accounted_for(stopped: Path, capsys: Capsys) -> None:
    with duckdb.connect(str(stopped / "requests.duckdb")) as log:
        ids = [str(row[0]) for row in log.execute("SELECT request_id FROM exchanges ORDER BY seq").fetchall()]
    assert main(["log", "delete", ids[0], ids[-1], "--yes", "--home", str(stopped)]) == 0
    code, answer = proof_of(stopped, capsys)
    assert (code, answer["faults"]) == (0, [])
    assert answer["totals"]["rows_removed"] == 2
    assert answer["totals"]["rows_in_log"] == 65


def _lose_rows(home: Path) -> None:
    with duckdb.connect(str(home / "requests.duckdb")) as log:
        log.execute("DELETE FROM exchanges WHERE seq IN (2, 60)")


def _repeat_a_row(home: Path) -> None:
    with duckdb.connect(str(home / "requests.duckdb")) as log:
        log.execute("INSERT INTO exchanges FROM exchanges WHERE seq = 2")


def _change_a_row(home: Path) -> None:
    with duckdb.connect(str(home / "requests.duckdb")) as log:
        log.execute("CREATE TABLE one AS FROM exchanges WHERE seq = 2")
        log.execute("UPDATE one SET cost_usd = 0")
        log.execute("DELETE FROM exchanges WHERE seq = 2")
        log.execute("INSERT INTO exchanges FROM one")
        log.execute("DROP TABLE one")


def _lose_a_file(home: Path) -> None:
    next(home.glob("bodies/*/*.parquet")).unlink()


def _damage_a_file(home: Path) -> None:
    path = max(home.glob("bodies/*/*.parquet"))
    data = bytearray(path.read_bytes())
    data[500] ^= 0xFF  # in a body: every column of the log can still be read
    path.write_bytes(data)


def _flip_a_waiting_record(home: Path) -> None:
    path = max(home.glob("spool/*/*.done"))
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)


def _newer_segment(home: Path) -> None:
    from headgate.spool import segment

    path = max(home.glob("spool/*/*.done"))
    path.with_name("00009999.done.newer").write_bytes(segment._SEGMENT_MAGIC)


def _break_the_history(home: Path) -> None:
    registry = Database.open(home)
    with registry.write() as connection:
        connection.execute("INSERT INTO history SELECT 7, 1, 'x', 'y', 'z', NULL, '{}', 'wrong', 'wrong'")
    registry.close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_lose_rows, "rows were stored, the log accounts for"),
        (_repeat_a_row, "requests have several rows"),
        (_change_a_row, "differ in what they say of its"),
        (_lose_a_file, "is missing;"),
        (_damage_a_file, "was changed: its SHA-256"),
        (_flip_a_waiting_record, "no longer reads as it did"),
        (_newer_segment, "only a newer Headgate reads"),
        (_break_the_history, "The history of changes is broken"),
    ],
)
def test_what_is_wrong_is_named(stopped: Path, capsys: Capsys, harm: Callable[[Path], None], said: str) -> None:
    harm(stopped)
    code, answer = proof_of(stopped, capsys)
    assert code == 1
    assert not answer["proven"]
    assert any(said in fault for fault in answer["faults"]), answer["faults"]


def test_a_log_restored_from_an_older_copy_is_brought_up_to_date_and_says_what_cannot_be_proven(
    tmp_path: Path, capsys: Capsys
) -> None:
    home = filled(tmp_path / "home")
    home.close()
    for path in home.path.glob("requests.duckdb*"):
        shutil.move(path, tmp_path / path.name)
    code, answer = proof_of(home.path, capsys)
    assert (code, answer["faults"]) == (0, [])
    assert answer["totals"]["rows_in_log"] == 67
    assert any("cannot be proven" in note for note in answer["notes"])


def _rows(home: Path) -> list[Any]:
    with duckdb.connect(str(home / "requests.duckdb"), read_only=True) as log:
        return log.execute("SELECT COLUMNS(c -> c <> 'seq') FROM exchanges ORDER BY request_id").fetchall()


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A filled home with every segment sealed."""
    copy_home("sealed", _make_sealed, tmp_path / "home")
    return tmp_path / "home"


def _make_sealed(path: Path) -> None:
    home = filled(path)
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    home.close()


def test_prices_of_their_day_are_not_changed_by_making_the_log_anew(stopped: Path, capsys: Capsys) -> None:
    before = _rows(stopped)
    code, answer = proof_of(stopped, capsys, "--rebuild")
    assert (code, answer["faults"]) == (0, [])
    rebuilt = answer["rebuild"]
    assert (rebuilt["equal"], rebuilt["replaced"], rebuilt["repriced"], rebuilt["compared"]) == (True, False, 25, 67)
    assert len(before) == 66
    assert [row for row in _rows(stopped) if row in before] == before


def test_a_log_made_anew_is_equal_in_every_column_and_takes_the_place(sealed: Path, capsys: Capsys) -> None:
    stopped = sealed
    assert proof_of(stopped, capsys)[0] == 0
    before = _rows(stopped)
    inode = (stopped / "requests.duckdb").stat().st_ino
    code, answer = proof_of(stopped, capsys, "--rebuild")
    assert (code, answer["faults"]) == (0, [])
    rebuilt = answer["rebuild"]
    assert (rebuilt["equal"], rebuilt["replaced"], rebuilt["rows"], rebuilt["compared"]) == (True, True, 67, 67)
    assert (stopped / "requests.duckdb").stat().st_ino != inode
    assert _rows(stopped) == before
    code, answer = proof_of(stopped, capsys)
    assert (code, answer["faults"]) == (0, [])
    assert not list((stopped / "tmp").glob("remake-*"))


def test_a_log_that_differs_stays_and_the_columns_are_named(stopped: Path, capsys: Capsys) -> None:
    _change_a_row(stopped)
    _lose_rows(stopped)
    inode = (stopped / "requests.duckdb").stat().st_ino
    code, answer = proof_of(stopped, capsys, "--rebuild")
    assert code == 1
    assert not answer["rebuild"]["replaced"]
    assert answer["rebuild"]["differences"] == ["2 rows of sealed files and spool are not in the log."]
    assert (stopped / "requests.duckdb").stat().st_ino == inode


def test_a_changed_cell_is_named_by_its_column(stopped: Path, capsys: Capsys) -> None:
    _change_a_row(stopped)
    code, answer = proof_of(stopped, capsys, "--rebuild")
    assert code == 1
    assert answer["rebuild"]["differences"] == ["1 rows differ in cost_usd."]


def test_a_log_that_cannot_be_opened_is_made_anew_and_kept_beside(sealed: Path, capsys: Capsys) -> None:
    stopped = sealed
    assert proof_of(stopped, capsys)[0] == 0
    before = _rows(stopped)
    (stopped / "requests.duckdb").write_bytes(b"no database at all" * 400)
    assert main(["verify", "--home", str(stopped)]) == 2
    assert "headgate verify --rebuild" in capsys.readouterr().err
    code, answer = proof_of(stopped, capsys, "--rebuild")
    assert (code, answer["faults"]) == (0, [])
    assert _rows(stopped) == before
    assert len(list(stopped.glob("requests.duckdb.damaged-*"))) == 1

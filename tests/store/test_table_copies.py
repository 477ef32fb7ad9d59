"""A lost log comes back with what only it knew: labels, scores, predictions, deletions and the account."""

from pathlib import Path

from headgate.control.account import accounts
from headgate.control.deletion import purge
from headgate.control.seal import seal
from headgate.store.table_copies import FOLDER, TableCopies, newest_copy
from support.proof import filled
from support.stored_home import StoredHome

_SAID = "SELECT * FROM {} ORDER BY ALL"


def _judged(home: StoredHome) -> list[str]:
    ids = home.ids()
    home.log.append("scores", [{"request_id": ids[0], "name": "good", "value": 1.0, "comment": "a secret comment"}])
    home.log.append("scores", [{"request_id": ids[1], "name": "good", "value": 0.5, "comment": "to be forgotten"}])
    home.log.append("labels", [{"request_id": ids[0], "row": 0, "label": "yes"}])
    home.log.append("predictions", [{"request_id": ids[2], "row": 0, "model": "m", "version": 1}])
    return ids


def _lose_the_log(home: StoredHome) -> None:
    home.log.close()
    for path in home.path.glob("requests.duckdb*"):
        path.unlink()
    home.open()
    home.store_all()
    home.ingest.step()


def test_a_lost_log_knows_again_what_was_said_and_what_was_taken_out(tmp_path: Path) -> None:
    home = filled(tmp_path / "home")
    ids = _judged(home)
    home.log.delete([ids[1]])
    said = {table: home.log.query(_SAID.format(table)).rows for table in ("scores", "labels", "predictions")}
    assert TableCopies(home.log).bring_up_to_date()
    before = accounts(home.log, home.ingest, with_rows=True)
    _lose_the_log(home)
    after = accounts(home.log, home.ingest, with_rows=True)
    assert {table: home.log.query(_SAID.format(table)).rows for table in said} == said
    assert ids[1] not in home.ids()
    assert sum(after.stored.rows.values()) == sum(before.stored.rows.values()) + 1  # one was not stored before
    assert [(one.started, one.recorded, one.interrupted, one.is_partial) for one in after.spools] == [
        (41, 40, 1, False),
        (26, 26, 0, False),
    ]
    assert all(account.holds for account in after.spools)
    home.close()


def test_a_copy_is_written_when_something_changed_and_replaces_the_one_before(tmp_path: Path) -> None:
    home = StoredHome(tmp_path / "home")
    home.exchange()
    home.store_all()
    copies = TableCopies(home.log)
    assert copies.bring_up_to_date()
    assert not copies.bring_up_to_date()
    _judged_first = home.ids()[0]
    home.log.append("scores", [{"request_id": _judged_first, "name": "good", "comment": "a secret comment"}])
    first = newest_copy(home.path)
    assert copies.bring_up_to_date()
    assert newest_copy(home.path) != first
    assert len(list((home.path / FOLDER).iterdir())) == 1
    assert not [path for path in (home.path / FOLDER).rglob("*") if path.stat().st_mode & 0o077]
    home.close()


def test_what_was_deleted_is_not_in_the_next_copy(tmp_path: Path) -> None:
    home = StoredHome(tmp_path / "home")
    for _ in range(3):
        home.exchange()
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    ids = _judged(home)
    copies = TableCopies(home.log)
    copies.bring_up_to_date()
    home.log.delete([ids[0]])
    copies.bring_up_to_date()
    purge(home.path, home.log, home.ingest)
    assert home.files_holding(b"a secret comment") == []
    home.close()


def test_a_damaged_copy_is_passed_over(tmp_path: Path) -> None:
    home = filled(tmp_path / "home")
    _judged(home)
    TableCopies(home.log).bring_up_to_date()
    copy = newest_copy(home.path)
    assert copy is not None
    (copy / "scores.parquet").write_bytes(b"PAR1 no more")
    _lose_the_log(home)
    assert len(home.ids()) == 67
    assert home.log.query("SELECT count(*) FROM scores").rows == [(0,)]
    assert home.log.query("SELECT count(*) FROM labels").rows == [(1,)]
    home.close()

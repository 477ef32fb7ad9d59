"""What is deleted is out of every answer at once and out of every file after the next purge."""

import duckdb
import pytest

from headgate.control.deletion import is_pending, purge
from headgate.control.ingest import Ingest
from headgate.control.seal import merge_days, seal
from headgate.core.ids import now_us
from headgate.store import sandbox
from support.stored_home import StoredHome

SECRET = b"the-canary-text-9471"


def _secret(home: StoredHome, *, user: str = "bob", at_us: int | None = None) -> str:
    text = SECRET.decode()
    return home.finish(
        home.start(user_id=user, at_us=at_us),
        request=SECRET * 3,
        response=b"answer " + SECRET,
        error_message=text,
        prompt_vars=f'{{"v": "{text}"}}',
    )


def _end_segment(home: StoredHome) -> None:
    home.stop_writing()
    home.store_all()
    home.ingest.step()


def test_a_deleted_request_is_out_of_every_answer_at_once(home: StoredHome) -> None:
    gone, kept = _secret(home), home.exchange()
    _end_segment(home)
    seal(home.log, home.ingest)
    home.log.append("scores", [{"request_id": gone, "name": "helpful", "value": 1.0, "comment": SECRET.decode()}])
    assert home.log.delete([gone, gone, "not an id"]) == 1
    assert home.log.delete([gone]) == 0
    assert home.ids() == [kept]
    assert home.log.body_of(gone) is None
    assert home.log.query("SELECT count(*) FROM scores").rows == [(0,)]
    for view in ("requests", "attempts"):
        found = sandbox.select(home.log, f"SELECT count(*) FROM {view} WHERE request_id = '{gone}'").rows
        assert found == [(0,)]


def test_its_text_leaves_every_file_sealed_or_not(home: StoredHome) -> None:
    sealed = _secret(home)
    others = [home.exchange() for _ in range(5)]
    _end_segment(home)
    seal(home.log, home.ingest)
    waiting = _secret(home)
    others.append(home.exchange())
    _end_segment(home)
    home.log.checkpoint()
    assert len(home.files_holding(SECRET)) >= 2
    assert home.log.delete([sealed, waiting]) == 2
    assert is_pending(home.log)
    assert purge(home.path, home.log, home.ingest)
    assert home.files_holding(SECRET) == []
    home.store_all()
    assert home.ids() == others
    assert all(home.log.body_of(request_id) for request_id in others)
    assert sandbox.select(home.log, "SELECT count(*), count(DISTINCT request_id) FROM requests").rows == [(6, 6)]
    assert not is_pending(home.log)


def test_a_deleted_record_in_a_segment_still_written_to_goes_when_that_ends(home: StoredHome) -> None:
    gone = _secret(home)
    home.store_all()
    home.log.delete([gone])
    assert not purge(home.path, home.log, home.ingest)
    assert is_pending(home.log)
    home.log.close()
    home.open()
    home.store_all()
    assert home.ids() == []
    kept = home.exchange()
    _end_segment(home)
    assert purge(home.path, home.log, home.ingest)
    assert home.files_holding(SECRET) == []
    home.store_all()
    assert home.ids() == [kept]


def test_a_merged_file_is_rewritten_too(home: StoredHome) -> None:
    old = now_us() - 3 * 86_400_000_000
    gone = _secret(home, at_us=old)
    _end_segment(home)
    kept = home.exchange(at_us=old)
    _end_segment(home)
    seal(home.log, home.ingest)
    merge_days(home.log)
    home.log.delete([gone])
    assert purge(home.path, home.log, home.ingest)
    assert home.files_holding(SECRET) == []
    assert home.ids() == [kept]
    assert home.log.body_of(kept) is not None


def test_deleting_by_filter_takes_what_matches_everything_given(home: StoredHome) -> None:
    bob = [_secret(home, user="bob") for _ in range(3)]
    ann = _secret(home, user="ann")
    home.store_all()
    assert home.log.delete_where() == 0
    assert home.log.delete_where(user="bob", before_us=1) == 0
    assert home.log.delete_where(user="bob", before_us=now_us() + 1) == len(bob)
    assert home.ids() == [ann]


def test_a_deletion_survives_the_loss_of_the_wal(home: StoredHome) -> None:
    gone = _secret(home)
    home.store_all()
    home.log.delete([gone])
    assert not (home.path / "requests.duckdb.wal").exists()
    home.ingest = Ingest(home.path, home.log, lambda final, bodies: (_ for _ in ()).throw(AssertionError))
    home.store_all()
    assert home.ids() == []


def test_a_deletion_after_the_clock_stepped_back_is_purged_too(
    home: StoredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, kept = _secret(home), _secret(home), home.exchange()
    _end_segment(home)
    home.log.delete([first])
    assert purge(home.path, home.log, home.ingest)
    yesterday = now_us() - 86_400_000_000
    monkeypatch.setattr("headgate.store.log.now_us", lambda: yesterday)
    home.log.delete([second])
    assert is_pending(home.log)
    assert purge(home.path, home.log, home.ingest)
    assert home.files_holding(SECRET) == []
    assert not is_pending(home.log)
    assert home.ids() == [kept]


def test_deletions_in_a_file_of_before_they_were_numbered_are_purged_once_more(home: StoredHome) -> None:
    gone, kept = _secret(home), home.exchange()
    _end_segment(home)
    home.log.delete([gone])
    home.log.close()
    with duckdb.connect(str(home.path / "requests.duckdb")) as old:
        old.execute("ALTER TABLE deletions DROP COLUMN number; DROP TABLE rewrites")
        old.execute("DROP TABLE tallies; DROP TABLE removals; ALTER TABLE file_changes DROP COLUMN sha256")
        old.execute("ALTER TABLE alias_moves DROP COLUMN gate; ALTER TABLE alias_moves DROP COLUMN receipt_id")
        old.execute("ALTER TABLE eval_runs DROP COLUMN finished_at")
        for table, names in (("predictions", "predicted alias entity predicted_at"), ("labels", "model entity as_of")):
            for name in names.split():
                old.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
        old.execute("DELETE FROM schema_migrations WHERE version >= 2")
    home.open()
    home.store_all()
    home.ingest.step()
    assert is_pending(home.log)
    assert purge(home.path, home.log, home.ingest)
    assert not is_pending(home.log)
    home.log.delete([kept])
    assert is_pending(home.log)

"""Bodies, rows and disk are held to `[log]`."""

from datetime import timedelta

from headgate.control.deletion import compact, is_mostly_free, needs_rewrite
from headgate.control.jobs import Jobs
from headgate.control.retention import retain, used_bytes
from headgate.control.seal import seal
from headgate.core.ids import now_us
from headgate.core.settings_types import Log as LogSettings
from headgate.store import sandbox
from headgate.store.files import sealed_files
from support.stored_home import StoredHome

CONTENT = b"some-content-5512"
_COLUMNS = "capture, prompt_vars, error_message, user_id"


def _days_ago(days: float) -> int:
    return now_us() - int(timedelta(days=days) / timedelta(microseconds=1))


def _sealed(home: StoredHome, days: float, count: int = 1) -> list[str]:
    text = CONTENT.decode()
    ids = [
        home.finish(
            home.start(at_us=_days_ago(days), user_id="bob"),
            request=CONTENT * 2,
            response=CONTENT,
            prompt_vars=f'{{"v": "{text}"}}',
            error_message=text,
        )
        for _ in range(count)
    ]
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    return ids


def test_old_bodies_and_content_go_and_their_rows_stay(home: StoredHome) -> None:
    [old] = _sealed(home, 40)
    [new] = _sealed(home, 1)
    retain(home.path, home.log, LogSettings(body_days=30))
    assert home.log.body_of(old) is None
    assert home.log.body_of(new) is not None
    expected = [("expired", None, None, "bob"), ("full", f'{{"v": "{CONTENT.decode()}"}}', CONTENT.decode(), "bob")]
    assert home.log.query(f"SELECT {_COLUMNS} FROM requests ORDER BY started_at").rows == expected
    assert sandbox.select(home.log, f"SELECT {_COLUMNS} FROM requests ORDER BY started_at").rows == expected
    assert [file.has_bodies for file in sealed_files(home.log)] == [False, True]


def test_expired_content_leaves_the_files(home: StoredHome) -> None:
    [old] = _sealed(home, 40)
    retain(home.path, home.log, LogSettings(body_days=30))
    assert needs_rewrite(home.log)
    jobs = Jobs(home.path, home.log, home.ingest, LogSettings)
    jobs.step()
    assert [job.problem for job in jobs.jobs] == [None] * len(jobs.jobs)
    assert home.files_holding(CONTENT) == []
    assert home.ids() == [old]
    assert home.log.query("SELECT capture FROM requests").rows == [("expired",)]


def test_old_rows_go_with_their_files(home: StoredHome) -> None:
    _sealed(home, 500, count=2)
    [kept] = _sealed(home, 100)
    retain(home.path, home.log, LogSettings(row_days=400))
    assert home.ids() == [kept]
    assert len(home.parquet()) == 1
    assert sandbox.select(home.log, "SELECT count(*) FROM requests").rows == [(1,)]


def test_the_oldest_bodies_go_first_when_the_disk_limit_is_exceeded(home: StoredHome) -> None:
    oldest, middle, newest = (_sealed(home, days)[0] for days in (3, 2, 1))
    room = used_bytes(home.path) - 1
    retain(home.path, home.log, LogSettings(max_disk_gb=room / 1024**3))
    assert home.log.body_of(oldest) is None
    assert home.log.body_of(middle) is not None
    assert home.log.body_of(newest) is not None
    assert home.ids() == [oldest, middle, newest]


def test_retaining_twice_changes_nothing_more(home: StoredHome) -> None:
    _sealed(home, 40)
    settings = LogSettings(body_days=30)
    retain(home.path, home.log, settings)
    files = sealed_files(home.log)
    retain(home.path, home.log, settings)
    assert sealed_files(home.log) == files
    assert home.log.query("SELECT count(*) FROM expiries").rows == [(1,)]


def test_expired_rows_stay_expired_after_a_restart(home: StoredHome) -> None:
    [old] = _sealed(home, 40)
    retain(home.path, home.log, LogSettings(body_days=30))
    home.log.close()
    home.open()
    assert home.log.body_of(old) is None
    assert home.log.query("SELECT capture FROM requests").rows == [("expired",)]


def test_a_log_of_which_much_is_free_is_rewritten(home: StoredHome) -> None:
    for first in range(0, 400_000, 100_000):
        with home.log.writing() as connection:
            connection.execute(
                """INSERT INTO exchanges BY NAME
                   SELECT n AS seq, uuid() AS request_id, make_timestamp(?) AS started_at, '0-x' AS spool_id,
                          1 AS segment, n AS "offset", sha256(n::VARCHAR) AS usage_raw FROM range(?, ?) AS t(n)""",
                [_days_ago(500), first, first + 100_000],
            )
    home.log.checkpoint()
    home.log.close()
    home.open()
    [kept] = _sealed(home, 1)
    before = (home.path / "requests.duckdb").stat().st_size
    retain(home.path, home.log, LogSettings(row_days=400))
    assert is_mostly_free(home.log)
    assert compact(home.log)
    assert (home.path / "requests.duckdb").stat().st_size < before / 2
    assert home.ids() == [kept]
    assert not compact(home.log)

"""What `log delete` took out of every answer is taken out of every file."""

from datetime import timedelta
from pathlib import Path

from headgate.control.ingest import Ingest
from headgate.control.seal import replace_files, seal
from headgate.core.ids import now_us, utc
from headgate.spool.reader import SpoolReader, spools
from headgate.store.files import sealed_files
from headgate.store.log import Log

_KEEP_NOTES = timedelta(hours=48)
"""How long a deletion is remembered after its last file: a start record of it may outlive its end in the spool."""


def purge(home: Path, log: Log, ingest: Ingest) -> bool:
    """Remove deleted requests' text from files; True when none is left anywhere.

    A segment still written to is left for later: it rolls within minutes and is then sealed without them.
    """
    with log.upkeep:
        return _purge(home, log, ingest)


def _purge(home: Path, log: Log, ingest: Ingest) -> bool:
    seal(log, ingest)
    pending = log.query("SELECT request_id, started_at, spool_id, segment, deleted_at FROM deletions").rows
    ids = frozenset(str(row[0]) for row in pending)
    for file in sealed_files(log):
        if any(file.min_started_at <= row[1] <= file.max_started_at for row in pending) and _holds(log, file.path, ids):
            replace_files(log, [file], has_bodies=file.has_bodies, without=ids)
    if needs_rewrite(log):
        log.rewrite()
        remove_damaged_wals(home)
    segments = _segments(ingest)
    left = [row for row in pending if (row[2], row[3]) in segments]
    forget_before = utc(now_us()).replace(tzinfo=None) - _KEEP_NOTES
    done = [str(row[0]) for row in pending if (row[2], row[3]) not in segments and row[4] < forget_before]
    if done:
        with log.writing() as connection:
            connection.execute("DELETE FROM deletions WHERE request_id IN (SELECT unnest(?::UUID[]))", [done])
    return not left


def is_pending(log: Log) -> bool:
    """Whether deleted text may still be in a file of the log or in the spool."""
    return needs_rewrite(log) or bool(
        log.query(
            """SELECT 1 FROM deletions
               WHERE (spool_id, segment) NOT IN (SELECT (spool_id, segment) FROM sealed_segments) LIMIT 1"""
        ).rows
    )


def needs_rewrite(log: Log) -> bool:
    """Whether the database file may hold removed text: deletions or expired content newer than its last rewrite."""
    row = log.query(
        """SELECT (SELECT count(*) FROM deletions
                   WHERE deleted_at >= coalesce(
                       (SELECT max(before) FROM expiries WHERE what = 'rewrite'), '-infinity')),
                  (SELECT count(*) FROM exchanges
                   WHERE started_at < (SELECT max(before) FROM expiries WHERE what = 'bodies')
                     AND (prompt_vars IS NOT NULL OR error_message IS NOT NULL))"""
    ).rows[0]
    return bool(row[0] or row[1])


def remove_damaged_wals(home: Path) -> None:
    """WALs that were set aside may hold deleted text too."""
    for path in home.glob("requests.duckdb.wal-damaged-*"):
        path.unlink(missing_ok=True)


def _holds(log: Log, path: str, ids: frozenset[str]) -> bool:
    return log.archive.holds_any(path, sorted(ids))


def _segments(ingest: Ingest) -> set[tuple[str, int]]:
    """Every segment still in the spool."""
    return {
        (spool_id, segment.number)
        for spool_id in spools(ingest.spool_dir)
        for segment in SpoolReader(ingest.spool_dir, spool_id).segments()
    }

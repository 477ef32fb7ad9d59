"""What `log delete` took out of every answer is taken out of every file."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from headgate.control.ingest import Ingest
from headgate.control.seal import replace_files, seal_readable
from headgate.core.ids import now_us, utc
from headgate.spool.reader import SpoolReader, spools
from headgate.store.files import sealed_files
from headgate.store.log import Log

_KEEP_NOTES = timedelta(hours=48)
"""How long a deletion is remembered after its last file: a start record of it may outlive its end in the spool."""
FREE_SHARE = 0.4
"""Of the database file's blocks, when it is rewritten for that alone."""
_LEAST_BLOCKS = 32


def purge(home: Path, log: Log, ingest: Ingest) -> bool:
    """Remove deleted requests' text from files; True when none is left anywhere.

    A segment still written to is left for later: it rolls within minutes and is then sealed without them.
    """
    with log.upkeep:
        return _purge(home, log, ingest)


def _purge(home: Path, log: Log, ingest: Ingest) -> bool:
    seal_readable(log, ingest)  # the job that seals reports what is wrong
    pending = log.query("SELECT request_id, started_at, spool_id, segment, deleted_at FROM deletions").rows
    ids = frozenset(str(row[0]) for row in pending)
    for file in sealed_files(log):
        if any(file.min_started_at <= row[1] <= file.max_started_at for row in pending) and _holds(log, file.path, ids):
            replace_files(log, [file], has_bodies=file.has_bodies, without=ids)
    if needs_rewrite(log):
        log.rewrite()
        remove_damaged_wals(home)
    is_left = _spooled(ingest)
    left = {row[0] for row in pending if is_left(row[2], row[3])}
    forget_before = utc(now_us()).replace(tzinfo=None) - _KEEP_NOTES
    done = [str(row[0]) for row in pending if row[0] not in left and row[4] < forget_before]
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
    """Whether the database file may hold removed text: deletions since its last rewrite, or expired content."""
    row = log.query(
        """SELECT (SELECT count(*) FROM deletions WHERE number > coalesce((SELECT max(number) FROM rewrites), 0)),
                  (SELECT count(*) FROM exchanges
                   WHERE started_at < (SELECT max(before) FROM expiries WHERE what = 'bodies')
                     AND (prompt_vars IS NOT NULL OR error_message IS NOT NULL))"""
    ).rows[0]
    return bool(row[0] or row[1])


def compact(log: Log) -> bool:
    """Rewrite the database file when much of it is free: rows that were too old are still in it; whether it was."""
    with log.upkeep:
        if not is_mostly_free(log):
            return False
        log.rewrite()
        return True


def is_mostly_free(log: Log) -> bool:
    """Whether so much of the database file is free that a rewrite is worth its time."""
    share, blocks = log.free_share()
    return share > FREE_SHARE and blocks >= _LEAST_BLOCKS


def remove_damaged_wals(home: Path) -> None:
    """WALs that were set aside may hold deleted text too."""
    for path in home.glob("requests.duckdb.wal-damaged-*"):
        path.unlink(missing_ok=True)


def _holds(log: Log, path: str, ids: frozenset[str]) -> bool:
    return log.archive.holds_any(path, sorted(ids))


def _spooled(ingest: Ingest) -> Callable[[str, int], bool]:
    """Says whether a segment is still in the spool, or may be: its spool cannot be read."""
    found: set[tuple[str, int]] = set()
    unreadable: set[str] = set()
    for spool_id in spools(ingest.spool_dir):
        try:
            segments = SpoolReader(ingest.spool_dir, spool_id).segments()
        except OSError:
            unreadable.add(spool_id)
            continue
        found.update((spool_id, segment.number) for segment in segments)
    return lambda spool_id, segment: spool_id in unreadable or (spool_id, segment) in found

"""Which sealed files count: the log says so, not the directory, so that a crash between the two changes no answer."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from headgate.core.ids import now_us
from headgate.store.columns import EXCHANGE_COLUMNS
from headgate.store.connection import OutcomeUnknown
from headgate.store.table import first_row

if TYPE_CHECKING:
    from headgate.store.log import Log

TEMPORARY = ".tmp"
"""Ends the name of a file that is being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """One Parquet file below HOME/bodies; ``path`` is relative to it."""

    path: str
    rows: int
    bytes: int
    has_bodies: bool
    min_started_at: datetime
    max_started_at: datetime
    sha256: str | None = None  # of the whole file; None: written before that was noted

    @property
    def day(self) -> str:
        """The day of its first row, YYYY-MM-DD."""
        return self.path.split("/")[0].removeprefix("day=")


_COLUMNS = "path, rows, bytes, has_bodies, min_started_at, max_started_at, sha256"


def sealed_files(log: "Log") -> list[SealedFile]:
    """The files that count, oldest first."""
    table = log.query(
        f"""SELECT {_COLUMNS} FROM file_changes WHERE change = 'added'
            AND path NOT IN (SELECT path FROM file_changes WHERE change = 'removed') ORDER BY min_started_at, path"""
    )
    return [SealedFile(**row) for row in table.dicts()]


def record_files(
    log: "Log",
    *,
    added: Sequence[SealedFile] = (),
    removed: Sequence[str] = (),
    segments: Sequence[tuple[str, int]] = (),
    generation: int | None = None,
) -> None:
    """In one transaction: files that count from now on, files that do not, segments that are now in a file.

    Returns after a checkpoint, so that what was replaced may be unlinked: losing the WAL cannot bring it back.
    Raises OutcomeUnknown when the log was reopened since ``generation``: the rows may not be what they were.
    """
    with log.writing() as connection:
        if generation is not None and generation != log.generation:
            raise OutcomeUnknown("The log was reopened while a file was written.", hint="The file is written again.")
        _note(connection, added=added, removed=removed, segments=segments)
    log.checkpoint()


def _note(
    connection: duckdb.DuckDBPyConnection,
    *,
    added: Sequence[SealedFile],
    removed: Sequence[str],
    segments: Iterable[tuple[str, int]],
) -> None:
    noted = now_us()
    for file in added:
        connection.execute(
            f"""INSERT INTO file_changes (change, {_COLUMNS}, noted_at)
                VALUES ('added', ?, ?, ?, ?, ?, ?, ?, make_timestamp(?))""",
            [*(getattr(file, name) for name in _COLUMNS.split(", ")), noted],
        )
    for path in removed:
        connection.execute(
            "INSERT INTO file_changes (change, path, noted_at) VALUES ('removed', ?, make_timestamp(?))",
            [path, noted],
        )
    for spool_id, segment in segments:
        connection.execute("INSERT INTO sealed_segments VALUES (?, ?, make_timestamp(?))", [spool_id, segment, noted])


def sealed_segments(log: "Log", spool_id: str) -> set[int]:
    """The segments of a spool whose rows are in a file."""
    return {row[0] for row in log.query("SELECT segment FROM sealed_segments WHERE spool_id = ?", [spool_id]).rows}


def all_sealed_segments(log: "Log") -> set[tuple[str, int]]:
    """The segments of every spool whose rows are in a file."""
    return {(row[0], row[1]) for row in log.query("SELECT spool_id, segment FROM sealed_segments").rows}


def adopt_file(
    log: "Log", file: SealedFile, segments: Iterable[tuple[str, int]], *, removed: Sequence[str] = ()
) -> int:
    """Let a file count that the log did not know, and store those of its rows that the log lacks; returns how many.

    Rows that the log has taken out stay out. All in one transaction, then a checkpoint, as in ``record_files``.
    """
    count = 0
    fresh = set(segments) - all_sealed_segments(log)
    with log.writing() as connection:
        for table in log.archive.metadata(file.path):
            connection.register("batch", table)
            try:
                inserted = first_row(connection, _ADOPT)
            finally:
                connection.unregister("batch")
            count += inserted[0] if inserted else 0
        _note(connection, added=[file], removed=removed, segments=sorted(fresh))
    log.checkpoint()
    log.load_state()
    return count


_ADOPT = f"""
    INSERT INTO exchanges
    SELECT (SELECT greatest((SELECT coalesce(max(seq), 0) FROM exchanges), (SELECT coalesce(max(last_seq), 0) FROM marks)))
           + row_number() OVER (ORDER BY seq), {", ".join(f"CAST({column.name} AS {column.sql_type})" for column in EXCHANGE_COLUMNS[1:])}
    FROM batch
    WHERE NOT EXISTS (SELECT 1 FROM exchanges AS had WHERE had.spool_id = batch.spool_id
                      AND had.segment = batch.segment AND had."offset" = batch."offset")
    AND NOT EXISTS (SELECT 1 FROM exchanges AS had WHERE had.request_id = CAST(batch.request_id AS UUID))
    AND NOT EXISTS (SELECT 1 FROM deletions AS gone WHERE gone.request_id = CAST(batch.request_id AS UUID))
    AND started_at >= coalesce((SELECT max(before) FROM expiries WHERE what = 'rows'), '-infinity')
"""  # noqa: E501


def remove_leftovers(log: "Log", bodies: Path) -> int:
    """Unlink half-written files and those that the log has replaced; returns how many. Unknown ones stay."""
    replaced = {row[0] for row in log.query("SELECT path FROM file_changes WHERE change = 'removed'").rows}
    removed = 0
    for path in sorted(bodies.glob("day=*/*")):
        is_leftover = path.name.endswith(TEMPORARY) or str(path.relative_to(bodies)) in replaced
        if is_leftover and path.is_file():
            path.unlink(missing_ok=True)
            removed += 1
    for day in bodies.glob("day=*"):
        if day.is_dir() and not any(day.iterdir()):
            day.rmdir()
    return removed


def unknown_files(log: "Log", bodies: Path) -> list[str]:
    """Parquet files that do not count: the log is new or older than they are, or they are not ours."""
    counted = {file.path for file in sealed_files(log)}
    found = [str(path.relative_to(bodies)) for path in sorted(bodies.glob("day=*/*.parquet"))]
    return [path for path in found if path not in counted]


def hash_of(path: Path) -> str:
    """The SHA-256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Make renames and removals in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

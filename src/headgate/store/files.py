"""Which sealed files count: the log says so, not the directory, so that a crash between the two changes no answer."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.ids import now_us
from headgate.store.connection import OutcomeUnknown

if TYPE_CHECKING:
    from headgate.store.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """One Parquet file below HOME/bodies; ``path`` is relative to it."""

    path: str
    rows: int
    bytes: int
    has_bodies: bool
    min_started_at: datetime
    max_started_at: datetime

    @property
    def day(self) -> str:
        """The day of its first row, YYYY-MM-DD."""
        return self.path.split("/")[0].removeprefix("day=")


_COLUMNS = "path, rows, bytes, has_bodies, min_started_at, max_started_at"


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
    noted = now_us()
    with log.writing() as connection:
        if generation is not None and generation != log.generation:
            raise OutcomeUnknown("The log was reopened while a file was written.", hint="The file is written again.")
        for file in added:
            connection.execute(
                "INSERT INTO file_changes VALUES ('added', ?, ?, ?, ?, ?, ?, make_timestamp(?))",
                [file.path, file.rows, file.bytes, file.has_bodies, file.min_started_at, file.max_started_at, noted],
            )
        for path in removed:
            connection.execute(
                "INSERT INTO file_changes (change, path, noted_at) VALUES ('removed', ?, make_timestamp(?))",
                [path, noted],
            )
        for spool_id, segment in segments:
            connection.execute(
                "INSERT INTO sealed_segments VALUES (?, ?, make_timestamp(?))", [spool_id, segment, noted]
            )
    log.checkpoint()


def sealed_segments(log: "Log", spool_id: str) -> set[int]:
    """The segments of a spool whose rows are in a file."""
    return {row[0] for row in log.query("SELECT segment FROM sealed_segments WHERE spool_id = ?", [spool_id]).rows}


def remove_strays(log: "Log", bodies: Path) -> int:
    """Unlink files that do not count (left by a crash before their record, or after their replacement)."""
    counted = {file.path for file in sealed_files(log)}
    removed = 0
    for path in sorted(bodies.glob("day=*/*")):
        if str(path.relative_to(bodies)) not in counted:
            path.unlink(missing_ok=True)
            removed += 1
    for day in bodies.glob("day=*"):
        if not any(day.iterdir()):
            day.rmdir()
    return removed


def sync_directory(directory: Path) -> None:
    """Make renames and removals in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

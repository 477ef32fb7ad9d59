"""Sealed files that the log does not know: it was lost, or an older copy was put back. Their rows are read into it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.core.errors import HeadgateError, Unavailable
from headgate.spool.reader import spools
from headgate.store.archive import Examined
from headgate.store.files import SealedFile, adopt_file, all_sealed_segments, sealed_files, unknown_files
from headgate.store.log import Log
from headgate.store.table_copies import SAID_TABLES, newest_copy, restore

_logger = logging.getLogger("headgate.rebuild")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A file to count, without the requests that another file has or that were deleted."""

    examined: Examined
    without: tuple[str, ...]


def rebuild(log: Log, is_spooled: Callable[[str, int], bool]) -> int:
    """Make every whole sealed file on the disk count, once, and store the rows the log lacks; returns how many.

    ``is_spooled`` says whether a segment is still in the spool: what is there is ingested and sealed anew. A file is
    unlinked only when each of its rows is there, in another file, or deleted. What cannot be read is left alone.
    """
    with log.upkeep:
        was_new = log.is_new()
        copy = newest_copy(log.home) if was_new else None
        if copy is not None:
            _restore_before(log, copy)
        paths = unknown_files(log, log.bodies_directory)
        missing = [file for file in sealed_files(log) if not (log.bodies_directory / file.path).exists()]
        if not paths and not missing and copy is None:
            return 0
        sealed_before = all_sealed_segments(log)
        wanted = _chosen(log, _examined(log, paths), is_spooled, sealed_before)
        rows, files = 0, 0
        for one in sorted(wanted, key=lambda one: one.examined.file.min_started_at):
            # A file of a day of which the log knows segments, but not this file, took the place of those it knows.
            is_successor = not one.examined.segments.isdisjoint(sealed_before)
            replaced = [file for file in missing if is_successor and file.day == one.examined.file.day]
            stored = _adopted(log, one, [file.path for file in replaced])
            if stored is None:
                continue
            missing = [file for file in missing if file not in replaced]
            rows, files = rows + stored, files + 1
        if copy is not None:
            # Predictions of what is still in the spool come from there.
            _restored(log, copy, ["predictions"], {"predictions": "request_id IN (SELECT request_id FROM exchanges)"})
    if files:
        state = "missing" if was_new else "older than its sealed files"
        _logger.warning(
            "the log was %s; %d %s rebuilt from %d sealed %s",
            *(state, rows, "row was" if rows == 1 else "rows were", files, "file" if files == 1 else "files"),
        )
    if missing:
        _logger.warning(
            "%s not there, so bodies cannot be shown and SQL fails: bodies/%s. Put back what was moved away.",
            *(_count_of_missing(missing), missing[0].path),
        )
    return rows


def _restore_before(log: Log, copy: Path) -> None:
    """What only the lost log knew. What is still in the spool is read from there anew, so its account is not taken."""
    tables = ["deletions", "expiries", "removals", "labels", "scores", "sealed_segments"]
    _restored(log, copy, tables, {})
    sealed = "(spool_id, segment) IN (SELECT (spool_id, segment) FROM sealed_segments)"
    gone = " AND ".join(["is_closed", *(f"spool_id <> '{spool_id}'" for spool_id in spools(log.home / "spool"))])
    _restored(log, copy, ["tallies", "marks"], {"tallies": sealed, "marks": gone})


def _restored(log: Log, copy: Path, tables: Sequence[str], conditions: dict[str, str]) -> None:
    counts: dict[str, int] = {}
    for table in tables:
        try:
            counts |= restore(log, copy, [table], conditions)
        except HeadgateError as error:
            _logger.warning("tables/%s/%s.parquet could not be read back: %s", copy.name, table, error)
    said = ", ".join(f"{count} {table}" for table, count in counts.items() if count and table in SAID_TABLES)
    if said:
        _logger.warning("from tables/%s came back: %s", copy.name, said)


def _count_of_missing(missing: list[SealedFile]) -> str:
    if len(missing) == 1:
        return "1 sealed file that the log names is"
    return f"{len(missing)} sealed files that the log names are"


def _examined(log: Log, paths: list[str]) -> list[Examined]:
    """What can be read as a sealed file; those with bodies and many rows first."""
    found = []
    for path in paths:
        try:
            found.append(log.archive.examine(path))
        except (Unavailable, OSError) as error:
            _logger.warning("bodies/%s does not count and is left alone: %s", path, error)
    return sorted(found, key=lambda one: (not one.file.has_bodies, -one.file.rows, one.file.path))


def _chosen(
    log: Log, found: list[Examined], is_spooled: Callable[[str, int], bool], sealed: set[tuple[str, int]]
) -> list[_Wanted]:
    """Which files shall count; the others are unlinked here when nothing is lost with them."""
    deleted = [str(row[0]) for row in log.query("SELECT request_id FROM deletions").rows]
    others = [file for file in sealed_files(log) if (log.bodies_directory / file.path).exists()]
    chosen = []
    for one in found:
        path = log.bodies_directory / one.file.path
        if all(segment not in sealed and is_spooled(*segment) for segment in one.segments):
            path.unlink(missing_ok=True)  # a seal that was cut short: done again
            continue
        try:
            shared = log.archive.shared(one.file.path, [other.path for other in others], deleted)
            if len(shared) < one.file.rows:
                chosen.append(_Wanted(examined=one, without=tuple(shared)))
                others.append(one.file)
            elif _is_poorer(log, one.file, others, deleted):
                path.unlink(missing_ok=True)  # a replacement that was cut short: done again when still due
            else:
                _logger.warning("bodies/%s holds bodies that have expired; it does not count.", one.file.path)
        except Unavailable as error:
            _logger.warning("bodies/%s does not count and is left alone: %s", one.file.path, error)
    return chosen


def _is_poorer(log: Log, file: SealedFile, others: list[SealedFile], deleted: list[str]) -> bool:
    """Whether all that ``file`` has, bodies too, is in the other files or deleted."""
    if not file.has_bodies:
        return True
    rich = [other.path for other in others if other.has_bodies]
    return len(log.archive.shared(file.path, rich, deleted)) == file.rows


def _adopted(log: Log, wanted: _Wanted, replaced: list[str]) -> int | None:
    """Count the file, or a copy of it without what is elsewhere; how many rows were stored, None when it failed."""
    file, name = wanted.examined.file, wanted.examined.file.path
    try:
        if not wanted.without:
            return adopt_file(log, file, wanted.examined.segments, removed=replaced)
        copy = name.removesuffix(".parquet") + "-rest.parquet"
        rest = log.archive.merge([name], copy, has_bodies=file.has_bodies, without=wanted.without)
        if rest is None:
            return None
        count = adopt_file(log, rest, wanted.examined.segments, removed=[*replaced, name])
        (log.bodies_directory / name).unlink(missing_ok=True)
        return count
    except (HeadgateError, OSError) as error:
        _logger.warning("bodies/%s could not be read back; the next start tries again: %s", name, error)
        return None

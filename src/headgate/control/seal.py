"""Finished spool segments become Parquet files with bodies; finished days are merged into few files."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from arro3.core import Table

from headgate.control.ingest import Ingest, Progress, spooled_bodies
from headgate.core.errors import Unavailable
from headgate.core.ids import now_us, utc, uuid7
from headgate.spool.reader import SpoolReader
from headgate.store.archive import with_bodies
from headgate.store.columns import EXCHANGE_COLUMNS, names
from headgate.store.files import SealedFile, record_files, sealed_files, sealed_segments
from headgate.store.log import Log
from headgate.store.values import Bodies, Location

CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 2048
MERGED_BYTES = 512 << 20
_DAY_S = 86_400

_logger = logging.getLogger("headgate.seal")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    seq: int
    offset: int
    length: int
    has_bodies: bool


def seal(log: Log, ingest: Ingest) -> int:
    """Seal every segment that is stored in full and holds no unfinished start, then remove it; returns how many.

    A spool that cannot be read or removed does not hold up the others: Unavailable names it at the end.
    """
    with log.upkeep:
        count, failed = seal_readable(log, ingest)
    if failed:
        raise Unavailable(f"Not every spool could be sealed: {'; '.join(failed)}.")
    return count


def seal_readable(log: Log, ingest: Ingest) -> tuple[int, list[str]]:
    """``seal``, with what is wrong with a spool returned instead of raised; the caller holds ``log.upkeep``."""
    generation, progress = ingest.progress()
    if generation != log.generation:
        return 0, []
    count = 0
    failed = []
    for spool_id, spool in progress.items():
        try:
            count += _seal_spool(log, ingest, spool_id, spool, generation)
        except OSError as error:
            failed.append(f"{spool_id} ({type(error).__name__}: {error})")
    return count, failed


def _seal_spool(log: Log, ingest: Ingest, spool_id: str, spool: Progress, generation: int) -> int:
    reader = SpoolReader(ingest.spool_dir, spool_id)
    segments = reader.segments()
    settled = [segment.number for segment in segments if segment.is_done and _is_settled(segment.number, spool)]
    done = sealed_segments(log, spool_id) if settled else set()
    count = 0
    for number in settled:
        if number not in done:
            _seal_segment(log, ingest.spool_dir, spool_id, number, generation)
            count += 1
        else:
            log.checkpoint()  # its record may still be in the WAL only
        reader.delete_segment(number)
    if spool.is_closed and len(settled) == len(segments):
        reader.delete_spool()
    return count


def _is_settled(segment: int, spool: Progress) -> bool:
    if spool.is_closed:
        return True
    is_read = spool.position is not None and spool.position.segment > segment
    return is_read and segment not in spool.unfinished_segments


def _seal_segment(log: Log, spool_dir: Path, spool_id: str, segment: int, generation: int) -> None:
    """Write the segment's file and record it durably. A crash in between leaves a stray file that does not count."""
    table = log.query(
        """SELECT seq, "offset", length, capture IN ('full', 'truncated') FROM exchanges
           WHERE spool_id = ? AND segment = ? ORDER BY seq""",
        [spool_id, segment],
        timeout_s=60.0,
    )
    frames = [_Frame(seq=seq, offset=at, length=length, has_bodies=kept) for seq, at, length, kept in table.rows]
    file = None
    if frames:
        day = _day_of(log, frames[0].seq)
        name = f"day={day:%Y-%m-%d}/{spool_id}-{segment:08d}.parquet"
        file = log.archive.write(name, _batches(log, spool_dir, spool_id, segment, frames))
    record_files(log, added=[file] if file else [], segments=[(spool_id, segment)], generation=generation)


def _day_of(log: Log, seq: int) -> datetime:
    day: datetime = log.query("SELECT started_at FROM exchanges WHERE seq = ?", [seq]).rows[0][0]
    return day


def _batches(log: Log, spool_dir: Path, spool_id: str, segment: int, frames: list[_Frame]) -> Iterator[Any]:
    """Record batches of metadata and bodies, a few megabytes at a time."""
    for chunk in _chunks(frames):
        with log.cursor() as cursor:
            relation = cursor.sql(
                f"""SELECT {names(EXCHANGE_COLUMNS)} FROM exchanges
                    WHERE seq BETWEEN $first AND $last AND spool_id = $spool AND segment = $segment ORDER BY seq""",
                params={"first": chunk[0].seq, "last": chunk[-1].seq, "spool": spool_id, "segment": segment},
            )
            metadata = Table.from_arrow(relation)
        by_seq = {frame.seq: frame for frame in chunk}
        # Rows may have been taken out meanwhile: their bodies are not read again.
        kept = [by_seq[seq] for seq in metadata.column("seq").to_pylist()]
        if kept:
            yield with_bodies(metadata, [_bodies(spool_dir, spool_id, segment, frame) for frame in kept])


def _chunks(frames: list[_Frame]) -> Iterator[list[_Frame]]:
    chunk: list[_Frame] = []
    size = 0
    for frame in frames:
        if chunk and (size + frame.length > CHUNK_BYTES or len(chunk) == CHUNK_ROWS):
            yield chunk
            chunk, size = [], 0
        chunk.append(frame)
        size += frame.length
    if chunk:
        yield chunk


def _bodies(spool_dir: Path, spool_id: str, segment: int, frame: _Frame) -> Bodies | None:
    if not frame.has_bodies or frame.length == 0:
        return None
    return spooled_bodies(spool_dir, Location(spool_id=spool_id, segment=segment, offset=frame.offset))


# ---------------------------------------------------------------------- merging


def merge_days(log: Log) -> int:
    """Merge the many files of each finished day into one (several when large); returns how many were replaced."""
    with log.upkeep:
        return _merge_days(log)


def _merge_days(log: Log) -> int:
    today = f"{utc(now_us()):%Y-%m-%d}"
    groups: dict[tuple[str, bool], list[SealedFile]] = {}
    for file in sealed_files(log):
        if file.day < today:
            groups.setdefault((file.day, file.has_bodies), []).append(file)
    replaced = 0
    for (_, has_bodies), files in groups.items():
        for part in _parts(files):
            replaced += replace_files(log, part, has_bodies=has_bodies)
    return replaced


def _parts(files: list[SealedFile]) -> Iterator[list[SealedFile]]:
    """Runs of small files that together stay below the size of a merged one."""
    part: list[SealedFile] = []
    size = 0
    for file in files:
        if file.bytes >= MERGED_BYTES // 2:
            continue
        if part and size + file.bytes > MERGED_BYTES:
            if len(part) > 1:
                yield part
            part, size = [], 0
        part.append(file)
        size += file.bytes
    if len(part) > 1:
        yield part


def replace_files(log: Log, files: list[SealedFile], *, has_bodies: bool, without: frozenset[str] = frozenset()) -> int:
    """Put one new file in the place of ``files``: record it, checkpoint, then unlink. Returns how many went."""
    name = f"day={files[0].day}/merged-{uuid7(now_us()).replace('-', '')}.parquet"
    old = [file.path for file in files]
    fresh = log.archive.merge(old, name, has_bodies=has_bodies, without=sorted(without))
    record_files(log, added=[fresh] if fresh else [], removed=old)
    unlink_files(log, old)
    return len(old)


def unlink_files(log: Log, paths: list[str]) -> None:
    """Remove files that no longer count, and a day's directory with its last one."""
    for path in paths:
        full = log.bodies_directory / path
        full.unlink(missing_ok=True)
        try:
            full.parent.rmdir()
        except OSError:
            continue

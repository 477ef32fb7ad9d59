"""A copy of a spool that is being written to: whole records only, and no lock, so that its writer counts as ended."""

import os
import shutil
from pathlib import Path

from headgate.spool.reader import SET_ASIDE, Position, SpoolReader, opened
from headgate.spool.segment import HEADER_BYTES, is_lock_held, segment_path

_PIECE_BYTES = 1 << 20
_BLANK = bytes(_PIECE_BYTES)


def copy_spool(spool_dir: Path, spool_id: str, read_to: Position | None, target: Path) -> int:
    """Copy what was written so far into ``target``/spool id; returns the bytes copied.

    ``read_to``: how far it is stored; only what follows is read to find the end. Nothing may be removed meanwhile.
    """
    is_alive = is_lock_held(spool_dir / spool_id)
    reader = SpoolReader(spool_dir, spool_id)
    end = _end_of(reader, read_to)
    into = target / spool_id
    into.mkdir(mode=0o700, parents=True)
    copied = 0
    for segment in reader.segments():
        limit = None
        if is_alive and segment.number >= end.segment:
            limit = end.offset if segment.number == end.segment else 0
        if limit is None or limit > HEADER_BYTES:
            copied += _copy_segment(spool_dir / spool_id, segment.number, into, limit)
    for path in sorted((spool_dir / spool_id).iterdir()):
        if path.suffix in SET_ASIDE:
            shutil.copyfile(path, into / path.name)
    return copied


def _end_of(reader: SpoolReader, position: Position | None) -> Position:
    while True:
        batch = reader.read(position, 10_000, 64 << 20)
        position = batch.position
        if not batch.entries:
            return position


def _copy_segment(directory: Path, number: int, into: Path, limit: int | None) -> int:
    """A segment up to ``limit`` bytes; what is blank takes no room in the copy."""
    with opened(directory, number) as source:
        if source is None:
            return 0
        size = os.fstat(source).st_size if limit is None else limit
        path = segment_path(into, number, "done")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
            copied = 0
            for at in range(0, size, _PIECE_BYTES):
                piece = os.pread(source, min(_PIECE_BYTES, size - at), at)
                if piece != _BLANK[: len(piece)]:
                    copied += os.pwrite(fd, piece, at)
            os.fsync(fd)
        finally:
            os.close(fd)
    return copied

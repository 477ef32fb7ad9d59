"""Reads the spool back, whatever a crash, a full disk or a damaged one has left in it."""

import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict
from zlib import crc32

import msgspec

from headgate.spool.record import FinalRecord, StartRecord
from headgate.spool.segment import (
    FINAL,
    FORMAT_VERSION,
    FRAME_BYTES,
    GAP,
    HEADER_BYTES,
    LENGTHS,
    START,
    Gap,
    SegmentState,
    is_lock_held,
    is_spool_name,
    parse_frame_header,
    parse_segment_header,
    parse_segment_name,
    salt_of,
    segment_path,
)

_CHUNK_BYTES = 1 << 20
_LOOK_BYTES = 64 << 10
"""What the first look reads: most looks find nothing, and a megabyte of zeros costs a hundred times more to read."""
_BLANK = bytes(_CHUNK_BYTES)
_MAX_MISSED = 1000
SET_ASIDE = (".newer", ".misplaced")
"""What is added to the name of a segment that another version, or another place, can read; it stays in the spool."""
_CANDIDATE = re.compile(rb"HG[\x01-\x0f]\x00")  # magic, kind, flags of a frame
_start_of = msgspec.msgpack.Decoder(StartRecord).decode
_final_of = msgspec.msgpack.Decoder(FinalRecord).decode
_gap_of = msgspec.msgpack.Decoder(Gap).decode


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where to read on. All segments before ``segment`` are consumed."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record and where its frame lies. Bodies are read apart, by ``read_bodies``."""

    kind: Literal["start", "final", "gap"]
    start: StartRecord | None = None
    final: FinalRecord | None = None
    gap: Gap | None = None
    segment: int
    offset: int
    length: int  # of the whole frame


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one read found.

    ``position`` may move without entries. ``damaged_bytes`` lie between the position asked for and
    this one: count them when you keep this position.
    """

    entries: list[Entry] = field(default_factory=list)
    position: Position
    damaged_bytes: int = 0
    set_aside: list[str] = field(default_factory=list)  # files of a newer format or another place, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentInfo:
    """One segment file; done means that nothing will be added to it."""

    number: int
    is_done: bool
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """The bodies of one final record; ``sent`` is empty when equal to ``request``."""

    request: bytes
    sent: bytes
    response: bytes


def spools(spool_dir: Path) -> list[str]:
    """The ids of all spools, oldest first."""
    try:
        with os.scandir(spool_dir) as entries:
            names = [entry.name for entry in entries if is_spool_name(entry.name) and _may_be(entry.is_dir)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names, key=lambda name: (name.partition("-")[2], name))


def _may_be(kind: Callable[[], bool]) -> bool:
    """Whether a name is of this kind or cannot be looked at: whoever uses it is then told why."""
    try:
        return kind()
    except OSError:
        return True


def is_writer_alive(spool_dir: Path, spool_id: str) -> bool:
    """Whether the process that writes this spool lives."""
    return is_lock_held(spool_dir / spool_id)


def read_bodies(spool_dir: Path, spool_id: str, segment: int, offset: int) -> Bodies | None:
    """The bodies of the final record whose frame begins at ``offset``; None when it is gone or damaged."""
    with opened(spool_dir / spool_id, segment) as fd:
        if fd is None or offset < 0:
            return None
        header = parse_frame_header(os.pread(fd, FRAME_BYTES, offset), 0, salt_of(spool_id, segment))
        if header is None or header[0] != FINAL:
            return None
        _, length, payload_crc = header
        if offset + FRAME_BYTES + length > os.fstat(fd).st_size:
            return None
        payload = memoryview(_pread(fd, length, offset + FRAME_BYTES))
    if len(payload) != length or crc32(payload) != payload_crc or length < LENGTHS.size:
        return None
    meta, request, sent, response = LENGTHS.unpack_from(payload)
    if LENGTHS.size + meta + request + sent + response != length:
        return None
    at = LENGTHS.size + meta
    return Bodies(
        request=bytes(payload[at : at + request]),
        sent=bytes(payload[at + request : at + request + sent]),
        response=bytes(payload[at + request + sent :]),
    )


class SpoolReader:
    """Reads one spool in the order it was written, and removes what was stored."""

    def __init__(self, spool_dir: Path, spool_id: str) -> None:
        self.spool_id = spool_id
        self._directory = spool_dir / spool_id

    def read(self, position: Position | None, max_records: int, max_bytes: int) -> Batch:
        """The records after ``position`` (None: from the beginning), at least one if there is one.

        A segment still written to is read up to its first frame that is not whole and has none behind it; in
        one that is done, or whose writer is dead, damage is passed over and counted to its end.
        """
        batch = Batch(position=position or Position(1, 0))
        room = _Room(records=max(max_records, 1), bytes=max_bytes)
        is_dead = not is_lock_held(self._directory)  # asked before reading: what a dead writer left is complete
        while True:
            states = self._states()
            number = self._first(states, batch.position.segment)
            if number is None:
                return batch
            offset = batch.position.offset if number == batch.position.segment else 0
            # Asked before reading too: once a later segment is in use this one is complete.
            is_complete = is_dead or states.get(number) == "done" or self._is_used(self._first(states, number + 1))
            with opened(self._directory, number) as fd:
                if fd is not None and not (is_complete and self._is_set_aside(fd, number, batch)):
                    scan = _Scan(fd, number, max(offset, HEADER_BYTES), salt_of(self.spool_id, number))
                    if not scan.run(batch, room, is_complete=is_complete):
                        batch.position = Position(number, scan.offset)
                        return batch
            batch.position = Position(number + 1, 0)  # read to its end, set aside, or stored and removed meanwhile

    def segments(self) -> list[SegmentInfo]:
        """The segments that exist, in order."""
        is_dead = not is_lock_held(self._directory)
        found = []
        for number, state in sorted(self._states().items()):
            with opened(self._directory, number) as fd:
                if fd is not None:
                    size = os.fstat(fd).st_size
                    found.append(SegmentInfo(number=number, is_done=is_dead or state == "done", size_bytes=size))
        return found

    def delete_segment(self, number: int) -> bool:
        """Remove a segment that is done; False when its writer still writes to it."""
        segment_path(self._directory, number, "done").unlink(missing_ok=True)
        unfinished = segment_path(self._directory, number, "open")
        if unfinished.exists():
            if is_lock_held(self._directory):
                return False
            unfinished.unlink(missing_ok=True)
        return True

    def delete_spool(self) -> bool:
        """Remove a dead writer's spool and its files; False when a segment set aside, or a directory, is left in it."""
        if is_lock_held(self._directory):
            return False
        try:
            with os.scandir(self._directory) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return True
        removed = [name for name, is_directory in found if not is_directory and not name.endswith(SET_ASIDE)]
        for name in removed:
            (self._directory / name).unlink(missing_ok=True)
        if len(removed) < len(found):
            return False
        self._directory.rmdir()
        return True

    def _states(self) -> dict[int, SegmentState]:
        try:
            with os.scandir(self._directory) as entries:
                names = [entry.name for entry in entries if _may_be(entry.is_file)]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        states: dict[int, SegmentState] = {}
        for name in names:
            parsed = parse_segment_name(name)
            if parsed is not None and states.get(parsed[0]) != "done":
                states[parsed[0]] = parsed[1]
        return states

    def _first(self, states: dict[int, SegmentState], least: int) -> int | None:
        listed = min((number for number in states if number >= least), default=None)
        if listed is None or listed == least:
            return listed
        # A listing of many names may miss one that is renamed meanwhile: ask for those it passed over.
        for number in range(least, min(listed, least + _MAX_MISSED)):
            with opened(self._directory, number) as fd:
                if fd is not None:
                    return number
        return listed

    def _is_used(self, number: int | None) -> bool:
        if number is None:
            return False
        with opened(self._directory, number) as fd:
            return fd is not None and any(os.pread(fd, FRAME_BYTES, HEADER_BYTES))

    def _is_set_aside(self, fd: int, number: int, batch: Batch) -> bool:
        header = parse_segment_header(os.pread(fd, HEADER_BYTES, 0))
        if header is None:
            return False
        is_newer, is_misplaced = header.version > FORMAT_VERSION, not header.belongs_to(self.spool_id, number)
        if not is_newer and not is_misplaced:
            return False
        suffix = SET_ASIDE[0] if is_newer else SET_ASIDE[1]
        states: tuple[SegmentState, SegmentState] = ("open", "done")
        for state in states:
            path = segment_path(self._directory, number, state)
            if path.exists():
                kept = path.with_name(path.name + suffix)
                path.rename(kept)
                batch.set_aside.append(f"{self.spool_id}/{kept.name}")
        return True


class _Where(TypedDict):
    segment: int
    offset: int
    length: int


@dataclass(slots=True, kw_only=True)
class _Room:
    records: int
    bytes: int


class _Scan:
    """One pass over one segment from ``offset``; reads by ``pread``, so a file cut meanwhile is a short read."""

    def __init__(self, fd: int, number: int, offset: int, salt: int) -> None:
        self.offset = offset
        self._fd, self._number, self._salt = fd, number, salt
        self._window = b""
        self._window_at = 0
        self._read_bytes = _LOOK_BYTES  # at least, by the next read

    def run(self, batch: Batch, room: _Room, *, is_complete: bool) -> bool:
        """Add records to ``batch`` until ``room`` is used up; True when nothing more will come from this segment."""
        if is_complete and self.offset == HEADER_BYTES:
            head = os.pread(self._fd, HEADER_BYTES, 0)
            batch.damaged_bytes += len(head) if parse_segment_header(head) is None else 0
        while room.records > 0:
            header = self._header(self.offset)
            if header is None:
                if not is_complete and self._is_untouched():
                    return False
                if not self._skip_to_next(batch, is_complete=is_complete):
                    return is_complete
                continue
            kind, length, payload_crc = header
            whole = FRAME_BYTES + length
            if batch.entries and whole > room.bytes:
                return False
            is_sound = self._is_sound(length, payload_crc)
            if not is_sound and not is_complete:
                if self._next_header(to_blank=True)[0] is None:
                    return False  # perhaps not yet seen in full
                # A record behind it proves it was written in full; look once more at what is there now.
                self._window = b""
                is_sound = self._is_sound(length, payload_crc)
            entry = self._entry(kind, length) if is_sound else None
            if entry is None:
                batch.damaged_bytes += min(whole, self._size() - self.offset)
            else:
                batch.entries.append(entry)
                room.records -= 1
            room.bytes -= whole
            self.offset += whole
        return False

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _read(self, at: int, length: int) -> memoryview:
        """Up to ``length`` bytes at ``at``."""
        begin = at - self._window_at
        if begin < 0 or begin + length > len(self._window):
            self._window = _pread(self._fd, max(length, self._read_bytes), at)
            self._window_at, begin = at, 0
            self._read_bytes = _CHUNK_BYTES
        return memoryview(self._window)[begin : begin + length]

    def _is_untouched(self) -> bool:
        """Whether the writer has not been at ``offset`` yet: what it writes is no long run of zeros."""
        ahead = os.pread(self._fd, _LOOK_BYTES, self.offset)
        return ahead == bytes(len(ahead))

    def _header(self, at: int) -> tuple[int, int, int] | None:
        return parse_frame_header(bytes(self._read(at, FRAME_BYTES)), 0, self._salt)

    def _is_sound(self, length: int, payload_crc: int) -> bool:
        at = self.offset + FRAME_BYTES
        if length <= _CHUNK_BYTES:
            payload = self._read(at, length)
            return len(payload) == length and crc32(payload) == payload_crc
        if at + length > self._size():
            return False
        crc = 0
        for begin in range(at, at + length, _CHUNK_BYTES):
            crc = crc32(_pread(self._fd, min(_CHUNK_BYTES, at + length - begin), begin), crc)
        return crc == payload_crc

    def _entry(self, kind: int, length: int) -> Entry | None:
        """The record at ``offset``; None when it cannot be understood, which must not hold up those behind it."""
        at = self.offset + FRAME_BYTES
        where: _Where = {"segment": self._number, "offset": self.offset, "length": FRAME_BYTES + length}
        try:
            if kind == FINAL:
                meta, request, sent, response = LENGTHS.unpack(self._read(at, LENGTHS.size))
                if LENGTHS.size + meta + request + sent + response != length:
                    return None
                return Entry(kind="final", final=_final_of(self._read(at + LENGTHS.size, meta)), **where)
            if kind == START:
                return Entry(kind="start", start=_start_of(self._read(at, length)), **where)
            if kind == GAP:
                return Entry(kind="gap", gap=_gap_of(self._read(at, length)), **where)
        except (msgspec.MsgspecError, struct.error, ValueError, RecursionError):
            return None
        return None

    def _skip_to_next(self, batch: Batch, *, is_complete: bool) -> bool:
        """Move to the next frame header behind damage; False when there is none."""
        found, last_used = self._next_header(to_blank=not is_complete)
        if found is None:
            if is_complete:
                batch.damaged_bytes += last_used - self.offset
                self.offset = last_used
            return False
        if not is_complete:
            # The frame behind it proves that this one was written in full; look once more at what is there now.
            self._window = b""
            if self._header(self.offset) is not None:
                return True
        batch.damaged_bytes += found - self.offset
        self.offset = found
        return True

    def _next_header(self, *, to_blank: bool) -> tuple[int | None, int]:
        """Where the next frame header behind ``offset`` is, and the end of what is not blank when there is none.

        Takes time linear in the bytes passed. ``to_blank``: a megabyte of zeros is where the writer has not been yet.
        """
        at = last_used = self.offset
        while True:
            window = _pread(self._fd, _CHUNK_BYTES, at)
            is_blank = window == _BLANK  # the preallocated rest of a segment
            for candidate in () if is_blank else _CANDIDATE.finditer(window, int(at == self.offset)):
                if parse_frame_header(window, candidate.start(), self._salt) is not None:
                    return at + candidate.start(), last_used
            used = 0 if is_blank else len(window.rstrip(b"\0"))
            last_used = at + used if used else last_used
            if len(window) < _CHUNK_BYTES or (is_blank and to_blank):
                return None, last_used
            at += len(window) - FRAME_BYTES + 1  # a header may lie across two windows


@contextmanager
def opened(directory: Path, number: int) -> Iterator[int | None]:
    """A descriptor of the segment under whichever name it has now; None when it is gone."""
    fd = None
    # Twice the first name: the file may be renamed between two looks.
    states: tuple[SegmentState, ...] = ("done", "open", "done")
    for state in states:
        try:
            # Not blocking, and looked at: a pipe or a directory of this name is no segment.
            fd = os.open(segment_path(directory, number, state), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode):
            break
        os.close(fd)
        fd = None
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _pread(fd: int, length: int, at: int) -> bytes:
    """``length`` bytes at ``at``, fewer only at the end of the file."""
    data = os.pread(fd, length, at)
    if len(data) == length or not data:
        return data
    pieces = [data]
    done = len(data)
    while done < length and (data := os.pread(fd, length - done, at + done)):
        pieces.append(data)
        done += len(data)
    return b"".join(pieces)

"""The spool's files: names, segment header, frames, the writer's lock, and one open segment mapped into memory.

`docs/design/spool.md` describes the format and says why it is so.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import re
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from headgate.core.ids import now_us
from headgate.core.spans import Span

FORMAT_VERSION = 1
RECORD_SCHEMA = 1
HEADER_BYTES = 64
FRAME_BYTES = 16
MAX_PAYLOAD_BYTES = 1 << 30
START, FINAL, GAP = 1, 2, 3
FRAME_MAGIC = 0x4748  # "HG" in the file
LENGTHS = struct.Struct("<IIII")  # of a final payload: meta, request, sent, response
STEP_BYTES = 256 << 10
"""How far the write position moves between two visits of the helper thread."""
_MAX_AHEAD_BYTES = 4 << 20
_LEAST_AHEAD_BYTES = 64 << 10
WRITTEN_FROM_BYTES = 16 << 10
"""A payload this long is written by a system call, which makes its pages many at a time: touching them one by one
costs two to three times as much."""
_PAGE_BYTES = mmap.PAGESIZE

_SEGMENT_MAGIC = b"HGSP"
_SEGMENT = struct.Struct("<4sHHIIQI16s16s")  # magic version bytes worker number created_at_us schema boot_id node
_FRAME = struct.Struct("<HBBII")  # magic kind flags length payload_crc; then u32 header_crc
_FRAME_WHOLE = struct.Struct("<HBBIII")
_U32 = struct.Struct("<I")
_SEGMENT_NAME = re.compile(r"(\d{8,10})\.(open|done)", re.ASCII)
_SPOOL_NAME = re.compile(r"\d{1,9}-[0-9a-f]{32}", re.ASCII)
_MADV_POPULATE_WRITE = 23  # Linux 5.14; older kernels answer EINVAL
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

SegmentState = Literal["open", "done"]


class Gap(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What could not be recorded since the last gap record, counted exactly."""

    dropped: int = 0  # final records
    dropped_starts: int = 0
    dropped_bytes: int = 0
    dropped_direct: int = 0  # of the final records: those that needed no start
    sequences: list[Span] = []  # of the other final records, as far as they fit
    since_us: int = 0
    until_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """What the first 64 bytes of a segment say; their layout is the same in every format version."""

    version: int
    worker: int
    number: int
    boot_id: str
    created_at_us: int

    def belongs_to(self, spool_id: str, number: int) -> bool:
        """Whether the segment was written as this one of this spool: its checksums fit nowhere else."""
        return (self.boot_id, self.number) == (spool_id.rpartition("-")[2], number)


def is_spool_name(name: str) -> bool:
    """Whether a directory of this name is a spool."""
    return _SPOOL_NAME.fullmatch(name) is not None


def segment_path(directory: Path, number: int, state: SegmentState) -> Path:
    """Where segment ``number`` lies in this state."""
    return directory / f"{number:08d}.{state}"


def parse_segment_name(name: str) -> tuple[int, SegmentState] | None:
    """Number and state of a segment file's name; None for any other file."""
    match = _SEGMENT_NAME.fullmatch(name)
    if match is None:
        return None
    return int(match[1]), "done" if match[2] == "done" else "open"


def salt_of(spool_id: str, number: int) -> int:
    """The start value of header checksums in one segment.

    A client can put the bytes of a frame into a body but does not know the spool's random id, so a
    reader that looks for frames behind damage does not take such bytes for a record.
    """
    return crc32(f"{spool_id}/{number}".encode())


def pack_segment_header(*, worker: int, number: int, spool_id: str) -> bytes:
    """The 64 bytes that open a segment."""
    boot_id = bytes.fromhex(spool_id.rpartition("-")[2])
    fields = (FORMAT_VERSION, HEADER_BYTES, worker, number, now_us(), RECORD_SCHEMA, boot_id, b"")
    head = _SEGMENT.pack(_SEGMENT_MAGIC, *fields)
    return head + _U32.pack(crc32(head))


def parse_segment_header(data: bytes) -> SegmentHeader | None:
    """The header of a segment; None when it is short or damaged."""
    if len(data) < HEADER_BYTES:
        return None
    head = data[: _SEGMENT.size]
    magic, version, _, worker, number, created_at_us, _, boot_id, _ = _SEGMENT.unpack(head)
    if magic != _SEGMENT_MAGIC or _U32.unpack_from(data, _SEGMENT.size)[0] != crc32(head):
        return None
    return SegmentHeader(
        version=version, worker=worker, number=number, boot_id=boot_id.hex(), created_at_us=created_at_us
    )


def pack_frame_header(kind: int, length: int, payload_crc: int, salt: int) -> bytes:
    """The 16 bytes before a payload."""
    head = _FRAME.pack(FRAME_MAGIC, kind, 0, length, payload_crc)
    return head + _U32.pack(crc32(head, salt))


def parse_frame_header(data: bytes, at: int, salt: int) -> tuple[int, int, int] | None:
    """``(kind, length, payload_crc)`` of the frame header at ``data[at:]``; None unless it is whole and sound."""
    if len(data) - at < FRAME_BYTES:
        return None
    magic, kind, _, length, payload_crc, header_crc = _FRAME_WHOLE.unpack_from(data, at)
    if magic != FRAME_MAGIC or length == 0 or header_crc != crc32(data[at : at + _FRAME.size], salt):
        return None
    return kind, length, payload_crc


def hold_lock(directory: Path) -> int:
    """Create and take the lock that says "the writer of this spool lives"; the descriptor holds it."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def is_lock_held(directory: Path) -> bool:
    """Whether the writer of this spool lives. The kernel lets go of the lock when it dies, however it dies."""
    try:
        fd = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class MappedSegment:
    """One open segment in memory: appending is a copy into the page cache, which outlives the process.

    ``append`` belongs to the event loop, ``page`` to one helper thread, ``sync``, ``finish`` and ``abandon``
    to another. ``unmap`` comes before the last two and never beside ``page``: its owner sees to that.
    """

    __slots__ = (
        "_address",
        "_dropped_to",
        "_fd",
        "_map",
        "_path",
        "_salt",
        "_synced_to",
        "_touched_to",
        "_view",
        "_visited_at",
        "_visited_written",
        "_written_bytes",
        "capacity",
        "directory",
        "number",
        "position",
        "wake_at",
    )

    def __init__(self, directory: Path, number: int, *, worker: int, spool_id: str, capacity: int) -> None:
        """Create the file with all its blocks, so that a full disk is an OSError here and never a fault later."""
        self.directory, self.number, self.capacity = directory, number, capacity
        self._path = segment_path(directory, number, "open")
        self._salt = salt_of(spool_id, number)
        temporary = directory / f"{number:08d}.new"
        self._fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _allocate(self._fd, capacity)
            self._map = mmap.mmap(self._fd, capacity)
            self._map.madvise(mmap.MADV_RANDOM)  # a touch brings one page, not the zeros of megabytes behind it
            self._map[:HEADER_BYTES] = pack_segment_header(worker=worker, number=number, spool_id=spool_id)
            # Takes the place of an unused segment of this number, if there is one.
            os.rename(temporary, self._path)
        except OSError:
            os.close(self._fd)
            temporary.unlink(missing_ok=True)
            raise
        self._view = memoryview(self._map)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.position = self._synced_to = HEADER_BYTES
        self._touched_to = self._dropped_to = self._visited_at = 0
        self._written_bytes = self._visited_written = 0  # past the mapping
        self.wake_at = min(STEP_BYTES, capacity // 2)

    @property
    def is_empty(self) -> bool:
        """Whether no record was appended yet."""
        return self.position == HEADER_BYTES

    @property
    def is_dirty(self) -> bool:
        """Whether records were appended since the last ``sync``."""
        return self.position != self._synced_to

    @property
    def room_bytes(self) -> int:
        """The longest payload that still fits; negative when not even an empty one does."""
        return self.capacity - self.position - FRAME_BYTES

    def append(self, kind: int, pieces: Iterable[bytes], length: int) -> None:
        """Append one frame whose payload is ``pieces``, ``length`` bytes together; the caller checked ``room_bytes``.

        The header is written last: a reader, and a death in between, see nothing or the whole.
        """
        target = self._map
        start = self.position
        payload = start + FRAME_BYTES
        end = payload + length
        checksum = None
        if length >= WRITTEN_FROM_BYTES:
            pieces = tuple(pieces)
            checksum = self._write(pieces, payload, length)
        if checksum is None:
            target.seek(payload)
            deque(map(target.write, pieces), 0)
            checksum = crc32(self._view[payload:end])
        target[start:payload] = pack_frame_header(kind, length, checksum, self._salt)
        self.position = end

    def _write(self, pieces: tuple[bytes, ...], at: int, length: int) -> int | None:
        """Put a payload into the page cache past the mapping, which shows it at once; its checksum. None: not all of it
        could be written (a limit on file sizes, a faulty disk); the mapping takes it.
        """
        checksum = 0
        for piece in pieces:
            checksum = crc32(piece, checksum)
        try:
            if os.pwritev(self._fd, pieces, at) != length:
                return None
        except OSError:
            return None
        self._written_bytes += length
        return checksum

    def page(self) -> None:
        """Bring the next pages into memory, writable, and let go of those already written.

        The first write to a page may wait for the disk; here it is the helper thread that waits.
        """
        position, all_written = self.position, self._written_bytes
        written = all_written - self._visited_written
        copied = position - self._visited_at - written
        least = _LEAST_AHEAD_BYTES if written else 2 * STEP_BYTES  # what is written past the mapping needs no pages
        reach = min(max(least, 2 * copied), _MAX_AHEAD_BYTES)
        self._visited_at, self._visited_written = position, all_written
        begin = max(self._touched_to, position // _PAGE_BYTES * _PAGE_BYTES)
        ahead = min(self.capacity, (position + reach) // _PAGE_BYTES * _PAGE_BYTES)
        if ahead > begin:
            _populate(self._address + begin, ahead - begin)
            self._touched_to = ahead
        behind = (position // STEP_BYTES - 1) * STEP_BYTES
        if behind > self._dropped_to:
            # Dirty pages of a shared file mapping stay in the page cache: only this process lets go of them.
            with suppress(OSError):  # memory locked by mlockall cannot be let go of
                self._map.madvise(mmap.MADV_DONTNEED, self._dropped_to, behind - self._dropped_to)
            self._dropped_to = behind

    def sync(self) -> None:
        """Put everything appended so far on the disk, and the first time the segment's name."""
        position = self.position
        if self._synced_to == HEADER_BYTES:
            sync_directory(self.directory.parent)
            sync_directory(self.directory)
        os.fdatasync(self._fd)  # Linux writes pages dirtied through a mapping too; no msync is needed
        self._synced_to = position

    def unmap(self) -> None:
        """Let go of the memory; nothing can be appended any more."""
        self._view.release()
        self._map.close()

    def finish(self) -> None:
        """Cut the file to its used length, put it on the disk and name it done; an unused one is removed."""
        try:
            if self.is_empty:
                self._path.unlink(missing_ok=True)
                return
            os.ftruncate(self._fd, self.position)
            os.fdatasync(self._fd)
            os.rename(self._path, segment_path(self.directory, self.number, "done"))
            sync_directory(self.directory)
        finally:
            os.close(self._fd)

    def abandon(self) -> None:
        """Close without touching the file: another one has taken its name."""
        os.close(self._fd)


def _allocate(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        zeros = bytes(min(size, 1 << 20))
        done = 0
        while done < size:
            done += os.pwrite(fd, zeros[: size - done], done)


_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def _populate(address: int, length: int) -> None:
    # Through ctypes because it lets go of the interpreter lock while the disk makes us wait; mmap.madvise holds it.
    # A kernel that does not know the advice refuses it: pages are then made by the first write to them.
    _madvise(address, length, _MADV_POPULATE_WRITE)

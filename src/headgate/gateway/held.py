"""The bytes of large bodies: in an unlinked file of the home each, and in memory where the disk takes no more."""

import logging
import os
from pathlib import Path
from typing import IO

from headgate.core.errors import BodyNotHeld

_logger = logging.getLogger("headgate.gateway")


class Holding:
    """What the large bodies of one worker may still take together, in files of ``directory`` and in memory."""

    __slots__ = ("_is_told", "directory", "file_bytes", "memory_bytes")

    def __init__(self, directory: Path, file_bytes: int = 8 << 30, memory_bytes: int = 64 << 20) -> None:
        self.directory = directory
        self.file_bytes = file_bytes
        self.memory_bytes = memory_bytes
        self._is_told = False

    def file(self) -> IO[bytes] | None:
        """A file without a name; None where there can be none."""
        import tempfile  # a worker does without it until a body is large

        try:
            return tempfile.TemporaryFile(dir=self.directory, buffering=0)  # HeldBytes closes it
        except OSError as error:
            self.tell(error)
            return None

    def tell(self, error: OSError) -> None:
        """Say once that memory is used, and why."""
        if not self._is_told:
            self._is_told = True
            _logger.warning("large bodies wait in memory: %s takes no more (%s)", self.directory, error.strerror)


class HeldBytes:
    """The bytes of one body, in order; what is once in memory is followed by nothing in the file."""

    __slots__ = ("_file", "_file_bytes", "_holding", "_tail", "_tail_at", "byte_count")

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._file = holding.file()
        self._file_bytes = 0
        self._tail = bytearray()
        self._tail_at = 0  # where in the body the tail begins: behind the file, later where something was forgotten
        self.byte_count = 0

    def append(self, data: bytes) -> None:
        """The next bytes. Raises BodyNotHeld where neither disk nor memory has room for them."""
        if len(data) > self._holding.file_bytes:
            raise BodyNotHeld("too many large bodies are being sent at once.", code="bodies_full")
        written = self._write(data) if self.byte_count == self._file_bytes else 0
        if written < len(data):
            self._keep(data[written:])
        self.byte_count += len(data)

    def read(self, at: int, count: int) -> bytes:
        """Up to ``count`` bytes from position ``at`` on; what was forgotten cannot be asked for."""
        if self._file is None or at >= self._file_bytes:
            start = at - self._tail_at
            assert start >= 0 or not count
            return bytes(self._tail[start : start + count]) if count else b""
        head = os.pread(self._file.fileno(), min(count, self._file_bytes - at), at)
        if len(head) == count or self._tail_at > self._file_bytes:
            return head
        return head + self._tail[: count - len(head)]

    @property
    def memory_bytes(self) -> int:
        """How much of it is in memory."""
        return len(self._tail)

    @property
    def readable_bytes(self) -> int:
        """How much of its beginning can be read: all of it, until something was forgotten."""
        return self.byte_count if self._tail_at == self._file_bytes else self._file_bytes

    def forget(self, before: int) -> None:
        """Let go of what is in memory before this position."""
        count = min(before - self._tail_at, len(self._tail))
        if count > 0:
            del self._tail[:count]
            self._tail_at += count
            self._holding.memory_bytes += count

    def close(self) -> None:
        """Let go of all of it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._holding.file_bytes += self._file_bytes
        self._holding.memory_bytes += len(self._tail)
        self._tail = bytearray()
        self.byte_count = self._file_bytes = self._tail_at = 0

    def _write(self, data: bytes) -> int:
        """As much into the file as the disk takes; how much that is."""
        if self._file is None:
            return 0
        written = 0
        view = memoryview(data)
        try:
            while written < len(data):
                written += self._file.write(view[written:]) or 0
        except OSError as error:
            self._holding.tell(error)
        self._file_bytes += written
        self._tail_at = self._file_bytes
        self._holding.file_bytes -= written
        return written

    def _keep(self, data: bytes) -> None:
        if len(data) > self._holding.memory_bytes:
            raise BodyNotHeld(
                "a body of this size cannot be held: the disk has no room for it, and memory holds as much of other "
                "bodies as it may.",
                hint="Large bodies wait in the home's run directory: make room there.",
            )
        self._holding.memory_bytes -= len(data)
        self._tail += data

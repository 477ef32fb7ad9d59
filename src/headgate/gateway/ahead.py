"""What a client sent and its upstream has not taken yet: first in, first out, in an unlinked file of the home."""

import os
import tempfile
from typing import IO

from headgate.gateway.copies import Copies

AHEAD_BYTES = 64 << 20
"""How much of one body may wait for an upstream that reads slowly, before its client is held back."""
_PIECE_BYTES = 64 << 10


class Ahead:
    """The bytes that wait. What one worker's take together is bounded by its ``copies``."""

    __slots__ = ("_copies", "_file", "_read_at", "_rest", "_written")

    def __init__(self, copies: Copies, file: IO[bytes]) -> None:
        self._copies = copies
        self._file = file
        self._read_at = self._written = 0
        self._rest = b""  # what the file had no room for; see `is_full`

    @classmethod
    def begun(cls, copies: Copies) -> "Ahead | None":
        """An empty one; None where there is no room for a file."""
        if copies.file_bytes < AHEAD_BYTES:
            return None
        try:
            return cls(copies, tempfile.TemporaryFile(dir=copies.directory, buffering=0))  # let_go closes it
        except OSError:  # too many files, or no room
            return None

    @property
    def waiting_bytes(self) -> int:
        """How many there are."""
        return self._written - self._read_at + len(self._rest)

    @property
    def is_full(self) -> bool:
        """Whether no more should be added before some of it was taken."""
        return self.waiting_bytes > AHEAD_BYTES or bool(self._rest)

    def add(self, data: bytes) -> None:
        """Append ``data``."""
        count = 0
        if not self._rest and len(data) <= self._copies.file_bytes:
            try:
                count = os.pwrite(self._file.fileno(), data, self._written)
            except OSError:  # no room
                count = 0
        self._written += count
        self._copies.file_bytes -= count
        self._rest += data[count:]

    def next(self) -> bytes:
        """Take the next piece."""
        count = min(_PIECE_BYTES, self._written - self._read_at)
        if count:
            data = os.pread(self._file.fileno(), count, self._read_at)
            self._read_at += len(data)
            return data
        data, self._rest = self._rest, b""
        return data

    def let_go(self) -> None:
        """What still waits is for nobody."""
        self._file.close()
        self._copies.file_bytes += self._written

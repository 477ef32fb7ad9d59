"""Copies of bodies for the log: each is bounded, and all of one worker together. What memory has no room for waits in
an unlinked file; what is over the bound is still hashed.
"""

from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

from headgate.wire.pieces import add_piece

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_FREE_BYTES = 64 << 10
"""The beginning of a copy that is not counted: most bodies are shorter."""


class Copies:
    """What the copies of one worker may take together, in memory and in files of ``directory``."""

    __slots__ = ("directory", "file_bytes", "left_bytes")

    def __init__(self, directory: Path, limit_bytes: int = 24 << 20, file_bytes: int = 4 << 30) -> None:
        self.directory = directory
        self.left_bytes = limit_bytes
        self.file_bytes = file_bytes


class Copy:
    """The beginning of one body, up to ``limit_bytes``; 0: nothing is kept, not even its hash."""

    __slots__ = ("_copies", "_counted", "_file", "_hash", "_is_cut", "_kept", "_limit", "_pieces", "byte_count")

    def __init__(self, copies: Copies, limit_bytes: int) -> None:
        self._copies = copies
        self._limit = limit_bytes
        self._hash: Hash | None = None  # of everything, once not everything is in memory
        self._file: IO[bytes] | None = None
        self._is_cut = False
        self._kept = self._counted = 0
        self._pieces: list[bytes] = []
        self.byte_count = 0

    @property
    def pieces(self) -> list[bytes]:
        """What was kept, in order."""
        if self._file is None:
            return self._pieces
        self._file.seek(0)
        return [self._file.read(self._kept)]

    def add(self, data: bytes) -> None:
        """Keep a piece, or as much of it as there is room for."""
        size = len(data)
        self.byte_count += size
        kept = self._kept + size
        if self._hash is None and kept <= self._limit and (kept <= _FREE_BYTES or self._has_room(kept)):
            self._kept = kept
            add_piece(self._pieces, data)
        elif self._limit:
            self._add_elsewhere(data)

    def note(self, what: str) -> str | None:
        """What is missing of a truncated copy, and the hash of the whole: "answer: 16777216 of … bytes kept, …"."""
        if not self._is_cut or self._hash is None:
            return None
        return f"{what}: {self._kept} of {self.byte_count} bytes kept, sha256 {self._hash.hexdigest()}"

    def let_go(self) -> None:
        """The copy is in the log, or will never be."""
        self._copies.left_bytes += self._counted
        self._counted = 0
        self._pieces = []
        if self._file is not None:
            self._copies.file_bytes += self._kept
            self._file.close()
            self._file = None

    def _has_room(self, kept: int) -> bool:
        more = kept - _FREE_BYTES - self._counted
        if more > self._copies.left_bytes:
            return False
        self._copies.left_bytes -= more
        self._counted += more
        return True

    def _add_elsewhere(self, data: bytes) -> None:
        """Keep a piece that is over the bound, or that memory has no room for."""
        room = self._limit - self._kept
        if self._hash is None:
            self._hash = sha256()
            for piece in self._pieces:
                self._hash.update(piece)
            if len(data) <= room:
                self._move_to_file()
        self._hash.update(data)
        if not self._is_cut:
            self._is_cut = not self._write(data[:room] if len(data) > room else data) or len(data) > room

    def _move_to_file(self) -> None:
        import tempfile  # a worker does without it until memory is short

        held, kept = self._pieces, self._kept
        try:
            self._file = tempfile.TemporaryFile(dir=self._copies.directory, buffering=0)  # noqa: SIM115  # let_go closes
        except OSError:  # too many files, or no room: what is here is kept
            self._is_cut = True
            return
        self._pieces, self._kept = [], 0
        self._copies.left_bytes += self._counted
        self._counted = 0
        self._is_cut = not self._write(b"".join(held)) and self._kept < kept

    def _write(self, data: bytes) -> bool:
        """Add to what is kept; False where not all of it could be."""
        if self._file is None:
            self._pieces.append(data)
            self._kept += len(data)
            return True
        part = data[: max(0, self._copies.file_bytes)]
        try:
            written = self._file.write(part) or 0
        except OSError:
            return False
        self._kept += written
        self._copies.file_bytes -= written
        return written == len(data)

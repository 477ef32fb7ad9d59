"""Copies of bodies for the log: each is bounded, and all of one worker together; what is cut off is still hashed."""

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_FREE_BYTES = 256 << 10
"""The beginning of a copy that is not counted, so that a few huge bodies do not cost the many small ones their log."""


class Copies:
    """What the copies of one worker may take together."""

    __slots__ = ("left_bytes",)

    def __init__(self, limit_bytes: int = 24 << 20) -> None:
        self.left_bytes = limit_bytes


class Copy:
    """The beginning of one body, up to ``limit_bytes``; 0: nothing is kept, not even its hash."""

    __slots__ = ("_copies", "_counted", "_hash", "_kept", "_limit", "byte_count", "pieces")

    def __init__(self, copies: Copies, limit_bytes: int) -> None:
        self._copies = copies
        self._limit = limit_bytes
        self._hash: Hash | None = None  # of everything, once not everything is kept
        self._kept = self._counted = 0
        self.pieces: list[bytes] = []
        self.byte_count = 0

    @property
    def is_truncated(self) -> bool:
        """Whether a part of the body is missing."""
        return self._hash is not None

    def add(self, data: bytes) -> None:
        """Keep a piece, or as much of it as there is room for."""
        size = len(data)
        self.byte_count += size
        kept = self._kept + size
        if self._hash is None and kept <= self._limit and (kept <= _FREE_BYTES or self._has_room(kept)):
            self._kept = kept
            self.pieces.append(data)
        elif self._limit:
            self._cut(data)

    def note(self, what: str) -> str | None:
        """What is missing of a truncated copy, and the hash of the whole: "answer: 16777216 of … bytes kept, …"."""
        if self._hash is None:
            return None
        return f"{what}: {self._kept} of {self.byte_count} bytes kept, sha256 {self._hash.hexdigest()}"

    def let_go(self) -> None:
        """The copy is in the log, or will never be."""
        self._copies.left_bytes += self._counted
        self._counted = 0
        self.pieces = []

    def _has_room(self, kept: int) -> bool:
        more = kept - _FREE_BYTES - self._counted
        if more > self._copies.left_bytes:
            return False
        self._copies.left_bytes -= more
        self._counted += more
        return True

    def _cut(self, data: bytes) -> None:
        if self._hash is None:
            self._hash = sha256()
            for piece in self.pieces:
                self._hash.update(piece)
            room = min(self._limit, self._counted + _FREE_BYTES, self._kept + len(data)) - self._kept
            if room > 0:
                self.pieces.append(data[:room])
                self._kept += room
        self._hash.update(data)

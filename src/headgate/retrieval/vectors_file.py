"""Vectors as they come from a model, in a file that a failed push leaves for the next: records of hash and floats."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct

HASH_BYTES = 32


class VectorsFile:
    """One append-only file; a record that was cut off by a crash is dropped when it is opened."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self.path = path
        self.dimensions = dimensions
        self._record = Struct(f"<{HASH_BYTES}s{dimensions}f")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, size - size % self._record.size)

    def hashes(self) -> set[str]:
        """The hashes of the texts that have a vector."""
        length = self._record.size
        count = os.fstat(self._fd).st_size // length
        return {os.pread(self._fd, HASH_BYTES, at * length).hex() for at in range(count)}

    def append(self, vectors: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Add vectors, durably; pairs of a text's SHA-256 and its vector."""
        data = b"".join(self._record.pack(bytes.fromhex(sha256), *vector) for sha256, vector in vectors)
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:])
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

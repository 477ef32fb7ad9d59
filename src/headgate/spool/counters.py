"""A worker's counters in a small mapped file that any process can read at any time, also after the worker's death."""

import mmap
import os
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from zlib import crc32

_HEAD = struct.Struct("<4sHHII")  # magic version count names_bytes crc of the names
_MAGIC = b"HGCT"
_VERSION = 1
_MAX_NAMES = 1024
_MAX_FILE_BYTES = 1 << 20
_VALUE_BYTES = 8


class CounterFile:
    """Named whole numbers, signed 64 bit; one process writes them, one store of eight bytes each.

    ``resumed`` names those that go on from the value in the file a previous worker left, so that
    totals do not fall when a worker is replaced; the others begin at 0.
    """

    def __init__(self, path: Path, names: Sequence[str], *, resumed: Collection[str] = ()) -> None:
        if len(names) > _MAX_NAMES or len(set(names)) != len(names):
            raise ValueError(f"counter names must be distinct and at most {_MAX_NAMES}, got {len(names)}")
        text = "\n".join(names).encode()
        text += b"\n" * (-(_HEAD.size + len(text)) % _VALUE_BYTES)
        head = _HEAD.pack(_MAGIC, _VERSION, len(names), len(text), crc32(text)) + text
        before = read_counters(path) if resumed else {}
        self._index = {name: i for i, name in enumerate(names)}
        temporary = path.with_name(path.name + ".new")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, head + bytes(_VALUE_BYTES * len(names)))
            self._map = mmap.mmap(fd, len(head) + _VALUE_BYTES * len(names))
        finally:
            os.close(fd)
        # A native "q" is stored by one machine instruction, so a reader sees the old value or the new one.
        self._bytes = memoryview(self._map)[len(head) :]
        self._values = self._bytes.cast("q")
        for name in resumed:
            self.set(name, before.get(name, 0))
        os.rename(temporary, path)

    def add(self, name: str, amount: int = 1) -> None:
        """Add ``amount``, which may be negative."""
        self._values[self._index[name]] += amount

    def set(self, name: str, value: int) -> None:
        """Store ``value``."""
        self._values[self._index[name]] = value

    def get(self, name: str) -> int:
        """The value now."""
        return self._values[self._index[name]]

    def close(self) -> None:
        """Unmap the file; it stays, with its last values."""
        self._values.release()
        self._bytes.release()
        self._map.close()


def read_counters(path: Path) -> dict[str, int]:
    """All values of one counter file, each as it was at some moment of the call; empty when it is absent or damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError:
        return {}
    if len(data) < _HEAD.size:
        return {}
    magic, version, count, names_bytes, crc = _HEAD.unpack_from(data)
    text = data[_HEAD.size : _HEAD.size + names_bytes]
    values = data[_HEAD.size + names_bytes :]
    if magic != _MAGIC or version != _VERSION or crc32(text) != crc or len(values) != count * _VALUE_BYTES:
        return {}
    names = text.rstrip(b"\n").decode(errors="replace").split("\n") if count else []
    return dict(zip(names, struct.unpack(f"={count}q", values), strict=False))

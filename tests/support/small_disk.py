"""A small filesystem of its own under a directory, which a test fills up and empties; needs the right to mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NO_RIGHT = "not run: no right to mount a filesystem"


@dataclass(frozen=True, kw_only=True)
class SmallDisk:
    """``path`` is where it is mounted."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    @property
    def free_bytes(self) -> int:
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, *, leaving_bytes: int = 0) -> None:
        """Take all the room there is but for so much."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while (room := self.free_bytes - leaving_bytes) > 0:
                    file.write(bytes(min(room, 1 << 20)))
            except OSError:
                if leaving_bytes:
                    raise

    def empty(self) -> None:
        """Give back what was taken."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size_mb: int) -> Iterator[SmallDisk | None]:
    """A filesystem of this size mounted on ``path``; None where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0700", "none", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield SmallDisk(path=path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)

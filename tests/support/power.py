"""A power cut, simulated: a worker that notes what each sync put on the disk, and the disk as a cut would leave it.

Run as a program it is a gateway worker. What a file held when its `fdatasync` was called counts as on the disk once
that call has returned, and under its name once a sync of its directory has; everything else counts as lost, which is
the least a disk may keep.
"""

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__)
_BLOCK_BYTES = 256 << 10


def _note_syncs(disk: Path) -> None:
    """Have every later sync of this process noted below ``disk``."""
    fdatasync, fsync = os.fdatasync, os.fsync

    def noted_fdatasync(fd: int) -> None:
        path, data = _path_of(fd), _used(fd)
        fdatasync(fd)
        _replace(disk / path.parent.name / f"{path.stem}.data", data)

    def noted_fsync(fd: int) -> None:
        path = _path_of(fd)
        names = "\n".join(sorted(os.listdir(fd)))
        fsync(fd)
        _replace(disk / path.name / "names", names.encode())

    os.fdatasync, os.fsync = noted_fdatasync, noted_fsync  # type: ignore[assignment]


def _path_of(fd: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{fd}"))


def _used(fd: int) -> bytes:
    """The file up to its first block of zeros: a segment is allocated ahead."""
    pieces: list[bytes] = []
    while (piece := os.pread(fd, _BLOCK_BYTES, len(pieces) * _BLOCK_BYTES)).strip(b"\0"):
        pieces.append(piece)
    return b"".join(pieces)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.rename(path)


def after_the_cut(disk: Path, spool_dir: Path) -> None:
    """Write into ``spool_dir`` what a power cut would have left of the noted worker's spools."""
    for spool_id in _names(disk / "spool"):
        for name in _names(disk / spool_id):
            data = disk / spool_id / f"{Path(name).stem}.data"
            if Path(name).suffix in (".open", ".done") and data.exists():
                (spool_dir / spool_id).mkdir(parents=True, exist_ok=True)
                (spool_dir / spool_id / f"{Path(name).stem}.open").write_bytes(data.read_bytes())


def _names(directory: Path) -> list[str]:
    """What a synced directory is known to list."""
    try:
        return (directory / "names").read_text().split("\n")
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    from headgate.gateway.main import main

    _note_syncs(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))

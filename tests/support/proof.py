"""A home with something of everything in it, and the proof of a stopped one."""

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.main import main
from headgate.control.seal import seal
from support.stored_home import StoredHome

Capsys = pytest.CaptureFixture[str]


def proof_of(home: Path, capsys: Capsys, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the answer of `headgate verify` on a stopped home."""
    capsys.readouterr()
    code = main(["verify", "--home", str(home), "--json", *arguments])
    out = capsys.readouterr()
    assert out.out, out.err
    answer: dict[str, Any] = json.loads(out.out)
    return code, answer


def filled(path: Path) -> StoredHome:
    """Sealed, stored and waiting requests, of a worker that ended and one that was killed in the middle of a call."""
    home = StoredHome(path, segment_bytes=8 << 10)
    home.path.chmod(0o700)
    for _ in range(40):
        home.exchange(request=b"x" * 300)
    home.start()
    home.stop_writing()
    home.store_all()
    seal(home.log, home.ingest)
    for _ in range(25):
        home.exchange(request=b"y" * 300)
    home.store_all()
    home.exchange()
    return home

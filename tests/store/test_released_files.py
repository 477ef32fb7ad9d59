"""Homes that released versions wrote open in this one, with everything in them."""

import tarfile
from pathlib import Path

import pytest

from headgate.control.app import build
from headgate.registry import keys
from headgate.registry.database import Database
from headgate.snapshot import SnapshotReader
from support.control_settings import OPENAI_SETTINGS
from support.proof import Capsys, proof_of

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASED = sorted(FIXTURES.glob("home-*.tar.xz"))


def test_there_is_a_home_of_a_released_version() -> None:
    assert RELEASED
    assert all(path.stat().st_size < 300_000 for path in RELEASED)


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
@pytest.mark.parametrize("log_is_lost", [False, True])
def test_a_released_home_opens_with_everything_in_it(
    released: Path, tmp_path: Path, capsys: Capsys, log_is_lost: bool
) -> None:
    home = tmp_path / "home"
    with tarfile.open(released) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not there before Python 3.11.4
        archive.extractall(home)
    home.chmod(0o700)
    if log_is_lost:
        (home / "requests.duckdb").unlink()
    SnapshotReader(home).load()
    code, answer = proof_of(home, capsys)
    assert (code, answer["faults"]) == (0, [])
    totals = answer["totals"]
    assert (totals["started"], totals["recorded"], totals["interrupted"], totals["rows_in_log"]) == (19, 18, 1, 19)
    control = build(home, OPENAI_SETTINGS)
    try:
        first = control.log.query("SELECT request_id::VARCHAR FROM requests ORDER BY request_id").rows[0][0]
        bodies = control.log.body_of(first)
        assert bodies is not None
        assert bodies.request == b'{"n": 0}'
        for table in ("scores", "labels"):
            assert control.log.query(f"SELECT request_id::VARCHAR FROM {table}").rows == [(first,)]
    finally:
        control.close()
    registry = Database.open(home)
    assert [entry.name for entry in keys.list_keys(registry)] == ["fixture"]
    registry.close()

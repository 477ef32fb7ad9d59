"""Damaged segments on their way to the log: the others are stored once, the damage is counted and told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.cli.checks import damage_findings
from headgate.control.seal import seal
from headgate.spool.record import FinalRecord
from headgate.spool.segment import HEADER_BYTES
from headgate.spool.writer import SpoolWriter
from support.served_control import starting
from support.stored_home import StoredHome

_PER_SEGMENT = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredHome]:
    """A home whose segments hold two exchanges each."""
    stored = StoredHome(tmp_path_factory.mktemp("damage") / "home", segment_bytes=4096)
    yield stored
    stored.close()


def _damage(path: Path, neighbour: Path, how: str) -> None:
    data = path.read_bytes()
    blocks = {
        "flipped": data[: HEADER_BYTES + 5] + bytes([data[HEADER_BYTES + 5] ^ 1]) + data[HEADER_BYTES + 6 :],
        "zeroed": bytes(len(data)),
        "cut": data[: HEADER_BYTES + 100],
        "emptied": b"",
        "copied": neighbour.read_bytes(),
    }
    path.write_bytes(blocks[how])


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, 2),
    how=st.sampled_from(["flipped", "zeroed", "cut", "emptied", "copied"]),
)
def test_storing_goes_on_behind_a_damaged_segment_and_loses_only_what_was_in_it(
    small: StoredHome, which: int, how: str
) -> None:
    known, trouble = small.ids(), (small.ingest.damaged_bytes, len(small.ingest.passed_over))
    written = [small.exchange(request=b"q" * 1000) for _ in range(9)]
    spool_id = small.writer.spool_id
    small.stop_writing()
    paths = sorted((small.path / "spool" / spool_id).glob("*.done"))
    assert len(paths) >= 4
    _damage(paths[which], paths[which + 1], how)
    small.store_all()
    stored = small.ids()[len(known) :]
    assert len(stored) == len({*stored}) and {*stored} <= {*written}
    assert len(written) - len(stored) <= _PER_SEGMENT  # less, where the start of a call lay in another segment
    assert small.ingest.problem is None
    if how != "emptied":
        assert (small.ingest.damaged_bytes, len(small.ingest.passed_over)) != trouble
    seal(small.log, small.ingest)
    kept = [path.name for path in (small.path / "spool").glob(f"{spool_id}/*") if path.name != "lock"]
    assert kept == ([f"{paths[which].name}.misplaced"] if how == "copied" else [])
    assert small.ids()[len(known) :] == stored


def test_damage_is_told_by_status_metrics_and_doctor(tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        served: Any = start()
        assert list(damage_findings(served.get("/api/status"))) == []
        spool_dir = served.control.home.path / "spool"
        dead = SpoolWriter(spool_dir, worker=7, segment_bytes=4096)
        for number in range(6):
            assert dead.append_final(
                FinalRecord(request_id=f"r{number}", started_at_us=1, sequence=0), b"q" * 1500, b"", []
            )
        dead.close()
        first, second, third = sorted((spool_dir / dead.spool_id).glob("*.done"))
        first.write_bytes(first.read_bytes()[:-1])
        third.write_bytes(second.read_bytes())
        while served.control.ingest.step():
            pass
        status = served.get("/api/status")
        assert status["store"]["damaged_bytes"] > 1500 and status["store"]["passed_over"] == 1
        metrics = served.ask("GET", "/metrics").text
        assert f"headgate_ingest_damaged_bytes_total {status['store']['damaged_bytes']}" in metrics
        assert "headgate_spool_passed_over 1" in metrics
        damaged, aside = damage_findings(status)
        assert {damaged.level, aside.level} == {"advice"}
        assert "damaged" in damaged.what and "headgate verify" in damaged.mend
        assert "1 spool segment" in aside.what and "*.misplaced" in aside.mend

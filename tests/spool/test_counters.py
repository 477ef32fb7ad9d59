"""Counters are read by another process while they are written, and after the writer has died."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.spool.counters import CounterFile, read_counters


def test_values_are_read_while_the_file_is_in_use_and_after(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.counters"
    counters = CounterFile(path, ["started", "in_flight", "größe"])
    counters.add("started")
    counters.add("started", 41)
    counters.add("in_flight", -3)
    counters.set("größe", (1 << 63) - 1)
    assert read_counters(path) == {"started": 42, "in_flight": -3, "größe": (1 << 63) - 1}
    assert counters.get("started") == 42
    counters.close()
    assert read_counters(path)["started"] == 42
    assert [file.name for file in tmp_path.iterdir()] == ["worker-1.counters"]


def test_values_of_a_killed_process_are_there(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.counters"
    script = (
        "import os, pathlib, signal, sys\n"
        "from headgate.spool.counters import CounterFile\n"
        "counters = CounterFile(pathlib.Path(sys.argv[1]), ['recorded'])\n"
        "counters.add('recorded', 7)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    assert read_counters(path) == {"recorded": 7}


def test_a_new_worker_goes_on_from_resumed_totals_only(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.counters"
    first = CounterFile(path, ["recorded", "in_flight"])
    first.set("recorded", 9)
    first.set("in_flight", 2)
    second = CounterFile(path, ["in_flight", "recorded", "new"], resumed=["recorded", "new"])
    assert read_counters(path) == {"in_flight": 0, "recorded": 9, "new": 0}
    first.add("recorded")  # the old worker's file is no longer the one that is read
    assert read_counters(path)["recorded"] == 9
    first.close()
    second.close()


def test_names_must_be_distinct(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="distinct"):
        CounterFile(tmp_path / "c", ["a", "a"])


def test_an_absent_file_has_no_counters(tmp_path: Path) -> None:
    assert read_counters(tmp_path / "none") == {}
    assert read_counters(tmp_path) == {}


@given(data=st.binary(max_size=64), cut=st.integers(0, 60), flip=st.integers(0, 31))
def test_damaged_files_have_no_counters_and_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("counters") / "c"
    path.write_bytes(data)
    read_counters(path)
    CounterFile(path, ["started", "recorded"]).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    assert read_counters(path) == {}
    damaged = bytearray(whole)
    damaged[flip] ^= 0x40
    path.write_bytes(damaged)
    read_counters(path)

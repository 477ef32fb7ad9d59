"""A full disk: bodies go first, then records, each counted exactly; recording goes on by itself when there is room."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.spool.reader import Batch

# Two kinds of full: a limit on the size of a file this process may make, and a small filesystem filled by another file.
WRITER = """
import json, os, resource, sys, threading
from pathlib import Path
from headgate.spool.record import FinalRecord, StartRecord
from headgate.spool.writer import SpoolWriter

home, way = Path(sys.argv[1]), sys.argv[2]
filler = home / "filler"

def fill():
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        return
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

def free():
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.unlink()

steps, number = [], 0
def note(what):
    c = writer.counters
    steps.append([what, writer.writable, c.started, c.recorded, c.dropped, c.dropped_starts, c.shed, c.in_flight])

def exchange():
    global number
    number += 1
    writer.append_start(StartRecord(request_id=str(number), started_at_us=1, sequence=number))
    record = FinalRecord(request_id=str(number), started_at_us=1, sequence=number)
    return writer.append_final(record, bytes(9000), b"", [])

starts_full = sys.argv[3] == "from the start"
if starts_full:
    home.joinpath("spool").mkdir()
    fill()
writer = SpoolWriter(home / "spool", worker=0, segment_bytes=1 << 17)
if not starts_full:
    assert exchange()
    fill()
note("full")
while exchange():
    pass
for _ in range(20):
    exchange()
    writer.tick()
note("dropping")
free()
for _ in range(1000):
    writer.tick()
    if writer.writable:
        break
    threading.Event().wait(0.01)
note("freed")
assert exchange()
writer.tick()
note("again")
writer.close()
print(json.dumps({"spool_id": writer.spool_id, "steps": steps, "dropped_bytes": writer.counters.dropped_bytes}))
"""


def run(home: Path, way: str, moment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITER, str(home), way, moment]
    if way == "filesystem":
        # A mount of its own, gone with the process; what it held is copied out for the reader.
        script = 'mount -t tmpfs -o size=400k none "$0" && "$@" && cp -r "$0/spool" "$0.copy"'
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(home), *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


NAMES = ("writable", "started", "recorded", "dropped", "dropped_starts", "shed", "in_flight")


@pytest.mark.parametrize("moment", ["later", "from the start"])
@pytest.mark.parametrize("way", ["limit", "filesystem"])
def test_a_full_disk_drops_bodies_then_records_counts_them_and_recovers(
    tmp_path: Path, read_all: Callable[..., Batch], way: str, moment: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if way == "filesystem":
        probe = 'mount -t tmpfs -o size=400k none "$0"'
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", probe, str(home)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("this machine lets no test mount a filesystem")
    done = run(home, way, moment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    steps = {step[0]: dict(zip(NAMES, step[1:], strict=True)) for step in result["steps"]}
    assert all(step["in_flight"] == 0 for step in steps.values())
    dropping, again = steps["dropping"], steps["again"]
    assert not dropping["writable"] and steps["freed"]["writable"] and again["writable"]
    assert dropping["dropped"] >= 21 and dropping["dropped_starts"] >= 20
    assert (dropping["shed"] > 0) == (moment == "later")
    assert again["dropped"] == dropping["dropped"] and again["recorded"] == dropping["recorded"] + 1

    spool_dir = Path(f"{home}.copy") if way == "filesystem" else home / "spool"
    batch = read_all(spool_dir, result["spool_id"])
    finals = [entry.final for entry in batch.entries if entry.final is not None]
    assert len(finals) == again["recorded"]
    assert sum(record.capture == "metadata" for record in finals) == again["shed"]
    assert finals[-1].capture == "full" and batch.damaged_bytes == 0
    gaps = [entry.gap for entry in batch.entries if entry.gap is not None]
    assert sum(gap.dropped for gap in gaps) == again["dropped"]
    assert sum(gap.dropped_starts for gap in gaps) == again["dropped_starts"]
    assert 0 < sum(gap.dropped_bytes for gap in gaps) <= result["dropped_bytes"]
    assert all(0 < gap.since_us <= gap.until_us for gap in gaps)
    assert os.listdir(home) in (["spool"], [])

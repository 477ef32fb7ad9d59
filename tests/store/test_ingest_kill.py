"""kill -9 of the process that stores, at random moments, losing the WAL or the whole log: sent = stored = distinct."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.stored_home import StoredHome

_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support.stored_home import flat_price
from headgate.control import ingest as module
from headgate.control.ingest import Ingest
from headgate.control.seal import seal
from headgate.store.log import Log
module.BATCH_RECORDS = 97
home = Path(sys.argv[1])
log = Log.open(home, memory_limit_mb=128)
ingest = Ingest(home, log, flat_price)
print("ready", flush=True)
while True:
    for _ in range(3):
        ingest.step()
    seal(log, ingest)
"""


def _killed_run(home: Path, after_s: float) -> None:
    command = [sys.executable, "-c", _CHILD, str(home), str(Path(__file__).parents[1])]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"ready\n"
        time.sleep(after_s)  # the moment of death is the point of this test
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


@pytest.mark.parametrize("removed", ["requests.duckdb.wal", pytest.param("requests.duckdb*", marks=pytest.mark.slow)])
def test_killing_the_storing_process_at_random_moments_loses_and_doubles_nothing(tmp_path: Path, removed: str) -> None:
    moments = random.Random(7)
    home = StoredHome(tmp_path / "home", segment_bytes=64 << 10)
    home.log.close()
    expected = set()
    for round_number in range(6):
        for _ in range(400):
            expected.add(home.exchange(request=b"x" * 300))
        lost = home.start()
        expected.add(lost.request_id)
        if round_number % 2:
            home.stop_writing()
        else:
            home.finish(lost)
        _killed_run(home.path, moments.uniform(0.0, 0.25))
        if round_number in (1, 4):
            for path in home.path.glob(removed):
                path.unlink()
    home.stop_writing()
    home.open()
    home.store_all()
    stored = home.ids()
    assert len(stored) == len(set(stored))
    assert set(stored) == expected
    interrupted = home.log.query("SELECT count(*) FROM requests WHERE outcome = 'interrupted'").rows
    assert interrupted == [(3,)]
    home.close()

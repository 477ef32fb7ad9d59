"""Writes and syncs of the log fail at random moments, after a durable commit too: nothing is lost or stored twice."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.failing_disk import ERRORS, NO_COMPILER, FailingDisk, failing_disk
from support.server import Lines, clean_environment, eventually
from support.stored_home import StoredHome

# Stores what the spool holds, and a score of its own a round: those are nowhere else. Checkpoints come often by
# themselves, so that many a commit is followed by one that fails.
_CHILD = """
import logging, select, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support.stored_home import flat_price
from headgate.control import ingest as module
from headgate.control.ingest import Ingest
from headgate.control.seal import seal
from headgate.core.errors import HeadgateError
from headgate.core.ids import now_us, uuid7
from headgate.store import database
from headgate.store.log import Log

logging.basicConfig(level=logging.WARNING)
module.BATCH_RECORDS = 97
usual = database.configuration
database.configuration = lambda *given, **named: {**usual(*given, **named), "checkpoint_threshold": "40KB"}
home = Path(sys.argv[1])
log = Log.open(home, memory_limit_mb=128)
ingest = Ingest(home, log, flat_price)
print("ready", flush=True)
while True:
    count = ingest.guarded_step()
    try:
        score = uuid7(now_us())
        log.append("scores", [{"request_id": score, "name": "n", "source": "human"}])
        print("kept", score, flush=True)
        seal(log, ingest)
    except HeadgateError as error:
        print(error, file=sys.stderr, flush=True)
    if not count and ingest.problem is None:
        print("idle", ingest.stored, flush=True)
        if select.select([sys.stdin], [], [], 0.05)[0]:
            break
log.close()
"""


class Child:
    """The process that stores; started again when DuckDB ends it, as the supervisor does."""

    def __init__(self, home: Path, disk: FailingDisk) -> None:
        self._command = [sys.executable, "-c", _CHILD, str(home), str(Path(__file__).parents[1])]
        self._environ = clean_environment(disk.environ)
        self.ends = 0
        self.kept: set[str] = set()
        self.told = ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def look_after(self) -> None:
        if self.process.poll() is not None:
            self.ends += 1
            self.collect()
            self.start()

    def collect(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.out.close()
        self.err.close()
        self.kept |= {line.removeprefix("kept ") for line in self.out.lines if line.startswith("kept ")}
        self.told += self.err.text + "\n"

    def is_idle(self) -> bool:
        """Whether it has stored all there is, since this was asked for the first time."""
        self.look_after()
        return bool(self.out.lines) and self.out.lines[-1].startswith("idle")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    found = failing_disk(tmp_path / "disk")
    if found is None:
        pytest.skip(NO_COMPILER)
    yield found


MakeChild = Callable[[Path, FailingDisk], Child]


@pytest.fixture
def make_child() -> Iterator[MakeChild]:
    """Makes children that end with the test."""
    made: list[Child] = []

    def make(home: Path, disk: FailingDisk) -> Child:
        made.append(Child(home, disk))
        return made[-1]

    yield make
    for child in made:
        if child.process.poll() is None:
            child.process.kill()
            child.collect()


def run(make_child: MakeChild, tmp_path: Path, disk: FailingDisk, faults: int, seed: int) -> str:
    """So many faults; what the storing process said."""
    chance = random.Random(seed)
    home = StoredHome(tmp_path / "home", segment_bytes=512 << 10)
    home.log.close()
    expected: set[str] = set()
    child = make_child(home.path, disk)
    for _ in range(faults):
        disk.break_after(chance.randrange(120), chance.choice(ERRORS))

        def has_failed() -> bool:
            child.look_after()
            expected.add(home.exchange(request=b"x" * 300))
            return disk.failed > 0

        eventually(has_failed, within_s=30, what="a write of the log that fails")
        time.sleep(chance.uniform(0, 0.3))  # how long it fails is the point
        disk.mend()
        child.look_after()
        eventually(child.is_idle, within_s=10, what="all is stored once the disk is well")
    child.collect()
    home.stop_writing()
    home.open()
    home.store_all()
    stored = home.ids()
    assert len(stored) == len(set(stored))
    assert set(stored) == expected
    scores = {str(row[0]) for row in home.log.query("SELECT request_id FROM scores").rows}
    assert child.kept and child.kept <= scores
    home.close()
    return child.told


def test_a_disk_that_fails_under_the_log_loses_and_doubles_nothing(
    make_child: MakeChild, tmp_path: Path, disk: FailingDisk
) -> None:
    run(make_child, tmp_path, disk, 1, 12)


@pytest.mark.slow
def test_a_disk_that_fails_thirty_times_loses_and_doubles_nothing(
    make_child: MakeChild, tmp_path: Path, disk: FailingDisk
) -> None:
    told = run(make_child, tmp_path, disk, 30, 12)
    assert "COMMIT succeeded and is durable" in told  # and was then taken for unknown

"""kill -9 at a random moment: what was acknowledged is read back, once, byte for byte."""

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.core.ids import monotonic_s
from headgate.spool.reader import Batch, is_writer_alive, read_bodies, spools

# Bodies follow from the number alone, so that the reading side knows what they must be.
WRITER = """
import os, random, sys
from pathlib import Path
from headgate.spool.record import FinalRecord, StartRecord
from headgate.spool.writer import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]), worker=0, segment_bytes=int(sys.argv[2]), durability=sys.argv[3])
sizes = random.Random(int(sys.argv[4]))
while True:
    number = writer.next_sequence()
    writer.append_start(StartRecord(request_id=str(number), started_at_us=1, sequence=number))
    pieces = [bytes([number % 251]) * sizes.choice((0, 10, 900, 5000, 60000)) for _ in range(3)]
    record = FinalRecord(request_id=str(number), started_at_us=1, sequence=number)
    assert writer.append_final(record, str(number).encode() * 50, b"", pieces)
    os.write(1, b"%d\\n" % number)
"""


def expected_response(number: int, sizes: random.Random) -> bytes:
    return b"".join(bytes([number % 251]) * sizes.choice((0, 10, 900, 5000, 60000)) for _ in range(3))


@pytest.mark.parametrize("seed", range(8))
def test_what_was_acknowledged_before_a_kill_is_read_back(
    tmp_path: Path, read_all: Callable[..., Batch], seed: int
) -> None:
    moment = random.Random(seed)
    segment_bytes = moment.choice((4096, 1 << 17, 1 << 20, 64 << 20))
    durability = moment.choice(("page", "interval"))
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(segment_bytes), durability, str(seed)],
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert child.stdout is not None
    received = child.stdout.readline()
    [spool_id] = spools(tmp_path)
    assert is_writer_alive(tmp_path, spool_id)
    die_at_s = monotonic_s() + moment.uniform(0, 0.12)
    while (left_s := die_at_s - monotonic_s()) > 0:
        if select.select([child.stdout], [], [], left_s)[0]:
            received += os.read(child.stdout.fileno(), 1 << 16)
    child.send_signal(signal.SIGKILL)
    received += child.stdout.read()
    child.stdout.close()
    child.wait()
    acknowledged = int(received[: received.rindex(b"\n")].rsplit(b"\n", 1)[-1])

    assert not is_writer_alive(tmp_path, spool_id)
    batch = read_all(tmp_path, spool_id, max_records=100, max_bytes=4 << 20)
    found = [entry for entry in batch.entries if entry.final is not None]
    numbers = [entry.final.sequence for entry in found if entry.final is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert acknowledged <= len(numbers) <= acknowledged + 1
    assert [e.start.sequence for e in batch.entries if e.start is not None][: len(numbers)] == numbers
    sizes = random.Random(seed)
    for number, entry in zip(numbers, found, strict=True):
        bodies = read_bodies(tmp_path, spool_id, entry.segment, entry.offset)
        assert bodies is not None
        assert bodies.request == str(number).encode() * 50
        assert bodies.response == expected_response(number, sizes)

"""What the spool tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.spool.reader import Batch, Position, SpoolReader


def _read_all(spool_dir: Path, spool_id: str, *, max_records: int = 50, max_bytes: int = 1 << 20) -> Batch:
    reader = SpoolReader(spool_dir, spool_id)
    whole = Batch(position=Position(0, 0))
    position = None
    while True:
        batch = reader.read(position, max_records, max_bytes)
        assert len(batch.entries) <= max_records
        if batch.position == position:
            return whole
        position = whole.position = batch.position
        whole.entries += batch.entries
        whole.damaged_bytes += batch.damaged_bytes
        whole.set_aside += batch.set_aside


@pytest.fixture(scope="session")
def read_all() -> Callable[..., Batch]:
    """Everything one spool holds, read in small steps."""
    return _read_all

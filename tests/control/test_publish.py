"""What workers serve from rises with every change, whatever happens to the snapshot's files."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.control.app import build
from headgate.snapshot import SnapshotReader, snapshot_path
from headgate.spool.counters import CounterFile

Serve = Callable[..., Any]
Loss = Callable[[Path], None]


def deleted(home: Path) -> None:
    shutil.rmtree(home / "snapshot")


def restored(home: Path) -> None:
    (home / "snapshot" / "current").write_bytes((home / "old").read_bytes())
    (home / "snapshot" / "previous").unlink(missing_ok=True)


def damaged(home: Path) -> None:
    (home / "snapshot" / "current").write_bytes(b"HGSNAP")
    (home / "snapshot" / "previous").unlink(missing_ok=True)


def with_keys(served: Any) -> tuple[Path, SnapshotReader, dict[str, Any]]:
    """A home with three keys published, a worker's reader of it, and the first key."""
    home: Path = served.control.home.path
    keys = [served.ask("POST", "/api/keys", body={"name": f"k{number}"}).json() for number in range(3)]
    (home / "old").write_bytes((home / "snapshot" / "previous").read_bytes())
    reader = SnapshotReader(home)
    assert reader.load().generation == 3
    return home, reader, keys[0]["key"]


@pytest.mark.parametrize("lose", [deleted, restored, damaged])
def test_a_running_worker_takes_over_a_revocation_after_the_snapshot_was_lost(serve: Serve, lose: Loss) -> None:
    served = serve()
    home, reader, key = with_keys(served)
    lose(home)
    assert served.ask("POST", f"/api/keys/{key['id']}/revoke", body={}).status_code == 200
    found = {entry.id: entry for entry in reader.load().keys.values()}
    assert found[key["id"]].revoked_at_us is not None
    assert reader.fault is None


@pytest.mark.parametrize("lose", [deleted, restored, damaged])
def test_a_worker_that_outlives_the_control_process_takes_over_what_the_next_one_publishes(
    serve: Serve, lose: Loss
) -> None:
    served = serve()
    home, reader, key = with_keys(served)
    lose(home)
    following = build(home, served.control.settings, log=served.control.log)
    following.publisher.publish()
    following.publisher.close()
    assert not reader.fault
    assert reader.load().generation == 4
    assert reader.fault is None


def test_a_generation_that_a_running_worker_tells_of_is_passed_too(serve: Serve) -> None:
    served = serve()
    home = served.control.home.path
    counters = CounterFile(home / "run" / "worker-0.counters", ["generation"])
    counters.set("generation", 41)  # of before the whole home was put back from a copy
    served.control.publisher.publish()
    assert SnapshotReader(home).load().generation == 42
    counters.set("generation", 2**63 - 1)
    served.control.publisher.publish()
    assert SnapshotReader(home).load().generation == 43
    counters.close()


@pytest.mark.parametrize("lose", [deleted, restored, damaged])
def test_a_lost_snapshot_is_published_again_for_the_next_worker_that_starts(serve: Serve, lose: Loss) -> None:
    served = serve()
    home, _, key = with_keys(served)
    served.ask("POST", f"/api/keys/{key['id']}/revoke", body={})
    asyncio.run(served.control.publisher.keep_published())
    assert SnapshotReader(home).load().generation == 4
    lose(home)
    asyncio.run(served.control.publisher.keep_published())
    fresh = SnapshotReader(home).load()
    assert fresh.generation == 5
    assert {entry.id: entry for entry in fresh.keys.values()}[key["id"]].revoked_at_us is not None


def test_a_reader_says_once_why_it_does_not_use_the_newest_file(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    home, reader, _ = with_keys(serve())
    caplog.set_level(logging.WARNING, "headgate.snapshot")
    restored(home)
    for _ in range(3):
        assert reader.load().generation == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"The snapshot in use stays: {snapshot_path(home)}: generation 2 is older than 3, in use."
    ]
    deleted(home)
    reader.load()
    reader.load()
    assert len(caplog.records) == 2

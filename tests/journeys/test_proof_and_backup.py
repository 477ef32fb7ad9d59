"""The proof beside a server under load, and a copy of its home that serves and is proven again."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.commands import run_cli
from support.load import CountingUpstream, Load
from support.server import RunningServer, eventually


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingUpstream]:
    with closing(CountingUpstream()) as counting:
        yield counting


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, upstream: CountingUpstream
) -> Iterator[tuple[RunningServer, Load]]:
    """A server under a load that goes on."""
    server = RunningServer(tmp_path_factory.mktemp("served"), upstream.config())
    with closing(server):
        server.start()
        load = Load(server.port, clients=2).start()
        try:
            yield server, load
        finally:
            load.stop()


def proof_of(server: RunningServer, *options: str) -> dict[str, Any]:
    ran = run_cli("verify", "--json", *options, "--home", str(server.home), cwd=server.directory)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def stored(server: RunningServer) -> int:
    return int(server.api("/api/requests", {"limit": 1})["total"]["requests"])


def test_a_server_is_proven_over_http_while_it_serves(served: tuple[RunningServer, Load]) -> None:
    server, load = served
    load.await_more(50)
    eventually(lambda: stored(server) >= 50, within_s=20, what="50 rows")
    before = len(load.acknowledged)
    first, second = proof_of(server), proof_of(server, "--rebuild")
    assert len(load.acknowledged) > before, "no call was answered meanwhile: the test shows nothing"
    for proof in (first, second):
        totals = proof["totals"]
        assert proof["proven"] and proof["faults"] == []
        assert totals["started"] == sum(totals[name] for name in ("recorded", "interrupted", "in_flight", "dropped"))
        assert totals["rows"] == totals["rows_in_log"] >= 50
    assert second["rebuild"]["equal"], second["rebuild"]
    assert second["totals"]["started"] > first["totals"]["started"]


def test_a_copy_taken_under_load_serves_and_is_proven(
    served: tuple[RunningServer, Load], upstream: CountingUpstream, tmp_path: Path
) -> None:
    server, load = served
    load.await_more(20)
    acknowledged = dict(load.acknowledged)
    copy = tmp_path / "copy"
    ran = run_cli("backup", str(copy), "--home", str(server.home), cwd=server.directory)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with closing(RunningServer(tmp_path / "restored", upstream.config(), home=copy)) as restored:
        restored.start()
        later = Load(restored.port, clients=1).start()
        later.await_more(5)
        later.stop()
        wanted = {*acknowledged.values(), *later.acknowledged.values()}
        eventually(lambda: wanted <= {row["request_id"] for row in restored.rows()}, within_s=20, what="every row")
        proof = proof_of(restored)
        assert proof["proven"] and proof["faults"] == []
        assert proof["totals"]["rows"] == len(restored.rows()) >= len(wanted)
        assert restored.stop() == 0

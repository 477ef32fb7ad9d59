"""Evidence is where the log keeps it: in the spool, in sealed files, and no longer once its retention is over."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headgate.control.run_copy import forget_expired
from headgate.control.seal import seal
from headgate.core.ids import now_us, utc
from headgate.store import lookup
from support.eval_bench import PEOPLE, Bench

Serve = Callable[..., Any]


@pytest.fixture
def bench(serve: Serve) -> Bench:
    return Bench(serve())


def test_sealed_answers_are_judged_like_fresh_ones(bench: Bench) -> None:
    run = bench.start()["run"]
    for name in PEOPLE[:2]:
        bench.call(run, name, f"Hello {name}")
    served = bench.served
    spools = served.control.home.path / "spool"
    written = set(spools.iterdir())
    served.end_spool()
    assert seal(served.control.log, served.control.ingest) >= 1
    assert written and not written & set(spools.iterdir())
    bench.call(run, PEOPLE[2], "Go away.")
    assert bench.finish(run, [])["status"] == "complete"
    assert sorted(one["value"] for one in bench.results(run).values()) == [0.0, 1.0, 1.0]


def test_answers_past_their_retention_are_no_evidence_and_words_about_them_go(bench: Bench) -> None:
    run = bench.start()["run"]
    ids = [bench.call(run, name, f"Hello {name}", age_s=100) for name in PEOPLE]
    bench.finish(run, [])
    bench.post("/api/scores", {"scores": [{"request_id": ids[0], "name": "thumbs", "value": 1, "comment": "nice"}]})
    control = bench.served.control
    assert all(one["reason"] for one in bench.results(run).values())
    control.log.expire("bodies", utc(now_us() - 50_000_000).replace(tzinfo=None))
    forget_expired(control.log, control.publisher.registry)
    assert not any(one["reason"] for one in bench.results(run).values())
    rows = bench.post("/api/sql", {"query": "SELECT value, comment FROM scores"})["rows"]
    assert rows == [[1.0, None]]
    assert bench.post("/api/sql", {"query": "SELECT count(*) FROM eval_results WHERE reason IS NOT NULL"})["rows"] == [
        [0]
    ]
    again = bench.start()["run"]
    reasons = {one["reason"].partition("evidence: ")[2] for one in bench.finish(again, [])["missing"]}
    assert reasons == {"its content is past [log] body_days"}


def test_rows_past_their_retention_take_scores_and_results_along(bench: Bench) -> None:
    run = bench.start()["run"]
    ids = [bench.call(run, name, f"Hello {name}", age_s=100) for name in PEOPLE]
    bench.finish(run, [])
    bench.post("/api/scores", {"scores": [{"request_id": ids[0], "name": "thumbs", "value": 1}]})
    bench.served.control.log.expire("rows", utc(now_us()).replace(tzinfo=None) - timedelta(seconds=50))
    for view in ("scores", "eval_results"):
        assert bench.post("/api/sql", {"query": f"SELECT count(*) FROM {view}"})["rows"] == [[0]]


def test_many_bodies_are_read_in_parts_that_fit_into_memory(bench: Bench) -> None:
    run = bench.start()["run"]
    for name in PEOPLE:
        bench.call(run, name, "x" * 1000)
    calls = lookup.calls_of_ids(bench.served.control.log, [])
    assert calls == {}
    ids = [str(row[0]) for row in bench.served.control.log.query("SELECT request_id FROM requests").rows]
    found = list(lookup.calls_of_ids(bench.served.control.log, ids).values())
    assert [len(batch) for batch in lookup.batches(found * 200)] == [256, 256, 88]

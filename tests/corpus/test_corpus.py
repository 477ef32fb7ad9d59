"""Every exchange of the corpus passes through a worker as if it were not there."""

import runpy
from collections.abc import Iterator

import pytest

from support.exchanges import FILE, RawExchange, corpus_settings, differences, load_exchanges, play
from support.upstream import ScriptedUpstream
from support.worker import WorkerProcess

EXCHANGES = load_exchanges()


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream]]:
    upstream = ScriptedUpstream()
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), corpus_settings(upstream))
    yield worker, upstream
    worker.stop()
    upstream.close()


def test_the_corpus_is_what_its_script_writes() -> None:
    text = runpy.run_path(str(FILE.with_name("build.py")))["text"]()
    assert FILE.read_text("utf-8") == text
    assert len(EXCHANGES) >= 200


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_nobody_can_tell_that_a_gateway_is_between(
    between: tuple[WorkerProcess, ScriptedUpstream], exchange: RawExchange
) -> None:
    worker, upstream = between
    for _ in range(2):  # a head that was read before is recalled
        got = play(exchange, worker, upstream)
        assert differences(exchange, got, list(upstream.seen)) == []


def test_every_exchange_is_in_the_log_with_its_outcome(between: tuple[WorkerProcess, ScriptedUpstream]) -> None:
    worker, upstream = between
    before = len(worker.entries()[1])
    for exchange in EXCHANGES:
        play(exchange, worker, upstream)
    finals = worker.recorded(before + len(EXCHANGES))[before:]
    assert [(e.name, e.outcome, e.status) for e in EXCHANGES] == [
        (e.name, final.outcome, final.status) for e, final in zip(EXCHANGES, finals, strict=True)
    ]

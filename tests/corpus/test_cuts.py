"""Exchanges of the corpus cut into segments anywhere, at either side: what arrives is the same."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.client import Got, read_answer
from support.exchanges import RawExchange, corpus_settings, differences, load_exchanges
from support.upstream import ScriptedUpstream
from support.worker import WorkerProcess

# A chunk a byte has no room for more cuts; a body that waits for 100 Continue is sent in two as it is.
EXCHANGES = [e for e in load_exchanges() if "a byte" not in e.name and "100 continue" not in e.name]


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream]]:
    upstream = ScriptedUpstream()
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), corpus_settings(upstream))
    yield worker, upstream
    worker.stop()
    upstream.close()


def cut(data: str, shares: Sequence[float]) -> list[str]:
    """``data`` cut at these shares of its length."""
    at = [0, *sorted({int(share * len(data)) for share in shares}), len(data)]
    return [data[start:end] for start, end in zip(at, at[1:], strict=False) if end > start]


def send_in_pieces(exchange: RawExchange, pieces: Sequence[str], worker: WorkerProcess) -> Got:
    with worker.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece.encode("latin-1"))
        return read_answer(client, method=exchange.request.partition(" ")[0])


SHARES = st.lists(st.floats(0, 1, exclude_max=True), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exchange=st.sampled_from(EXCHANGES), request=SHARES, answer=SHARES)
def test_any_cut_of_a_request_and_of_its_answer_passes_the_same(
    between: tuple[WorkerProcess, ScriptedUpstream], exchange: RawExchange, request: list[float], answer: list[float]
) -> None:
    worker, upstream = between
    steps = [piece for step in exchange.answer for piece in ([step] if step == "close" else cut(step, answer))]
    upstream.seen.clear()
    upstream.script([step if step == "close" else step.encode("latin-1") for step in steps])
    got = send_in_pieces(replace(exchange, answer=steps), cut(exchange.request, request), worker)
    assert differences(exchange, got, list(upstream.seen)) == []

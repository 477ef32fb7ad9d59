"""One worker between raw clients and a raw upstream, both as bad as the test wants."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.core.settings import Settings, Timeout, Upstream
from support.settings import settings_for
from support.upstream import ScriptedUpstream
from support.worker import WorkerProcess

PATIENT = Timeout(connect_s=2.0, first_byte_s=5.0, between_bytes_s=5.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, ScriptedUpstream]]:
    """A worker and its upstream for all tests of a module: starting one costs half a second."""
    upstream = ScriptedUpstream()
    one = Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=PATIENT)
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings_for(one))
    yield worker, upstream
    worker.stop()
    upstream.close()


@pytest.fixture
def worker(shared: tuple[WorkerProcess, ScriptedUpstream]) -> WorkerProcess:
    return shared[0]


@pytest.fixture
def upstream(shared: tuple[WorkerProcess, ScriptedUpstream]) -> ScriptedUpstream:
    """The upstream, with nothing seen yet."""
    scripted = shared[1]
    scripted.seen.clear()
    scripted.gone.clear()
    scripted.reply_with = None
    return scripted


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[Settings], WorkerProcess]]:
    """Starts a worker with given settings; stopped at the end of the test."""
    started: list[WorkerProcess] = []

    def start(settings: Settings) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path / f"w{len(started)}", settings))
        return started[-1]

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.stop()

"""A worker in front of a scripted upstream, and raw clients."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.core.settings import Settings, Upstream
from support.settings import QUICK, settings_for
from support.upstream import ScriptedUpstream
from support.worker import WorkerProcess


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()


@pytest.fixture
def second_upstream() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()


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


@pytest.fixture(scope="module")
def running() -> Iterator[list[WorkerProcess]]:
    """The worker that the tests of a module share, once one of them needed it: each has an upstream of its own."""
    made: list[WorkerProcess] = []
    yield made
    for worker in made:
        worker.stop()


@pytest.fixture
def serve_with(
    running: list[WorkerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Settings], WorkerProcess]]:
    """Gives the module's worker other settings; nothing of earlier tests is seen in it."""

    def serve(settings: Settings) -> WorkerProcess:
        if not running:
            running.append(WorkerProcess(tmp_path_factory.mktemp("worker"), settings))
            return running[0]
        running[0].publish(settings)
        running[0].taken_over()
        running[0].forget()
        return running[0]

    yield serve
    if running and running[0].process.poll() is not None:
        running.clear()


@pytest.fixture
def worker(serve_with: Callable[[Settings], WorkerProcess], upstream: ScriptedUpstream) -> WorkerProcess:
    """A worker whose one OpenAI upstream is the scripted one."""
    return serve_with(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)))

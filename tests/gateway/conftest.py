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


@pytest.fixture
def worker(start_worker: Callable[[Settings], WorkerProcess], upstream: ScriptedUpstream) -> WorkerProcess:
    """A worker whose one OpenAI upstream is the scripted one."""
    return start_worker(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url, timeout=QUICK)))

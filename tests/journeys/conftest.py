"""Whole servers, started as people start them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.load import CountingUpstream
from support.server import RunningServer


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers, not started yet; whatever still runs at the end of the test is ended."""
    made: list[RunningServer] = []

    def make(config: str = "", **more: Any) -> RunningServer:
        made.append(RunningServer(tmp_path / f"s{len(made)}", config, **more))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def counting_upstream() -> Iterator[CountingUpstream]:
    upstream = CountingUpstream()
    yield upstream
    upstream.close()

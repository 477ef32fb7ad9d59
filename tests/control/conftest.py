"""A control application over a real home, for one test or for a whole file of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.served_control import Served, starting


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes an application over a fresh home; ``require_key`` and other settings as given."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """The same for a whole file of tests that only read, or change what no other test looks at."""
    with starting(tmp_path_factory.mktemp("homes")) as start:
        yield start

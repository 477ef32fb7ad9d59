"""What the store's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stored_home import StoredHome


@pytest.fixture
def home(tmp_path: Path) -> Iterator[StoredHome]:
    """An empty home, open."""
    stored = StoredHome(tmp_path / "home")
    yield stored
    stored.close()

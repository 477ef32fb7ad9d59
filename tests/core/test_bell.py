"""The bell wakes who waits for it; a rope that nobody hears does no harm."""

import contextlib
import threading
from pathlib import Path

import pytest

from headgate.core.bell import Bell, Rope
from headgate.core.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / ("a-long-name-" * 10) / "home")  # longer than the kernel takes as the address of a socket
    made.path.parent.mkdir()
    made.prepare()
    return made


def test_rings_before_it_is_listened_to_count_as_one(home: Home) -> None:
    with contextlib.closing(Bell(home)) as bell, contextlib.closing(Rope(home)) as rope:
        assert not bell.wait(0)
        for _ in range(10_000):  # more than it holds
            rope.pull()
        assert bell.wait(0)
        assert not bell.wait(0)
        assert (home.run / "ingest.sock").stat().st_mode & 0o777 == 0o600


def test_a_wait_ends_when_another_thread_rings(home: Home) -> None:
    with contextlib.closing(Bell(home)) as bell:
        found: list[bool] = []
        waiting = threading.Thread(target=lambda: found.append(bell.wait(60)))
        waiting.start()
        bell.ring()
        waiting.join(30)
        assert found == [True]


def test_a_rope_outlives_the_bell_and_rings_the_next_one(home: Home) -> None:
    with contextlib.closing(Rope(home)) as rope:
        rope.pull()
        for _ in range(2):
            with contextlib.closing(Bell(home)) as bell:
                assert not bell.wait(0)
                rope.pull()
                assert bell.wait(30)
            rope.pull()

"""A file that is put in place by a rename is told of; where nothing can be told any more, that is known."""

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.core.arrivals import Arrivals


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Path, Arrivals]]:
    directory = tmp_path / "watched"
    directory.mkdir()
    arrivals = Arrivals(directory)
    yield directory, arrivals
    arrivals.close()


def is_told(arrivals: Arrivals, *, within_s: float = 20.0) -> bool:
    return bool(select.select([arrivals], [], [], within_s)[0])


def test_a_renamed_file_is_told_of_once(watched: tuple[Path, Arrivals]) -> None:
    directory, arrivals = watched
    (directory / "new").write_text("being written")
    assert not is_told(arrivals, within_s=0)
    for _ in range(3):
        (directory / "new").write_text("whole")
        (directory / "new").rename(directory / "current")
        assert is_told(arrivals)
        arrivals.take_note()
        assert arrivals.is_open
        assert not is_told(arrivals, within_s=0)


def test_more_arrivals_than_one_reading_holds_are_all_taken_note_of(watched: tuple[Path, Arrivals]) -> None:
    directory, arrivals = watched
    for number in range(1000):
        (directory / "new").touch()
        (directory / "new").rename(directory / f"{number:04d}-{'x' * 100}")
    while is_told(arrivals, within_s=0):
        arrivals.take_note()
        assert arrivals.is_open


@pytest.mark.parametrize("end", ["removed", "moved"])
def test_nothing_is_told_of_a_directory_that_is_gone(watched: tuple[Path, Arrivals], end: str) -> None:
    directory, arrivals = watched
    if end == "moved":
        directory.rename(directory.with_name("elsewhere"))
    else:
        directory.rmdir()
    assert is_told(arrivals)
    arrivals.take_note()
    assert not arrivals.is_open


def test_a_directory_that_does_not_exist_is_not_open(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path / "absent")
    assert not arrivals.is_open
    arrivals.take_note()
    arrivals.close()
    assert arrivals.fileno() == -1

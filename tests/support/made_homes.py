"""Homes that are made once in a process and copied from then on: no test pays for migrations and samples again."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_made: dict[str, Path] = {}


def copy_home(name: str, make: Callable[[Path], None], to: Path) -> None:
    """Put a copy of the home ``name`` at ``to``; the first time ``make`` makes it, and leaves it closed."""
    if name not in _made:
        folder = Path(tempfile.mkdtemp(prefix="headgate-homes-"))
        try:
            make(folder / "home")
        except BaseException:
            shutil.rmtree(folder)
            raise
        _made[name] = folder / "home"
    shutil.copytree(_made[name], to, dirs_exist_ok=True)


def forget_homes() -> None:
    """Remove them all; at the end of a run."""
    while _made:
        shutil.rmtree(_made.popitem()[1].parent)

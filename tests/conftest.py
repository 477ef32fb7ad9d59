"""Fixtures that more than one folder needs."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.leftovers import pytest_configure, pytest_unconfigure

__all__ = ["installed", "pytest_configure", "pytest_unconfigure"]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Headgate as the image has it: docker/install.sh run into a directory of its own, from the source as it is.

    Made once per run, however many processes the tests are spread over.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # one directory for all processes of a run
    prefix = shared / "installed" / "headgate"
    prefix.parent.mkdir(exist_ok=True)
    with (prefix.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = prefix.parent / "done"
        if not done.exists():
            _install(prefix)
            done.touch()
    return prefix


def _install(prefix: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for step in ("dependencies", "headgate"):
        subprocess.run(
            ["sh", "docker/install.sh", step, str(prefix)],
            cwd=ROOT,
            env={**environ, "PYTHON": sys.executable},
            check=True,
            timeout=600,
        )

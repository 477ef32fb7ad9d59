"""Fixtures that more than one folder needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Headgate as the image has it: docker/install.sh run into a directory of its own, from the source as it is."""
    prefix = tmp_path_factory.mktemp("installed") / "headgate"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for step in ("dependencies", "headgate"):
        subprocess.run(
            ["sh", "docker/install.sh", step, str(prefix)],
            cwd=ROOT,
            env={**environ, "PYTHON": sys.executable},
            check=True,
            timeout=600,
        )
    return prefix

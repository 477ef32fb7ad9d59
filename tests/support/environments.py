"""Virtual environments of their own, for clients that do not go into this one; made once, kept in pytest's cache."""

import subprocess
import sys
from pathlib import Path

import pytest


def python_with(
    config: pytest.Config, factory: pytest.TempPathFactory, name: str, *requirements: str, timeout_s: float = 900
) -> Path:
    """The interpreter of an environment with ``requirements``; skips with the reason where it cannot be made."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    place = factory.mktemp(name) if cache is None else cache.mkdir(name)
    python, done = place / "bin" / "python", place / "installed"
    if done.exists():
        return python
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no virtual environment for {name}: {made.stderr.strip()[-200:]}")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *requirements]
    installed = subprocess.run(pip, capture_output=True, text=True, timeout=timeout_s)
    if installed.returncode:
        pytest.skip(f"pip cannot install {name}: {installed.stderr.strip()[-200:]}")
    done.touch()
    return python

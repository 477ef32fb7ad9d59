"""Virtual environments of their own, for clients that do not go into this one; made once, kept in pytest's cache."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_LEAST_NODE = 20


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


def node_with(config: pytest.Config, factory: pytest.TempPathFactory, name: str, *packages: str) -> Path:
    """The folder `node_modules` with ``packages`` from npm; skips with the reason where it cannot be made."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed (apt-get install nodejs npm)")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    if int(version.lstrip("v").partition(".")[0] or 0) < _LEAST_NODE:
        pytest.skip(f"node {version} is too old for {name}: it needs {_LEAST_NODE}")
    cache: pytest.Cache | None = getattr(config, "cache", None)
    place = factory.mktemp(name) if cache is None else cache.mkdir(name)
    done = place / "installed"
    if not done.exists():
        install = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(place), *packages]
        installed = subprocess.run(install, capture_output=True, text=True, timeout=600)
        if installed.returncode:
            pytest.skip(f"npm cannot install {name}: {installed.stderr.strip()[-200:]}")
        done.touch()
    return place / "node_modules"

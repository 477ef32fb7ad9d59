"""Fixtures that more than one folder needs."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import leftovers
from support.made_homes import forget_homes
from support.spread import pytest_xdist_make_scheduler  # noqa: F401  # a hook, found by its name

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Properties are tried with fewer examples where the slow tests stay out. Ctrl-C works here and in whatever tests
    start, also where this run was started in the background of a script.
    """
    examples = 30 if config.option.markexpr == "not slow" else 100
    settings.register_profile("headgate", deadline=None, max_examples=examples)
    settings.load_profile("headgate")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    leftovers.pytest_configure(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing that was started stays."""
    leftovers.pytest_unconfigure(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: no garbage collection looks at it while it grows, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def made_homes() -> Iterator[None]:
    """What `support.made_homes` made goes with the run."""
    yield
    forget_homes()


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Headgate as the image has it: its wheel, built and installed by docker/install.sh from the source as it is.

    What it depends on is this environment's, which came from the same lock: installing that takes half a minute.
    """
    return _once(tmp_path_factory, worker_id, "installed", _install_headgate)


@pytest.fixture(scope="session")
def installed_from_lock(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The same with dependencies of its own: all that docker/install.sh does."""
    return _once(tmp_path_factory, worker_id, "installed-from-lock", _install_everything)


def _once(factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], None]) -> Path:
    """Made once per run, however many processes the tests are spread over."""
    base = factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # one directory for all processes of a run
    prefix = shared / name / "headgate"
    prefix.parent.mkdir(exist_ok=True)
    with (prefix.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = prefix.parent / "done"
        if not done.exists():
            make(prefix)
            done.touch()
    return prefix


def _install_headgate(prefix: Path) -> None:
    venv.create(prefix, with_pip=False)
    (site,) = (prefix / "lib").glob("python3*/site-packages")
    # A path in a .pth file is searched, but its own .pth files are not read: this checkout stays out.
    (site / "environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _install("headgate", prefix)


def _install_everything(prefix: Path) -> None:
    _install("dependencies", prefix)
    _install("headgate", prefix)


def _install(step: str, prefix: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(
        ["sh", "docker/install.sh", step, str(prefix)],
        cwd=ROOT,
        env={**environ, "PYTHON": sys.executable},
        check=True,
        timeout=600,
    )

"""A plugin of pytest: whatever a test process started ends with it, however it ended itself.

Servers of tests have sessions of their own, so a run that is killed or cut off would leave them running for hours. All
that descends from a test process has a mark in its environment; a guard outlives the test process, and kills what has
the mark. It is told by the end of a pipe: not by the end of the thread that started it, nor by a signal.
"""

import os
import subprocess
import sys
import uuid

import pytest

_NAME = "STARTED_BY_TESTS"
_PROGRAM = r"""
import os, signal, sys, time

mark = sys.argv[1].encode()
sys.stdin.buffer.read()
empty_rounds, until = 0, time.monotonic() + 20
while empty_rounds < 3 and time.monotonic() < until:
    found = False
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark in open(f"/proc/{name}/environ", "rb").read().split(b"\0"):
                os.kill(int(name), signal.SIGKILL)
                found = True
        except OSError:
            continue
    empty_rounds = 0 if found else empty_rounds + 1
    time.sleep(0.05)
"""
_guard = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the guard of this process."""
    environ = dict(os.environ)
    environ.pop(_NAME, None)
    mark = os.environ[_NAME] = uuid.uuid4().hex
    config.stash[_guard] = subprocess.Popen(
        [sys.executable, "-ISc", _PROGRAM, f"{_NAME}={mark}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,  # what ends a whole group, as Ctrl-C does, must leave it
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Have the guard look once, and end."""
    guard = config.stash[_guard]
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait(30)

"""Whole servers, whose output is read or not as a test wants it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import RunningServer, clean_environment, eventually, headgate_command

HeadgateProcess = subprocess.Popen[bytes]


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers, not started yet; whatever still runs at the end of the test is ended."""
    made: list[RunningServer] = []

    def make(config: str = "", **more: Any) -> RunningServer:
        made.append(RunningServer(tmp_path / f"s{len(made)}", config, **more))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def serve_into(tmp_path: Path) -> Iterator[Callable[[int], tuple[HeadgateProcess, Path]]]:
    """Starts a demo server that prints into a given descriptor; returns once it serves: process and home."""
    made: list[HeadgateProcess] = []
    home = tmp_path / "home"

    def start(descriptor: int) -> tuple[HeadgateProcess, Path]:
        process = subprocess.Popen(
            [*headgate_command(), "serve", "--demo", "--port", "0", "--home", str(home)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=clean_environment(),
            cwd=tmp_path,
        )
        made.append(process)
        eventually(lambda: (home / "run" / "server.json").exists(), within_s=60, what="the server is ready")
        return process, home

    yield start
    for process in made:
        if process.poll() is None:
            # Its children end with it: they are told so by the kernel.
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

"""aimock (npm), a mock of model APIs that speaks WebSocket too: installed where a test asks, run on a free port."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.server import free_port

PACKAGE = "@copilotkit/aimock@1.43.0"
_INSTALL_S = 180
_START_S = 20.0


class Aimock:
    """One running mock; ``fixtures``: what it answers to which user message."""

    def __init__(self, folder: Path, fixtures: list[dict[str, object]]) -> None:
        self.port = free_port()
        file = folder / "fixtures.json"
        file.write_text(json.dumps({"fixtures": fixtures}))
        command = [str(folder / "node_modules" / ".bin" / "llmock"), "--port", str(self.port), "--fixtures", str(file)]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=folder)
        deadline = time.monotonic() + _START_S
        while not self._listens():
            assert time.monotonic() < deadline and self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def install(folder: Path) -> Path:
    """Put the package into ``folder``; skips with the reason where that cannot be done."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not here (Debian: apt-get install nodejs npm; 20.15 or later)")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr.strip()[-300:]}")
    return folder

"""aimock (npm), a mock of model APIs that speaks WebSocket too, run on a free port."""

import json
import socket
import subprocess
import time
from pathlib import Path

from support.server import free_port

PACKAGE = "@copilotkit/aimock@1.43.0"
_START_S = 20.0


class Aimock:
    """One running mock out of ``modules`` (npm's folder); ``fixtures``: what it answers to which user message."""

    def __init__(self, modules: Path, folder: Path, fixtures: list[dict[str, object]]) -> None:
        self.port = free_port()
        file = folder / "fixtures.json"
        file.write_text(json.dumps({"fixtures": fixtures}))
        command = [str(modules / ".bin" / "llmock"), "--port", str(self.port), "--fixtures", str(file)]
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

"""A whole running server: `headgate serve` as people start it, with a configuration file and a home of its own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlencode

_START_S = 60.0
_POLL_S = 0.02
_T = TypeVar("_T")
_OWN_NAMES = ("HEADGATE_", "OPENAI_", "ANTHROPIC_")


def headgate_command() -> list[str]:
    """The installed command, as a shell would find it; the module where only that is there."""
    beside = Path(sys.executable).parent / "headgate"
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "headgate"]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without anything that Headgate or an SDK would read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_NAMES)}
    return {**kept, **(extra or {})}


def eventually(look: Callable[[], _T | None], *, within_s: float, what: str) -> _T:
    """What ``look`` finds, as soon as it finds something true; fails after ``within_s``."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(_POLL_S)


class Lines:
    """The lines of a pipe, read by a thread so that it never fills up."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.lines: list[str] = []
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def json(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        """Once no process writes any more."""
        self._thread.join(10)
        self._pipe.close()


class RunningServer:
    """One `headgate serve`. ``start`` and ``kill_all`` may be called again and again on the same home."""

    def __init__(
        self,
        directory: Path,
        config: str = "",
        *,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
        port: int = 0,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.home = home or directory / "home"
        self.config = directory / "headgate.toml"
        self.port = port
        self.key: str | None = None  # sent with every `api` call
        self.url = ""
        self._arguments = list(arguments)
        self._environ = clean_environment(environ)
        if config:
            self.config.write_text(config)
            self._arguments += ["--config", str(self.config)]
        self.process: subprocess.Popen[bytes] | None = None
        self.out: Lines
        self.err: Lines

    # Start and end.

    def launch(self) -> None:
        """Start the process and return at once."""
        arguments = ["serve", "--home", str(self.home), "--port", str(self.port), *self._arguments]
        self.process = subprocess.Popen(
            [*headgate_command(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self._environ,
            start_new_session=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def start(self) -> "RunningServer":
        """Start it and wait until it says that it is ready."""
        self.launch()
        ready = eventually(self._ready, within_s=_START_S, what="the server is ready")
        self.url = str(ready["url"])
        self.port = int(self.url.rpartition(":")[2])
        return self

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it is ready."""
        return self._ready() is not None

    def _ready(self) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended at start: {self.err.text}"
        return next((line for line in self.out.json() if line.get("event") == "ready"), None)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = 40.0) -> int:
        """Send a signal, wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait(within_s=within_s)

    def wait(self, *, within_s: float = 40.0) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        code = self.process.wait(within_s)
        self.out.close()
        self.err.close()
        self.process = None
        return code

    def close(self) -> None:
        """End it however it stands; at the end of a test."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.kill_all()
        else:
            self.wait()

    # The processes.

    def pids(self, kind: str = "") -> list[int]:
        """The living child processes: all, or those of one kind (worker, control, retrieval, demo)."""
        assert self.process is not None
        mains = {"worker": "gateway", "control": "control", "retrieval": "retrieval"}
        module = {"": "headgate.", **{name: f"headgate.{package}.main" for name, package in mains.items()}}
        wanted = module.get(kind, f"headgate.providers.{kind}").encode()
        return [pid for pid, command in _children(self.process.pid) if wanted in command]

    def kill(self, kind: str, which: int = 0) -> int:
        """kill -9 one child; returns its PID."""
        pid = eventually(lambda: self.pids(kind)[which:], within_s=15, what=f"a {kind} process to kill")[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self) -> None:
        """kill -9 the whole tree, as a power cut or the OOM killer would: no process gets to do anything more."""
        assert self.process is not None
        # Stopped first, so that it neither starts children again nor has them told to end.
        os.kill(self.process.pid, signal.SIGSTOP)
        children = [pid for pid, _ in _children(self.process.pid)]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.wait()
        eventually(lambda: not any(is_running(pid) for pid in children), within_s=10, what="all processes are gone")

    # HTTP.

    def api(
        self, path: str, query: Mapping[str, object] | None = None, *, body: object = None, method: str | None = None
    ) -> Any:
        """One call of the control API that must succeed."""
        status, answer = self.ask(path, query, body=body, method=method)
        assert status < 300, (status, answer)
        return answer

    def ask(
        self, path: str, query: Mapping[str, object] | None = None, *, body: object = None, method: str | None = None
    ) -> tuple[int, Any]:
        """One JSON call: status and answer."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"content-type": "application/json"} if body is not None else {}
        if self.key is not None:
            headers["x-headgate-key"] = self.key
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method or ("GET" if body is None else "POST"), target, data, headers)
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, json.loads(read) if read else None
        finally:
            connection.close()

    def send(
        self, path: str, data: bytes, *, content_type: str = "application/octet-stream", headers: Mapping[str, str] = {}
    ) -> Any:
        """POST bytes; the JSON answer, which must be a success."""
        status, _, read = self.post(path, data, content_type=content_type, headers=headers)
        assert status < 300, (status, read)
        return json.loads(read)

    def post(
        self, path: str, data: bytes, *, content_type: str = "application/json", headers: Mapping[str, str] = {}
    ) -> tuple[int, dict[str, str], bytes]:
        """POST bytes: status, headers by lower-case name, body."""
        own = {} if self.key is None else {"x-headgate-key": self.key}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, data, {"content-type": content_type, **own, **headers})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def row(self, request_id: str, *, within_s: float = 5.0) -> dict[str, Any]:
        """The row of one request, once it is stored."""

        def look() -> dict[str, Any] | None:
            status, found = self.ask(f"/api/requests/{request_id}")
            return found["request"] if status == 200 else None

        return eventually(look, within_s=within_s, what=f"request {request_id} is in the log")

    def rows(self, **filters: object) -> list[dict[str, Any]]:
        """Every row that matches, newest first."""
        return list(self._pages(filters))

    def _pages(self, filters: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        before: str | None = None
        while True:
            query = {**filters, "limit": 1000, **({"before": before} if before else {})}
            page = self.api("/api/requests", query)
            yield from page["requests"]
            before = page["next"]
            if before is None:
                return


def _children(parent: int) -> Iterator[tuple[int, bytes]]:
    """(PID, command line) of the living children of a process."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                yield int(entry.name), (entry / "cmdline").read_bytes()
        except OSError:
            continue


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class DemoUpstream:
    """The demo provider on a port of its own; ``speed`` 0 answers without delays, 1 as fast as a real model."""

    def __init__(self, *, speed: float = 0) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headgate.providers.demo", "--port", str(self.port), "--speed", str(speed)]
        )
        eventually(self._listens, within_s=20, what="the demo upstream listens")

    def _listens(self) -> bool:
        assert self._process.poll() is None, "the demo upstream ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

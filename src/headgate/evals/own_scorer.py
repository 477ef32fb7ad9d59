"""Runs an own scorer (`evals/scorers/NAME.py`) over many cases in one limited process, which may die at any of them."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headgate.core.ids import monotonic_s
from headgate.evals.dataset import Row, as_plain
from headgate.evals.output import Output
from headgate.evals.scorer import Score, failed
from headgate.evals.scorers.own import Own

MAX_ANSWER_BYTES = 64 << 10
START_S = 20.0
CPU_S = 10.0
MEMORY_MB = 1024
_CHILD = Path(__file__).with_name("own_child.py")
# No secret, no proxy, no user's path: the code gets what it needs to run the same everywhere.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class _Gone(Exception):
    """The process ended or did not answer in time; the text says which."""


class OwnScorer:
    """An own scorer at work; use as a context manager. A case that kills its process is an error, the next goes on."""

    def __init__(self, scorer: Own) -> None:
        self._scorer = scorer
        self._process: subprocess.Popen[bytes] | None = None
        self._fault: str | None = None
        self.has_network: bool | None = None
        """Whether the code can reach the network; None before the first case."""

    def __enter__(self) -> "OwnScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and everything that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        process.wait()

    def score(self, row: Row, output: Output) -> Score:
        """What the scorer says of one answer."""
        if self._fault is None and self._process is None:
            self._start()
        if self._fault is not None:
            return failed(self._fault)
        case = {"row": _row(row), "output": _output(output)}
        try:
            answer = self._exchange(json.dumps(case).encode() + b"\n", self._scorer.timeout_s)
        except _Gone as error:
            self.close()
            return failed(str(error))
        return self._scorer.checked(answer)

    def _start(self) -> None:
        # A process of its own session, so that what it starts ends with it.
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        start = {"code": self._scorer.code, "file": self._scorer.file, "cpu_s": CPU_S, "memory_mb": MEMORY_MB}
        try:
            hello = self._exchange(json.dumps(start).encode() + b"\n", START_S)
        except _Gone as error:
            self._fault = f"{self._scorer.file} could not be loaded: {error}"
        else:
            self.has_network = bool(hello.get("has_network"))
            if fault := hello.get("fault"):
                self._fault = f"{self._scorer.file} could not be loaded: {fault}"
        if self._fault is not None:
            self.close()

    def _exchange(self, line: bytes, wait_s: float) -> dict[str, Any]:
        """Sends one line and waits for one; raises _Gone."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        until_s = monotonic_s() + wait_s
        reading, writing = process.stdout.fileno(), process.stdin.fileno()
        os.set_blocking(writing, False)
        answer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ)
            selector.register(writing, selectors.EVENT_WRITE)
            for descriptor in _ready(selector, until_s):
                if descriptor == writing:
                    line = line[_written(writing, line) :]
                    if not line:
                        selector.unregister(writing)
                    continue
                piece = os.read(reading, 1 << 16)
                answer += piece
                if not piece:
                    raise _Gone(self._ended(process))
                if answer.endswith(b"\n"):
                    return _read(bytes(answer))
                if len(answer) > MAX_ANSWER_BYTES:
                    raise _Gone(f"the scorer wrote more than {MAX_ANSWER_BYTES >> 10} KB")
        raise _Gone(f"the scorer took longer than {wait_s:g} s")

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        if code == -signal.SIGXCPU:
            return f"the scorer took more than {CPU_S:g} s of processor time"
        if code < 0:
            return f"the scorer's process was ended by {signal.Signals(-code).name}"
        return f"the scorer's process ended (exit code {code})"


def _ready(selector: selectors.BaseSelector, until_s: float) -> Iterator[int]:
    """Descriptors as they become ready, until it is too late."""
    while (left_s := until_s - monotonic_s()) > 0:
        for key, _ in selector.select(left_s):
            yield key.fd


def _written(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BrokenPipeError:
        return len(data)  # the end of its answers says why
    except BlockingIOError:
        return 0


def _read(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _Gone("the scorer's process wrote something else than a score")
    return found


def _row(row: Row) -> dict[str, Any]:
    empty: dict[str, Any] = {"expected": None, "context": [], "tags": {}, "cluster": None, "notes": ""}
    return {**empty, **as_plain(row)}


def _output(output: Output) -> dict[str, Any]:
    plain: dict[str, Any] = {name: None for name in Output.__struct_fields__ if name != "vectors"}
    plain |= {"text": "", "tool_calls": []}
    known = msgspec.to_builtins(output)
    return plain | {name: value for name, value in known.items() if name != "vectors"}

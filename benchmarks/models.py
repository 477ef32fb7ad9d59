"""Measures what a prediction costs, beside MLServer 1.7.1 in the same run: CPU of every process on the way.

    python benchmarks/models.py [--requests 3000] [--rounds 3] [--mlserver-python PATH] [--write]

One logistic regression of 30 features, called over the Open Inference Protocol in JSON, row by row on one connection.
Headgate checks a key and the input and logs every row; MLServer does none of that. Its two modes are measured: in its
own process (`parallel_workers` 0) and with its default pool. The bar: at batch 1, a third of the in-process mode's CPU.
MLServer gets an environment of its own (made once by pip; skipped with the reason where that fails).
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import machine
from support.models import breast_cancer, register
from support.server import RunningServer, eventually, free_port

BAR = 3.0
BATCHES = (1, 100)
_REQUIREMENTS = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22")
_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- models: begin -->", "<!-- models: end -->"
_CONFIG = """
[server]
require_key = true

[upstreams.main]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
"""


class NotMeasured(Exception):
    """Why a peer has no row."""


@dataclass(kw_only=True)
class Served:
    """One server under test: where it listens, which processes do the work, and what each round took."""

    name: str
    port: int
    path: str
    pids: Callable[[], dict[str, list[int]]]
    headers: dict[str, str] = field(default_factory=dict)
    cpu_us: dict[tuple[int, str], list[float]] = field(default_factory=dict)  # (batch, which processes)


def body_of(batch: int) -> bytes:
    """A call of so many rows."""
    rows = breast_cancer().rows[:batch]
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def send(served: Served, body: bytes, count: int) -> None:
    """So many calls, one after the other on one connection; every answer must be a success."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"content-type": "application/json", **served.headers}
    for _ in range(count):
        connection.request("POST", served.path, body, headers)
        answer = connection.getresponse()
        read = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{served.name} answered {answer.status}: {read[:300]!r}")
    connection.close()


def measure(served: Served, batch: int, count: int) -> None:
    """One round: microseconds of CPU per call, of each kind of process and of all of them."""
    body = body_of(batch)
    send(served, body, max(20, count // 20))
    before = {kind: machine.cpu_of(pids) for kind, pids in served.pids().items()}
    send(served, body, count)
    total = 0.0
    for kind, pids in served.pids().items():
        used = (machine.cpu_of(pids) - before[kind]) / count * 1e6
        served.cpu_us.setdefault((batch, kind), []).append(used)
        total += used
    served.cpu_us.setdefault((batch, "all"), []).append(total)


@contextmanager
def headgate(folder: Path) -> Iterator[Served]:
    """A whole server with a required key; what answers are worker and runner, control logs beside them."""
    running = RunningServer(folder / "headgate", _CONFIG)
    try:
        running.start()
        running.key = (running.home / "admin.key").read_text().strip()
        good = breast_cancer()
        register(running, "tumour", good.onnx, features=list(good.features), classes=["0", "1"])
        running.api("/api/models/tumour/aliases", body={"version": 1, "alias": "champion"})
        key = running.api("/api/keys", body={"name": "bench", "role": "app"})["plaintext"]
        runner = running.api("/api/models/tumour", {"version": 1})["runner"]["pid"]

        def pids() -> dict[str, list[int]]:
            return {"worker": running.pids("worker"), "runner": [runner], "log": running.pids("control")}

        yield Served(
            name="Headgate",
            port=running.port,
            path="/v2/models/tumour/infer",
            pids=pids,
            headers={"authorization": f"Bearer {key}"},
        )
        _print_rollback(running)
    finally:
        running.close()


def _print_rollback(running: RunningServer) -> None:
    """How long after a rollback was asked for the last answer of the version before came."""
    register(running, "tumour", breast_cancer(0.5).onnx, features=list(breast_cancer().features), classes=["0", "1"])
    running.api("/api/models/tumour/aliases", body={"version": 2, "alias": "champion"})
    body = body_of(1)

    def answered_by() -> str:
        status, headers, _ = running.post("/v2/models/tumour/infer", body)
        if status != 200:
            raise SystemExit(f"a call during the rollback was answered with {status}")
        return headers["x-headgate-model"]

    eventually(lambda: answered_by() == "tumour@2", within_s=10, what="the second version answers")
    started = time.monotonic()
    running.api("/api/models/tumour/rollback", body={})
    eventually(lambda: answered_by() == "tumour@1", within_s=10, what="the first version answers again")
    print(f"Rollback: the version before answered {time.monotonic() - started:.2f} s after it was asked for.\n")


def mlserver_python(given: Path | None, cache: Path) -> Path:
    """An interpreter that has MLServer; made by pip where none is given. Raises NotMeasured."""
    if given is not None:
        return given
    place, python = cache / "mlserver-1.7.1", cache / "mlserver-1.7.1" / "bin" / "python"
    done = place / "installed"
    if done.exists():
        return python
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], capture_output=True, text=True)
    if made.returncode:
        raise NotMeasured(f"no virtual environment for MLServer ({made.stderr.strip()[-200:]})")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_REQUIREMENTS]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode:
        raise NotMeasured(f"MLServer 1.7.1 cannot be installed ({installed.stderr.strip()[-200:]})")
    done.touch()
    return python


_TRAIN = """
import sys, joblib, numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
data = load_breast_cancer()
rows = data.data.astype(np.float32)
estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
joblib.dump(estimator.fit(rows[:400], data.target[:400]), sys.argv[1])
"""


@contextmanager
def mlserver(folder: Path, python: Path, *, workers: int | None, name: str) -> Iterator[Served]:
    """MLServer with the same estimator under scikit-learn; ``workers`` None: as it comes."""
    place = folder / f"mlserver-{name.rpartition(' ')[2]}"
    place.mkdir()
    trained = subprocess.run([str(python), "-c", _TRAIN, str(place / "model.joblib")], capture_output=True, text=True)
    if trained.returncode:
        raise NotMeasured(f"{name} ({trained.stderr.strip()[-200:]})")
    port, grpc, metrics = free_port(), free_port(), free_port()
    settings: dict[str, Any] = {"http_port": port, "grpc_port": grpc, "metrics_port": metrics, "debug": False}
    if workers is not None:
        settings["parallel_workers"] = workers
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "tumour",
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": "1"},
            }
        )
    )
    log = (place / "log").open("wb")
    process = subprocess.Popen(
        [str(python.parent / "mlserver"), "start", "."],
        cwd=place,
        env={**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _await_ready(process, port, name, place / "log")
        yield Served(
            name=name, port=port, path="/v2/models/tumour/infer", pids=lambda: {"tree": machine.tree(process.pid)}
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _await_ready(process: "subprocess.Popen[bytes]", port: int, name: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/models/tumour/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotMeasured(f"{name} did not start ({log.read_text(errors='replace')[-300:]})")
        time.sleep(0.2)


def table(found: list[Served], rounds: int, count: int) -> tuple[str, bool]:
    """The figures as Markdown, and whether the bar is held (it is not where there is nothing to compare with)."""
    ours = found[0]

    def cell(served: Served, batch: int, kind: str) -> str:
        values = served.cpu_us[batch, kind]
        return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"

    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine.describe()}; load average "
        f"{os.getloadavg()[0]:.1f}. Median (least–most) of {rounds} rounds of {count} calls (a tenth at batch 100), "
        "CPU µs per call.",
        "",
        "| server | batch 1 | × | batch 100 | × |",
        "| --- | --- | --- | --- | --- |",
    ]
    base = {batch: _answering(ours, batch) for batch in BATCHES}
    for kind in ("worker", "runner", "log"):
        words = {"worker": "worker (key, validation, HTTP)", "runner": "runner (the model)", "log": "log (beside it)"}
        lines.append(f"| Headgate: {words[kind]} | {cell(ours, 1, kind)} | | {cell(ours, 100, kind)} | |")
    for served in found:
        times = [
            "1" if served is ours else f"{statistics.median(served.cpu_us[batch, 'all']) / base[batch]:.1f}"
            for batch in BATCHES
        ]
        shown = [f"{base[batch]:.0f}" if served is ours else cell(served, batch, "all") for batch in BATCHES]
        name = "Headgate: worker and runner" if served is ours else served.name
        lines.append(f"| {name} | {shown[0]} | {times[0]} | {shown[1]} | {times[1]} |")
    whole = [f"{statistics.median(ours.cpu_us[batch, 'all']):.0f}" for batch in BATCHES]
    lines.append(f"| Headgate: with the log | {whole[0]} | | {whole[1]} | |")
    peer = next((one for one in found if one.name.endswith("in-process")), None)
    if peer is None:
        return "\n".join(lines), False
    theirs = statistics.median(peer.cpu_us[1, "all"])
    held = theirs / base[1] >= BAR
    with_log = theirs / statistics.median(ours.cpu_us[1, "all"])
    lines += [
        "",
        f"The bar of {BAR:g} times fewer at batch 1 than MLServer in-process is {'held' if held else 'MISSED'}: "
        f"{theirs / base[1]:.1f} times fewer to answer, {with_log:.1f} times fewer with every row priced and stored.",
    ]
    return "\n".join(lines), held


def _answering(ours: Served, batch: int) -> float:
    """What an answer takes: the median of worker and runner together."""
    pairs = zip(ours.cpu_us[batch, "worker"], ours.cpu_us[batch, "runner"], strict=True)
    return statistics.median(worker + runner for worker, runner in pairs)


def main() -> int:
    """0 when the bar is held, 1 when it is missed or there was nothing to compare with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlserver-python", type=Path, help="an interpreter that has mlserver and mlserver-sklearn")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "headgate-bench")
    parser.add_argument("--write", action="store_true", help=f"record the table in {_DOCUMENT.name}")
    given = parser.parse_args()
    absent: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = [stack.enter_context(headgate(folder))]
        try:
            python = mlserver_python(given.mlserver_python, given.cache)
            for name, workers in (("MLServer 1.7.1, in-process", 0), ("MLServer 1.7.1, default pool", None)):
                found.append(stack.enter_context(mlserver(folder, python, workers=workers, name=name)))
        except NotMeasured as error:
            absent.append(str(error))
        for _ in range(given.rounds):  # in turns, so that what else the machine does falls on all
            for served in found:
                for batch in BATCHES:
                    measure(served, batch, given.requests if batch == 1 else max(50, given.requests // 10))
        text, held = table(found, given.rounds, given.requests)
    text += "".join(f"\n\nNot measured: {reason}." for reason in absent)
    print(text)
    if given.write:
        before, _, rest = _DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
        after = rest.partition(_END)[2]
        _DOCUMENT.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

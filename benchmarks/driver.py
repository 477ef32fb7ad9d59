"""The two C programs of the benchmark: the mock upstream, and the load driver with what it measured."""

import json
import random
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from machine import LOAD_CORE, pin, prefer

HERE = Path(__file__).parent
STREAM_EVENTS = 100
_WORDS = (
    *("gateway", "request", "answer", "token", "prompt", "model", "record", "reader", "writer", "price", "route"),
    *("stream", "piece", "client", "server", "morning", "letter", "window", "garden", "paper", "stone", "river"),
    *("people", "question", "reason", "number", "word", "page", "house", "light"),
)


def compile_tools(cache: Path) -> None:
    """Compile both programs into ``cache`` where the source is newer."""
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("mock", "load"):
        source, program = HERE / f"{name}.c", cache / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def chat_body(model: str, size_bytes: int, *, is_stream: bool) -> bytes:
    """A chat request of exactly ``size_bytes``, the same words each time, in no way repetitive."""
    chooser = random.Random(size_bytes)

    def encoded(text: str) -> bytes:
        fields: dict[str, object] = {"model": model}
        if is_stream:
            fields["stream"] = True
        fields["messages"] = [
            {"role": "system", "content": "You answer briefly, name your sources and say when you do not know."},
            {"role": "user", "content": text},
        ]
        fields |= {"temperature": 0.2, "max_tokens": 256, "user": "bench-user-1"}
        return json.dumps(fields, separators=(",", ":")).encode()

    text = " ".join(chooser.choice(_WORDS) for _ in range(size_bytes // 3))
    return encoded(text[: size_bytes - len(encoded(""))])


class Mock:
    """An OpenAI-like upstream that answers at once from prepared bytes."""

    def __init__(self, cache: Path) -> None:
        self.port = free_port()
        self._process = subprocess.Popen([str(cache / "mock"), str(self.port)], start_new_session=True)
        self.has_priority = prefer(self._process.pid)
        pin(self._process.pid, LOAD_CORE)
        wait_for_port(self.port, 5)

    def pace(self, *, events: int = STREAM_EVENTS, gap_ms: float = 0) -> None:
        """Streams from now on have ``events`` content events with ``gap_ms`` between them."""
        url = f"http://127.0.0.1:{self.port}/__set?chunks={events}&gap_us={round(gap_ms * 1000)}&think_us=0"
        with urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def wait_for_port(port: int, timeout_s: float) -> None:
    """Return once something listens on a loopback port. Raises TimeoutError."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"nothing listens on port {port} after {timeout_s:g} s") from None
            time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one call of the driver asks for. ``rate``: requests per second; None: as fast as answers come."""

    body: Path
    port: int
    path: str
    headers: tuple[str, ...]
    connections: int
    seconds: float
    rate: float | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What one call of the driver saw."""

    answered: int
    errors: int
    events: int
    per_s: float
    latency_ms: float  # median
    first_byte_ms: float  # median
    error_text: str

    @property
    def sent(self) -> int:
        """Requests that were sent, whatever came back."""
        return self.answered + self.errors


def drive(cache: Path, load: Load) -> Driven:
    """Run the driver and wait for it."""
    command = [str(cache / "load"), str(load.port), "-c", str(load.connections), "-d", str(load.seconds), "-t", "20"]
    command += ["-p", load.path, "-b", str(load.body)]
    if load.rate is not None:
        command += ["-r", str(load.rate)]
    if load.most is not None:
        command += ["-n", str(load.most)]
    for header in load.headers:
        command += ["-H", header]
    process = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    prefer(process.pid)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load driver ended with {process.returncode}")
    seen = json.loads(output)
    return Driven(
        answered=seen["n"],
        errors=seen["errors"],
        events=seen["events"],
        per_s=seen["rps"],
        latency_ms=seen["lat_p50"] / 1000,
        first_byte_ms=seen["ttfb_p50"] / 1000,
        error_text=seen["sample"],
    )

"""The corpus of raw exchanges: read it, play one through a worker, say what differs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.core.settings import Route, Server, Settings, Target, Upstream
from support.client import Got, read_answer
from support.settings import settings_for
from support.upstream import ScriptedUpstream, Seen, Step
from support.worker import WorkerProcess

FILE = Path(__file__).parents[1] / "corpus" / "exchanges.jsonl"
_OURS = ("x-headgate-", "transfer-encoding:", "connection:")
_FRAMING = ("host:", "content-length:", "transfer-encoding:")


@dataclass(frozen=True, kw_only=True)
class RawExchange:
    """What goes in at either side and what must come out at the other; texts stand for bytes (latin-1)."""

    name: str
    request: str
    upstream_line: str
    upstream_headers: Sequence[Sequence[str]]  # in order, without host and framing
    upstream_body: str
    answer: Sequence[str]  # pieces to send; "close" ends the connection
    status: int
    headers: Sequence[Sequence[str]]  # in order, without framing and what Headgate adds
    body: str
    outcome: str


def load_exchanges() -> list[RawExchange]:
    """The corpus, in order."""
    return [RawExchange(**json.loads(line)) for line in FILE.read_text("utf-8").split("\n") if line]


def corpus_settings(upstream: ScriptedUpstream) -> Settings:
    """Callers' own keys travel on; the model `fast` is `real-model-1` upstream."""
    main = Upstream(name="main", kind="openai", base_url=upstream.base_url, auth="caller", allow_paths=("*",))
    claude = Upstream(name="claude", kind="anthropic", base_url=upstream.base_url, auth="caller")
    fast = Route(model="fast", targets=(Target(upstream="main", model="real-model-1"),))
    server = Server(default_upstream={"openai": "main", "anthropic": "claude"}, drain_s=2)
    return settings_for(main, claude, routes=(fast,), server=server)


def play(exchange: RawExchange, worker: WorkerProcess, upstream: ScriptedUpstream) -> Got:
    """Send it through a worker and return what the client got; waits for 100 Continue where it asks for it."""
    upstream.seen.clear()
    pieces: list[Step] = [piece if piece == "close" else piece.encode("latin-1") for piece in exchange.answer]
    upstream.script(pieces)
    data = exchange.request.encode("latin-1")
    with worker.connect() as client:
        head, blank, body = data.partition(b"\r\n\r\n")
        if b"\r\nExpect: 100-continue" in head:
            client.sendall(head + blank)
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body)
        else:
            client.sendall(data)
        return read_answer(client, method=data.split(b" ", 1)[0].decode())


def differences(exchange: RawExchange, got: Got, seen: Sequence[Seen]) -> list[str]:
    """What either side saw that it must not have seen, or missed; empty when nobody can tell."""
    found = [
        f"{what}: expected {expected!r}, got {actual!r}"
        for what, expected, actual in (
            ("status", exchange.status, got.status),
            ("answer is whole", True, got.is_whole),
            ("answer headers", [f"{name}: {value}".rstrip() for name, value in exchange.headers], _answer_fields(got)),
            ("answer body", exchange.body.encode("latin-1"), got.body),
            ("calls", 1, len(seen)),
        )
        if expected != actual
    ]
    if len(seen) == 1:
        found += _differences_upstream(exchange, seen[0])
    return found


def _differences_upstream(exchange: RawExchange, seen: Seen) -> list[str]:
    lines = seen.head.decode("latin-1").split("\r\n")
    fields = [line.rstrip() for line in lines[1:] if not line.lower().startswith(_FRAMING)]
    expected = [f"{name}: {value}".rstrip() for name, value in exchange.upstream_headers]
    return [
        f"upstream's {what}: expected {wanted!r}, got {actual!r}"
        for what, wanted, actual in (
            ("request line", exchange.upstream_line, lines[0]),
            ("headers", expected, fields),
            ("body", exchange.upstream_body.encode("latin-1"), seen.body),
        )
        if wanted != actual
    ]


def _answer_fields(got: Got) -> list[str]:
    lines = got.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    own_length = got.header("transfer-encoding") is None and f"content-length: {len(got.body)}"
    return [
        line.rstrip()
        for line in lines
        if not line.lower().startswith(_OURS) and not (line.lower() == own_length and got.status not in (204, 304))
    ]

"""Clients that call without pause while a server is killed, an upstream that counts, and the comparison of the two
with the log: acknowledged = stored = distinct.
"""

import itertools
import json
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.client import Got, read_answer, request_bytes
from support.server import RunningServer, eventually
from support.upstream import Script, ScriptedUpstream, Seen, answer, stream

_NAME = re.compile(rb"call-\d+")
_PAUSE_S = 0.01
_PATIENCE_S = 20.0


class CountingUpstream(ScriptedUpstream):
    """Answers every call with the name it found in the prompt, after a moment; remembers all it saw."""

    def __init__(self) -> None:
        super().__init__(reply_with=_reply)

    def names(self) -> Counter[str]:
        """How often each call arrived."""
        return Counter(_name_in(seen.body) for seen in list(self.seen))

    def config(self) -> str:
        """The tables of `headgate.toml` that send everything here."""
        return (
            f'[upstreams.main]\nkind = "openai"\nbase_url = "{self.base_url}"\n\n'
            '[[routes]]\nmodel = "*"\ntargets = [{upstream = "main"}]\n\n'
            '[[prices]]\nmodel = "*"\ninput_mtok = 1\noutput_mtok = 2\n'
        )


def _name_in(body: bytes) -> str:
    found = _NAME.search(body)
    assert found is not None, body
    return found[0].decode()


def _reply(seen: Seen) -> Script:
    name = _name_in(seen.body)
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    if b'"stream":true' not in seen.body:
        choice = {"index": 0, "message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
        whole = {"id": f"c-{name}", "model": "m", "choices": [choice], "usage": usage}
        return [_PAUSE_S, *answer(json.dumps(whole).encode())]
    pieces: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": name[:4]}}]},
        {"choices": [{"index": 0, "delta": {"content": name[4:]}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    events = [b"data: " + json.dumps({"id": f"c-{name}", "model": "m", **piece}).encode() + b"\n\n" for piece in pieces]
    return stream(*events, b"data: [DONE]\n\n", pause_s=_PAUSE_S / 2)


@dataclass
class Load:
    """Client threads that call a server over and over; every call has a name of its own in its prompt."""

    port: int
    clients: int = 6
    sent: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)  # name -> request id, of whole answers only
    broken: list[str] = field(default_factory=list)  # a connection that was refused or broke, an answer cut short
    refused: list[Got] = field(default_factory=list)  # whole answers that are none of the upstream's

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call_on) for _ in range(self.clients)]

    def start(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let every running call end."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def await_more(self, count: int, *, within_s: float = 30.0) -> None:
        """Wait until so many more calls have been acknowledged."""
        goal = len(self.acknowledged) + count
        eventually(lambda: len(self.acknowledged) >= goal, within_s=within_s, what=f"{count} more answers")

    def _call_on(self) -> None:
        connection: socket.socket | None = None
        while not self._is_over.is_set():
            with self._lock:
                name = f"call-{next(self._numbers)}"
                self.sent.append(name)
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self.port), 30)
                connection.sendall(_request(name))
                got = read_answer(connection)
            except OSError:
                got = Got(0, [], b"", False, b"")
            self._note(name, got)
            if connection is not None and (not got.is_whole or got.header("connection") == "close"):
                connection.close()
                connection = None
                self._is_over.wait(0.05)  # a server that is just starting
        if connection is not None:
            connection.close()

    def _note(self, name: str, got: Got) -> None:
        with self._lock:
            if not got.is_whole:
                self.broken.append(name)
            elif got.status != 200:
                self.refused.append(got)
            else:
                request_id = got.header("x-headgate-request-id")
                assert request_id is not None
                self.acknowledged[name] = request_id


def _request(name: str) -> bytes:
    is_streamed = int(name[5:]) % 3 == 0
    body = {"model": "m", "messages": [{"role": "user", "content": name}], **({"stream": True} if is_streamed else {})}
    data = json.dumps(body, separators=(",", ":")).encode()
    return request_bytes(body=data, headers={"x-headgate-session": name})


def assert_nothing_is_lost(server: RunningServer, load: Load, upstream: CountingUpstream) -> list[dict[str, Any]]:
    """What clients were told, what the upstream saw and what is stored must be one story; returns the rows."""
    names_seen = set(upstream.names())
    wanted = set(load.acknowledged) | names_seen
    rows = _rows_once_there_are(server, len(wanted))
    by_name: dict[str, dict[str, Any]] = {row["session_id"]: row for row in rows}
    assert len(by_name) == len(rows) == len({row["request_id"] for row in rows}), "stored twice"
    lost = wanted - by_name.keys()
    assert not lost, _story_of_a_loss(server, load, lost, len(wanted))
    assert by_name.keys() <= set(load.sent)
    for name, request_id in load.acknowledged.items():
        row = by_name[name]
        assert (row["request_id"], row["outcome"], row["output_tokens"]) == (request_id, "ok", 3), row
        assert row["cost_usd"] is not None
    for name in names_seen - load.acknowledged.keys():
        assert by_name[name]["outcome"] in ("interrupted", "ok", "client_closed", "upstream_aborted"), by_name[name]
    return rows


def _rows_once_there_are(server: RunningServer, count: int) -> list[dict[str, Any]]:
    """All rows, as soon as there are so many, or once no more have come for some time: late is not lost."""
    most, patient_until_s = 0, time.monotonic() + _PATIENCE_S
    while True:
        total = int(server.api("/api/requests", {"limit": 1})["total"]["requests"])
        if total > most:
            most, patient_until_s = total, time.monotonic() + _PATIENCE_S
        if total >= count or time.monotonic() > patient_until_s:
            return server.rows()
        time.sleep(0.05)


def _story_of_a_loss(server: RunningServer, load: Load, lost: set[str], count: int) -> str:
    """What helps to find out why."""
    status = server.api("/api/status")
    known = {name: status.get(name) for name in ("health", "store", "jobs", "counters")}
    examples = sorted(lost)[:10]
    return (
        f"{len(lost)} of {count} calls are not in the log, {len(lost & load.acknowledged.keys())} of them "
        f"acknowledged: {examples}. {known}. The last words: {server.err.lines[-20:]}"
    )

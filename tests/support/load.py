"""Clients that call without pause while a server suffers, and an upstream that counts; `judge.py` compares the two."""

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
from support.server import eventually
from support.upstream import Script, ScriptedUpstream, Seen, answer, stream

_NAME = re.compile(rb"call-\d+")
_PAUSE_S = 0.01


class CountingUpstream(ScriptedUpstream):
    """Answers every call with the name it found in the prompt, after a moment; remembers all it saw."""

    def __init__(self) -> None:
        super().__init__(reply_with=_reply)

    def names(self) -> Counter[str]:
        """How often each call arrived."""
        return Counter(_name_in(seen.body) for seen in list(self.seen))

    def config(self, *, port: int | None = None, more: str = "") -> str:
        """The tables of `headgate.toml` that send everything here, or to a proxy on ``port``; ``more``: lines."""
        return (
            f'[upstreams.main]\nkind = "openai"\nbase_url = "http://127.0.0.1:{port or self.port}/v1"\n{more}\n'
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
    patience_s: float = 30
    sent: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)  # name -> request id, of whole answers only
    acknowledged_at_s: dict[str, float] = field(default_factory=dict)  # by the monotonic clock
    took_s: dict[str, float] = field(default_factory=dict)  # of the acknowledged: from asking to the whole answer
    broken: list[str] = field(default_factory=list)  # a connection that broke, an answer cut short
    refused: list[Got] = field(default_factory=list)  # whole answers that are none of the upstream's
    wrong: list[str] = field(default_factory=list)  # whole answers that are not the call's own, or not all of it

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

    def took_between(self, began_s: float, ended_s: float) -> list[float]:
        """The seconds that each call took which was acknowledged between two moments."""
        with self._lock:
            return [self.took_s[name] for name, at_s in self.acknowledged_at_s.items() if began_s <= at_s < ended_s]

    def _call_on(self) -> None:
        connection: socket.socket | None = None
        while not self._is_over.is_set():
            if connection is None:
                try:
                    connection = socket.create_connection(("127.0.0.1", self.port), self.patience_s)
                except OSError:
                    self._is_over.wait(0.05)  # a server that is just starting
                    continue
            with self._lock:
                name = f"call-{next(self._numbers)}"
                self.sent.append(name)
            began_s = time.monotonic()
            try:
                connection.sendall(_request(name))
                got = read_answer(connection)
            except OSError:
                got = Got(0, [], b"", False, b"")
            self._note(name, got, began_s)
            if not got.is_whole or got.header("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _note(self, name: str, got: Got, began_s: float) -> None:
        ended_s = time.monotonic()
        with self._lock:
            if not got.is_whole:
                self.broken.append(name)
            elif got.status != 200:
                self.refused.append(got)
            elif not _is_answer_to(name, got.body):
                self.wrong.append(f"{name} was answered {got.body!r}")
            else:
                request_id = got.header("x-headgate-request-id")
                assert request_id is not None
                self.acknowledged[name] = request_id
                self.acknowledged_at_s[name] = ended_s
                self.took_s[name] = ended_s - began_s


def _is_streamed(name: str) -> bool:
    return int(name[5:]) % 3 == 0


def _is_answer_to(name: str, body: bytes) -> bool:
    """Whether the answer is the one to this call, to its end."""
    is_its_own = f'"c-{name}"'.encode() in body
    return is_its_own and (body.endswith(b"data: [DONE]\n\n") if _is_streamed(name) else body.endswith(b"}"))


def _request(name: str) -> bytes:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": name}],
        **({"stream": True} if _is_streamed(name) else {}),
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    return request_bytes(body=data, headers={"x-headgate-session": name})

"""Workers are replaced while clients go on: nobody is refused, nothing is lost, totals do not fall."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from support.server import RunningServer, clean_environment, eventually, headgate_command
from support.upstream import Script, ScriptedUpstream, Seen, answer, stream

_ASK = {"model": "demo-chat", "messages": [{"role": "user", "content": "hi"}]}
_TELL = {"model": "demo-chat", "stream": True, "messages": [{"role": "user", "content": "a long story, please"}]}
_PATIENCE_S = 30
NewServer = Callable[..., RunningServer]


@dataclass
class Clients:
    """Clients of the three kinds, until told to stop: a new connection each time, one kept alive, streams."""

    port: int
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> "Clients":
        for kind in (self._on_new_connections, self._on_a_kept_connection, self._on_a_kept_connection, self._streaming):
            self._threads.append(threading.Thread(target=kind))
            self._threads[-1].start()
        return self

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)

    def await_answered(self, count: int) -> None:
        """Wait for so many answers, however slow the machine is; fails when there is none for ``_PATIENCE_S``."""
        while (before := self.answered) < count:
            eventually(lambda seen=before: self.answered > seen, within_s=_PATIENCE_S, what="an answer more")  # type: ignore[misc]

    def _on_new_connections(self) -> None:
        for _ in self._turns():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self._ask(connection, _ASK)
            connection.close()

    def _on_a_kept_connection(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)  # connects anew when asked to
        for _ in self._turns():
            self._ask(connection, _ASK)
        connection.close()

    def _streaming(self) -> None:
        for _ in self._turns():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self._ask(connection, _TELL, end=b"data: [DONE]")
            connection.close()

    def _turns(self) -> Iterator[None]:
        while not self._is_over.is_set():
            yield

    def _ask(self, connection: http.client.HTTPConnection, body: object, *, end: bytes = b"}") -> None:
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            read = answer.read()
            is_whole = answer.status == 200 and read.rstrip().endswith(end)
            problem = None if is_whole else f"{answer.status}: {read[-200:]!r}"
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
            connection.close()
        with self._lock:
            self.answered += problem is None
            if problem is not None:
                self.failures.append(problem)


def restarted(server: RunningServer) -> str:
    done = subprocess.run(
        [*headgate_command(), "restart", "--home", str(server.home)],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def await_gone(server: RunningServer, before: set[int]) -> None:
    """The old workers end, once what they had begun has ended."""
    eventually(lambda: before.isdisjoint(server.pids("worker")), within_s=60, what="the old workers are gone")


def run_restarts(server: RunningServer, times: int, least_answered: int) -> Clients:
    clients = Clients(server.port).start()
    try:
        for number in range(times):
            before = set(server.pids("worker"))
            assert "All workers are replaced" in restarted(server)
            await_gone(server, before)
            wanted = least_answered * (number + 1) // times
            clients.await_answered(wanted)
    finally:
        clients.stop()
    return clients


def counted(server: RunningServer) -> int:
    counters = server.api("/api/status")["counters"]
    return int(counters["recorded"])


def _quick_answer(seen: Seen) -> Script:
    """Whole or streamed as asked for, without the demo's pauses."""
    if b'"stream": true' not in seen.body:
        return answer(b'{"model":"m","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}')
    event = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    return stream(event, b"data: [DONE]\n\n", pause_s=0.02)


def stored(server: RunningServer) -> int:
    return int(server.api("/api/requests", {"limit": 1})["total"]["requests"])


@pytest.fixture
def quick(new_server: NewServer) -> Iterator[RunningServer]:
    upstream = ScriptedUpstream(reply_with=_quick_answer)
    route = '[[routes]]\nmodel = "*"\ntargets = [{upstream = "main"}]\n'
    server = new_server(
        f'[server]\nworkers = 2\n[upstreams.main]\nkind = "openai"\nbase_url = "{upstream.base_url}"\n{route}'
    )
    yield server.start()
    upstream.close()


@pytest.fixture
def served(new_server: NewServer) -> RunningServer:
    return new_server('[server]\nworkers = 2\n[upstreams.demo]\nkind = "demo"\n').start()


def assert_nothing_is_lost(server: RunningServer, clients: Clients) -> None:
    assert clients.failures == []
    eventually(lambda: stored(server) >= clients.answered, within_s=120, what="all is stored")
    assert stored(server) == clients.answered
    assert {row["outcome"] for row in server.rows()} == {"ok"}
    eventually(lambda: counted(server) == clients.answered, within_s=10, what="the counters go on")


def test_a_restart_under_load_refuses_nobody_and_loses_nothing(served: RunningServer) -> None:
    assert_nothing_is_lost(served, run_restarts(served, 2, 60))


@pytest.mark.slow
def test_twenty_restarts_under_load_refuse_nobody(quick: RunningServer) -> None:
    began_s = time.monotonic()
    clients = run_restarts(quick, 20, 20_000)
    took_s = time.monotonic() - began_s
    print(f"20 restarts, {clients.answered:,} answers, {len(clients.failures)} failed, in {took_s:.0f} s")
    assert clients.answered >= 20_000
    assert_nothing_is_lost(quick, clients)


def test_a_hangup_signal_replaces_the_workers_too(served: RunningServer) -> None:
    before = served.pids("worker")
    assert served.process is not None
    os.kill(served.process.pid, signal.SIGHUP)
    eventually(lambda: set(served.pids("worker")).isdisjoint(before), within_s=30, what="other workers serve")
    assert served.ask("/v1/chat/completions", body=_ASK)[0] == 200


def test_a_worker_that_cannot_take_over_leaves_those_that_serve(served: RunningServer) -> None:
    before = served.pids("worker")
    (control,) = served.pids("control")
    os.kill(control, signal.SIGSTOP)  # it would put back within seconds what is taken away
    snapshots = served.home / "snapshot"
    hidden = snapshots.rename(served.home / "snapshot-away")  # a new worker has nothing to serve from
    assert served.process is not None
    os.kill(served.process.pid, signal.SIGHUP)
    eventually(lambda: "could not take over" in served.err.text, within_s=40, what="the reason is told")
    hidden.rename(snapshots)
    os.kill(control, signal.SIGCONT)
    assert served.pids("worker") == before
    assert served.ask("/v1/chat/completions", body=_ASK)[0] == 200


def test_a_restart_of_nothing_says_how_to_start(new_server: NewServer) -> None:
    server = new_server()
    done = subprocess.run(
        [*headgate_command(), "restart", "--home", str(server.home)],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"No server runs on {server.home}. Start one: headgate serve.")

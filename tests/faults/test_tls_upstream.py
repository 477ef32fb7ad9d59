"""Upstreams behind TLS: the system's trust decides, and what it does not trust is said plainly and never called."""

import json
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from headgate.core.settings import Settings, Timeout, Upstream
from support.authority import Authority
from support.client import call, read_answer, request_bytes
from support.memory import most_resident_bytes
from support.server import RunningServer
from support.settings import settings_for
from support.sockets import TalkingUpstream
from support.upstream import STREAM_HEAD, Script, ScriptedUpstream, answer, chunk
from support.worker import WorkerProcess

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command to make certificates with")
Start = Callable[[Settings], WorkerProcess]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def upstream_with(authority: Authority) -> Iterator[Callable[[str], ScriptedUpstream]]:
    """Makes upstreams whose certificate names what is given."""
    made: list[ScriptedUpstream] = []

    def make(name: str) -> ScriptedUpstream:
        made.append(ScriptedUpstream([answer(b'{"model":"m"}')], tls=authority.server_context(name)))
        return made[-1]

    yield make
    for upstream in made:
        upstream.close()


def settings_to(base_url: str, *, connect_s: float = 3.0) -> Settings:
    timeout = Timeout(connect_s=connect_s, first_byte_s=3.0, between_bytes_s=3.0)
    return settings_for(Upstream(name="far", kind="openai", base_url=base_url, timeout=timeout))


def assert_refused(worker: WorkerProcess, *words: str) -> None:
    got = call(worker.port, request_bytes())
    assert got.status == 502
    message = got.error["message"]
    assert message.startswith('headgate: upstream "far" cannot be reached: ')
    for word in words:
        assert word in message, message
    assert "headgate doctor" in message
    (final,) = worker.recorded()
    assert (final.outcome, final.status, final.attempts[0].error_type) == ("upstream_error", 502, "connect")


def test_a_server_trusts_what_ssl_cert_file_says(
    authority: Authority, upstream_with: Callable[[str], ScriptedUpstream], tmp_path: Path
) -> None:
    upstream = upstream_with("IP:127.0.0.1")
    config = f'[upstreams.far]\nkind = "openai"\nbase_url = "{upstream.base_url}"\n'
    server = RunningServer(tmp_path, config, environ={"SSL_CERT_FILE": str(authority.certificate)})
    try:
        server.start()
        for _ in range(3):
            got = call(server.port, request_bytes())
            assert (got.status, got.body) == (200, b'{"model":"m"}')
        upstream.script([STREAM_HEAD, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"])
        got = call(server.port, request_bytes(body=b'{"model":"m","stream":true}'))
        assert (got.is_whole, got.body) == (True, b"data: [DONE]\n\n")
        assert {seen.connection for seen in upstream.seen} == {1}  # one handshake for all
        assert server.stop() == 0
    finally:
        server.close()


def test_a_certificate_of_an_unknown_authority_is_refused_and_nothing_is_sent(
    start_worker: Start, upstream_with: Callable[[str], ScriptedUpstream]
) -> None:
    upstream = upstream_with("IP:127.0.0.1")
    assert_refused(start_worker(settings_to(upstream.base_url)), "certificate verify failed")
    assert not upstream.seen


def test_a_certificate_for_another_name_is_refused(
    start_worker: Start,
    authority: Authority,
    upstream_with: Callable[[str], ScriptedUpstream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    upstream = upstream_with("DNS:other.test")
    assert_refused(start_worker(settings_to(upstream.base_url)), "certificate", "127.0.0.1")
    assert not upstream.seen


def test_an_upstream_that_speaks_no_tls_is_refused(start_worker: Start) -> None:
    upstream = ScriptedUpstream([answer(b"{}")])
    worker = start_worker(settings_to(upstream.base_url.replace("http:", "https:")))
    with socket.create_server(("127.0.0.1", 0)):
        threading.Timer(1.0, upstream.close).start()  # a plain server waits for a request line that never comes
        got = call(worker.port, request_bytes())
    assert got.status in (502, 504)
    assert got.error["message"].startswith('headgate: upstream "far" ')
    assert not upstream.seen


def test_a_handshake_that_never_ends_is_given_up_at_the_connect_deadline(start_worker: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = start_worker(settings_to(f"https://127.0.0.1:{silent.getsockname()[1]}/v1", connect_s=0.3))
        got = call(worker.port, request_bytes())
    assert got.status == 504
    assert "accepted no connection within 0.3 s" in got.error["message"]
    assert worker.recorded()[0].outcome == "timeout"


def test_a_stream_cut_within_tls_never_looks_whole(
    start_worker: Start,
    authority: Authority,
    upstream_with: Callable[[str], ScriptedUpstream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    upstream = upstream_with("IP:127.0.0.1")
    worker = start_worker(settings_to(upstream.base_url))
    upstream.script([STREAM_HEAD, chunk(b'data: {"choices":[]}\n\n'), 0.05, "close"])
    got = call(worker.port, request_bytes(body=b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'))
    assert (got.status, got.is_whole) == (200, False)
    assert worker.recorded()[0].outcome == "upstream_aborted"


def test_a_websocket_goes_over_tls_and_its_close_comes_back(authority: Authority, start_worker: Start) -> None:
    talking = TalkingUpstream(authority.server_context("IP:127.0.0.1"))
    upstream = Upstream(name="far", kind="openai", base_url=talking.base_url, ca_file=str(authority.certificate))
    worker = start_worker(settings_for(upstream))
    try:
        with connect(f"ws://127.0.0.1:{worker.port}/v1/responses") as connection:
            connection.send(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
            said = [str(connection.recv(timeout=5)) for _ in range(4)]
            connection.send(json.dumps({"type": "close", "code": 4000, "reason": "enough"}))
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=5)
            assert connection.close_code == 4000
    finally:
        talking.close()
    assert "Hello" in said[-1]
    assert [final.outcome for final in worker.recorded(2)] == ["ok", "upstream_error"]


class _Refusing:
    """An upstream that answers a body's first bytes with 413 and closes, with most of the body unread."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http{'' if tls is None else 's'}://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # closing drops what has not gone out
                with connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True) as link:
                    while b"xxx" not in link.recv(16 << 10):
                        pass
                    link.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large")

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_an_upstream_that_refuses_a_body_and_closes_at_once_is_heard(
    is_tls: bool, authority: Authority, start_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = _Refusing(authority.server_context("IP:127.0.0.1") if is_tls else None)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    worker = start_worker(settings_to(upstream.base_url))
    head = b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n"
    heard = []
    for _ in range(20):
        with worker.connect() as client:
            with suppress(OSError):
                client.sendall(head % (8 << 20) + b"x" * (8 << 20))
            got = read_answer(client)
            heard.append((got.status, got.body))
    upstream.close()
    assert heard == [(413, b"too large")] * 20


class _Flooding:
    """An upstream that begins an answer, says that its side of TLS has ended, and goes on sending for ever."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.is_flooding, self.is_over = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listener:
            connection, _ = self._listener.accept()
        with self._tls.wrap_socket(connection, server_side=True) as link:
            while b"xxx" not in link.recv(16 << 10):
                pass
            link.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nhalf")
            with socket.socket(fileno=os.dup(link.fileno())) as raw, suppress(OSError):
                link.settimeout(0.01)
                with suppress(OSError):  # it waits for the other side's end
                    link.unwrap()
                raw.settimeout(1.0)
                self.is_flooding.set()
                while not self.is_over.is_set():
                    raw.send((b"\x17\x03\x03\x40\x00" + b"x" * (16 << 10)) * 40)

    def close(self) -> None:
        self.is_over.set()


def test_an_upstream_that_sends_on_behind_its_end_holds_nobody_up(
    authority: Authority, start_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = _Flooding(authority.server_context("IP:127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    worker = start_worker(settings_to(upstream.base_url))
    head = b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n"
    before = most_resident_bytes(worker.process.pid)
    with worker.connect() as client:
        client.sendall(head % (8 << 20) + b"x" * (1 << 20))
        assert not read_answer(client).is_whole
    assert upstream.is_flooding.is_set()
    for _ in range(3):
        assert call(worker.port, request_bytes("/healthz", b"", method="GET"), method="GET").status == 200
    upstream.close()
    assert most_resident_bytes(worker.process.pid) - before < 32 << 20


def test_uploads_over_tls_leave_no_open_file(
    authority: Authority,
    start_worker: Start,
    upstream_with: Callable[[str], ScriptedUpstream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    upstream = upstream_with("IP:127.0.0.1")
    worker = start_worker(settings_to(upstream.base_url))
    head = b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n"
    body = b"x" * (1 << 20)
    whole = answer(b"{}", extra="connection: close\r\n")
    scripts: list[Script] = [whole, [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "close"], ["reset"]]
    opened: list[int] = []
    for _ in range(3):
        for script in scripts:
            upstream.script(script)
            call(worker.port, head % len(body) + body)
        with worker.connect() as client:  # it leaves within its body
            client.sendall(head % len(body) + body[:200_000])
        worker.recorded(4 * (len(opened) + 1))
        opened.append(len(list(Path(f"/proc/{worker.process.pid}/fd").iterdir())))
    assert opened[-1] <= opened[0] + 1, opened


def test_a_body_refused_over_tls_is_not_written_to_its_end(
    authority: Authority, start_worker: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream = _Refusing(authority.server_context("IP:127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    worker = start_worker(settings_to(upstream.base_url))
    body = b'{"input":"' + b"x" * (24 << 20) + b'","model":"m"}'  # its route is known at its end
    got = call(worker.port, request_bytes("/v1/embeddings", body))
    upstream.close()
    assert (got.status, got.body) == (413, b"too large")
    assert capfd.readouterr().err.count("socket.send() raised exception") < 40

"""Ways to an upstream: through a proxy, with a trust and a certificate of its own, over either address family; and
what becomes of it when the client leaves.
"""

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.cli.ways import way_findings
from headgate.core.settings import Settings, Timeout, Upstream
from support.authority import Authority
from support.client import call, request_bytes
from support.server import eventually
from support.settings import settings_for
from support.upstream import Script, ScriptedUpstream, answer, stream
from support.worker import WorkerProcess

Start = Callable[[Settings], WorkerProcess]
NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
QUICK = Timeout(connect_s=2.0, first_byte_s=3.0, between_bytes_s=3.0)


class Proxy:
    """An HTTP proxy that knows CONNECT; ``refusal``: answers that instead."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self._refusal = refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1000)
            self.heads.append(head)
            if self._refusal:
                client.sendall(self._refusal)
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as far:
                client.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n")
                onward = threading.Thread(target=_pump, args=(client, far), daemon=True)
                onward.start()
                _pump(far, client)
                onward.join(10)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


def far(base_url: str) -> Upstream:
    return Upstream(name="far", kind="openai", base_url=base_url, timeout=QUICK)


def test_calls_go_through_a_proxy_which_sees_nothing_but_the_address(
    start_worker: Start, upstream: ScriptedUpstream, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORP_PROXY_AUTH", "ann:s3cret")
    upstream.script(answer(b'{"model":"m"}'))
    one = replace(far(upstream.base_url), proxy=proxy.url, proxy_auth_env="CORP_PROXY_AUTH")
    worker = start_worker(settings_for(one))
    for _ in range(3):
        assert call(worker.port, request_bytes()).status == 200
    address = upstream.base_url.removeprefix("http://").removesuffix("/v1")
    assert proxy.heads == [
        f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Basic YW5uOnMzY3JldA==\r\n\r\n".encode()
    ]
    assert all(b"roxy" not in seen.head for seen in upstream.seen)


@pytest.mark.parametrize(
    ("answer_", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 'refused the way: "HTTP/1.1 407'),
        (b"SSH-2.0-x\r\n\r\n", 'refused the way: "SSH-2.0-x"'),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK", "sent more than its answer"),
        (b"HTTP/1.1 2", "closed the connection"),
        (b"x" * 20_000, "no answer to CONNECT"),
    ],
)
def test_a_proxy_that_opens_no_way_is_named(
    start_worker: Start, upstream: ScriptedUpstream, answer_: bytes, words: str
) -> None:
    proxy = Proxy(answer_)
    worker = start_worker(settings_for(replace(far(upstream.base_url), proxy=proxy.url)))
    got = call(worker.port, request_bytes())
    assert (got.status, words in got.error["message"], upstream.seen) == (502, True, []), got.body
    assert worker.recorded()[0].attempts[0].error_type == "connect"
    proxy.close()


@NEEDS_OPENSSL
@pytest.mark.parametrize("through_proxy", [False, True])
def test_an_upstream_may_have_an_authority_and_a_client_certificate_of_its_own(
    start_worker: Start, authority: Authority, proxy: Proxy, through_proxy: bool
) -> None:
    server = authority.server_context("IP:127.0.0.1")
    server.load_verify_locations(authority.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    upstream = ScriptedUpstream([answer(b'{"model":"m"}')], tls=server)
    certificate, key = authority.client_files()
    trusted = replace(far(upstream.base_url), ca_file=str(authority.certificate))
    if through_proxy:
        trusted = replace(trusted, proxy=proxy.url)
    known = replace(trusted, client_cert_file=str(certificate), client_key_file=str(key))
    assert call(start_worker(settings_for(known)).port, request_bytes()).status == 200
    assert call(start_worker(settings_for(trusted)).port, request_bytes()).status == 502  # shows no certificate
    assert len(upstream.seen) == 1
    assert len(proxy.heads) == (2 if through_proxy else 0)
    upstream.close()


@NEEDS_OPENSSL
def test_a_certificate_that_cannot_be_read_is_named_and_nothing_is_called(
    start_worker: Start, authority: Authority, tmp_path: Path
) -> None:
    upstream = ScriptedUpstream([answer(b"{}")], tls=authority.server_context("IP:127.0.0.1"))
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("no certificate")
    worker = start_worker(settings_for(replace(far(upstream.base_url), ca_file=str(damaged))))
    got = call(worker.port, request_bytes())
    assert (got.error["code"], str(damaged) in got.error["message"], upstream.seen) == ("upstream_tls", True, [])
    upstream.close()


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("is_named", [False, True], ids=["by address", "by name"])
def test_either_address_family_is_reached(start_worker: Start, host: str, is_named: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    upstream = ScriptedUpstream([answer(b'{"model":"m"}')], listener=listener)
    if is_named and host not in {str(found[4][0]) for found in socket.getaddrinfo("localhost", upstream.port)}:
        upstream.close()
        pytest.skip(f"localhost is not {host} here")
    name = "localhost" if is_named else f"[{host}]" if ":" in host else host
    worker = start_worker(settings_for(far(f"http://{name}:{upstream.port}/v1")))
    assert call(worker.port, request_bytes()).status == 200
    assert upstream.seen[0].header("host") == f"{name}:{upstream.port}"
    upstream.close()


EVENTS = [b'data: {"choices":[{"delta":{"content":"word%d "}}]}\n\n' % n for n in range(20)]
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":20}}\n\n'


def test_an_upstream_may_finish_after_its_client_left_so_that_the_log_has_it_all(
    start_worker: Start, upstream: ScriptedUpstream
) -> None:
    upstream.script(stream(*EVENTS, USAGE, b"data: [DONE]\n\n", pause_s=0.02))
    worker = start_worker(settings_for(replace(far(upstream.base_url), on_disconnect="finish")))
    with worker.connect() as client:
        client.sendall(request_bytes(body=b'{"model":"m","stream":true}'))
        assert client.recv(65536)
    final = worker.recorded()[0]
    assert (final.outcome, final.usage_raw) == ("client_closed", '{"prompt_tokens":3,"completion_tokens":20}')
    assert worker.bodies(final.request_id).response == b"".join((*EVENTS, USAGE, b"data: [DONE]\n\n"))
    assert call(worker.port, request_bytes(body=b'{"model":"m","stream":true}')).is_whole


def test_whole_answers_and_answers_that_fail_are_finished_as_well(
    start_worker: Start, upstream: ScriptedUpstream
) -> None:
    worker = start_worker(settings_for(replace(far(upstream.base_url), on_disconnect="finish")))
    cut: Script = [*stream(EVENTS[0], pause_s=0.2, end=False), "reset"]
    scripts: list[Script] = [[0.2, *answer(b'{"id":"x"}')], [0.2, "close"], cut]
    for script in scripts:
        call_and_leave(worker, upstream, script)
    finals = worker.recorded(3)
    assert sorted(final.outcome for final in finals) == ["client_closed", "upstream_aborted", "upstream_error"]
    assert call_again(worker, upstream) == 200


def call_and_leave(worker: WorkerProcess, upstream: ScriptedUpstream, script: Script) -> None:
    """The client leaves once its call is upstream."""
    before = len(upstream.seen)
    upstream.script(script)
    with worker.connect() as client:
        client.sendall(request_bytes())
        eventually(lambda: len(upstream.seen) > before, within_s=10, what="the call is upstream")


def call_again(worker: WorkerProcess, upstream: ScriptedUpstream) -> int:
    upstream.script(answer(b"{}"))
    return call(worker.port, request_bytes()).status


# What `headgate doctor` says of them.


def findings_of(upstream: Upstream) -> list[tuple[str, str]]:
    return [(found.level, found.what) for found in way_findings(settings_for(upstream))]


@NEEDS_OPENSSL
def test_the_doctor_finds_a_way_that_is_open_and_says_nothing_of_a_plain_one(
    proxy: Proxy, authority: Authority
) -> None:
    certificate, key = authority.client_files()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = far(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        assert findings_of(one) == []
        known = replace(one, client_cert_file=str(certificate), client_key_file=str(key))
        ((level, what),) = findings_of(replace(known, proxy=proxy.url, ca_file=str(authority.certificate)))
    assert (level, proxy.url in what, str(authority.certificate) in what, str(certificate) in what) == (
        "ok",
        *[True] * 3,
    )
    assert len(proxy.heads) == 1


def test_the_doctor_names_a_proxy_that_is_not_there_or_refuses(proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ((level, what),) = findings_of(replace(far("https://far.example/v1"), proxy=f"http://127.0.0.1:{port}"))
    assert (level, "Connection refused" in what) == ("fault", True)
    refusing = Proxy(b"HTTP/1.1 403 Not this host\r\n\r\n")
    ((level, what),) = findings_of(replace(far("https://far.example/v1"), proxy=refusing.url))
    refusing.close()
    assert (level, "403 Not this host" in what) == ("fault", True)
    assert refusing.heads[0].startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")


@NEEDS_OPENSSL
def test_the_doctor_names_certificate_files_that_are_of_no_use(authority: Authority, tmp_path: Path) -> None:
    damaged, leaf = tmp_path / "damaged.pem", authority.client_files()[0]
    damaged.write_text("no certificate")
    for upstream in (
        replace(far("https://far.example/v1"), ca_file=str(damaged)),
        replace(far("https://far.example/v1"), ca_file=str(leaf)),
        replace(far("https://far.example/v1"), client_cert_file=str(damaged), client_key_file=str(damaged)),
    ):
        ((level, what),) = findings_of(upstream)
        assert (level, str(upstream.ca_file or upstream.client_cert_file) in what) == ("fault", True)

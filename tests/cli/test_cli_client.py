"""The client against a server that answers what the test says, over loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headgate.cli.main import exit_code_of
from headgate.client import Client, GatewayBroke, GatewayRefused, NoGateway
from headgate.core.errors import ConfigurationError


class Script:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.headers: dict[str, str] = {"content-type": "application/json"}
        self.is_cut = False
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []


@contextmanager
def serving(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.command, self.path, headers, self.rfile.read(length)))
            self.send_response(script.status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(script.body) + (10 if script.is_cut else 0)))
            self.end_headers()
            self.wfile.write(script.body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    with serving(script) as address:
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nobody_there_is_said_with_what_to_do() -> None:
    port = free_port()
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(NoGateway) as caught:
        client.status()
    assert caught.value.sentence == (
        f"No gateway answers at http://127.0.0.1:{port} (connection refused). Start one: headgate serve. "
        "Another address: HEADGATE_URL. Read a stopped one's files: --home .headgate"
    )
    assert exit_code_of(caught.value) == 5


def test_the_servers_own_words_and_hint_arrive(script: Script, url: str) -> None:
    script.status = 403
    error = {
        "message": 'headgate: key "ci" has the role app; this needs developer.',
        "code": "forbidden",
        "hint": "Do.",
    }
    script.body = json.dumps({"error": error}).encode()
    with Client(url, api_key="hg_test") as client, pytest.raises(GatewayRefused) as caught:
        client.requests()
    refusal = caught.value
    assert (str(refusal), refusal.hint) == ('key "ci" has the role app; this needs developer.', "Do.")
    assert (refusal.status, refusal.code, exit_code_of(refusal)) == (403, "forbidden", 2)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(404, "not_found", 2), (503, "down", 5), (500, "internal", 70)]
)
def test_a_status_becomes_an_exit_code(script: Script, url: str, status: int, code: str, exit_code: int) -> None:
    script.status, script.body = status, json.dumps({"error": {"message": "no", "code": code}}).encode()
    with Client(url) as client, pytest.raises(GatewayRefused) as caught:
        client.health()
    assert exit_code_of(caught.value) == exit_code


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": 7}', b'{"error": {"message": 1}}', b"\xff\xfe"])
def test_an_error_that_is_not_ours_names_address_and_status(script: Script, url: str, body: bytes) -> None:
    script.status, script.body = 502, body
    with Client(url) as client, pytest.raises(GatewayRefused, match=f"{url}/api/health answered 502"):
        client.health()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff", b'"text"', b"{"])
def test_another_program_on_the_port_is_recognised(script: Script, url: str, body: bytes) -> None:
    script.body, script.headers = body, {"content-type": "text/html"}
    with Client(url) as client, pytest.raises(GatewayBroke, match="not Headgate's JSON .text/html"):
        client.status()


def test_an_answer_that_breaks_off_is_no_answer(script: Script, url: str) -> None:
    script.is_cut, script.headers = True, {"connection": "close"}
    with Client(url) as client, pytest.raises(GatewayBroke, match="broke off"):
        client.status()


def test_a_download_that_breaks_off_raises_instead_of_ending(script: Script, url: str) -> None:
    script.body, script.is_cut, script.headers = b"x" * 1000, True, {"connection": "close"}
    with Client(url) as client, pytest.raises(GatewayBroke, match="broke off"):
        b"".join(client.export("csv"))


def test_a_redirect_is_not_followed_with_the_key(script: Script, url: str) -> None:
    script.status, script.headers = 302, {"location": "http://127.0.0.1:1/"}
    with Client(url, api_key="hg_test") as client, pytest.raises(GatewayRefused, match="302"):
        client.status()


def test_silence_is_given_up(script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with Client(url, timeout_s=0.1) as client, pytest.raises(GatewayBroke, match=r"did not answer within 0\.1 s"):
            client.status()


def test_every_question_goes_to_its_path_with_the_key(script: Script, url: str) -> None:
    with Client(url + "/v1/", api_key="hg_test") as client:
        client.requests({"model": "a b&c", "tag.team": "ä"})
        client.tail(7, {"errors": "1"})
        client.explain("a/../b?c")
        client.cost(["model", "day"], {"since": "7d"})
        client.sql("SELECT 1", max_rows=5)
        client.history("key:x", "7d")
        client.rotate_key("key_1", overlap_s=60, reason="leaked")
        client.delete_requests(ids=["a"])
        client.delete_requests(filters={"user": "u"})
    asked = [(method, path, body) for method, path, _, body in script.asked]
    assert asked == [
        ("GET", "/api/requests?model=a+b%26c&tag.team=%C3%A4", b""),
        ("GET", "/api/requests/tail?errors=1&after=7", b""),
        ("GET", "/api/requests/a%2F..%2Fb%3Fc/explain", b""),
        ("GET", "/api/cost?since=7d&by=model%2Cday", b""),
        ("POST", "/api/sql", b'{"query":"SELECT 1","max_rows":5}'),
        ("GET", "/api/history?object=key%3Ax&as_of=7d", b""),
        ("POST", "/api/keys/key_1/rotate", b'{"overlap_s":60,"reason":"leaked"}'),
        ("POST", "/api/requests/delete", b'{"ids":["a"]}'),
        ("POST", "/api/requests/delete", b'{"filter":{"user":"u"}}'),
    ]
    assert all(headers["x-headgate-key"] == "hg_test" for _, _, headers, _ in script.asked)


@pytest.mark.parametrize("url", ["", "localhost", "ftp://x", "http://user:hunter2@127.0.0.1:4400", "http://"])
def test_an_address_that_is_none_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client(url)
    assert "hunter2" not in caught.value.sentence

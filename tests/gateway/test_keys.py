"""Who may call, and how the refusal is worded, in the caller's dialect."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.core.ids import now_us
from headgate.core.settings import Server, Settings, Upstream
from headgate.snapshot import KeyEntry
from support.client import Got, call, request_bytes
from support.settings import settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

GOOD = "hg_good_0123456789abcdef"
LIMITED = "hg_limited_0123456789abcdef"
REVOKED = "hg_revoked_0123456789abcdef"
EXPIRED = "hg_expired_0123456789abcdef"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def entries() -> dict[str, KeyEntry]:
    return {
        digest(GOOD): KeyEntry(id="key_good", name="good", role="app", project="shop"),
        digest(LIMITED): KeyEntry(id="key_limited", name="limited", role="app", models=("gpt-*",)),
        digest(REVOKED): KeyEntry(id="key_revoked", name="revoked", role="app", revoked_at_us=now_us() - 1),
        digest(EXPIRED): KeyEntry(id="key_expired", name="expired", role="app", expires_at_us=now_us() - 1),
    }


@pytest.fixture
def closed(tmp_path: Path, upstream: ScriptedUpstream) -> "Callable[[], WorkerProcess]":
    """Starts a worker that asks for keys."""

    def start() -> WorkerProcess:
        settings = settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url))
        settings = replace(settings, server=replace(settings.server, require_key=True))
        upstream.script(answer(b"{}"))
        return WorkerProcess(tmp_path, settings, entries())

    return start


def asked(worker: WorkerProcess, headers: dict[str, str], model: str = "gpt-5") -> Got:
    return call(worker.port, request_bytes(body=b'{"model":"%b"}' % model.encode(), headers=headers))


def test_keys_are_taken_from_every_place_and_never_travel_on(
    closed: Callable[[], WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = closed()
    places = ["x-headgate-key", "x-api-key", "api-key"]
    for place in places:
        assert asked(worker, {place: GOOD}).status == 200
    assert asked(worker, {"Authorization": f"Bearer {GOOD}"}).status == 200
    assert all(b"hg_" not in seen.head for seen in upstream.seen)
    assert {(final.key_id, final.project) for final in worker.recorded(4)} == {("key_good", "shop")}
    for file in worker.home.path.rglob("*"):
        assert not file.is_file() or GOOD.encode() not in file.read_bytes()
    worker.stop()


def test_each_refused_key_gets_401_that_says_why(closed: Callable[[], WorkerProcess]) -> None:
    worker = closed()
    cases = {
        "": "key_missing",
        "Bearer hg_never_seen_before": "key_unknown",
        f"Bearer {REVOKED}": "key_revoked",
        f"Bearer {EXPIRED}": "key_expired",
    }
    for value, code in cases.items():
        got = asked(worker, {"Authorization": value} if value else {})
        assert (got.status, got.error["code"]) == (401, code)
        assert got.header("x-should-retry") == "false"
    got = asked(worker, {"Authorization": "Bearer sk-proj-abcdef"})
    assert '"sk-p…" is not a Headgate key; it looks like OpenAI\'s.' in got.error["message"]
    assert {final.outcome for final in worker.recorded(5)} == {"refused"}
    worker.stop()


def test_an_anthropic_client_is_refused_in_its_own_shape(closed: Callable[[], WorkerProcess]) -> None:
    worker = closed()
    got = call(worker.port, request_bytes(path="/v1/messages", headers={"x-api-key": "hg_wrong_key_here"}))
    assert got.status == 401
    assert (got.json()["type"], got.error["type"]) == ("error", "authentication_error")
    worker.stop()


def test_a_key_limited_to_models_reaches_only_those(closed: Callable[[], WorkerProcess]) -> None:
    worker = closed()
    header = {"Authorization": f"Bearer {LIMITED}"}
    assert asked(worker, header).status == 200
    assert asked(worker, header, "claude-5").error["code"] == "model_forbidden"
    got = call(worker.port, request_bytes(path="/v1/files", body=b"", method="GET", headers=header))
    assert (got.status, got.error["code"]) == (403, "model_unreadable")
    worker.stop()


def test_a_bad_key_is_refused_even_where_none_is_asked_for(worker: WorkerProcess, upstream: ScriptedUpstream) -> None:
    upstream.script(answer(b"{}"))
    assert asked(worker, {"Authorization": "Bearer hg_wrong_key_here"}).status == 401
    assert asked(worker, {"Authorization": "Bearer anything"}).status == 200
    assert upstream.seen[0].header("authorization") is None


def test_a_damaged_snapshot_leaves_the_last_good_one_in_force(closed: Callable[[], WorkerProcess]) -> None:
    worker = closed()
    (worker.home.path / "snapshot" / "current").write_bytes(b"HGSNAP rubbish")
    for _ in range(8):
        assert asked(worker, {"Authorization": f"Bearer {GOOD}"}).status == 200
        assert asked(worker, {}).status == 401
    worker.stop()


def test_a_worker_starts_from_the_last_snapshot_with_no_control_process_and_refuses_unknown_keys(
    closed: Callable[[], WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = closed()  # nothing but a worker ever runs in this home
    worker.process.kill()
    worker.process.wait()
    beat = worker.home.run / "control.beat"
    assert not beat.exists()
    current = worker.home.path / "snapshot" / "current"
    # The newest one, which would let everybody in, is damaged: the one before it decides.
    worker.publish(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url)))
    current.write_bytes(current.read_bytes()[:-1])
    worker.restart()
    for _ in range(3):
        assert asked(worker, {"Authorization": f"Bearer {GOOD}"}).status == 200
        for refused in ({}, {"x-headgate-key": "hg_never_seen_before"}, {"x-headgate-key": REVOKED}):
            assert asked(worker, refused).status == 401
    worker.recorded(12)
    worker.stop()


def test_a_worker_with_two_damaged_snapshots_does_not_start_and_says_why_in_one_line(
    tmp_path: Path, closed: Callable[[], WorkerProcess]
) -> None:
    worker = closed()
    worker.stop()
    for name in ("current", "previous"):
        (worker.home.path / "snapshot" / name).write_bytes(b"HGSNAP rubbish")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "headgate.gateway.main", "--home", str(worker.home.path)),
                *("--number", "0", "--fd", str(listener.fileno())),
            ],
            pass_fds=(listener.fileno(),),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("worker 0: ") and "snapshot" in line


def test_browser_pages_of_listed_origins_may_call_and_others_not(
    serve_with: Callable[[Settings], WorkerProcess], upstream: ScriptedUpstream
) -> None:
    server = Server(origins=("https://app.example",), default_upstream={"openai": "main"})
    worker = serve_with(settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url), server=server))
    upstream.script(answer(b"{}", extra="access-control-allow-origin: *\r\n"))
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    got = call(worker.port, request_bytes(body=b"", method="OPTIONS", headers=preflight))
    assert got.status == 204
    assert got.header("access-control-allow-headers") == "authorization,content-type"
    got = asked(worker, {"Origin": "https://app.example"})
    assert [value for name, value in got.headers if name == "access-control-allow-origin"] == ["https://app.example"]
    got = asked(worker, {"Origin": "https://evil.example"})
    assert (got.status, got.error["code"]) == (403, "foreign_origin")
    assert asked(worker, {"Sec-Fetch-Site": "cross-site"}).error["code"] == "cross_site"
    assert asked(worker, {"Origin": "http://127.0.0.1"}).status == 200


def test_misspelt_base_urls_are_answered_with_the_right_one_and_recorded(worker: WorkerProcess) -> None:
    for path in ("/v1/v1/chat/completions", "/chat/completions", "/v1/v1/messages"):
        got = call(worker.port, request_bytes(path=path))
        assert (got.status, got.error["message"].count("/v1 for OpenAI clients")) == (404, 1)
    assert {final.error_type for final in worker.recorded(3)} == {"wrong_base_url"}


def test_a_worker_imports_neither_database_nor_sdk() -> None:
    import subprocess
    import sys

    code = "import sys, headgate.gateway.main; print(' '.join(sys.modules))"
    names = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    unwanted = {
        "duckdb",
        "openai",
        "anthropic",
        "tiktoken",
        "genai_prices",
        "numpy",
        "rich",
        "jinja2",
        "sqlite3",
    }
    assert not names & unwanted
    assert len(names) <= 450

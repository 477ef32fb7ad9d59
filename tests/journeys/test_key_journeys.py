"""Keys while a server runs: good and bad on every worker within two seconds, and closed when in doubt."""

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headgate.snapshot import snapshot_path
from support.client import Got, call, request_bytes
from support.commands import run_cli
from support.load import CountingUpstream
from support.server import RunningServer, eventually

NewServer = Callable[..., RunningServer]
ADMIN = "hg_" + "Adm1n-0123456789-abcdefghijklmnopqrstuvwxyz"
BODY = b'{"model":"m","messages":[{"role":"user","content":"call-1"}]}'


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingUpstream]:
    counting = CountingUpstream()
    yield counting
    counting.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, upstream: CountingUpstream) -> Iterator[RunningServer]:
    config = f"[server]\nrequire_key = true\nworkers = 2\n\n{upstream.config()}"
    running = RunningServer(tmp_path_factory.mktemp("keys"), config, environ={"HEADGATE_ADMIN_KEY": ADMIN})
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def server(started: RunningServer) -> RunningServer:
    """Two workers that ask for a key; `api` calls carry the admin key of the environment."""
    started.key = ADMIN
    return started


def call_with(server: RunningServer, key: str | None) -> Got:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return call(server.port, request_bytes(body=BODY, headers=headers))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def statuses(server: RunningServer, key: str | None) -> list[int]:
    """What each worker answers: new connections go to the one that is not stopped."""
    first, second = server.pids("worker")
    found = []
    for other in (second, first):
        with stopped(other):
            found.append(call_with(server, key).status)
    return found


def created(server: RunningServer, **fields: Any) -> tuple[str, str]:
    """A new key: id and plaintext."""
    answer = server.api("/api/keys", body={"name": "app", **fields})
    return answer["key"]["id"], answer["plaintext"]


def soon(server: RunningServer, key: str, status: int) -> None:
    # Two seconds are promised; the machine that runs the tests may be busy.
    eventually(lambda: statuses(server, key) == [status, status], within_s=20, what=f"{status} on both workers")


def test_a_key_is_soon_good_on_all_workers_and_soon_bad_after_its_end(
    server: RunningServer, upstream: CountingUpstream
) -> None:
    assert statuses(server, None) == [401, 401]
    key_id, key = created(server, project="shop")
    soon(server, key, 200)
    row = eventually(lambda: server.rows(outcome="ok", key=key_id), within_s=5, what="its row")[0]
    assert (row["key_id"], row["project"]) == (key_id, "shop")
    server.api(f"/api/keys/{key_id}/revoke", body={"reason": "left"})
    soon(server, key, 401)
    answer = call_with(server, key)
    assert answer.error["code"] == "key_revoked"
    assert f'key {key_id} ("app") was revoked on' in answer.error["message"]
    seen = len(upstream.seen)
    assert statuses(server, key) == [401, 401]
    assert len(upstream.seen) == seen
    row = server.row(answer.header("x-headgate-request-id") or "")
    assert (row["outcome"], row["status"], row["error_type"]) == ("refused", 401, "key_revoked")


def test_a_key_ends_by_its_expiry_without_anyone_doing_anything(server: RunningServer) -> None:
    _, key = created(server, expires_s=2.5)
    soon(server, key, 200)
    eventually(lambda: statuses(server, key) == [401, 401], within_s=5, what="the key has expired")
    assert call_with(server, key).error["code"] == "key_expired"


def test_a_rotated_key_goes_on_for_the_overlap_beside_its_successor(server: RunningServer) -> None:
    key_id, old = created(server)
    new = server.api(f"/api/keys/{key_id}/rotate", body={"overlap_s": 3600})["plaintext"]
    soon(server, new, 200)
    assert statuses(server, old) == [200, 200]


def test_a_key_limited_to_models_may_call_nothing_else(server: RunningServer) -> None:
    _, key = created(server, models=["fast-*"])
    soon(server, key, 403)
    headers = {"authorization": f"Bearer {key}"}
    fast = BODY.replace(b'"m"', b'"fast-1"')
    assert call(server.port, request_bytes(body=fast, headers=headers)).status == 200
    raw = call(server.port, request_bytes("/v1/audio/speech", body=b"call-2", headers=headers))
    assert (raw.status, raw.error["code"]) == (403, "model_unreadable")


def test_keys_are_made_listed_and_revoked_by_the_command_line(server: RunningServer) -> None:
    environ = {"HEADGATE_URL": server.url, "HEADGATE_API_KEY": ADMIN}

    def cli(*arguments: str) -> str:
        ran = run_cli("key", *arguments, cwd=server.directory, environ=environ)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    key = next(word for word in cli("create", "--name", "by-hand", "--role", "app").split() if word.startswith("hg_"))
    soon(server, key, 200)
    assert "by-hand" in cli("list")
    assert key not in cli("list", "--json")
    cli("revoke", "by-hand")
    soon(server, key, 401)


def test_roles_decide_what_the_api_answers(server: RunningServer) -> None:
    _, app = created(server, name="an-app")
    _, developer = created(server, name="a-developer", role="developer")
    answers = {}
    for name, key in (("app", app), ("developer", developer), ("admin", ADMIN), ("none", None), ("wrong", "hg_x")):
        server.key = key
        answers[name] = (server.ask("/api/requests")[0], server.ask("/api/keys")[0])
    assert answers == {
        "app": (403, 403),
        "developer": (200, 403),
        "admin": (200, 200),
        "none": (401, 401),
        "wrong": (401, 401),
    }


def test_a_damaged_snapshot_is_not_taken_over_and_the_next_good_one_is(server: RunningServer) -> None:
    _, key = created(server)
    soon(server, key, 200)
    path = snapshot_path(server.home)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    for data in (bytes(damaged), b"", bytes(damaged[: len(damaged) // 2])):
        replacement = path.with_name("damaged")
        replacement.write_bytes(data)
        replacement.replace(path)
        ends_s = time.monotonic() + 0.6  # workers look four times a second
        while time.monotonic() < ends_s:
            assert statuses(server, key) == [200, 200]
            assert statuses(server, "hg_unknown") == [401, 401]
    killed = server.kill("worker")
    eventually(lambda: len({*server.pids("worker")} - {killed}) == 2, within_s=5, what="two workers")
    # The new one has the snapshot before the damaged one; a key that came later is refused, never let in.
    assert statuses(server, "hg_unknown") == [401, 401]
    _, another = created(server, name="another")
    soon(server, another, 200)
    assert statuses(server, key) == [200, 200]


def test_workers_stay_closed_while_the_control_process_stands_still(server: RunningServer) -> None:
    _, key = created(server)
    soon(server, key, 200)
    with stopped(server.pids("control")[0]):
        beat = server.home / "run" / "control.beat"
        os.utime(beat, (1, 1))  # as if it had stood still for long
        assert server.ask("/readyz") == (200, {"status": "ready", "store": "down", "spool": "writable"})
        for _ in range(10):
            assert statuses(server, key) == [200, 200]
            assert statuses(server, "hg_unknown") == [401, 401]
            assert statuses(server, None) == [401, 401]
    eventually(lambda: server.ask("/readyz")[1]["store"] == "ok", within_s=10, what="the store is well again")


def test_without_an_admin_key_given_one_is_minted_for_its_owner_alone(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(f"[server]\nrequire_key = true\n\n{counting_upstream.config()}").start()
    path = server.home / "admin.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ready = server.out.json()[0]
    assert (ready["require_key"], ready["admin_key_file"]) == (True, str(path))
    key = path.read_text().strip()
    assert key not in server.out.text + server.err.text
    server.key = key
    assert [entry["role"] for entry in server.api("/api/keys")["keys"]] == ["admin"]
    assert server.stop() == 0
    server.start()
    assert path.read_text().strip() == key
    assert len(server.api("/api/keys")["keys"]) == 1


def test_on_loopback_without_require_key_no_key_is_fine_and_a_bad_one_is_not(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(counting_upstream.config()).start()
    assert call_with(server, None).status == 200
    assert call_with(server, "sk-something").status == 200
    assert call_with(server, "hg_bad").status == 401
    rows = eventually(lambda: [row for row in server.rows() if row["outcome"] == "ok"], within_s=5, what="rows")
    assert {(row["project"], row["key_id"]) for row in rows} == {("default", None)}

"""The admin key of the environment reaches the control process, and no other process sees it."""

import secrets
from collections.abc import Callable
from pathlib import Path

from support.server import RunningServer, eventually

NewServer = Callable[..., RunningServer]


def test_the_admin_key_is_in_no_childs_environment_and_works_after_a_restart_of_control(new_server: NewServer) -> None:
    key = "hg_" + secrets.token_urlsafe(32)
    server = new_server(arguments=["--demo"], environ={"HEADGATE_ADMIN_KEY": key}).start()
    assert len(server.pids()) >= 4  # control, worker, retrieval, demo upstream, the runner of its model
    for pid in server.pids():
        assert key.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    server.key = key
    assert [entry["name"] for entry in server.api("/api/keys")["keys"]] == ["admin (environment)"]
    server.kill("control")
    eventually(lambda: server.ask("/api/keys")[0] == 200, within_s=20, what="the control process answers again")
    (fresh,) = server.pids("control")
    assert key.encode() not in Path(f"/proc/{fresh}/environ").read_bytes()

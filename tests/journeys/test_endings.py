"""SIGTERM and Ctrl-C end a server cleanly: running calls get their answers, all is stored, the exit code is 0."""

import json
import signal
import socket
from collections.abc import Callable

import pytest

from support.client import call, read_answer, request_bytes
from support.commands import run_cli
from support.judge import assert_nothing_is_lost
from support.load import CountingUpstream, Load
from support.server import RunningServer, eventually, is_running
from support.upstream import ScriptedUpstream

NewServer = Callable[..., RunningServer]
SLOW_CALL = b'{"model":"m","messages":[{"role":"user","content":"slow"}]}'


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_under_load_loses_no_call_that_was_begun(
    new_server: NewServer, counting_upstream: CountingUpstream, number: signal.Signals
) -> None:
    server = new_server(counting_upstream.config(), arguments=["--workers", "2"]).start()
    load = Load(server.port).start()
    try:
        load.await_more(50)
        children = server.pids()
        assert server.stop(number) == 0
    finally:
        load.stop()
    assert not [pid for pid in children if is_running(pid)]
    assert {"event": "stopping", "drain_s": 30} in server.out.json()
    assert server.err.text == ""
    assert set(counting_upstream.names()) == set(load.acknowledged), "a call was cut off"
    assert not load.refused
    assert not (server.home / "run" / "server.json").exists()
    server.start()
    rows = assert_nothing_is_lost(server, load, counting_upstream)
    assert {row["outcome"] for row in rows} == {"ok"}


def test_what_was_stored_can_be_listed_once_the_server_has_ended(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(counting_upstream.config()).start()
    body = b'{"model":"m","messages":[{"role":"user","content":"call-1"}]}'
    got = call(server.port, request_bytes(body=body))
    assert server.stop() == 0
    listed = run_cli("log", "list", "--json", "--home", str(server.home), cwd=server.directory)
    assert listed.returncode == 0, listed.stderr
    rows = json.loads(listed.stdout)["requests"]
    assert [row["request_id"] for row in rows] == [got.header("x-headgate-request-id")]


def test_a_second_ctrl_c_ends_a_server_that_waits_for_a_call_at_once(new_server: NewServer) -> None:
    upstream = ScriptedUpstream([["wait-gone"]])
    config = f'[upstreams.main]\nkind = "openai"\nbase_url = "{upstream.base_url}"\n'
    server = new_server(config).start()
    assert server.process is not None
    with socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(request_bytes(body=SLOW_CALL))
        eventually(lambda: upstream.seen, within_s=10, what="the call is at the upstream")
        server.process.send_signal(signal.SIGINT)
        eventually(lambda: len(server.out.json()) == 2, within_s=10, what="it says that it stops")
        assert server.process.poll() is None  # the call has 30 s to end
        assert server.stop(signal.SIGINT, within_s=15) == 0
        assert not read_answer(client).is_whole
    upstream.close()
    server.start()
    (row,) = eventually(server.rows, within_s=10, what="the row of the cut call")
    assert row["outcome"] == "interrupted"


def test_a_drain_that_takes_too_long_is_ended_and_its_call_recorded(new_server: NewServer) -> None:
    upstream = ScriptedUpstream([["wait-gone"]])
    config = f'[server]\ndrain_s = 1\n[upstreams.main]\nkind = "openai"\nbase_url = "{upstream.base_url}"\n'
    server = new_server(config).start()
    with socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(request_bytes(body=SLOW_CALL))
        eventually(lambda: upstream.seen, within_s=10, what="the call is at the upstream")
        assert server.stop(within_s=15) == 0
        assert not read_answer(client).is_whole
    assert upstream.gone.wait(30)
    upstream.close()
    server.start()
    (row,) = eventually(server.rows, within_s=10, what="the row of the cut call")
    assert row["outcome"] in ("interrupted", "client_closed")

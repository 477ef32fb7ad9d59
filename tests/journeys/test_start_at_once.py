"""A home that was served before is served again at once, from its last snapshot, unless its settings have changed."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.client import call, read_answer, request_bytes
from support.load import CountingUpstream
from support.server import RunningServer, eventually, free_port

NewServer = Callable[..., RunningServer]
ASK = request_bytes(body=b'{"model":"m","messages":[{"role":"user","content":"call-1"}]}')


def launch_with_control_held_back(server: RunningServer) -> int:
    """Start it, and stop its control process before that has published anything; the PID."""
    server.launch()
    (control,) = eventually(lambda: server.pids("control"), within_s=20, what="the control process")
    os.kill(control, signal.SIGSTOP)
    assert not server.is_ready, "the control process was faster than this test"
    return control


def test_the_control_process_leaves_pandas_alone_where_it_is_installed(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    pytest.importorskip("pandas")
    server = new_server(counting_upstream.config()).start()
    maps = Path(f"/proc/{server.pids('control')[0]}/maps").read_text()
    assert "duckdb" in maps and "pandas" not in maps


def waits(server: RunningServer) -> bool:
    """Whether the worker is there and waits for a byte from a pipe."""
    return any("pipe_read" in Path(f"/proc/{pid}/wchan").read_text() for pid in server.pids("worker"))


def test_calls_are_answered_before_the_control_process_is_there_but_never_by_settings_that_were_changed(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    server = new_server(counting_upstream.config(), port=free_port()).start()
    assert server.stop() == 0

    control = launch_with_control_held_back(server)
    eventually(lambda: server.pids("worker"), within_s=20, what="a worker")
    assert call(server.port, ASK).status == 200
    assert not server.is_ready
    os.kill(control, signal.SIGCONT)
    eventually(lambda: server.is_ready, within_s=20, what="ready")
    assert server.stop() == 0

    server.config.write_text(f"{server.config.read_text()}\n[server]\nrequire_key = true\n")
    control = launch_with_control_held_back(server)
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        client.sendall(ASK)  # waits in the queue of the listening socket
        eventually(lambda: waits(server), within_s=20, what="a worker that waits")
        os.kill(control, signal.SIGCONT)
        assert read_answer(client).status == 401


def test_a_former_admin_key_of_the_environment_calls_nothing_once_there_is_another(
    new_server: NewServer, counting_upstream: CountingUpstream
) -> None:
    former, current = ("hg_" + letter.join("0123456789abcdefghij") for letter in "xy")
    server = new_server(counting_upstream.config(), port=free_port(), environ={"HEADGATE_ADMIN_KEY": former}).start()
    assert server.stop() == 0

    same = {"port": server.port, "home": server.home, "arguments": ["--config", str(server.config)]}
    later = new_server(**same, environ={"HEADGATE_ADMIN_KEY": current})
    control = launch_with_control_held_back(later)
    with socket.create_connection(("127.0.0.1", later.port), 30) as client:
        client.sendall(ASK.replace(b"\r\n\r\n", f"\r\nx-headgate-key: {former}\r\n\r\n".encode(), 1))
        eventually(lambda: waits(later), within_s=20, what="a worker that waits")
        os.kill(control, signal.SIGCONT)
        assert read_answer(client).status == 401

"""The demo upstream as the supervisor runs it: a process of its own on an inherited Unix socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from headgate.providers.demo.faults import SLOW_FIRST_BYTE_S
from headgate.providers.demo.pace import pace_of

BODY = {"model": "demo-chat", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_on_an_inherited_unix_socket_and_ends_quietly(tmp_path: Path, ending: signal.Signals) -> None:
    path = tmp_path / "demo.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-m", "headgate.providers.demo", "--fd", str(listener.fileno()), "--fast"]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], stderr=subprocess.PIPE)
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), timeout=20) as client:
            answer = client.post("http://demo/v1/chat/completions", json=BODY)
            assert "17 * 23 = 391" in answer.json()["choices"][0]["message"]["content"]
            cut = client.build_request("POST", "http://demo/v1/chat/completions", json={**BODY, "model": "demo-cut"})
            with pytest.raises(httpx2.RemoteProtocolError):
                client.send(cut)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -ending)
    assert errors == b""


def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "demo.sock"
    script = (
        "import socket, subprocess, sys, time\n"
        f"listener = socket.socket(socket.AF_UNIX); listener.bind({str(path)!r}); listener.listen()\n"
        "fd = listener.fileno()\n"
        "command = [sys.executable, '-m', 'headgate.providers.demo', '--fd', str(fd), '--fast']\n"
        "child = subprocess.Popen(command, pass_fds=[fd])\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), timeout=20) as client:
        assert client.get("http://demo/v1/models").status_code == 200
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    else:
        if Path(f"/proc/{child}").exists():
            os.kill(child, signal.SIGKILL)
            pytest.fail("the demo upstream outlived its parent")


def test_delays_come_from_the_request_and_can_be_switched_off() -> None:
    pace = pace_of(b"\x00\xff" * 16, 1.0)
    assert pace_of(b"\x00\xff" * 16, 1.0) == pace
    assert 0.08 <= pace.first_token_s <= 0.25
    assert 60 <= 1 / pace.token_s <= 120.01
    assert pace.whole_s(10_000) == 1.5
    assert pace_of(b"\x00\xff" * 16, 2.0).whole_s(10) == pytest.approx(pace.whole_s(10) / 2)
    assert pace_of(b"\x00\xff" * 16, 0).whole_s(10_000) == 0


@pytest.mark.slow
def test_demo_slow_waits_before_its_first_byte_even_without_delays(demo_url: str) -> None:
    started = time.monotonic()
    assert httpx2.post(f"{demo_url}/v1/chat/completions", json={**BODY, "model": "demo-slow"}, timeout=30).is_success
    assert time.monotonic() - started >= SLOW_FIRST_BYTE_S

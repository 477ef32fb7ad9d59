"""Which gateway a command means."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli.connect import connect, is_on_this_machine, running
from headgate.core.errors import HomeError
from headgate.core.home import Home, ServerInfo
from headgate.core.settings import DEFAULT_URL


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A home that a server says it holds."""
    with serving_home(tmp_path / ".headgate", "http://127.0.0.1:5599") as path:
        yield path


class serving_home:
    def __init__(self, path: Path, url: str) -> None:
        self.home = Home(path)
        self.home.prepare()
        self.lock = self.home.locked()
        self.home.announce(ServerInfo(pid=os.getpid(), url=url, started_at_us=0, version="0"))

    def __enter__(self) -> Path:
        self.lock.__enter__()
        return self.home.path

    def __exit__(self, *_: object) -> None:
        self.lock.__exit__(None, None, None)


def test_without_anything_the_default_address_is_meant() -> None:
    with connect(None) as client:
        assert client.url == DEFAULT_URL


def test_an_address_in_the_environment_is_meant_and_nothing_else(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:7/v1/")
    with connect(None) as client:
        assert client.url == "http://127.0.0.1:7"


def test_a_named_home_means_its_server(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:7")
    with connect(served) as client:
        assert client.url == "http://127.0.0.1:5599"


def test_the_server_of_the_home_at_hand_is_found(served: Path) -> None:
    with connect(None) as client:
        assert client.url == "http://127.0.0.1:5599"


def test_a_home_only_found_does_not_send_a_key_to_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_API_KEY", "hg_secret")
    with serving_home(tmp_path / ".headgate", "http://192.0.2.1:4400"), running(None) as client:
        assert client is None or client.url == DEFAULT_URL


def test_the_minted_admin_key_is_used_for_its_own_server(served: Path) -> None:
    (served / "admin.key").write_text("hg_minted\n")
    with connect(served) as client:
        assert client._http.headers["x-headgate-key"] == "hg_minted"


def test_an_admin_key_of_the_environment_goes_to_a_named_home_only(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_ADMIN_KEY", "hg_from-the-environment-0123456789abcdef")
    with connect(served) as client:
        assert client._http.headers["x-headgate-key"].startswith("hg_from-the-environment")
    with connect(None) as client:
        assert "x-headgate-key" not in client._http.headers


def test_a_stale_server_file_counts_as_stopped(served: Path) -> None:
    info = json.loads((served / "run" / "server.json").read_text())
    (served / "run" / "server.json").write_text(json.dumps({**info, "pid": 2**22 + 1}))
    with running(served) as client:
        assert client is None


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(HomeError, match="no data directory"), connect(missing):
        pass
    assert not missing.exists()


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("http://localhost", True), ("http://10.0.0.1", False)],
)
def test_loopback_addresses_are_on_this_machine(url: str, here: bool) -> None:
    assert is_on_this_machine(url) is here


def test_without_a_server_the_files_at_hand_are_read_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if _answers(DEFAULT_URL):
        pytest.skip("something listens at the default address")
    Home(tmp_path / ".headgate").prepare()
    with connect(None) as client:
        assert client.requests()["requests"] == []
    assert "reading the files of .headgate instead" in capsys.readouterr().err


def _answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0

"""`headgate doctor` names what is wrong and how to mend it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli.checks import (
    Finding,
    clock_finding,
    directory_bytes,
    home_findings,
    port_finding,
    settings_findings,
    vocabulary_finding,
)
from headgate.cli.main import main
from headgate.core.home import Home
from headgate.core.settings import load


@pytest.fixture(autouse=True)
def nobody_there(clean_place: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:9")


def levels(findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


def test_a_home_open_to_others_is_a_fault_with_the_command_that_mends_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Home(home).prepare()
    assert levels(home_findings(home, 0.001)) == {"data directory": "ok", "disk": "ok"}
    home.chmod(0o755)
    found = next(home_findings(home, 0.001))
    assert (found.level, found.mend) == ("fault", f"chmod 700 {home}")
    assert "0755" in found.what


def test_a_log_that_may_outgrow_the_disk_is_advised_against(tmp_path: Path) -> None:
    assert levels(home_findings(tmp_path / "none", 10_000_000))["disk"] == "advice"
    assert not (tmp_path / "none").exists()


def test_a_directorys_size_counts_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= directory_bytes(tmp_path) < 40_000


def test_a_taken_port_is_a_fault_and_a_free_one_is_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load(None, demo=True, environ={}, port=port)
        found = port_finding(settings, tmp_path)
        assert found.level == "fault" and f"127.0.0.1:{port}" in found.what and "--port" in found.mend
    assert port_finding(settings, tmp_path).level == "ok"


def test_a_missing_provider_key_is_a_fault_named_by_its_variable(tmp_path: Path) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text('[upstreams.mine]\nkind = "openai"\nbase_url = "https://h.example/v1"\napi_key_env = "MY_KEY"\n')
    faults = [finding for finding in settings_findings(load(config)) if finding.level == "fault"]
    assert len(faults) == 1 and "MY_KEY" in faults[0].what and "export MY_KEY=" in faults[0].mend


def test_a_clock_behind_the_log_is_a_fault() -> None:
    assert clock_finding("2026-01-01T00:00:00Z").level == "ok"
    found = clock_finding("2199-01-01T00:00:00Z")
    assert found.level == "fault" and "in the future" in found.what


def test_the_shipped_vocabularies_work() -> None:
    assert vocabulary_finding().level == "ok"


def test_doctor_without_a_server_gives_advice_and_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["faults"]) == (0, 0), answer
    server = next(finding for finding in answer["findings"] if finding["check"] == "server")
    assert server["level"] == "advice" and "headgate serve" in server["mend"]


def test_doctor_ends_with_1_when_the_configuration_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "headgate.toml").write_text("[servr]\nport = 1\n")
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "fault" in printed and "headgate.toml" in printed and "servr" in printed

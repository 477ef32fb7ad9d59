"""A report is shown in a browser where there is one; where there is none, nothing is said but its path."""

from pathlib import Path

import pytest

from headgate.cli.browser import open_page


def opener(folder: Path, script: str) -> None:
    program = folder / "xdg-open"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(("script", "is_opened"), [("echo trying w3m; echo none >&2; exit 3", False), ("exit 0", True)])
def test_a_search_for_a_browser_says_nothing_itself(
    script: str, is_opened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opener(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert open_page(tmp_path / "report.html") is is_opened
    assert capfd.readouterr() == ("", "")


def test_a_machine_without_any_opener_has_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert open_page(tmp_path / "report.html") is False

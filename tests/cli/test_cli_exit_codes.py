"""Every failure is a sentence on stderr and a code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.cli.main import exit_code_of, main
from headgate.core.errors import ConfigurationError, HeadgateError, HomeError, NotFound, QueryRefused, Unavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (HomeError("x"), 2),
        (HomeError("x", code="home_locked"), 2),
        (NotFound("x"), 2),
        (QueryRefused("x"), 2),
        (Unavailable("x"), 5),
        (HeadgateError("x"), 70),
    ],
)
def test_errors_have_codes(error: HeadgateError, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats"], "Nearest: status"),
        (["log", "lst"], "Nearest: list"),
        (["log", "list", "--modle", "x"], "--model"),
        (["log", "list", "--tag", "novalue"], "NAME=VALUE"),
        (["log", "list", "--limit", "0"], "--limit"),
        (["log", "export", "--to", "x.txt"], ".parquet"),
        (["log", "delete"], "Say what to delete"),
        (["log", "delete", "abcd1234", "--user", "u"], "Say what to delete"),
        (["log", "show", "\x1b[31m"], "\\x1b[31m"),
        (["cost", "--by", ","], "--by"),
        (["key", "create"], "--name"),
        (["key", "create", "--name", "x", "--expires", "soon"], "--expires"),
        (["key", "revoke", "hg_secretsecret"], "That is a key itself"),
        (["serve", "--port", "99999"], "--port"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:9")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == "" and "Traceback" not in captured.err and "\x1b" not in captured.err
    assert "secretsecret" not in captured.err


def test_nobody_answering_is_5(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:9")
    assert main(["status"]) == 5
    assert "No gateway answers at http://127.0.0.1:9 (connection refused)." in capsys.readouterr().err


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30)


_DEFECT = (
    "import sys; from headgate.cli import main as m; from headgate.cli.lazy import Entry; "
    "m.headgate.entries['status'] = Entry(target='headgate.cli.text:usd', help='no command'); "
    "sys.exit(m.main(sys.argv[1:]))"
)


def test_a_defect_is_70_in_one_line_and_shows_its_traceback_when_asked() -> None:
    short, long = run(_DEFECT, "status"), run(_DEFECT, "--debug", "status")
    assert (short.returncode, long.returncode) == (70, 70)
    assert short.stderr.startswith("A defect of Headgate: TypeError") and len(short.stderr.splitlines()) == 1
    assert "Traceback" in long.stderr


def test_an_interrupt_is_130() -> None:
    code = (
        "import os, signal, sys; from headgate.cli import main as m, init; "
        "init.init.callback = lambda directory: os.kill(os.getpid(), signal.SIGINT) or __import__('time').sleep(5); "
        "sys.exit(m.main(['init']))"
    )
    done = run(code)
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")


def test_a_reader_that_left_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "headgate", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")

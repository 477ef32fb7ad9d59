"""`headgate prompt push` and `pull` against a running control application: nothing by halves, nothing lost."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli.git import Origin, origin_of
from headgate.cli.main import main
from headgate.client import Client
from support.served_home import served_home

GREET = """\
name: shop/greet
description: Greets.
model: gpt-5-mini
input: {who: {type: string}}
messages:
  - {role: system, content: "Be brief."}   # a comment
  - {role: user, content: "Greet {{ who }}."}
"""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server, which the commands of a test talk to."""
    with served_home(tmp_path / "home") as (_, address):
        monkeypatch.setenv("HEADGATE_URL", address)
        yield address


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """prompts/shop/greet.yaml in the working directory."""
    path = tmp_path / "prompts" / "shop" / "greet.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(GREET)
    return path


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def test_a_push_numbers_new_content_and_tells_what_changed(
    url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "push", "-m", "first"]) == 0
    assert capsys.readouterr().out == "shop/greet@1  new\n"
    assert main(["prompt", "push", "prompts"]) == 0
    assert capsys.readouterr().out == "shop/greet@1  unchanged\n"
    file.write_text(GREET.replace("gpt-5-mini", "gpt-5").replace("Be brief.", "Be warm."))
    assert main(["prompt", "push", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("shop/greet@2  new version, after @1:\n  model: gpt-5-mini → gpt-5\n")
    assert "  message 1 (system): Be brief. → Be warm.\n" in printed
    file.write_text(GREET)
    assert main(["prompt", "push", str(file)]) == 0
    assert capsys.readouterr().out == "shop/greet@1  unchanged; the newest is @2\n"


def test_a_fault_in_one_file_stops_all_and_is_told_with_its_place(
    url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent / "bad.yaml").write_text(GREET.replace("model:", "modle:").replace("{{ who }}", "{{ whom }}"))
    assert main(["prompt", "push"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert any(line.startswith("prompts/shop/bad.yaml:3:1 unknown key") and "model" in line for line in lines)
    assert any(line.startswith("prompts/shop/bad.yaml:7:") and '"whom"' in line for line in lines)
    assert lines[-1] == "Nothing was pushed."
    with Client(url) as client:
        assert "shop/greet" not in [found["name"] for found in client.prompts()["prompts"]]


@pytest.mark.parametrize(
    ("raw", "said"), [(b"name: \xff\n", "greet.yaml:1 is not UTF-8"), (b"x" * ((2 << 20) + 1), "larger than 2 MB")]
)
def test_a_file_that_is_no_text_is_named(
    url: str, file: Path, raw: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(raw)
    assert main(["prompt", "push"]) == 2
    assert said in capsys.readouterr().err


def test_a_push_without_files_says_how_to_get_some(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "push"]) == 2
    assert "headgate init" in capsys.readouterr().err
    (tmp_path / "prompts").mkdir()
    assert main(["prompt", "push"]) == 2
    assert "no .yaml file" in capsys.readouterr().err
    assert main(["prompt", "push", "none.yaml"]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_commit_and_author_are_kept(url: str, file: Path, tmp_path: Path) -> None:
    git("init", "-q", ".")
    git("config", "user.name", "Grace")
    git("config", "user.email", "grace@example.org")
    assert origin_of([file]) == Origin(commit=None, author="Grace <grace@example.org>")
    git("add", "prompts")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "other").write_text("")
    git("add", "other")
    git("commit", "-q", "-m", "two")
    assert main(["prompt", "push"]) == 0
    with Client(url) as client:
        version = client.prompt_version("shop/greet", 1)
    assert (version["git_commit"], version["author"]) == (commit, "Ada <ada@example.org>")
    file.write_text(GREET + "\n")
    assert origin_of([file]) == Origin(commit=f"{git('rev-parse', 'HEAD')}-dirty", author="Grace <grace@example.org>")


def test_without_git_nothing_is_claimed(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin_of([file]) == Origin()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin_of([file]) == origin_of([]) == Origin()


def test_what_is_pulled_pushes_to_the_same_versions(
    url: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "push"]) == 0
    assert main(["prompt", "pull", "--to", "copy"]) == 0
    written = {path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*.yaml")}
    assert Path("shop/greet.yaml") in written and Path("judge-rubric.yaml") in written
    capsys.readouterr()
    assert main(["prompt", "push", "copy"]) == 0
    assert all(line.endswith("@1  unchanged") for line in capsys.readouterr().out.splitlines())


def test_a_pull_keeps_equal_files_and_replaces_pushed_ones(
    url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "push"]) == 0
    assert main(["prompt", "pull", "shop/greet"]) == 0
    assert file.read_text() == GREET
    file.write_text(GREET.replace("brief", "warm"))
    assert main(["prompt", "push"]) == 0
    capsys.readouterr()
    assert main(["prompt", "pull", "shop/greet@1", "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)["pulled"]
    assert pulled == [{"ref": "shop/greet@1", "file": "prompts/shop/greet.yaml", "does": "replaced"}]
    assert "Be brief." in file.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GREET.replace("brief", "new"), "has changes that were never pushed"),
        (GREET.replace("Greets.", "Says hello."), "another description"),
        (GREET.replace("shop/greet", "mine"), 'another prompt, "mine"'),
        ("just: notes", "is no prompt file"),
    ],
)
def test_a_pull_does_not_lose_what_was_never_pushed(
    url: str, file: Path, tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "push"]) == 0
    file.write_text(text)
    assert main(["prompt", "pull"]) == 2
    printed = capsys.readouterr().err
    assert said in printed and "Nothing was written" in printed and "--force" in printed
    assert file.read_text() == text and not (tmp_path / "prompts" / "summarise.yaml").exists()
    assert main(["prompt", "pull", "--force"]) == 0
    assert "Be brief." in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["greet.yaml"]


def test_a_pull_does_not_write_through_a_link(url: str, file: Path, tmp_path: Path) -> None:
    assert main(["prompt", "push"]) == 0
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert main(["prompt", "pull", "shop/greet", "--force"]) == 0
    assert not (tmp_path / "elsewhere").exists() and file.is_file() and not file.is_symlink()

"""`headgate init` writes a start that loads, and changes nothing that is there."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from headgate.cli.main import headgate, main
from headgate.core.settings import load
from headgate.evals.suite import load_suite


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    target = tmp_path / "new" / "place"
    result = CliRunner().invoke(headgate, ["init", str(target)])
    assert result.exit_code == 0, result.output
    assert {path.name for path in target.iterdir()} == {"headgate.toml", "prompts", "evals", "kb", ".gitignore"}
    settings = load(target / "headgate.toml", environ={"OPENAI_API_KEY": "sk-test-1234567890"})
    assert settings.file is not None and settings.upstreams
    assert ".headgate/" in (target / ".gitignore").read_text()


def test_the_suite_that_init_writes_finds_its_prompt_and_its_judge_beside_it(tmp_path: Path) -> None:
    assert CliRunner().invoke(headgate, ["init", str(tmp_path)]).exit_code == 0
    suite = load_suite((tmp_path / "evals/support-answer.yaml").read_text(), "suite", folder=tmp_path / "evals")
    named = {suite.target.prompt, *(judge.prompt for judge in suite.judges.values())}
    assert {f"{name}.yaml" for name in named} == {path.name for path in (tmp_path / "prompts").iterdir()}


def test_init_keeps_what_exists(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text("# mine\n")
    (tmp_path / ".gitignore").write_text("x\n")
    (tmp_path / "kb").mkdir()
    for _ in range(2):
        result = CliRunner().invoke(headgate, ["init", str(tmp_path)])
        assert result.exit_code == 0 and "kept" in result.output and "advice" in result.output
    assert (tmp_path / "headgate.toml").read_text() == "# mine\n"
    assert (tmp_path / ".gitignore").read_text() == "x\n"


def test_init_does_not_follow_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").symlink_to(tmp_path / "elsewhere")
    CliRunner().invoke(headgate, ["init", str(tmp_path)])
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written" in capsys.readouterr().err

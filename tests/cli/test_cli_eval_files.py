"""What commands of evaluations do without a server: they find suites, check them by line, and bound a run."""

import json
from decimal import Decimal
from pathlib import Path

import click
import pytest

from headgate.cli.eval_files import find_suite, local_dataset
from headgate.cli.eval_sides import limits_of
from headgate.cli.main import main

SUITE = "suite: prices\ntarget: shop\ndataset: prices\nbudget: {usd: 1.50}\nscorers:\n  - {id: price, type: contains}\n"


@pytest.fixture
def folder() -> Path:
    Path("evals/datasets").mkdir(parents=True)
    Path("evals/prices.yaml").write_text(SUITE)
    Path("evals/datasets/prices.jsonl").write_text('{"input": {"q": "a"}, "expected": "b"}\n')
    return Path("evals")


def test_a_suite_is_found_by_its_name_and_by_its_file_with_its_cases(folder: Path) -> None:
    for named in ("prices", "evals/prices.yaml"):
        found = find_suite(named)
        dataset = local_dataset(found)
        assert (found.suite.name, dataset is not None and len(dataset.rows)) == ("prices", 1)


def test_a_suite_that_is_not_there_is_refused_naming_those_that_are(folder: Path) -> None:
    with pytest.raises(click.UsageError, match=r"no suite price: .*Suites in evals/: prices; .*eval init price"):
        find_suite("price")


def test_validate_tells_every_fault_by_line_and_exits_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text(SUITE.replace("contains}", "contain}").replace("suite: prices", "suite: bad"))
    (folder / "datasets/prices.jsonl").write_text('{"inputs": {}}\n')
    assert main(["eval", "validate"]) == 2
    said = capsys.readouterr().err
    assert "evals/bad.yaml:6:" in said and "did you mean contains?" in said
    assert "evals/datasets/prices.jsonl:1" in said and "did you mean input?" in said


def test_validate_of_sound_suites_names_them_with_their_cases(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "validate", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(one["suite"], one["cases"]) for one in answer["suites"]] == [("prices", 1)]
    assert answer["faults"] == []


@pytest.mark.parametrize(
    ("budget", "usd"), [(None, Decimal("1.50")), ("0.25", Decimal("0.25")), ("$3", Decimal(3)), ("none", None)]
)
def test_the_budget_is_the_suites_unless_the_command_line_says_another(
    folder: Path, budget: str | None, usd: Decimal | None
) -> None:
    assert limits_of(find_suite("prices").suite, budget, None).usd == usd


@pytest.mark.parametrize("budget", ["lots", "-1", "nan", "inf"])
def test_a_budget_that_is_no_amount_is_refused(folder: Path, budget: str) -> None:
    with pytest.raises(click.UsageError, match="is no amount"):
        limits_of(find_suite("prices").suite, budget, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "push"], "--request ID"),
        (["score", "push", "--request", "last", "--name", "thumbs"], "one of --value"),
        (["eval", "gate", "prices", "--policy", "lax"], "neither starter, standard, strict nor a file"),
        (["eval", "validate"], "There is no suite in evals/"),
        (["dataset", "push"], "There is no .jsonl file in evals/datasets/"),
    ],
)
def test_usage_faults_say_what_to_do_and_exit_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_without_a_server_a_run_says_how_to_start_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADGATE_URL", "http://127.0.0.1:9")
    assert main(["eval", "run", "prices"]) == 5
    assert "Start one: headgate serve" in capsys.readouterr().err

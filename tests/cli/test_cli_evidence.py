"""Datasets, reports, comparisons, approvals and scores by command, against one control application over loopback."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.main import main
from headgate.core.settings import Protect
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import PEOPLE, SUITE, Bench
from support.served_control import Served, over_loopback, starting

RULE = Protect(kind="prompt", policy="starter", where="headgate.toml line 31", approvers=1)
SCORED = SUITE + '  - {id: kind, type: regex, pattern: "Hello", role: primary}\n'
Say = Callable[..., tuple[int, str, str]]


class House(Bench):
    """Two people's keys, a prompt with a run of each version, the second worse, and their comparison."""

    def __init__(self, served: Served, url: str) -> None:
        self.url, self.author, self.boss = url, served.key("approver"), served.key("approver", "other")
        super().__init__(served, PEOPLE, SCORED, key=self.author)
        self.first = self.evaluated(1)
        self.second = self.evaluated(2, bad=("Bo",), baseline_run=self.first)

    def results(self, run: str) -> Any:
        return self.served.ask("GET", f"/api/evals/runs/{run}/results", key=self.key).content


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with starting(tmp_path_factory.mktemp("homes")) as start:
        served = start(settings=replace(OPENAI_SETTINGS, protect=(RULE,)), require_key=True)
        with over_loopback(served.control) as url:
            yield House(served, url)


@pytest.fixture
def say(house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs a command as the author, or as who is named; exit code, output, notes."""
    monkeypatch.setenv("HEADGATE_URL", house.url)

    def run(*arguments: str, key: str = house.author) -> tuple[int, str, str]:
        monkeypatch.setenv("HEADGATE_API_KEY", key)
        code = main(list(arguments))
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_a_dataset_is_pushed_listed_shown_compared_and_pulled(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "evals/datasets/shop.jsonl"
    file.parent.mkdir(parents=True)
    rows = [{"id": name, "input": {"q": name}, "expected": name.upper()} for name in ("a", "b", "c")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert say("dataset", "push", "-m", "three cases")[:2] == (0, "shop@1  new version, 3 rows\n")
    file.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    assert say("dataset", "push")[1] == "shop@1  unchanged, 3 rows\n"
    changed = [{**rows[0], "expected": "other"}, rows[1], {"id": "d", "input": {"q": "d"}}]
    file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    assert say("dataset", "push")[1] == "shop@2  new version, 3 rows\n"

    code, listed, _ = say("dataset", "list", "--json")
    newest = {one["name"]: one["number"] for one in json.loads(listed)["datasets"]}
    assert (code, newest["shop"], newest["people"]) == (0, 2, 1)
    shown = say("dataset", "show", "shop", "--version", "1")[1]
    assert "three cases" in shown and re.search(r"^Rows\s+3$", shown, re.M)
    assert len(json.loads(say("dataset", "show", "shop", "--json")[1])["versions"]) == 2
    code, diff, _ = say("dataset", "diff", "shop", "1", "2")
    assert code == 0 and sorted(diff.splitlines()) == ["+ d", "- c", "1 unchanged", "~ a: expected"]
    assert json.loads(say("dataset", "diff", "shop", "1", "2", "--json")[1])["same"] == 1

    code, _, refused = say("dataset", "pull", "shop")
    assert code == 2 and "--force" in refused
    assert say("dataset", "pull", "shop", "--version", "1", "--to", "old.jsonl")[1] == "old.jsonl: 3 rows\n"
    assert say("dataset", "show", "shop", "--version", "1", "--rows")[1] == Path("old.jsonl").read_text()
    assert {json.loads(line)["expected"] for line in Path("old.jsonl").read_text().splitlines()} == {"A", "B", "C"}
    assert say("dataset", "pull", "shop", "--force")[0] == 0 and '"d"' in file.read_text()
    for arguments in (("show", "nothing"), ("pull", "nothing"), ("show", "shop", "--version", "9")):
        code, _, words = say("dataset", *arguments)
        assert code == 2 and ("nothing" in words or "9" in words), words


def test_an_approval_is_a_second_persons(say: Say, house: House) -> None:
    code, _, words = say("prompt", "approve", "greet@1", "--reason", "mine")
    assert code != 0 and "may not approve greet@1" in words
    code, _, words = say("prompt", "approve", "greet@1", key=house.boss)
    assert code == 2 and "needs a reason" in words
    assert say("prompt", "approve", "greet", "--reason", "x")[0] == 2
    code, told, _ = say("prompt", "approve", "greet@1", "--reason", "read the report", "--json", key=house.boss)
    made = json.loads(told)["approval"]
    assert (code, made["version"], made["alias"], made["sha256"]) == (0, 1, "production", house.sha256(1))
    code, told, _ = say("prompt", "approve", "greet@2", "--to", "candidate", "--reason", "let us see", key=house.boss)
    assert (code, told) == (0, "greet@2 is approved to become candidate.\n")
    rule = house.served.get("/api/evals/rule?prompt=greet&version=1", key=house.author)
    assert len(rule["approved_by"]) == 1 and not any("approval" in one["reason"] for one in rule["missing"])


def test_a_report_comes_in_every_form_and_its_json_is_the_same_every_time(say: Say, house: House) -> None:
    code, first, _ = say("eval", "report", house.second, "--json")
    report = json.loads(first)
    assert (code, report["schema"], report["losses"]) == (0, "headgate/eval-report@1", 1)
    assert say("eval", "report", house.second, "--json")[1] == first
    assert say("eval", "report", house.second, "--format", "json")[1] == first
    for name, words in {
        "r.json": first, "r.html": "<!doctype html>", "r.md": "greet@2", "r.xml": "<testsuite", "r.txt": "greet@2",
    }.items():  # fmt: skip
        assert say("eval", "report", house.second, "-o", name)[0] == 0
        assert words in Path(name).read_text(), name
    assert Path("r.json").read_text() == first
    assert "Go away." in Path("r.html").read_text()
    shown = say("eval", "report", house.second)[1]
    assert "greet@2" in shown and "greet@1" in shown and "\x1b" not in shown
    assert json.loads(say("eval", "report", house.first, "--against", house.second, "--json")[1])["wins"] == 1
    assert say("eval", "report", "run_nobody")[0] == 2
    assert say("eval", "report", house.first, "--json", "--format", "html")[0] == 2
    assert say("eval", "report", house.first, "--json", "--open")[0] == 2


# The browser outlives the command, so the command does not wait for it.
@pytest.mark.filterwarnings("ignore:.*Popen:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
def test_a_report_is_opened_in_the_browser_that_there_is(
    say: Say, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    code, _, notes = say("eval", "report", house.first, "--open")
    assert code == 0 and "No browser could be started" in notes
    opened = tmp_path / "opened"
    browser = tmp_path / "bin/xdg-open"
    browser.parent.mkdir()
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(0o700)
    monkeypatch.setenv("PATH", str(browser.parent))
    assert say("eval", "report", house.first, "--open", "-o", "mine.html")[0] == 0
    assert opened.read_text() == "mine.html\n"
    assert "greet@1" in Path("mine.html").read_text()


def test_two_runs_or_files_are_compared_as_a_page(say: Say, house: House, tmp_path: Path) -> None:
    assert say("eval", "compare", house.second, house.first, "-o", "runs.html")[0] == 0
    page = Path("runs.html").read_text()
    assert "Compared, not gated." in page and "Go away." in page and "<a " not in page
    for name, run in (("new.jsonl", house.second), ("old.jsonl", house.first)):
        (tmp_path / name).write_bytes(house.results(run))
    assert say("eval", "compare", "new.jsonl", "old.jsonl", "-o", "files.html", "--level", "0.9")[0] == 0
    page = Path("files.html").read_text()
    assert "new.jsonl against old.jsonl" in page and "90 %" in page
    assert say("eval", "compare", "new.jsonl", house.first, "-o", "mixed.md")[0] == 0
    code, _, words = say("eval", "compare", house.second, house.first, "-o", "x.html", "--level", "0.9")
    assert code == 2 and "--level" in words
    assert say("eval", "compare", house.second, house.first, "-o", "x.html", "--json")[0] == 2
    found = json.loads(say("eval", "compare", "new.jsonl", "old.jsonl", "--json")[1])
    assert found["scorers"][0]["difference"] == pytest.approx(-1 / 3)


def test_one_system_of_imported_results_is_reported_against_another(say: Say) -> None:
    lines = [
        {"run": "p", "item": f"i{n}", "repeat": 0, "system": system, "scorer": "x", "value": value, "status": "ok"}
        for system, value in (("gpt-a", 0.5), ("gpt-b", 0.75))
        for n in range(4)
    ]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run = json.loads(say("eval", "import", "p.jsonl", "--json")[1])["runs"][0]["run"]
    code, _, words = say("eval", "report", run)
    assert code == 2 and "2 systems: gpt-a, gpt-b" in words
    report = json.loads(say("eval", "report", f"{run}:gpt-b", "--against", f"{run}:gpt-a", "--json")[1])
    assert (report["candidate"]["ref"], report["baseline"]["ref"], report["wins"]) == ("gpt-b", "gpt-a", 4)


def test_scores_are_pushed_for_one_request_or_from_a_file(say: Say, house: House) -> None:
    request = house.served.record(answer="Within 30 days.")
    house.served.store_all()
    code, told, _ = say("score", "push", "--request", request, "--name", "thumbs", "--value", "1", "--comment", "kind")
    assert (code, told) == (0, "1 score stored.\n")
    lines = [
        {"request_id": request, "name": "rating", "value": 4, "source": "user"},
        {"request_id": request, "name": "correction", "correction": "Within 14 days."},
    ]
    Path("feedback.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    code, told, _ = say("score", "push", "feedback.jsonl", "--json")
    assert (code, json.loads(told)) == (0, {"stored": 2})
    page = house.served.ask("GET", f"/ui/requests/{request}", key=house.author).text
    assert "thumbs" in page and "rating" in page and "kind" in page

    Path("broken.jsonl").write_text('{"request_id": "x"}\n{broken\n')
    for arguments, words in (
        (("broken.jsonl",), "broken.jsonl:2 is not JSON"),
        ((), "Give either FILE or --request ID"),
        (("--request", request, "--name", "thumbs"), "one of --value"),
        (("nothing.jsonl",), "nothing.jsonl cannot be read"),
    ):
        code, _, told = say("score", "push", *arguments)
        assert code == 2 and words in told, told
    code, _, told = say("score", "push", "--request", "0" * 8, "--name", "thumbs", "--value", "1")
    assert code == 2 and "0" * 8 in told

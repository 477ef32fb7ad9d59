"""The commands on a stopped home's own files: the real control application, in this process."""

import csv
import importlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headgate.cli import output
from headgate.cli.main import main
from headgate.core.home import Home


class Run:
    """Runs commands on one home and keeps what they print."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._home, self._capsys = home, capsys
        self.code = 0
        self.err = ""

    def __call__(self, *arguments: str) -> str:
        self._capsys.readouterr()
        self.code = main([*arguments, "--home", str(self._home)])
        captured = self._capsys.readouterr()
        self.err = captured.err
        return captured.out

    def json(self, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self(*arguments, "--json"))
        return answer


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(home, capsys)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands print as on a terminal of 120 columns."""
    # Commands are imported when they run; imported later, they would keep the replaced function.
    modules = [importlib.import_module(f"headgate.cli.{name}") for name in ("log", "cost", "show", "keys")]
    for module in (output, *modules):
        monkeypatch.setattr(module, "is_terminal", lambda: True)
    monkeypatch.setattr(output, "terminal", lambda: Console(width=120, highlight=False, markup=False, emoji=False))


def is_harmless(text: str) -> bool:
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_the_spool_is_stored_first_and_listed_newest_first(run: Run) -> None:
    lines = run("log", "list").splitlines()
    rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [row["outcome"] for row in rows] == ["refused", "ok", "ok"]
    assert rows[2]["model"] == "gpt-4o-mini" and rows[2]["input_tokens"] == "1000" and rows[2]["cost_usd"]
    assert rows[1]["cost_usd"] == "" and rows[1]["model"].startswith("[bold]gpt[/bold]\\x1b[2J")
    assert is_harmless("".join(lines).replace("\t", ""))
    assert len(run("log", "list").splitlines()) == 4, "nothing is stored twice"


def test_filters_reach_the_log(run: Run) -> None:
    assert [row["user_id"] for row in run.json("log", "list", "--tag", "team=search")["requests"]] == ["u-1"]
    assert run.json("log", "list", "--errors")["total"]["requests"] == 1
    assert run.json("log", "list", "--model", "gpt-4o*", "--status", "2xx", "--since", "1h")["total"]["requests"] == 1
    assert run.json("log", "list", "--limit", "2")["total"]["requests"] == 3
    assert run("log", "list", "--since", "yesterday") == "" and run.code == 2
    assert "yesterday" in run.err


@pytest.mark.usefixtures("on_terminal")
def test_a_terminal_sees_a_table_and_what_the_cost_covers(run: Run) -> None:
    printed = run("log", "list")
    assert is_harmless(printed.replace("\n", ""))
    assert "[bold]gpt" in printed and "refused 404" in printed and "1,000→100" in printed
    assert "3 requests, 1 error, 1 not sent." in printed and "covering 50 %" in printed


def test_one_request_is_shown_whole(run: Run) -> None:
    wanted = run.json("log", "list", "--user", "u-1")["requests"][0]
    printed = run("log", "show", wanted["request_id"][:20])
    assert is_harmless(printed.replace("\n", ""))
    for text in ("gpt-4o-mini", "812 ms", "1,000", "Say hello", "Be brief.", "Grüße", "\\x1b[31mred\\x07", "Cost $0."):
        assert text in printed
    assert "[bold]not bold[/bold]" in printed
    assert run.json("log", "show", wanted["request_id"])["request"]["request_id"] == wanted["request_id"]


def test_the_last_request_is_last(run: Run) -> None:
    printed = run("log", "show", "last")
    assert "refused 404" in printed and 'no route for model "o5-mini"' in printed


def test_an_id_nobody_has_says_so(run: Run) -> None:
    run("log", "show", "00000000-0000")
    assert run.code == 2 and "No request's id starts with" in run.err
    run("log", "show", "00000000-0000-7000-8000-000000000000")
    assert run.code == 2 and "There is no request" in run.err
    run("log", "show", "0")
    assert run.code == 2


def test_a_prefix_of_several_lists_them(run: Run) -> None:
    ids = [row["request_id"] for row in run.json("log", "list")["requests"]]
    prefix = ids[0][:6]
    run("log", "show", prefix)
    assert run.code == 2 and all(request_id in run.err for request_id in ids)


def test_raw_bytes_are_the_bytes(capfdbinary: pytest.CaptureFixture[bytes], home: Path) -> None:
    assert main(["log", "show", "last", "--raw", "request", "--home", str(home)]) == 0
    assert json.loads(capfdbinary.readouterr().out)["model"] == "o5-mini"
    assert main(["log", "show", "last", "--raw", "response", "--home", str(home)]) == 2


def test_decisions_are_explained_in_order(run: Run) -> None:
    wanted = run.json("log", "list", "--user", "u-1")["requests"][0]["request_id"]
    steps = [step["step"] for step in run.json("explain", wanted)["steps"]]
    assert steps[0] == "key" and steps[-1] == "price"
    assert "gpt-4o-mini" in run("explain", wanted)


def test_cost_never_comes_without_its_coverage(run: Run) -> None:
    answer = run.json("cost", "--by", "model,day")
    assert (answer["total"]["priced"], answer["total"]["unpriced"]) == (1, 1)
    table = list(csv.DictReader(io.StringIO(run("cost")), delimiter="\t"))
    assert {row["model"]: row["unpriced"] for row in table}["gpt-4o-mini"] == "0"
    assert "covering 50 %" in run.err and "1 without: unknown provider" in run.err
    run("cost", "--by", "colour")
    assert run.code == 2 and "colour" in run.err


@pytest.mark.usefixtures("on_terminal")
def test_cost_on_a_terminal_is_a_table(run: Run) -> None:
    printed = run("cost", "--by", "model")
    assert (
        "gpt-4o-mini" in printed
        and "unpriced" in printed
        and "100 %" in printed
        and is_harmless(printed.replace("\n", ""))
    )


def test_sql_prints_table_csv_and_json(run: Run) -> None:
    query = "SELECT outcome, count(*) AS requests, any_value(tags) AS t FROM requests GROUP BY 1 ORDER BY 2 DESC"
    assert run("sql", query).splitlines()[0] == "outcome\trequests\tt"
    assert run("sql", query, "--format", "csv").splitlines()[0] == "outcome,requests,t"
    assert run.json("sql", query)["rows"][0][:2] == ["ok", 2]
    run("sql", "SELECT * FROM range(5000) AS r(i)")
    assert "Only the first 1,000 rows" in run.err
    run("sql", "SELECT * FROM read_csv('/etc/passwd')")
    assert run.code == 2 and run.err


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "duckdb"])
def test_exports_are_complete_private_and_never_overwrite(run: Run, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out.{suffix}"
    run("log", "export", "--to", str(target))
    assert run.code == 0, run.err
    assert target.stat().st_size > 0 and target.stat().st_mode & 0o777 == 0o600
    if suffix == "jsonl":
        assert len([json.loads(line) for line in target.read_text().splitlines()]) == 3
    run("log", "export", "--to", str(target))
    assert run.code == 2 and "--force" in run.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_deleting_needs_a_yes_and_takes_rows_out_at_once(run: Run) -> None:
    run("log", "delete", "--user", "u-1")
    assert run.code == 2 and "--yes" in run.err and "deletes 1 request." in run.err
    assert run.json("log", "delete", "--user", "u-1", "--yes")["deleted"] == 1
    left = run.json("log", "list")["requests"]
    assert len(left) == 2
    assert run.json("log", "delete", left[0]["request_id"], "--yes")["deleted"] == 1
    assert run.json("log", "list")["total"]["requests"] == 1


def test_keys_are_created_listed_rotated_and_revoked(run: Run) -> None:
    secret = run("key", "create", "--name", "my-app", "--models", "gpt-*, fast", "--expires", "90d").strip()
    assert secret.startswith("hg_") and "\n" not in secret
    listed = run.json("key", "list")["keys"]
    assert (listed[0]["name"], listed[0]["models"]) == ("my-app", ["gpt-*", "fast"])
    assert secret not in json.dumps(listed)
    rotated = run.json("key", "rotate", "my-app", "--overlap", "1h", "--reason", "routine")
    assert rotated["plaintext"] != secret
    run("key", "revoke", listed[0]["id"])
    assert run.code == 0 and listed[0]["id"] in run("key", "list")
    actions = [entry["action"] for entry in run.json("history")["entries"]]
    assert actions == ["key.revoke", "key.rotate", "key.create"]
    assert "routine" in run("history")
    run("key", "revoke", "nobody")
    assert run.code == 2 and "nobody" in run.err


@pytest.mark.usefixtures("on_terminal")
def test_a_new_key_on_a_terminal_says_that_it_is_shown_once(run: Run) -> None:
    printed = run("key", "create", "--name", "me", "--role", "admin")
    assert printed.startswith("hg_") and "only time" in printed and "admin" in printed


def test_status_of_a_stopped_home_says_so(run: Run, home: Path) -> None:
    printed = run("status")
    assert run.code == 0, printed
    assert "not running" in printed and str(home) in printed and "3 stored" in printed and "covering 50 %" in printed
    assert run.json("status")["requests"] == 3


def test_tail_of_a_stopped_home_shows_the_last_and_ends(run: Run) -> None:
    rows = [json.loads(line) for line in run("log", "tail", "--json", "-n", "2").splitlines()]
    assert [row["outcome"] for row in rows] == ["ok", "refused"]
    assert "nothing more will come" in run.err


def test_a_home_in_use_is_not_opened(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.cli.offline.WAIT_S", 0.0)
    with Home(home).locked():
        run("log", "list")
    assert run.code == 2 and "in use by PID" in run.err
    assert run("log", "list")


def test_a_home_open_to_others_is_refused(run: Run, home: Path) -> None:
    home.chmod(0o750)
    run("log", "list")
    assert run.code == 2 and "chmod 700" in run.err

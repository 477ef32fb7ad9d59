"""Runs of a suite that end early: kill -9 of the client, a budget, Ctrl-C, a dead upstream; each is gone on with."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.commands import run_cli
from support.server import RunningServer, clean_environment, eventually, headgate_command
from support.upstream import Script, ScriptedUpstream, Seen, answer

CASES = 40
CONFIG = """[upstreams.main]
kind = "openai"
base_url = "URL"

[[routes]]
model = "*"
targets = [{upstream = "main"}]

[[prices]]
upstream = "main"
model = "*"
from = 2026-01-01
input_mtok = 1000
output_mtok = 1000
"""
SUITE = """suite: words
target: echo
dataset: words
run: {concurrency: 4}
scorers:
  - {id: there, type: contains}
"""
PROMPT = """name: echo
model: m
parameters: {max_output_tokens: 5}
input:
  word: {type: string}
messages:
  - {role: user, content: "{{ word }}"}
"""


class Words(ScriptedUpstream):
    """Says what it was given; after ``patience`` answers it behaves as ``then`` says."""

    def __init__(self) -> None:
        super().__init__(reply_with=self._reply)
        self.patience = 10**9
        self.then: Script = []
        self.answered: Counter[str] = Counter()

    def _reply(self, seen: Seen) -> Script:
        word = json.loads(seen.body)["messages"][0]["content"]
        if self.answered.total() >= self.patience:
            return self.then
        self.answered[word] += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": word}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        return answer(json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": usage}).encode())


class Place:
    """A directory with a suite, its server, and the upstream behind it."""

    def __init__(self, server: RunningServer, upstream: Words) -> None:
        self.server, self.upstream, self.folder = server, upstream, server.directory
        rows = [{"input": {"word": f"word-{at:02d}"}, "expected": f"word-{at:02d}"} for at in range(CASES)]
        for name, text in {
            "evals/words.yaml": SUITE,
            "evals/datasets/words.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "prompts/echo.yaml": PROMPT,
        }.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)

    @property
    def environ(self) -> dict[str, str]:
        return {"HEADGATE_URL": self.server.url}

    def run(self, *arguments: str) -> tuple[int, Any]:
        done = run_cli(*arguments, "--json", cwd=self.folder, environ=self.environ)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def begin(self) -> "subprocess.Popen[bytes]":
        """Starts a run and does not wait for it."""
        return subprocess.Popen(
            [*headgate_command(), "eval", "run", "words", "--json"],
            cwd=self.folder,
            env=clean_environment(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def newest_run(self) -> str:
        return str(self.server.api("/api/evals/runs")["runs"][0]["run"])


@pytest.fixture
def place(tmp_path: Path, new_server: Callable[..., RunningServer]) -> Iterator[Place]:
    upstream = Words()
    made = Place(new_server(CONFIG.replace("URL", upstream.base_url)), upstream)
    made.server.start()
    assert run_cli("prompt", "push", cwd=made.folder, environ=made.environ).returncode == 0
    yield made
    upstream.close()


def stuck(place: Place, after: int) -> "subprocess.Popen[bytes]":
    """A run under way of which ``after`` cells are answered and stored, the rest hangs."""
    place.upstream.patience, place.upstream.then = after, ["wait-gone"]
    process = place.begin()
    eventually(
        lambda: sum(row["outcome"] == "ok" for row in place.server.rows(purpose="eval")) == after,
        within_s=20,
        what=f"{after} cells are in the log",
    )
    return process


def go_on(place: Place, run: str) -> None:
    place.upstream.patience = 10**9
    code, ran = place.run("eval", "resume", run)
    assert (code, ran["status"], ran["results"]) == (0, "complete", CASES), ran
    assert set(place.upstream.answered.values()) == {1}, "no finished cell is called again"
    assert len(place.upstream.answered) == CASES


def test_a_killed_run_is_resumed_without_repeating_a_finished_cell(place: Place) -> None:
    process = stuck(place, 15)
    process.kill()
    process.communicate(timeout=10)
    go_on(place, place.newest_run())


def test_ctrl_c_ends_a_run_with_130_and_it_is_resumed(place: Place) -> None:
    process = stuck(place, 10)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    ran = json.loads(out)
    assert (process.returncode, ran["status"], ran["stopped"]) == (130, "partial", "interrupted")
    assert len(ran["missing"]) == CASES - 10
    go_on(place, ran["run"])


def test_a_budget_ends_a_run_with_4_and_never_spends_more(place: Place) -> None:
    code, ran = place.run("eval", "run", "words", "--budget", "0.105")  # a call costs $0.01
    assert (code, ran["status"], ran["stopped"]) == (4, "partial", "budget"), ran
    assert Decimal("0.08") <= Decimal(ran["spent_usd"]) <= Decimal("0.105"), ran
    go_on(place, ran["run"])


def test_an_upstream_that_dies_ends_a_run_with_5_and_what_is_missing(place: Place) -> None:
    place.upstream.patience = 12
    place.upstream.then = answer(b'{"error":{"message":"gone"}}', status="400 Bad")
    code, ran = place.run("eval", "run", "words")
    assert (code, ran["stopped"]) == (5, "upstream"), ran
    assert len(ran["missing"]) == CASES - 12
    go_on(place, ran["run"])
    calls = place.upstream.answered.total()
    code, again = place.run("eval", "run", "words")
    assert (code, again["called"], again["cached"], place.upstream.answered.total()) == (0, 0, CASES, calls)

"""Own scorers: code of users in a limited process, which is an error for its case and never the run's end."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.evals import own_scorer
from headgate.evals.dataset import Row
from headgate.evals.output import Output, ToolCall
from headgate.evals.own_scorer import OwnScorer
from headgate.evals.scorer import Score, ScorerFault, ScorerSpec, scorer_of
from headgate.evals.scorers.own import Own
from headgate.evals.suite import load_suite

ROW = Row(id="r1", input={"question": "q"}, expected="pass", tags={"lang": "de"})


def own(code: str, **params: object) -> Own:
    found = scorer_of(ScorerSpec(id="own", type="python", params={"code": code, **params}))
    assert isinstance(found, Own)
    return found


def scores(code: str, *texts: str, **params: object) -> list[Score]:
    with OwnScorer(own(code, **params)) as running:
        return [running.score(ROW, Output(text=text)) for text in texts]


def test_a_function_may_return_a_truth_a_number_nothing_or_a_mapping() -> None:
    code = """
def score(row, output):
    return {"yes": True, "half": 0.5, "none": None, "map": {"value": 0, "reason": "because"}}[output["text"]]
"""
    yes, half, nothing, mapped = scores(code, "yes", "half", "none", "map")
    assert (yes.value, half.value, mapped.value, mapped.reason) == (1.0, 0.5, 0.0, "because")
    assert (nothing.value, nothing.status) == (None, "unscored")


def test_it_is_given_the_whole_row_and_the_whole_output() -> None:
    code = """
def score(row, output):
    assert row["id"] == "r1" and row["expected"] == "pass" and row["tags"] == {"lang": "de"} and row["context"] == []
    call, = output["tool_calls"]
    return call["name"] == "find" and output["latency_ms"] == 3.5 and output["cost_usd"] is None
"""
    output = Output(tool_calls=(ToolCall(name="find"),), latency_ms=3.5)
    with OwnScorer(own(code)) as running:
        assert running.score(ROW, output).value == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no such thing')", "ValueError in line 4: no such thing"),
        ("return 'good'", "score returned str"),
        ("return float('nan')", "score returned nan"),
        ("return 7", "outside of its range"),
        ("return {'value': 1, 'score': 2}", "unknown keys: score"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("return len([0] * (1 << 34))", "MemoryError"),
        ("import os; os.write(os.memfd_create('file'), b'x' * 100); return 1", "OSError"),
        ("return {'value': 1, 'reason': 'x' * 10_000_000}", "more than 64 KB"),
        ("import os; os.write(3, b'not json\\n'); os.write(4, b'not json\\n'); return 1", None),
    ],
)
def test_a_case_that_fails_is_an_error_and_the_next_one_goes_on(body: str, said: str | None) -> None:
    code = f"""
def score(row, output):
    if output["text"] == "bad":
        {body.replace("; ", chr(10) + "        ")}
    return True
"""
    good, bad, again = scores(code, "good", "bad", "again")
    assert good.value == 1 and again.value == 1, (good, again)
    if said is not None:
        assert (bad.value, bad.status) == (None, "error")
        assert said in bad.reason


def test_a_case_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import time
def score(row, output):
    while output["text"] == "sleeps":
        time.sleep(1)
    while output["text"] == "works":
        pass
    return True
"""
    slept, after = scores(code, "sleeps", "", timeout_s=0.2)
    assert (slept.status, after.value) == ("error", 1) and "longer than 0.2 s" in slept.reason
    monkeypatch.setattr(own_scorer, "CPU_S", 0.5)
    (worked,) = scores(code, "works", timeout_s=30)
    assert worked.status == "error" and "processor time" in worked.reason


def test_it_sees_no_secret_and_its_prints_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = """
import os, sys
def score(row, output):
    print("hello"); print("hello", file=sys.stderr)
    return not any("KEY" in name for name in os.environ) and sys.stdin.read() == ""
"""
    assert scores(code, "")[0].value == 1


def test_it_cannot_reach_the_network_where_the_kernel_lets_us(listening: tuple[str, int]) -> None:
    code = f"""
import socket
def score(row, output):
    socket.create_connection({listening!r}, timeout=2)
    return True
"""
    with OwnScorer(own(code)) as running:
        found = running.score(ROW, Output())
        assert running.has_network is not None
        assert found.value == (1 if running.has_network else None), found.reason


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_what_it_starts_ends_with_it() -> None:
    code = """
import subprocess, sys
def score(row, output):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return {"value": 1, "reason": str(child.pid)}
"""
    (found,) = scores(code, "")
    assert found.value == 1, found.reason
    with pytest.raises(ProcessLookupError):
        for _ in range(1000):  # killed already; the kernel may take a moment to forget it
            os.kill(int(found.reason), 0)
            if "Z" in Path(f"/proc/{found.reason}/stat").read_text().split(")")[1]:
                raise ProcessLookupError


def test_code_that_does_not_load_is_an_error_of_every_case_with_its_reason() -> None:
    found = scores("import no_such_module\ndef score(row, output):\n    return 1\n", "a", "b")
    assert [one.status for one in found] == ["error", "error"]
    assert "scorer.py could not be loaded: ModuleNotFoundError in line 1" in found[0].reason


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def score(row, output:\n", "scorer.py:1 is not Python"),
        ("def scores(row, output): return 1", "no function score"),
        ("def score(row): return 1", "scorer.py:1 score takes two arguments"),
        ("", "file is missing"),
        ("#" * (65 << 10), "at most 64 KB"),
    ],
)
def test_code_that_can_be_no_scorer_is_refused_without_running_it(code: str, said: str) -> None:
    with pytest.raises(ScorerFault, match=said):
        own(code)


def test_one_process_serves_many_cases() -> None:
    code = """
seen = []
def score(row, output):
    seen.append(output["text"])
    return {"value": 1, "reason": str(len(seen))}
"""
    assert [one.reason for one in scores(code, *"abcd")] == ["1", "2", "3", "4"]


def test_a_suite_takes_the_code_into_its_text_and_its_hash(tmp_path: Path) -> None:
    (tmp_path / "scorers").mkdir()
    file = tmp_path / "scorers/polite.py"
    file.write_text("def score(row, output):\n    return 'please' in output['text']\n")
    text = "suite: s\ntarget: p\ndataset: d\nscorers:\n  - {id: polite, type: python, file: scorers/polite.py}\n"
    suite = load_suite(text, "s.yaml", folder=tmp_path)
    alone = load_suite(suite.text, "s.yaml", folder=None)
    assert alone.sha256 == suite.sha256 and "please" in suite.text
    file.write_text("def score(row, output):\n    return 'thanks' in output['text']\n")
    assert load_suite(text, "s.yaml", folder=tmp_path).sha256 != suite.sha256

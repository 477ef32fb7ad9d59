"""The first minutes of a newcomer: the demo's sample suite runs, its gate passes, its report is there."""

import json
from collections.abc import Callable

from support.commands import run_cli
from support.server import RunningServer


def test_the_sample_suite_runs_in_the_demo_and_a_new_version_reaches_production(
    new_server: Callable[..., RunningServer],
) -> None:
    server = new_server(arguments=["--demo"])
    server.start()

    def run(*arguments: str) -> tuple[int, str]:
        done = run_cli(*arguments, cwd=server.directory, environ={"HEADGATE_URL": server.url})
        return done.returncode, done.stdout + done.stderr

    code, said = run("eval", "validate", "support-answer")
    assert code == 0 and "20 cases" in said, said
    assert run("prompt", "pull", "support-answer")[0] == 0
    file = server.directory / "prompts/support-answer.yaml"
    file.write_text(file.read_text().replace("answer customers", "calmly answer customers"))
    assert run("prompt", "push")[0] == 0
    code, said = run("eval", "gate", "support-answer", "--prompt", "support-answer@2")
    assert code == 0 and said.count("PASS") == 1 and "Receipt" in said, said
    code, said = run("eval", "report", "last", "--format", "markdown")
    assert code == 0 and "The gate passed" in said and "support-answer@2" in said, said
    code, said = run("prompt", "promote", "support-answer@2")
    assert code == 0 and "receipt" in said, said
    code, said = run("eval", "plan", "support-answer", "--policy", "standard")
    assert code == 0 and "20 calls to judge-rubric, $" in said, said
    assert "Policy standard, with a power of 80% at alpha 0.05:" in said and "could show a difference of" in said, said
    newest = server.api("/api/evals/runs")["runs"][0]["run"]
    code, said = run("eval", "report", newest, "-o", "report.html")
    assert code == 0, said
    assert "support-answer@2" in (server.directory / "report.html").read_text()

    judged = server.rows(purpose="judge")
    labels = [
        {"request_id": row["request_id"], "label": "fail" if at % 4 == 0 else "pass"} for at, row in enumerate(judged)
    ]
    (server.directory / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    code, said = run("judge", "calibrate", "support-answer", "labels.jsonl", "--scorer", "to-the-point", "--json")
    assert code == 0, said
    card = json.loads(said)["card"]
    assert (card["facts"]["n"], card["expired"]) == (len(judged), False)
    assert run("judge", "card", "judge-rubric")[1].count("card_") == 1

    code, said = run("eval", "run", "classify-ticket", "--json")
    assert code == 0, said
    totals = {row["scorer"]: row["value"] for row in map(json.loads, run("eval", "export", "last")[1].splitlines())}
    assert set(totals) == {"readable", "queue", "urgency", "all-of-it"}

    code, said = run("eval", "init", "answers", "--prompt", "support-answer", "--from-log", "25")
    assert code == 2 and "has no calls of support-answer" in said, "calls of evaluations are no traffic"

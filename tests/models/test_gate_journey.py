"""A protected champion: what a team does from the first model to a bad one that is kept out, and back again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headgate
from support.commands import run_cli
from support.models import TrainedModel, breast_cancer, infer_body, labelled, worse
from support.server import RunningServer


class Team:
    """An author and a second person, each with a key."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.author, self.second = self._key("author", "developer"), self._key("second", "approver")

    def _key(self, name: str, role: str) -> str:
        return str(self._server.api("/api/keys", body={"name": name, "role": role})["plaintext"])

    def run(self, *arguments: str, key: str | None = None, expect: int = 0) -> Any:
        """One command by the author, or by whoever ``key`` is; its JSON where it prints some."""
        environ = {"HEADGATE_URL": self._server.url, "HEADGATE_API_KEY": key or self.author}
        done = run_cli(*arguments, cwd=self._server.directory, environ=environ)
        assert done.returncode == expect, (done.stdout, done.stderr)
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    def register(self, trained: TrainedModel, message: str) -> str:
        """Register from the training process; the version's reference."""
        answer = headgate.register_model(
            "churn",
            trained.estimator,
            trained.rows[:20],
            features=trained.features,
            metrics={"auc": 1.0},
            message=message,
            url=self._server.url,
            api_key=self.author,
        )
        assert answer["report"]["parity"]["passed"]
        return str(answer["version"]["ref"])

    def ask(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """One call of the API by the author, or by whoever ``key`` is."""
        self._server.key = key or self.author
        try:
            return self._server.api(path, body=body)
        finally:
            self._server.key = None

    def approve(self, number: int, reason: str) -> None:
        """The second person's yes."""
        self.ask("/api/models/churn/approve", {"version": number, "reason": reason}, key=self.second)

    def champion(self) -> int | None:
        """What is in force."""
        found = self._server.api("/api/models/churn")["aliases"].get("champion")
        return None if found is None else int(found)


@pytest.fixture(scope="module")
def team(server: RunningServer) -> Team:
    return Team(server)


def test_a_champion_is_gated_approved_measured_defended_and_rolled_back(
    server: RunningServer, team: Team, tmp_path: Path
) -> None:
    good = breast_cancer()
    holdout = tmp_path / "holdout.jsonl"
    holdout.write_text(labelled(good))
    assert team.register(good, "first") == "churn@1"

    told = team.run("model", "promote", "churn@1", expect=1)
    assert "Refused: churn@1 may not become champion. Policy standard" in told
    assert "headgate model test churn@1 --dataset labelled.jsonl" in told
    judged = team.run("model", "test", "churn@1", "--dataset", str(holdout))
    assert "PASS" in judged and "headgate model promote churn@1" in judged
    told = team.run("model", "promote", "churn@1", expect=1)
    assert "asks for 1 approval by someone other than the author; there is none" in told
    assert "headgate model approve churn@1" in told
    assert team.champion() is None
    team.run("model", "approve", "churn@1", "--reason", "mine", expect=2)  # a developer's key may not
    team.run("model", "approve", "churn@1", "--reason", "read the figures", key=team.second)
    assert "Policy standard is satisfied: receipt rcpt_" in team.run("model", "promote", "churn@1")

    rows = good.rows[:40]
    status, headers, body = server.post("/v2/models/churn/infer", infer_body(rows))
    assert (status, headers["x-headgate-model"]) == (200, "churn@1"), body
    request = headers["x-headgate-request-id"]
    server.row(request)
    labels = [{"request_id": request, "row": row, "label": truth} for row, truth in enumerate(good.truth[:40].tolist())]
    assert team.ask("/api/labels", {"labels": labels})["stored"] == 40
    (found,) = team.ask("/api/models/churn/performance")["versions"]
    accuracy = {one["name"]: one["value"] for one in found["metrics"]}["accuracy"]
    assert accuracy == pytest.approx(float(np.mean(good.local(rows)[0] == good.truth[:40])))

    assert team.register(breast_cancer(0.5), "another strength") == "churn@2"
    answer = team.run("model", "test", "churn@2", "--dataset", "holdout@1", "--against", "champion", "--json")
    assert (answer["verdict"]["verdict"], answer["receipt"]["kind"]) == ("pass", "model")
    team.approve(2, "as good")
    team.run("model", "promote", "churn@2")

    assert team.register(worse(), "looked great on my machine") == "churn@3"
    answer = team.run("model", "test", "churn@3", "--dataset", "holdout@1", "--json", expect=1)
    assert (answer["verdict"]["verdict"], answer["receipt"]) == ("fail", None)
    correct = next(one for one in answer["metrics"] if one["name"] == "correct")
    assert correct["difference_high"] < 0 and correct["baseline"] > correct["value"]
    team.approve(3, "did not look")
    assert "Refused: churn@3 may not become champion" in team.run("model", "promote", "churn@3", expect=1)
    assert team.champion() == 2

    assert "churn@champion is now version 1 (was 2)" in team.run("model", "rollback", "churn", "--reason", "to be sure")
    status, headers, _ = server.post("/v2/models/churn/infer", infer_body(rows))
    assert (status, headers["x-headgate-model"]) == (200, "churn@1")
    told = team.run("history", "model:churn")
    for action in ("model.register", "gate.pass", "gate.fail", "model.approve", "alias.move", "alias.rollback"):
        assert action in told


def test_an_override_is_an_approvers_with_a_reason_and_is_recorded(server: RunningServer, team: Team) -> None:
    name = "churn-override"
    headgate.register_model(
        name, breast_cancer().estimator, breast_cancer().rows[:5], url=server.url, api_key=team.author
    )
    told = team.run("model", "promote", f"{name}@1", "--override", "--reason", "mine", expect=1)
    assert "The role developer may not override that" in told
    moved = team.run("model", "promote", f"{name}@1", "--override", "--reason", "the old one is down", key=team.second)
    assert "Policy standard was overridden" in moved
    move = server.api(f"/api/models/{name}")["moves"][0]
    assert (move["gate"], move["reason"]) == ("override", "the old one is down")

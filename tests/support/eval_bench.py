"""A home in which a prompt is evaluated: its calls are written to the log as a worker would write them."""

import json
from collections.abc import Sequence
from typing import Any

from headgate.evals.cells import cell_key
from headgate.evals.dataset import Row
from headgate.registry import prompts
from support.pushed_prompts import GREET, push_prompt

SUITE = """\
suite: greetings
target: greet
dataset: people
scorers:
  - {id: named, type: regex, pattern: "Hello", must_pass: true}
"""
PEOPLE = ("Ada", "Bo", "Cy")


def rows(people: Sequence[str] = PEOPLE) -> str:
    lines = [{"id": name.lower(), "input": {"person": name}, "tags": {"lang": "en"}} for name in people]
    return "".join(json.dumps(line) + "\n" for line in lines)


class Bench:
    """A home with a prompt in two versions, a dataset and a suite, whose calls are written as a worker would."""

    def __init__(self, served: Any, people: Sequence[str] = PEOPLE, suite: str = SUITE, key: str | None = None) -> None:
        self.served, self.people, self.key = served, tuple(people), key
        for system in ("Be kind.", "Be brief."):
            push_prompt(served, GREET.format(name="greet", system=system), key)
        self.post("/api/datasets/push", {"name": "people", "rows_jsonl": rows(people)})
        self.suite = self.post("/api/evals/suites", {"file": "evals/greetings.yaml", "text": suite})["sha256"]

    def post(self, path: str, body: Any, status: int = 200, key: str | None = None) -> Any:
        answer = self.served.ask("POST", path, body=body, key=key or self.key)
        assert answer.status_code == status, answer.text
        return answer.json()

    def start(self, ref: str = "greet@2", **more: Any) -> Any:
        return self.post("/api/evals/runs", {"suite_sha256": self.suite, "prompt": ref, **more})

    def sha256(self, number: int) -> str:
        registry = self.served.registry
        return prompts.get_version(registry, "greet", number).sha256

    def call(self, run: str, person: str, answer: str = "Hello!", *, number: int = 2, **fields: Any) -> str:
        """One call of the prompt for one case, in the log."""
        key = cell_key(self.sha256(number), None, Row(input={"person": person}), 0)
        variables = fields.pop("variables", {"person": person})
        body = {"prompt": {"id": "greet", "version": str(number), "variables": variables}, **fields.pop("body", {})}
        request_id: str = self.served.record(
            **{
                "answer": answer,
                "purpose": "eval",
                "prompt_name": "greet",
                "prompt_version": number,
                "prompt_sha256": self.sha256(number),
                "prompt_vars": json.dumps(variables),
                "tags": {"cell": key, "run": run},
                "request_body": body,
                **fields,
            }
        )
        return request_id

    def finish(self, run: str, ids: list[str], **more: Any) -> Any:
        return self.post(f"/api/evals/runs/{run}/finish", {"request_ids": ids, **more})

    def results(self, run: str) -> dict[str, Any]:
        answer = self.served.ask("GET", f"/api/evals/runs/{run}/results", key=self.key)
        return {one["item"]: one for one in map(json.loads, answer.text.splitlines())}

    def evaluated(self, number: int, bad: Sequence[str] = (), **more: Any) -> str:
        """A finished run of one version: every case greeted, but for the bad ones."""
        run: str = self.start(f"greet@{number}", **more)["run"]
        for name in self.people:
            self.call(run, name, "Go away." if name in bad else f"Hello {name}", number=number)
        assert self.finish(run, [])["status"] == "complete"
        return run

    def promote(self, number: int, **more: Any) -> Any:
        """Asks for a version to become production."""
        body = {"alias": "production", "version": number, **more}
        return self.served.ask("POST", "/api/prompts/greet/aliases", body=body, key=self.key)

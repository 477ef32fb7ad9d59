"""A home in which two versions of a knowledge base and a prompt that reads from it are evaluated; calls are written to
the log as a worker would write them.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from headgate.evals.cells import cell_key
from headgate.evals.dataset import Row
from headgate.registry import kbs, prompts
from headgate.registry.kbs import NewKbVersion
from support.pushed_prompts import push_prompt

ASK = """\
name: ask
model: gpt-5-mini
input: {{question: {{type: string}}}}
knowledge: {{kb: handbook@{kb}, query: "{{{{ question }}}}"}}
messages:
  - {{role: system, content: "{system}{{% for c in knowledge %}} {{{{ c.text }}}}{{% endfor %}}"}}
  - {{role: user, content: "{{{{ question }}}}"}}
"""
SUITE = """\
suite: answers
target: ask
dataset: questions
scorers:
  - {id: paid, type: contains, must_pass: true}
  - {id: named, type: regex, pattern: "day", role: primary}
"""
QUESTIONS = tuple(f"What about parcel {number}?" for number in range(24))


def add_kb_version(served: Any, name: str = "handbook") -> int:
    """One more version in the registry, with no files behind it."""
    registry = served.registry
    number = next((kb.latest or 0 for kb in kbs.list_kbs(registry) if kb.name == name), 0) + 1
    digest = sha256(f"{name} {number}".encode()).hexdigest()
    new = NewKbVersion(
        name=name,
        description="",
        sha256=digest,
        content_sha256=digest,
        embedder="lexical",
        dimensions=384,
        embed_asks=None,
        documents=1,
        chunks=1,
    )
    kbs.add_version(registry, new, who="local")
    return number


class KbBench:
    """Two versions of `handbook`, `ask@1` pinned to the first, a dataset and a suite."""

    def __init__(self, served: Any, suite: str = SUITE, key: str | None = None) -> None:
        self.served, self.key = served, key
        self.registry = served.registry
        add_kb_version(served)
        add_kb_version(served)
        push_prompt(served, ASK.format(kb=1, system="Be kind."), key)
        rows = [{"input": {"question": one}, "expected": "days"} for one in QUESTIONS]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        self.post("/api/datasets/push", {"name": "questions", "rows_jsonl": lines})
        self.suite = self.post("/api/evals/suites", {"file": "evals/answers.yaml", "text": suite})["sha256"]

    def post(self, path: str, body: Any, status: int = 200, key: str | None = None) -> Any:
        answer = self.served.ask("POST", path, body=body, key=key or self.key)
        assert answer.status_code == status, answer.text
        return answer.json()

    def kb_sha256(self, number: int) -> str:
        return kbs.get_kb(self.registry, "handbook").version(number).sha256

    def start(self, prompt: int = 1, kb: str | None = None, status: int = 200, **more: Any) -> Any:
        body = {"suite_sha256": self.suite, "prompt": f"ask@{prompt}", "kb": kb, **more}
        return self.post("/api/evals/runs", body, status)

    def call(
        self, run: str, question: str, *, prompt: int = 1, cell_kb: int | None = None, read: int | None = 1, **more: Any
    ) -> str:
        """One call of the prompt for one case, in the log: ``cell_kb`` is in its key, ``read`` is what it read."""
        digest = prompts.get_version(self.registry, "ask", prompt).sha256
        key = cell_key(
            digest, None if cell_kb is None else self.kb_sha256(cell_kb), Row(input={"question": question}), 0
        )
        variables = {"question": question}
        request_id: str = self.served.record(
            **{
                "answer": f"Five days for {question}",
                "purpose": "eval",
                "prompt_name": "ask",
                "prompt_version": prompt,
                "prompt_sha256": digest,
                "prompt_vars": json.dumps(variables),
                "kb_name": None if read is None else "handbook",
                "kb_version": read,
                "tags": {"cell": key, "run": run},
                "request_body": {"prompt": {"id": "ask", "version": str(prompt), "variables": variables}},
                **more,
            }
        )
        return request_id

    def evaluated(
        self, prompt: int = 1, kb: int | None = None, *, pin: int = 1, bad: Sequence[str] = (), **more: Any
    ) -> str:
        """A finished run; ``kb``: what is read instead of the pin."""
        run: str = self.start(prompt, None if kb is None else f"handbook@{kb}", **more)["run"]
        for one in QUESTIONS:
            answer = {"answer": f"No idea about {one}"} if one in bad else {}
            self.call(run, one, prompt=prompt, cell_kb=kb, read=kb or pin, **answer)
        done = self.finish(run)
        assert done["status"] == "complete", done
        return run

    def finish(self, run: str) -> Any:
        return self.post(f"/api/evals/runs/{run}/finish", {"request_ids": []})

    def gate(self, candidate: str, baseline: str | None = None, **more: Any) -> Any:
        body = {"candidate": candidate, "baseline": baseline, "alias": "production", **more}
        return self.post("/api/evals/gate", body)

    def promote(self, number: int, **more: Any) -> Any:
        """Asks for a version of the knowledge base to become production."""
        body = {"alias": "production", "version": number, **more}
        return self.served.ask("POST", "/api/kb/handbook/aliases", body=body, key=self.key)

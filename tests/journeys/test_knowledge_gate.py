"""A knowledge base under a gate, by commands: asked, changed, judged old against new, released with its prompt, rolled
back.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.client import Got, call, request_bytes
from support.commands import run_cli
from support.server import DemoUpstream, RunningServer

TOPICS = 24
PAGES = 4
CONFIG = """[upstreams.demo]
kind = "openai"
base_url = "URL"

[[routes]]
model = "*"
targets = [{upstream = "demo"}]

[[protect]]
kind = "prompt"
name = "*"
alias = "production"
policy = "evals/policies/own.yaml"

[[protect]]
kind = "kb"
name = "*"
alias = "production"
policy = "evals/policies/own.yaml"
"""
POLICY = """schema: headgate/gate@1
grade: B
primary: [{metric: primary, non_inferior: {margin: 0.05}}]
absolute: [{metric: price, min: 0.5, bound: wilson_lower}]
quality_of_run: {max_unscored: 0.02, max_error: 0.02, min_items: 20, distinct_outputs: 0.1}
"""
SUITE = """suite: prices
target: shop
dataset: prices
run: {concurrency: 8}
scorers:
  - {id: price, type: contains, role: primary}
  - {id: found, type: retrieval.recall, role: guard}
  - {id: rank, type: retrieval.mrr, role: info}
"""
PROMPT = """name: shop
model: demo-chat
suites: [prices]
input: {question: {type: string}}
knowledge: {kb: goods@latest, query: "{{ question }}", top_k: 2}
messages:
  - role: system
    content: "Answer from these notes:{% for c in knowledge %}\\n[{{ loop.index }}] {{ c.text }}{% endfor %}"
  - {role: user, content: "{{ question }}"}
"""


def word(at: int) -> str:
    """A topic that the demo model's word rules cannot take for another."""
    return "".join("bdfgklmnpr"[int(digit)] + "aeiou"[at % 5] for digit in f"{at:03d}") + "rin"


def page(number: int, *, without: bool = False) -> str:
    """A document of six topics; ``without``: it says nothing of their prices."""
    said = "is sold out" if without else "costs {} dollars"
    topics = range(number, TOPICS, PAGES)
    return f"# Page {number}\n" + "".join(
        f"\n## {word(at)}\nThe {word(at)} {said.format(100 + 7 * at)}.\n" for at in topics
    )


class Shop:
    """A directory as a user keeps it, with its server."""

    def __init__(self, server: RunningServer) -> None:
        self.server, self.folder = server, server.directory
        rows = [
            {
                "input": {"question": f"What does the {word(at)} cost?"},
                "expected": f"{100 + 7 * at} dollars",
                "relevant": [f"page-{at % PAGES}.md"],
            }
            for at in range(TOPICS)
        ]
        files = {
            "evals/prices.yaml": SUITE,
            "evals/policies/own.yaml": POLICY,
            "evals/datasets/prices.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "prompts/shop.yaml": PROMPT,
            "kb/goods.yaml": "embedder: {model: text-embedding-3-small}\n",
        }
        files |= {f"kb/goods/page-{number}.md": page(number, without=number == 0) for number in range(PAGES)}
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> tuple[int, str]:
        """A command's exit code and all it printed."""
        done = run_cli(*arguments, cwd=self.folder, environ={"HEADGATE_URL": self.server.url})
        return done.returncode, done.stdout + done.stderr

    def json(self, *arguments: str) -> tuple[int, Any]:
        """The same of a command that prints JSON."""
        done = run_cli(*arguments, "--json", cwd=self.folder, environ={"HEADGATE_URL": self.server.url})
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def push(self, number: int, text: str) -> Any:
        (self.folder / f"kb/goods/page-{number}.md").write_text(text, encoding="utf-8")
        return self.json("kb", "push", "goods", "kb/goods")[1]

    def standing(self) -> tuple[int | None, int | None]:
        """What production means, of the knowledge base and of the prompt."""
        kb, prompt = self.server.api("/api/kb/goods")["aliases"], self.server.api("/api/prompts/shop")["aliases"]
        return kb.get("production"), prompt.get("production")

    def ask(self, at: int) -> Got:
        body = json.dumps({"model": "prompt:shop", "variables": {"question": f"What does the {word(at)} cost?"}})
        return call(self.server.port, request_bytes(body=body.encode()))


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoUpstream]:
    upstream = DemoUpstream()
    yield upstream
    upstream.close()


@pytest.fixture
def shop(new_server: Callable[..., RunningServer], demo: DemoUpstream) -> Shop:
    server = new_server(CONFIG.replace("URL", demo.base_url))
    made = Shop(server)
    server.start()
    return made


@pytest.mark.slow
def test_a_knowledge_base_is_judged_released_with_its_prompt_and_rolled_back(shop: Shop) -> None:
    assert shop.json("kb", "push", "goods", "kb/goods")[1]["version"]["ref"] == "goods@1"
    assert shop.run("prompt", "push")[0] == 0
    code, said = shop.run("kb", "promote", "goods@1")
    assert code == 1 and "Refused: goods@1 may not become production. Policy evals/policies/own.yaml" in said, said
    code, first = shop.json("eval", "gate", "prices", "--prompt", "shop@1")
    assert (code, [one["kind"] for one in first["receipts"]]) == (0, ["prompt", "kb"]), first
    assert shop.run("prompt", "promote", "shop@1")[0] == 0
    code, said = shop.run("kb", "promote", "goods@1")
    assert code == 0 and "is satisfied: receipt" in said, said
    asked = shop.ask(0)
    assert asked.header("x-headgate-kb") == "goods@1" and b"100 dollars" not in asked.body

    worse = shop.push(1, page(1, without=True))
    assert (worse["version"]["ref"], worse["embedded"]) == ("goods@2", 6)
    code, failed = shop.json("eval", "gate", "prices", "--kb", "goods@2", "--against", "production")
    assert (code, failed["receipt"]) == (1, None), failed
    assert failed["verdict"]["candidate"] == "shop@1 with goods@2" and failed["verdict"]["baseline"] == "shop@1"
    code, said = shop.run("kb", "promote", "goods@2", "--repin")
    assert code == 1 and "FAIL" in said and "Nothing was moved." in said, said
    assert shop.standing() == (1, 1)

    shop.push(1, page(1))
    better = shop.push(0, page(0))
    assert better["version"]["ref"] == "goods@3"
    code, said = shop.run("kb", "promote", "goods@3")
    assert code == 1 and "headgate eval gate prices --kb goods@3 --against production" in said, said
    code, said = shop.run("kb", "promote", "goods@3", "--repin", "--plan")
    assert code == 0 and "goods@3 becomes production (now 1)" in said and "shop becomes production (now 1)" in said
    calls = len(shop.server.rows(purpose="eval"))
    code, done = shop.json("kb", "promote", "goods@3", "--repin", "--reason", "prices of page 0")
    assert code == 0, done
    assert [(move["kind"], move["from"], move["to"], move["gate"]) for move in done["moves"]] == [
        ("prompt", 1, 3, "receipt"),
        ("kb", 1, 3, "receipt"),
    ]
    assert len(shop.server.rows(purpose="eval")) == calls + TOPICS, "one run is evidence for both"
    assert shop.standing() == (3, 3)
    asked = shop.ask(0)
    assert asked.header("x-headgate-kb") == "goods@3" and b"100 dollars" in asked.body

    report = shop.server.api("/api/evals/runs", {"prompt": "shop"})["runs"][0]
    lines = shop.run("eval", "export", str(report["run"]))[1].splitlines()
    recall = [one for one in map(json.loads, filter(None, lines)) if one["scorer"] == "found"]
    assert len(recall) == TOPICS and all(one["value"] == 1.0 for one in recall), recall[0]

    code, said = shop.run("kb", "rollback", "goods", "--reason", "contradicts the shelf")
    assert code == 0 and "goods@production is now version 1 (was 3)" in said, said
    assert "shop@3 still reads goods@3" in said and "headgate prompt rollback shop" in said
    assert shop.run("prompt", "rollback", "shop")[0] == 0
    assert shop.standing() == (1, 1) and shop.ask(0).header("x-headgate-kb") == "goods@1"

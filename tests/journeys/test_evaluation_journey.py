"""A prompt under a gate, by commands: a first version, a worse one, one nobody can tell from it, a better one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.commands import run_cli
from support.server import DemoUpstream, RunningServer

TOPICS = 60
OWN_POLICY = """schema: headgate/gate@1
grade: B
alpha: 0.05
primary: [{metric: primary, non_inferior: {margin: 0.05}}]
absolute: [{metric: price, min: 0.4, bound: wilson_lower}]
quality_of_run: {max_unscored: 0.02, max_error: 0.02, min_items: 60, distinct_outputs: 0.1}
"""
CONFIG = """[upstreams.demo]
kind = "openai"
base_url = "URL"

[upstreams.other]
kind = "anthropic"
base_url = "URL"

[[routes]]
model = "demo-small"
targets = [{upstream = "other"}]

[[routes]]
model = "*"
targets = [{upstream = "demo"}]

[[prices]]
upstream = "demo"
model = "*"
from = 2026-01-01
input_mtok = 1.00
output_mtok = 4.00

[[prices]]
upstream = "other"
model = "*"
from = 2026-01-01
input_mtok = 1.00
output_mtok = 4.00

[[protect]]
kind = "prompt"
name = "*"
alias = "production"
policy = "evals/policies/own.yaml"
"""
SUITE = """suite: prices
target: shop
dataset: prices
policy: policies/own.yaml
run: {concurrency: 8}
budget: {usd: 1.00}
scorers:
  - {id: price, type: contains, role: primary}
"""


TALK = """name: talk
model: demo-small
parameters: {max_output_tokens: 100}
input: {tone: {type: string}}
messages:
  - {role: system, content: "Answer in a {{ tone }} tone from these notes:\\n[1] The hat costs 12 dollars."}
"""
TALK_SUITE = """suite: talk
target: talk
dataset: talk
budget: {usd: 1.00}
scorers:
  - {id: near, type: similarity, model: demo-embed, role: primary}
  - {id: hat, type: regex, pattern: "12 dollars"}
"""


def word(at: int) -> str:
    """A topic that the demo model's word rules cannot take for another."""
    return "".join("bdfgklmnpr"[int(digit)] + "aeiou"[at % 5] for digit in f"{at:03d}") + "rin"


def price(at: int) -> str:
    return f"{100 + 7 * at} dollars"


def prompt(known: set[int], *, extra: str = "", suites: str = "suites: [prices]\n") -> str:
    notes = "\n".join(f"      [{at + 1}] The {word(at)} costs {price(at)}." for at in sorted(known))
    return (
        f"name: shop\nmodel: demo-chat\nparameters: {{max_output_tokens: 100}}\n{suites}"
        "input:\n  question: {type: string}\nmessages:\n"
        f"  - role: system\n    content: |-\n      Answer from these notes:{extra}\n{notes}\n"
        '  - {role: user, content: "{{ question }}"}\n'
    )


class Shop:
    """A directory as a user keeps it, with its server."""

    def __init__(self, server: RunningServer) -> None:
        self.server, self.folder = server, server.directory
        for name, text in {
            "evals/prices.yaml": SUITE,
            "evals/policies/own.yaml": OWN_POLICY,
            "evals/datasets/prices.jsonl": "".join(
                json.dumps({"input": {"question": f"What does the {word(at)} cost?"}, "expected": price(at)}) + "\n"
                for at in range(TOPICS)
            ),
        }.items():
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

    def push(self, known: set[int], **more: str) -> None:
        (self.folder / "prompts").mkdir(exist_ok=True)
        (self.folder / "prompts/shop.yaml").write_text(prompt(known, **more), encoding="utf-8")
        code, said = self.run("prompt", "push")
        assert code == 0, said

    def gate(self, number: int) -> tuple[int, Any]:
        return self.json("eval", "gate", "prices", "--prompt", f"shop@{number}", "--against", "production")

    def production(self) -> int | None:
        found: dict[str, int] = self.server.api("/api/prompts/shop")["aliases"]
        return found.get("production")


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


def good() -> set[int]:
    return set(range(6, TOPICS))


def noisy() -> set[int]:
    return set(range(TOPICS - 6))


def test_a_prompt_reaches_production_by_evidence_only(shop: Shop) -> None:
    shop.push(good())
    code, said = shop.run("prompt", "promote", "shop@1")
    assert code == 1 and "asks for a passing receipt" in said
    code, first = shop.gate(1)
    assert (code, first["verdict"]["verdict"], first["verdict"]["baseline"]) == (0, "pass", None), first
    assert any(rule["outcome"] == "not_applicable" for rule in first["verdict"]["rules"])
    assert first["receipt"] is not None
    assert shop.run("prompt", "promote", "shop@1")[0] == 0
    assert shop.production() == 1

    shop.push(set(range(30)))
    code, worse = shop.gate(2)
    assert (code, worse["verdict"]["verdict"], worse["receipt"]) == (1, "fail", None), worse
    code, said = shop.run("prompt", "promote", "shop@2")
    assert code == 1 and "Refused: shop@2 may not become production" in said
    assert shop.production() == 1

    shop.push(noisy())
    code, unclear = shop.gate(3)
    assert (code, unclear["verdict"]["verdict"]) == (3, "inconclusive"), unclear
    assert any((rule.get("needed_items") or 0) > 0 for rule in unclear["verdict"]["rules"])
    assert shop.run("prompt", "promote", "shop@3")[0] == 1

    shop.push(set(range(TOPICS)))
    code, better = shop.gate(4)
    assert (code, better["verdict"]["verdict"]) == (0, "pass"), better
    code, said = shop.run("prompt", "promote", "shop@4", "--reason", "knows all prices")
    assert code == 0, said
    assert shop.production() == 4
    history = shop.json("history", "prompt:shop")[1]["entries"]
    move = next(entry for entry in history if entry["action"] == "alias.move")
    assert move["detail"]["gate"] == "receipt" and move["detail"]["receipt"], move

    check_reports(shop, str(shop.server.api("/api/evals/runs", {"prompt": "shop"})["runs"][0]["run"]))
    calls = len(shop.server.rows(purpose="eval"))
    assert shop.run("eval", "run", "prices", "--prompt", "shop@4")[0] == 0
    assert len(shop.server.rows(purpose="eval")) == calls, "a repeated run calls nothing"


def check_reports(shop: Shop, run: str) -> None:
    """The report of the last gate in all its renderings; JSON is the same bytes each time."""
    for name, words in {
        "report.html": "shop@4",
        "report.md": "shop@4",
        "report.xml": "<testsuite",
        "report.json": '"verdict"',
        "again.json": '"verdict"',
    }.items():
        code, said = shop.run("eval", "report", run, "-o", name)
        assert code == 0, said
        assert words in (shop.folder / name).read_text(encoding="utf-8")
    assert (shop.folder / "report.json").read_bytes() == (shop.folder / "again.json").read_bytes()
    code, said = shop.run("eval", "report", run)
    assert code == 0 and "shop@4" in said


def check_the_suites_own_policy(shop: Shop) -> None:
    """A policy that the suite names, as a path from here, is held beside the server's, and both must pass."""
    plain = SUITE.replace("policy: policies/own.yaml\n", "")
    (shop.folder / "evals/policies/tight.yaml").write_text(
        "schema: headgate/gate@1\nname: tight\ngrade: B\nabsolute: [{metric: price, min: 0.99, bound: mean}]\n"
    )
    (shop.folder / "evals/prices.yaml").write_text(plain + "policy: evals/policies/tight.yaml\n")
    code, answer = shop.gate(1)
    assert (code, answer["verdict"]["policy"], answer["verdict"]["verdict"]) == (1, "tight", "fail"), answer
    assert [(one["verdict"]["policy"], one["verdict"]["verdict"]) for one in answer["others"]] == [("own", "pass")]
    assert answer["receipt"] is None and shop.run("prompt", "promote", "shop@1")[0] == 1
    (shop.folder / "evals/prices.yaml").write_text(plain + "policy: tite.yaml\n")
    code, said = shop.run("eval", "gate", "prices", "--prompt", "shop@1")
    assert code == 2 and "there is no file evals/tite.yaml nor tite.yaml" in said, said
    (shop.folder / "evals/prices.yaml").write_text(plain)
    code, said = shop.run("eval", "report", "run_none")
    assert code == 2 and "/ui/runs" in said and "last is the newest" in said, said


def test_files_without_rules_of_their_own_and_an_edited_byte_are_refused_as_well(shop: Shop) -> None:
    (shop.folder / "evals/prices.yaml").write_text(SUITE.replace("policy: policies/own.yaml\n", ""))
    shop.push(good(), suites="")
    assert shop.run("prompt", "promote", "shop@1")[0] == 1
    check_the_suites_own_policy(shop)
    assert shop.gate(1)[0] == 0
    shop.push(good(), suites="", extra=" ")
    code, said = shop.run("prompt", "promote", "shop@2")
    assert code == 1 and "is for other content" in said, said
    assert shop.production() is None
    assert shop.run("prompt", "promote", "shop@1")[0] == 0
    shop.push(set(range(30)), suites="")
    assert shop.gate(3)[0] == 1
    assert shop.run("prompt", "promote", "shop@3")[0] == 1
    assert shop.production() == 1
    check_another_dialect(shop)
    check_versions_of_a_dataset(shop)


def check_versions_of_a_dataset(shop: Shop) -> None:
    """Versions are named as everywhere else: prices@1."""
    file = shop.folder / "evals/datasets/prices.jsonl"
    file.write_text(file.read_text() + '{"id": "more", "input": {"question": "?"}}\n')
    code, said = shop.run("dataset", "push", "evals/datasets/prices.jsonl")
    assert code == 0 and "prices@2  new version, 61 rows" in said, said
    for named in (("prices", "1", "2"), ("prices@1", "@2"), ("prices@1", "prices@2")):
        assert shop.run("dataset", "diff", *named) == (0, "+ more\n60 unchanged\n")
    code, said = shop.run("dataset", "diff", "prices@1", "talk@1")
    assert code == 2 and "prices@2 @3" in said
    assert shop.run("dataset", "pull", "prices@1", "--to", "old.jsonl") == (0, "old.jsonl: 60 rows\n")
    assert shop.run("dataset", "show", "prices@1", "--version", "2")[0] == 2
    assert "prices" in shop.run("dataset", "list")[1]


def check_another_dialect(shop: Shop) -> None:
    """Cases of whole conversations on /v1/messages, scored by embeddings of the gateway: priced, and asked once."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]
    rows = [
        {
            "id": f"talk-{at}",
            "input": {"tone": tone, "messages": [*turns, {"role": "user", "content": "What does the hat cost?"}]},
            "expected": "Twelve dollars is what the hat costs.",
        }
        for at, tone in enumerate(("calm", "merry"))
    ]
    (shop.folder / "evals/talk.yaml").write_text(TALK_SUITE)
    (shop.folder / "evals/datasets/talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (shop.folder / "prompts/talk.yaml").write_text(TALK)
    assert shop.run("prompt", "push", "prompts/talk.yaml")[0] == 0
    code, ran = shop.json("eval", "run", "talk", "--prompt", "talk@1")
    assert code == 0, ran
    answers = [row for row in shop.server.rows(purpose="eval") if row["prompt_name"] == "talk"]
    assert {(row["endpoint"], row["upstream"]) for row in answers} == {("anthropic.messages", "other")}
    vectors = shop.server.rows(purpose="embedding")
    assert vectors and all(float(row["cost_usd"]) > 0 for row in (*answers, *vectors))
    code, exported = shop.run("eval", "export", "last")
    values = [json.loads(line) for line in exported.splitlines() if line.startswith("{")]
    assert sorted((one["item"], one["scorer"]) for one in values) == [
        (f"talk-{at}", scorer) for at in (0, 1) for scorer in ("hat", "near")
    ]
    assert all(0 < one["value"] <= 1 for one in values), [(one["scorer"], one["value"]) for one in values]
    assert shop.run("eval", "run", "talk", "--prompt", "talk@1")[0] == 0
    assert len(shop.server.rows(purpose="embedding")) == len(vectors), "the embeddings are in the log already"

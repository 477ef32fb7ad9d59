"""The life of a knowledge base as people live it: pushed, asked, changed, compared, moved, repinned, withdrawn."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.client import Got, call, request_bytes
from support.commands import run_cli
from support.server import RunningServer, eventually

PROMPT = """\
name: ask
model: demo-chat
input: {question: {type: string}}
knowledge: {kb: faq, query: "{{ question }}", top_k: 3}
messages:
  - role: system
    content: "Use the notes only.{% for c in knowledge %}\\n[{{ c.id }}] {{ c.text }}{% endfor %}"
  - {role: user, content: "{{ question }}"}
"""
CONFIG = """\
[upstreams.demo]
kind = "demo"
base_url = "unix:demo"

[[routes]]
model = "*"
targets = [{upstream = "demo"}]

[[protect]]
kind = "kb"
name = "guarded*"
alias = "production"
"""


class Journey:
    """A server and a folder of texts."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.folder = server.directory / "kb" / "faq"
        shutil.copytree(Path(__file__).parents[2] / "kb" / "handbook", self.folder)
        (server.directory / "kb" / "faq.yaml").write_text("embedder: {model: text-embedding-3-small}\n")
        (server.directory / "ask.yaml").write_text(PROMPT)

    def run(self, *arguments: str, code: int = 0) -> str:
        """One command; its standard output."""
        done = run_cli(*arguments, cwd=self.server.directory, environ={"HEADGATE_URL": self.server.url})
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        """One command that prints JSON."""
        return json.loads(self.run(*arguments, "--json"))

    def ask(self, question: str, model: str = "prompt:ask@latest") -> Got:
        """Call the prompt."""
        body = json.dumps({"model": model, "variables": {"question": question}}).encode()
        return call(self.server.port, request_bytes(body=body))


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    server = RunningServer(tmp_path_factory.mktemp("journey"), CONFIG).start()
    yield Journey(server)
    server.close()


def test_a_knowledge_base_is_pushed_asked_changed_moved_and_withdrawn(journey: Journey) -> None:
    first = journey.json("kb", "push", "faq", "kb/faq", "--message", "first")
    assert (first["version"]["ref"], first["plan"]["chunks"], first["embedded"]) == ("faq@1", 60, 60)
    assert first["plan"]["cost"]["is_estimate"] and float(first["cost"]["usd"]) > 0
    calls = journey.server.api("/api/requests", {"purpose": "embedding"})["requests"]
    assert {row["tags"]["kb"] for row in calls} == {"faq"} and len(calls) == 1

    journey.run("prompt", "push", "ask.yaml")
    got = journey.ask("When is a refund paid after the parcel reached the warehouse?")
    assert (got.status, got.header("x-headgate-kb")) == (200, "faq@1")
    assert "five working days" in got.body.decode()
    request_id = got.header("x-headgate-request-id")
    assert request_id is not None
    row = journey.server.row(request_id)
    assert (row["kb_name"], row["kb_version"], len(row["kb_chunks"])) == ("faq", 1, 3)
    shown = journey.server.api(f"/api/requests/{request_id}")["knowledge"]
    assert [chunk["id"] for chunk in shown] == row["kb_chunks"]
    assert "returns.md" in {chunk["source"] for chunk in shown}
    assert "returns.md › Returns and refunds › When the money comes back" in journey.run("explain", request_id)

    page = journey.folder / "returns.md"
    page.write_text(page.read_text().replace("five working days", "six working days"))
    second = journey.json("kb", "push", "faq", "kb/faq")
    assert (second["version"]["ref"], second["version"]["parent"], second["embedded"]) == ("faq@2", 1, 1)
    assert journey.json("kb", "push", "faq", "kb/faq")["is_new"] is False
    difference = journey.json("kb", "diff", "faq", "1", "2")
    assert difference["documents"] == {"added": [], "removed": [], "changed": ["returns.md"]}
    assert (difference["chunks"]["added"]["count"], difference["chunks"]["kept"]) == (1, 59)

    assert "ask@1 still reads faq@1" in journey.run("kb", "promote", "faq@2")
    assert (
        journey.ask("When is a refund paid after the parcel reached the warehouse?").header("x-headgate-kb") == "faq@1"
    )
    assert journey.json("kb", "repin", "faq@2", "--all")["repinned"][0]["ref"] == "ask@2"
    got = journey.ask("When is a refund paid after the parcel reached the warehouse?", "prompt:ask@candidate")
    assert got.header("x-headgate-kb") == "faq@2" and "six working days" in got.body.decode()
    moved_id = got.header("x-headgate-request-id")
    assert moved_id is not None and journey.server.row(moved_id)["prompt_version"] == 2
    assert "is now version 1" in journey.run("kb", "alias", "faq@1", "production")
    assert "is now version 2 (was 1)" in journey.run("kb", "rollback", "faq")

    reached = journey.json("kb", "impact", "faq", "--document", "returns.md")["requests"]
    assert {request_id, moved_id} <= {one["request_id"] for one in reached}
    assert all(one["matched"] for one in reached)
    only = journey.json("kb", "impact", "faq@1", "--document", "returns.md")["requests"]
    assert moved_id not in {one["request_id"] for one in only}
    assert "No version of faq has a document" in journey.run("kb", "impact", "faq", "--document", "x.md", code=2)


def test_the_pages_show_versions_sources_search_and_the_chunks_of_an_answer(journey: Journey) -> None:
    journey.run("kb", "push", "paged", "kb/faq", "--settings", str(_lexical(journey)))
    for path, words in (
        ("/ui/kb", ">paged</a>"),
        ("/ui/kb/paged", "Sources of version 1"),
        ("/ui/kb/paged?q=warranty%20on%20refurbished%20devices", "How long the warranty lasts"),
    ):
        got = call(journey.server.port, request_bytes(path, b"", method="GET"), method="GET")
        assert got.status == 200 and words in got.body.decode(), path
    body = b'{"model": "demo-chat", "messages": [{"role": "user", "content": "Is a cracked display covered?"}]}'
    asked = call(journey.server.port, request_bytes(body=body, headers={"x-headgate-kb": "paged"}))
    request_id = asked.header("x-headgate-request-id")
    assert request_id is not None and asked.header("x-headgate-kb") == "paged@1"
    journey.server.row(request_id)
    got = call(journey.server.port, request_bytes(f"/ui/requests/{request_id}", b"", method="GET"), method="GET")
    assert "What is not covered" in got.body.decode() and "/ui/kb/paged?version=1" in got.body.decode()


def _lexical(journey: Journey) -> Path:
    path = journey.server.directory / "lexical.yaml"
    path.write_text("chunk: {by: heading}\nembedder: lexical\n")
    return path


def test_a_protected_alias_is_refused_with_exit_code_1_and_can_be_overridden(journey: Journey) -> None:
    journey.run("kb", "push", "guarded", "kb/faq", "--settings", str(_lexical(journey)))
    said = journey.run("kb", "promote", "guarded@1", code=1)
    assert "Refused: guarded@1 may not become production." in said
    assert "was overridden" in journey.run("kb", "promote", "guarded@1", "--override", "--reason", "checked")


def test_bad_input_is_named(journey: Journey) -> None:
    empty = journey.server.directory / "empty"
    empty.mkdir()
    assert "holds no file that can be read" in journey.run("kb", "push", "none", "empty", code=2)
    (empty / "a.md").write_bytes(b"\0")
    assert "a.md: binary" in journey.run("kb", "push", "none", "empty", code=2)
    bad = journey.server.directory / "bad.yaml"
    bad.write_text("chunk: {by: chapter, sise: 3}\nembedder: {model: lexical}\n")
    said = journey.run("kb", "push", "none", "kb/faq", "--settings", str(bad), code=2)
    assert "bad.yaml:1:13 by is heading, paragraph or size" in said and "did you mean size?" in said
    assert "There is no knowledge base" in journey.run("kb", "show", "none", code=2)


def test_the_retrieval_process_is_started_again_when_it_is_killed(journey: Journey) -> None:
    journey.run("kb", "push", "killed", "kb/faq", "--settings", str(_lexical(journey)))
    before = journey.server.kill("retrieval")
    eventually(
        lambda: [pid for pid in journey.server.pids("retrieval") if pid != before],
        within_s=15,
        what="another retrieval process",
    )
    found = journey.json("kb", "search", "killed", "Do you accept cheques?")
    assert found["chunks"][0]["heading"].endswith("Ways to pay")

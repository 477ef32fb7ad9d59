"""Pushes whose embedder is a routed model: resumed after a failure, refused when the model changes, under one's key."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.commands import run_cli
from support.server import RunningServer
from support.upstream import Script, ScriptedUpstream, Seen, answer

CHUNKS = 150
SETTINGS = "embedder: {model: embed-1}\n"


class Embeddings:
    """An upstream that embeds; after ``fails_after`` calls it refuses."""

    def __init__(self) -> None:
        self.dimensions = 4
        self.fails_after: int | None = None
        self.texts: list[str] = []
        self.calls = 0
        self.upstream = ScriptedUpstream(reply_with=self._reply)

    def _reply(self, seen: Seen) -> Script:
        self.calls += 1
        if self.fails_after is not None and self.calls > self.fails_after:
            return answer(b'{"error": {"message": "quota is used up"}}', status="403 Forbidden")
        texts = json.loads(seen.body)["input"]
        self.texts += texts
        rows = [{"index": at, "embedding": self._vector(text)} for at, text in enumerate(texts)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return answer(json.dumps({"data": rows, "model": "embed-1", "usage": usage}).encode())

    def _vector(self, text: str) -> list[float]:
        """Some numbers that belong to the text alone."""
        return [byte / 255 - 0.5 for byte in hashlib.sha256(text.encode()).digest()[: self.dimensions]]

    def renew(self) -> None:
        """Count from zero, and fail no more."""
        self.calls, self.fails_after, self.texts = 0, None, []


class Pushing:
    """A server that needs keys, its upstream, and a folder."""

    def __init__(self, server: RunningServer, embeddings: Embeddings) -> None:
        self.server, self.embeddings = server, embeddings
        self.folder = server.directory / "notes"
        self.folder.mkdir()
        for number in range(CHUNKS):
            (self.folder / f"{number:03}.md").write_text(f"# Note {number}\nText of note {number}.\n")
        (server.directory / "settings.yaml").write_text(SETTINGS)
        server.key = (server.home / "admin.key").read_text().strip()
        self.developer = server.api("/api/keys", body={"name": "pusher", "role": "developer"})

    def push(self, name: str, *, code: int = 0) -> tuple[Any, str]:
        """One push: its JSON and what it said on standard error."""
        done = run_cli(
            *("kb", "push", name, "notes", "--settings", "settings.yaml", "--json"),
            cwd=self.server.directory,
            environ={"HEADGATE_URL": self.server.url, "HEADGATE_API_KEY": self.developer["plaintext"]},
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.fixture(scope="module")
def pushing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushing]:
    embeddings = Embeddings()
    config = f"""
[server]
require_key = true

[upstreams.main]
kind = "openai"
base_url = "{embeddings.upstream.base_url}"

[[routes]]
model = "*"
targets = [{{upstream = "main"}}]

[[prices]]
upstream = "main"
model = "embed-1"
input_mtok = 1000
"""
    server = RunningServer(tmp_path_factory.mktemp("pushing"), config).start()
    yield Pushing(server, embeddings)
    server.close()
    embeddings.upstream.close()


@pytest.fixture(autouse=True)
def _renewed(pushing: Pushing) -> None:
    pushing.embeddings.renew()
    pushing.embeddings.dimensions = 4


def test_a_push_that_failed_half_way_goes_on_where_it_stopped(pushing: Pushing) -> None:
    pushing.embeddings.fails_after = 1
    state, said = pushing.push("resumed", code=5)
    assert state["state"] == "failed" and "quota is used up" in said
    assert "64 of 150 are embedded and kept: push again to go on." in said
    assert len(pushing.embeddings.texts) == 64
    pushing.embeddings.renew()
    state, _ = pushing.push("resumed")
    assert (state["version"]["ref"], state["plan"]["to_embed"], state["embedded"]) == ("resumed@1", 86, 86)
    assert len(set(pushing.embeddings.texts)) == len(pushing.embeddings.texts) == 86
    assert (state["cost"]["tokens"], state["cost"]["usd"]) == (86, "0.086")
    assert not list((pushing.server.home / "kb" / "embedding").iterdir())
    assert not list((pushing.server.home / "kb" / "staging").iterdir())


def test_only_changed_chunks_are_embedded_again_under_the_key_of_the_one_who_pushes(pushing: Pushing) -> None:
    pushing.push("changed")
    pushing.embeddings.renew()
    (pushing.folder / "007.md").write_text("# Note 7\nAnother text.\n")
    state, _ = pushing.push("changed")
    assert (state["embedded"], pushing.embeddings.texts) == (1, ["Note 7\nAnother text."])
    (row,) = pushing.server.api("/api/requests", {"purpose": "embedding", "limit": 1})["requests"]
    assert (row["key_id"], row["tags"]["kb"]) == (pushing.developer["key"]["id"], "changed")
    found = pushing.server.api("/api/kb/changed/search", body={"query": "Note 9\nText of note 9.", "use": ["vectors"]})
    assert (found["chunks"][0]["source"], found["chunks"][0]["vector_score"]) == ("009.md", 1.0)  # taken over from @1


def test_a_model_that_changed_its_dimensions_is_refused_and_a_named_other_one_embeds_all_again(
    pushing: Pushing,
) -> None:
    pushing.push("dimensions")
    pushing.embeddings.renew()
    pushing.embeddings.dimensions = 5
    (pushing.folder / "009.md").write_text("# Note 9\nNew text.\n")
    state, said = pushing.push("dimensions", code=2)
    assert state["error"]["code"] == "kb_dimension"
    assert "now gives 5 dimensions; the vectors of dimensions have 4" in said
    assert pushing.server.api("/api/kb/dimensions")["latest"] == 1
    (pushing.server.directory / "settings.yaml").write_text("embedder: {model: embed-2}\n")
    state, _ = pushing.push("dimensions")
    (pushing.server.directory / "settings.yaml").write_text(SETTINGS)
    assert (state["embedded"], state["version"]["dimensions"]) == (CHUNKS, 5)
    assert state["cost"]["usd"] is None and state["cost"]["reason"]


def test_a_push_survives_the_caller_and_belongs_to_who_began_it(pushing: Pushing) -> None:
    begun = pushing.server.api("/api/kb/left/push", body={})
    push_id = begun["push_id"]
    other = pushing.developer["plaintext"]
    admin, pushing.server.key = pushing.server.key, other
    status, _ = pushing.server.ask(f"/api/kb/push/{push_id}")
    pushing.server.key = admin
    assert status == 404
    for documents, words in (
        ([{"path": "../a.md", "text": "x"}], "no path below a folder"),
        ([{"path": "a.exe", "text": "x"}], "ending"),
        ([{"path": "a.md", "text": "x"}, {"path": "a.md", "text": "y"}], "twice"),
    ):
        status, told = pushing.server.ask(f"/api/kb/push/{push_id}/documents", body={"documents": documents})
        assert status == 400 and words in told["error"]["message"]
    status, told = pushing.server.ask(f"/api/kb/push/{push_id}/run", body={})
    assert status == 400 and "no plan" in told["error"]["message"]
    status, told = pushing.server.ask(f"/api/kb/push/{push_id}/plan", body={})
    assert status == 400 and told["error"]["code"] == "kb_empty"


def test_settings_of_a_push_are_checked_before_anything_is_sent(pushing: Pushing, tmp_path: Path) -> None:
    status, told = pushing.server.ask("/api/kb/x/push", body={"settings": "embedder: {model: 3}", "file": "x.yaml"})
    assert status == 400 and told["error"]["code"] == "kb_settings"
    assert told["error"]["message"].startswith("x.yaml:1:")
    assert pushing.embeddings.calls == 0

"""Calls grounded in a knowledge base: chunks in what is sent, stamps in the record, and what happens when it fails."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.core.settings import Settings, Upstream
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage, canonical, content_sha256
from headgate.retrieval import versions
from headgate.snapshot import KbEntry, KbVersionEntry, KeyEntry, PromptEntry, PromptVersionEntry
from support.client import Got, call, request_bytes
from support.knowledge import HANDBOOK, RetrievalProcess, made_version
from support.settings import settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

OK = b'{"model":"gpt-5-mini","usage":{"prompt_tokens":1,"completion_tokens":1}}'
TEMPLATE = "Notes:{% for c in knowledge %}\n[{{ c.id }}] {{ c.source }}: {{ c.text }}{% endfor %}"
QUESTION = {"question": "How long does a refund take?"}


class Grounded:
    """A worker, its retrieval process, two versions of a knowledge base, and a prompt that reads the first."""

    def __init__(self, worker: WorkerProcess, upstream: ScriptedUpstream, settings: Settings) -> None:
        self.worker, self.upstream, self.settings = worker, upstream, settings
        changed = {**HANDBOOK, "refunds.md": HANDBOOK["refunds.md"].replace("five", "six")}
        self.hashes = [made_version(worker.home.path), made_version(worker.home.path, changed)]
        self.retrieval = RetrievalProcess(worker.home)

    def begin(self) -> None:
        """As new: nothing recorded, nothing asked of the upstream, the prompt as it was."""
        self.worker.forget()
        self.upstream.seen.clear()
        self.upstream.script(answer(OK))
        self.publish()

    def publish(self, keys: Any = None, *, embedder: str = "lexical", **knowledge: Any) -> None:
        """Publish the knowledge base, and the prompt with its knowledge."""
        entries = {
            number: KbVersionEntry(number=number, sha256=sha256, embedder=embedder)
            for number, sha256 in enumerate(self.hashes, 1)
        }
        kb = KbEntry(name="handbook", aliases={"production": 1, "candidate": 2}, latest=2, versions=entries)
        content = PromptContent(
            model="gpt-5-mini",
            input={"question": {"type": "string"}},
            knowledge=Knowledge(kb="handbook@1", query="{{ question }}", **{"top_k": 2, **knowledge}),
            messages=(
                PromptMessage(role="system", content=TEMPLATE),
                PromptMessage(role="user", content="{{ question }}"),
            ),
        )
        version = PromptVersionEntry(number=1, sha256=content_sha256(content), content_json=canonical(content).decode())
        prompt = PromptEntry(name="ask", aliases={"production": 1}, latest=1, versions={1: version})
        self.worker.publish(self.settings, keys, prompts={"ask": prompt}, kbs={"handbook": kb})
        self.worker.taken_over()

    def ask(self, body: dict[str, Any] | None = None, *, path: str = "/v1/chat/completions", **headers: str) -> Got:
        """One call; without a body, of the prompt."""
        asked = {"model": "prompt:ask", "variables": QUESTION} if body is None else body
        named = {f"x-headgate-{name.replace('_', '-')}": value for name, value in headers.items()}
        return call(self.worker.port, request_bytes(path=path, body=json.dumps(asked).encode(), headers=named))

    def sent(self) -> dict[str, Any]:
        """What the upstream got last."""
        body: dict[str, Any] = json.loads(self.upstream.seen[-1].body)
        return body


@contextmanager
def made(place: Path) -> Iterator[Grounded]:
    upstream = ScriptedUpstream()
    settings = settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url))
    grounded = Grounded(WorkerProcess(place, settings), upstream, settings)
    yield grounded
    grounded.worker.stop()
    grounded.retrieval.close()
    upstream.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounded]:
    with made(tmp_path_factory.mktemp("grounded")) as grounded:
        yield grounded


@pytest.fixture
def grounded(shared: Grounded) -> Grounded:
    shared.begin()
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Grounded]:
    """One whose files and processes a test may damage."""
    with made(tmp_path) as grounded:
        grounded.begin()
        yield grounded


def test_a_prompts_knowledge_is_found_rendered_and_stamped(grounded: Grounded) -> None:
    got = grounded.ask()
    assert got.status == 200
    assert (got.header("x-headgate-prompt"), got.header("x-headgate-kb")) == ("ask@1", "handbook@1")
    chunks = versions.read_chunks(grounded.worker.home.path, grounded.hashes[0])
    (record,) = grounded.worker.recorded()
    assert (record.kb_name, record.kb_version, record.prompt_version) == ("handbook", 1, 1)
    assert record.kb_chunks is not None and len(record.kb_chunks) == 2
    assert record.kb_chunks[0] == next(chunk.id for chunk in chunks if "five working days" in chunk.text)
    system = grounded.sent()["messages"][0]["content"]
    assert system.startswith(f"Notes:\n[{record.kb_chunks[0]}] refunds.md: A refund takes five working days.")
    starts, _ = grounded.worker.entries()
    assert starts[0].kb_chunks == record.kb_chunks


def test_the_header_grounds_a_call_without_a_stored_prompt(grounded: Grounded) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": QUESTION["question"]}], "seed": 7}
    got = grounded.ask(body, kb="handbook@candidate")
    assert (got.status, got.header("x-headgate-kb")) == (200, "handbook@2")
    sent = grounded.sent()
    assert sent["messages"][0]["role"] == "system" and "six working days" in sent["messages"][0]["content"]
    assert sent["messages"][1] == body["messages"][0] and sent["seed"] == 7  # type: ignore[index]
    (record,) = grounded.worker.recorded()
    assert record.kb_version == 2 and 0 < len(record.kb_chunks or []) <= 4
    assert record.prompt_name is None


def test_the_header_reads_another_version_than_the_pinned_one_for_developers_only(grounded: Grounded) -> None:
    keys = {"app": "hg_app-key-1", "developer": "hg_developer-key-1"}
    grounded.publish(
        {
            hashlib.sha256(key.encode()).hexdigest(): KeyEntry(id=f"key_{role}", name=role, role=role)  # type: ignore[arg-type]
            for role, key in keys.items()
        }
    )
    refused = grounded.ask(kb="handbook@2", key=keys["app"])
    assert (refused.status, refused.error["code"]) == (403, "forbidden")
    assert grounded.ask(key=keys["app"]).header("x-headgate-kb") == "handbook@1"
    assert grounded.ask(kb="handbook@2", key=keys["developer"]).header("x-headgate-kb") == "handbook@2"
    assert "six working days" in grounded.sent()["messages"][0]["content"]
    refused = grounded.ask(kb="other@1")
    assert (refused.status, refused.error["code"]) == (404, "kb_missing")


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (None, {"kb": "handbook@9"}, "kb_version_missing"),
        (None, {"kb": "handbook@nobody"}, "kb_alias_missing"),
        ({"model": "e", "input": "x"}, {"kb": "handbook"}, "kb_endpoint"),
    ],
)
def test_what_cannot_be_is_refused_before_the_upstream_is_called(
    grounded: Grounded, body: dict[str, Any] | None, headers: dict[str, str], code: str
) -> None:
    path = "/v1/embeddings" if body is not None else "/v1/chat/completions"
    got = grounded.ask(body, path=path, **headers)
    assert got.status in (400, 404) and got.error["code"] == code
    assert grounded.upstream.seen == []


def test_a_retrieval_process_that_is_gone_fails_the_call_or_leaves_it_without_knowledge(own: Grounded) -> None:
    own.retrieval.close()
    (own.worker.home.run / "retrieval.sock").unlink()
    got = own.ask()
    assert (got.status, got.error["code"]) == (503, "kb_unavailable")
    assert own.upstream.seen == []
    own.publish(on_error="empty")
    assert own.ask().status == 200
    assert own.sent()["messages"][0]["content"] == "Notes:"
    records = own.worker.recorded(2)
    assert [(one.outcome, one.kb_version, one.kb_chunks) for one in records] == [
        ("refused", 1, None),
        ("ok", 1, []),
    ]


def test_a_damaged_version_is_refused_by_its_hash_and_a_loaded_one_goes_on(own: Grounded) -> None:
    assert own.ask().status == 200  # version 1 is loaded now
    for sha256 in own.hashes:
        path = versions.version_path(own.worker.home.path, sha256) / "vectors.npy"
        path.write_bytes(b"x" + path.read_bytes()[1:])
    assert own.ask().status == 200
    refused = own.ask(kb="handbook@2")
    assert (refused.status, refused.error["code"]) == (503, "kb_damaged")
    own.retrieval.restart()
    assert own.ask().error["code"] == "kb_damaged"


def test_a_routed_embedder_is_called_for_each_question_with_a_record_of_its_own(grounded: Grounded) -> None:
    # The files were made by the built-in embedder, so its vectors would be asked for; what counts here is the call.
    grounded.publish(embedder="text-embedding-3-small")
    vector = b'{"data":[{"embedding":[1.0,2.0]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":6}}'
    grounded.upstream.scripts = [answer(vector), answer(OK)]
    got = grounded.ask(session="s-1")
    assert got.status == 200
    asked = json.loads(grounded.upstream.seen[0].body)
    assert asked == {"model": "text-embedding-3-small", "input": [QUESTION["question"]], "encoding_format": "float"}
    first, second = grounded.worker.recorded(2)
    assert (first.purpose, first.endpoint, first.session_id) == ("embedding", "openai.embeddings", "s-1")
    assert (second.purpose, second.kb_version, second.session_id) == ("traffic", 1, "s-1")


def test_an_embedder_that_fails_fails_the_call_and_says_what_it_said(grounded: Grounded) -> None:
    grounded.publish(embedder="text-embedding-3-small")
    grounded.upstream.scripts = [answer(b'{"error":{"message":"no such model"}}', status="404 Not Found")]
    got = grounded.ask()
    assert (got.status, got.error["code"]) == (502, "kb_embedding")
    assert "no such model" in got.error["message"]


def test_calls_without_knowledge_load_none_of_it(grounded: Grounded, tmp_path: Path) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}]}
    got = grounded.ask(body)
    assert got.status == 200 and got.header("x-headgate-kb") is None
    assert json.loads(grounded.upstream.seen[-1].body) == body
    (record,) = grounded.worker.recorded()
    assert (record.kb_name, record.kb_chunks) == (None, None)

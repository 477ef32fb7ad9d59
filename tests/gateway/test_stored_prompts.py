"""Stored prompts called at the gateway, in every way and dialect, and what the record says of them."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headgate.core.settings import Settings, Upstream
from headgate.prompts.model import PromptContent, PromptMessage, canonical, content_sha256
from headgate.snapshot import PromptEntry, PromptVersionEntry
from support.client import Got, call, request_bytes
from support.settings import settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

Serve = Callable[[Settings], WorkerProcess]


def version(number: int, tone: str, **more: Any) -> PromptVersionEntry:
    content = PromptContent(
        model="gpt-5-mini",
        parameters={"max_output_tokens": 600},
        input={"question": {"type": "string"}},
        messages=(
            PromptMessage(role="system", content=f"Be {tone}."),
            PromptMessage(role="user", content="{{ question }}"),
        ),
        **more,
    )
    return PromptVersionEntry(number=number, sha256=content_sha256(content), content_json=canonical(content).decode())


def entry(aliases: Mapping[str, int], **more: Any) -> PromptEntry:
    versions = {1: version(1, "brief"), 2: version(2, "kind", **more)}
    return PromptEntry(name="support", aliases=dict(aliases), latest=2, versions=versions)


@pytest.fixture
def with_prompt(serve_with: Serve, upstream: ScriptedUpstream) -> Callable[..., WorkerProcess]:
    """A worker that knows the prompt `support`; called again, it gets other aliases, which it takes over soon."""
    serving: list[WorkerProcess] = []
    both = Upstream(name="main", kind="openai", base_url=upstream.base_url)
    other = Upstream(name="claude", kind="anthropic", base_url=upstream.base_url)
    settings = settings_for(both, other)

    def start(aliases: Mapping[str, int], **more: Any) -> WorkerProcess:
        upstream.script(answer(b'{"model":"gpt-5-mini","usage":{"prompt_tokens":1,"completion_tokens":1}}'))
        is_first = not serving
        if is_first:
            serving.append(serve_with(settings))
        serving[0].publish(settings, prompts={"support": entry(aliases, **more)})
        if is_first:
            serving[0].taken_over()
        return serving[0]

    return start


def ask(worker: WorkerProcess, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> Got:
    return call(worker.port, request_bytes(path=path, body=json.dumps(body).encode(), headers=headers))


CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"prompt": {"id": "support", "version": "production", "variables": {"question": "Why?"}}}, {}),
        ({"prompt": {"id": "hg:support", "version": 2, "variables": {"question": "Why?"}}, "model": ""}, {}),
        ({"model": "prompt:support@production", "variables": {"question": "Why?"}}, {}),
        ({"model": "prompt:support@2", "variables": {"question": "Why?"}}, {}),
        ({}, {"x-headgate-prompt": "support@production", "x-headgate-vars": '{"question": "Why?"}'}),
    ],
)
def test_every_way_of_calling_sends_the_version_and_stamps_it(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream, body: dict[str, Any], headers: dict[str, str]
) -> None:
    worker = with_prompt({"production": 2})
    got = ask(worker, body, **headers)
    assert (got.status, got.header("x-headgate-prompt")) == (200, "support@2")
    sent = json.loads(upstream.seen[-1].body)
    assert sent["messages"] == CHAT
    assert sent["model"] == "gpt-5-mini"
    assert "prompt" not in sent and "variables" not in sent
    final = worker.entries()[1][-1]
    assert (final.prompt_name, final.prompt_version) == ("support", 2)
    assert final.prompt_sha256 == version(2, "kind").sha256
    assert json.loads(final.prompt_vars or "") == {"question": "Why?"}
    assert final.prompt_alias == (None if "2" in json.dumps(body) else "production")


def test_messages_sent_along_follow_the_prompts_own(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 2})
    along = [{"role": "assistant", "content": "Because."}, {"role": "user", "content": "And then?"}]
    ask(worker, {"model": "prompt:support", "variables": {"question": "Why?"}, "messages": along})
    assert json.loads(upstream.seen[-1].body)["messages"] == CHAT + along


def test_anthropic_and_responses_get_their_own_shape(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 2})
    prompt = {"id": "hg:support", "version": "production", "variables": {"question": "Why?"}}
    got = ask(worker, {"prompt": prompt, "max_tokens": 500}, path="/v1/messages")
    assert got.header("x-headgate-upstream") == "claude"
    sent = json.loads(upstream.seen[-1].body)
    assert (sent["system"], sent["max_tokens"]) == ("Be kind.", 500)
    assert [message["role"] for message in sent["messages"]] == ["user"]
    ask(worker, {"prompt": prompt}, path="/v1/responses")
    sent = json.loads(upstream.seen[-1].body)
    assert sent["max_output_tokens"] == 600
    ask(worker, {"model": "gpt-5", "prompt": {"id": "pmpt_123", "version": "3"}}, path="/v1/responses")
    assert json.loads(upstream.seen[-1].body)["prompt"] == {"id": "pmpt_123", "version": "3"}


def test_a_header_alone_attributes_and_touches_nothing(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 1})
    got = ask(worker, {"model": "gpt-5", "x": 1.0}, **{"x-headgate-prompt": "support"})
    assert got.header("x-headgate-prompt") == "support@1"
    assert upstream.seen[-1].body == b'{"model": "gpt-5", "x": 1.0}'
    final = worker.entries()[1][-1]
    assert (final.prompt_version, final.prompt_alias, final.prompt_vars) == (1, "production", None)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "prompt:support", "variables": {}}, 400, "question"),
        ({"model": "prompt:support", "variables": {"question": 3, "extra": 1}}, 400, "extra"),
        ({"model": "prompt:support@9", "variables": {}}, 404, "support@9 does not exist"),
        ({"model": "prompt:suport", "variables": {}}, 404, "Nearest: support"),
        ({"model": "prompt:support@candidate"}, 404, "candidate"),
        ({"model": "prompt:Support!"}, 400, "name"),
        ({"model": "prompt:support", "variables": {"question": "q"}, "temperature": 0.2}, 400, "temperature"),
        ({"model": "gpt-4", "prompt": {"id": "support", "variables": {"question": "q"}}}, 400, "model"),
        ({"model": "prompt:support", "prompt": {"id": "support"}}, 400, "two ways"),
        ({"prompt": {"id": "support", "variabels": {"question": "q"}}}, 400, "variabels"),
    ],
)
def test_what_cannot_be_called_is_refused_with_its_reason(
    with_prompt: Callable[..., WorkerProcess],
    upstream: ScriptedUpstream,
    body: dict[str, Any],
    status: int,
    words: str,
) -> None:
    worker = with_prompt({"production": 2})
    assert ask(worker, {"model": "prompt:support", "variables": {"question": "q"}}).status == 200
    before = len(upstream.seen)
    got = call(worker.port, request_bytes(body=json.dumps(body).encode()))
    assert got.status == status, got.body
    assert words in got.error["message"]
    assert len(upstream.seen) == before


def test_the_version_recorded_is_the_version_sent_while_the_alias_moves(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 1})
    ask(worker, {"model": "prompt:support@production", "variables": {"question": "0"}})
    texts = {"Be brief.": 1, "Be kind.": 2}
    seen_versions = set()
    for number in range(1, 40):
        if number % 4 == 0:
            with_prompt({"production": 1 + (number // 4) % 2})
        got = ask(worker, {"model": "prompt:support@production", "variables": {"question": str(number)}})
        sent = json.loads(upstream.seen[-1].body)["messages"][0]["content"]
        assert got.header("x-headgate-prompt") == f"support@{texts[sent]}"
        seen_versions.add(texts[sent])
        time.sleep(0.03)
    assert seen_versions == {1, 2}
    sent_by_question = {
        json.loads(seen.body)["messages"][1]["content"]: texts[json.loads(seen.body)["messages"][0]["content"]]
        for seen in upstream.seen
    }
    for final in (final for final in worker.entries()[1] if final.outcome == "ok"):
        assert sent_by_question[json.loads(final.prompt_vars or "")["question"]] == final.prompt_version


def test_a_removed_alias_is_soon_not_served(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 2, "candidate": 1})
    body = json.dumps({"model": "prompt:support@candidate", "variables": {"question": "q"}}).encode()
    assert ask(worker, json.loads(body)).status == 200
    with_prompt({"production": 2})
    deadline = time.monotonic() + 10
    while call(worker.port, request_bytes(body=body)).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_not_ours_to_call_is_passed_on_or_refused_but_never_dropped(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 2})
    assert ask(worker, {"model": "prompt:support", "variables": {"question": "q"}}).status == 200
    theirs = {"model": "gpt-5", "prompt": {"id": "pmpt_1", "variables": {"id": "hg:support"}}}
    assert ask(worker, theirs, path="/v1/responses").status == 200
    assert json.loads(upstream.seen[-1].body) == theirs
    both = {"x-headgate-prompt": "support", "x-headgate-vars": '{"question": "q"}'}
    assert ask(worker, {"prompt": {"id": "pmpt_1"}}, path="/v1/responses", **both).status == 400
    lonely = {"x-headgate-vars": '{"question": "q"}'}
    assert ask(worker, {"model": "prompt:support"}, **lonely).status == 400
    assert ask(worker, {"model": "prompt:support", "prompt": "x"}, path="/v1/completions").status == 400
    assert ask(worker, {"model": "prompt:support", "input": "x"}, path="/v1/embeddings").status == 400


def test_a_misspelt_capture_keeps_nothing(
    with_prompt: Callable[..., WorkerProcess], upstream: ScriptedUpstream
) -> None:
    worker = with_prompt({"production": 2})
    got = call(
        worker.port, request_bytes(body=b'{"model":"m","x":"SECRETWORD"}', headers={"x-headgate-capture": "Full"})
    )
    assert got.status == 400
    final = worker.entries()[1][-1]
    assert final.capture == "none"
    assert worker.bodies(final.request_id).request == b""

"""Stored prompts called with the real SDKs on whole servers: every way and dialect, and what the log says of each call.

A second server, with two workers and an upstream that says what it received, is where aliases move.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from support.calls import Calls
from support.later import Later
from support.server import RunningServer, eventually
from support.upstream import Script, ScriptedUpstream, Seen, answer

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

MOVES = 40
QUESTION = {"question": "What is 17 * 23?"}
PROMPT_FILE = """
name: {name}
model: {model}
parameters: {{max_output_tokens: 600, temperature: 0.5}}
overridable: [max_output_tokens]
input:
  question: {{type: string, minLength: 1}}
  tone: {{type: string, enum: [kind, brief], default: kind}}
messages:
  - {{role: system, content: "{text} Be {{{{ tone }}}}."}}
  - {{role: user, content: "{{{{ question }}}}"}}
"""
PROTECTED = """
[server]
workers = 2

[upstreams.echo]
kind = "openai"
base_url = "{echo}"

[[routes]]
model = "*"
targets = [{{upstream = "echo"}}]

[[protect]]
kind = "prompt"
name = "guarded*"
alias = "production"
policy = "standard"
"""


def push(server: RunningServer, name: str, *texts: str, model: str = "demo-chat") -> list[dict[str, Any]]:
    """One version per text; production is the last one unless a rule protects it."""
    pushed = []
    for text in texts:
        file = {"file": f"{name}.yaml", "text": PROMPT_FILE.format(name=name, model=model, text=text)}
        pushed += server.api("/api/prompts/push", body={"files": [file], "message": text})["pushed"]
    return pushed


def move(server: RunningServer, name: str, alias: str, version: int) -> dict[str, Any]:
    found: dict[str, Any] = server.api(f"/api/prompts/{name}/aliases", body={"alias": alias, "version": version})
    return found


def body_prompt(version: str | int = "production", *, name: str = "support", **more: Any) -> dict[str, Any]:
    return {"prompt": {"id": name, "version": version, "variables": QUESTION | more}}


@pytest.fixture(scope="module", autouse=True)
def stored(server: RunningServer) -> dict[str, str]:
    """The hashes of `support@1` and of `support@2`, which is production; `candidate` is the first."""
    pushed = push(server, "support", "First text.", "Second text.")
    priced = push(server, "priced", "Priced.", model="gpt-4o-mini")
    assert [one["number"] for one in (*pushed, *priced)] == [1, 2, 1]
    move(server, "support", "candidate", 1)
    move(server, "priced", "production", 1)
    move(server, "support", "production", 2)

    eventually(lambda: is_served(server, "support@production"), within_s=2, what="the worker knows support@production")
    return {one["ref"]: one["sha256"] for one in pushed}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of calling, as the arguments of `chat.completions.create`, and what it means."""

    arguments: dict[str, Any]
    version: int
    alias: str | None
    sends: str = "Second text. Be kind."


WAYS = {
    "body, alias": Way(arguments={"model": "", "extra_body": body_prompt()}, version=2, alias="production"),
    "body, number and hg:": Way(
        arguments={"model": "demo-chat", "extra_body": body_prompt(1, name="hg:support")},
        version=1,
        alias=None,
        sends="First text. Be kind.",
    ),
    "model, alias": Way(
        arguments={
            "model": "prompt:support@candidate",
            "extra_body": {"variables": QUESTION | {"tone": "brief"}},
        },
        version=1,
        alias="candidate",
        sends="First text. Be brief.",
    ),
    "model, bare name": Way(
        arguments={"model": "prompt:support", "extra_body": {"variables": QUESTION}}, version=2, alias="production"
    ),
    "headers": Way(
        arguments={
            "model": "",
            "extra_headers": {"x-headgate-prompt": "support@production", "x-headgate-vars": json.dumps(QUESTION)},
        },
        version=2,
        alias="production",
    ),
}


def bodies(server: RunningServer, row: dict[str, Any]) -> dict[str, Any]:
    """The request as it was sent on."""
    found: dict[str, Any] = json.loads(server.api(f"/api/requests/{row['request_id']}")["bodies"]["sent"]["text"])
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_openai_sdk_calls_a_stored_prompt(
    openai_client: openai.OpenAI, calls: Calls, stored: dict[str, str], way: Way, stream: bool
) -> None:
    if stream:
        with openai_client.chat.completions.create(messages=[], stream=True, **way.arguments) as chunks:
            text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        text = openai_client.chat.completions.create(messages=[], **way.arguments).choices[0].message.content or ""
    assert "391" in text
    row = calls.row(
        outcome="ok",
        endpoint="openai.chat",
        stream=stream,
        model="demo-chat",
        prompt_name="support",
        prompt_version=way.version,
        prompt_alias=way.alias,
        prompt_sha256=stored[f"support@{way.version}"],
    )
    variables = row["prompt_vars"]
    assert (json.loads(variables) if isinstance(variables, str) else variables)["question"] == QUESTION["question"]
    sent = bodies(calls.server, row)
    assert [message["content"] for message in sent["messages"]] == [way.sends, QUESTION["question"]]
    assert sent["temperature"] == 0.5
    assert not sent.keys() & {"prompt", "variables"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_sdk_of_responses_has_a_field_for_it(
    openai_client: openai.OpenAI, calls: Calls, stored: dict[str, str], stream: bool
) -> None:
    prompt: Any = {"id": "hg:support", "version": "production", "variables": QUESTION}
    if stream:
        with openai_client.responses.create(prompt=prompt, stream=True) as events:
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    else:
        text = openai_client.responses.create(prompt=prompt, input="And be quick.").output_text
    assert text
    row = calls.row(
        outcome="ok",
        endpoint="openai.responses",
        stream=stream,
        prompt_name="support",
        prompt_version=2,
        prompt_alias="production",
        prompt_sha256=stored["support@2"],
    )
    sent = bodies(calls.server, row)
    assert "Second text. Be kind." in json.dumps(sent)
    assert sent["max_output_tokens"] == 600
    assert ("And be quick." in json.dumps(sent["input"])) is not stream


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "prompt:support@production", "extra_body": {"variables": QUESTION}},
        {"model": "", "extra_body": body_prompt()},
        {
            "model": "demo-chat",
            "extra_headers": {"x-headgate-prompt": "support", "x-headgate-vars": json.dumps(QUESTION)},
        },
    ],
    ids=["model", "body", "headers"],
)
def test_the_anthropic_sdk_calls_the_same_prompt(
    anthropic_client: anthropic.Anthropic,
    calls: Calls,
    stored: dict[str, str],
    arguments: dict[str, Any],
    stream: bool,
) -> None:
    # The SDK must send a limit; one that is not above the prompt's passes.
    if stream:
        with anthropic_client.messages.stream(max_tokens=500, messages=[], **arguments) as events:
            text = "".join(events.text_stream)
    else:
        message: Any = anthropic_client.messages.create(max_tokens=500, messages=[], **arguments)
        text = message.content[0].text
    assert "391" in text
    row = calls.row(
        outcome="ok",
        endpoint="anthropic.messages",
        stream=stream,
        upstream="anthropic",
        prompt_name="support",
        prompt_version=2,
        prompt_alias="production",
        prompt_sha256=stored["support@2"],
    )
    sent = bodies(calls.server, row)
    assert (sent["system"], sent["max_tokens"], sent["model"]) == ("Second text. Be kind.", 500, "demo-chat")


def test_a_header_alone_attributes_what_the_app_rendered_itself(
    openai_client: openai.OpenAI, calls: Calls, stored: dict[str, str]
) -> None:
    fetched = calls.server.api("/api/prompts/support", {"alias": "production"})
    system, user = (message["content"] for message in fetched["content"]["messages"])
    messages: Any = [
        {"role": "system", "content": system.replace("{{ tone }}", "kind")},
        {"role": "user", "content": user.replace("{{ question }}", QUESTION["question"])},
    ]
    openai_client.chat.completions.create(
        model=fetched["content"]["model"], messages=messages, extra_headers={"x-headgate-prompt": fetched["ref"]}
    )
    row = calls.row(outcome="ok", prompt_name="support", prompt_version=2, prompt_alias=None, prompt_vars=None)
    assert row["prompt_sha256"] == fetched["sha256"] == stored["support@2"]
    found = calls.server.api(f"/api/requests/{row['request_id']}")["bodies"]
    assert found["sent"] is None
    assert json.loads(found["request"]["text"])["messages"] == messages


def test_a_prompt_is_fetched_once_and_again_only_when_the_alias_means_another(server: RunningServer) -> None:
    push(server, "fetched", "One.", "Two.")
    move(server, "fetched", "production", 1)
    with httpx2.Client(base_url=server.url, trust_env=False) as http:
        first = http.get("/api/prompts/fetched", params={"alias": "production"})
        assert (first.status_code, first.json()["number"]) == (200, 1)
        held = {"if-none-match": first.headers["etag"]}
        assert first.headers["etag"] == f'"{first.json()["sha256"]}"'
        again = http.get("/api/prompts/fetched", params={"alias": "production"}, headers=held)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        move(server, "fetched", "production", 2)
        moved = http.get("/api/prompts/fetched", params={"alias": "production"}, headers=held)
        assert (moved.status_code, moved.json()["number"]) == (200, 2)
        assert http.get("/api/prompts/fetched", params={"version": 1}, headers=held).status_code == 304


def test_calls_of_a_prompt_are_found_counted_and_priced_by_it(openai_client: openai.OpenAI, calls: Calls) -> None:
    for _ in range(2):
        openai_client.chat.completions.create(
            model="prompt:priced@production", messages=[], extra_body={"variables": QUESTION}
        )
        calls.priced(prompt_name="priced", prompt_version=1, model="gpt-4o-mini", route="gpt-*")
    rows = calls.server.rows(prompt="priced@1")
    assert {row["request_id"] for row in rows} == set(calls.ids)
    assert calls.server.rows(prompt="priced@2") == []
    cost = calls.server.api("/api/cost", {"by": "prompt"})["rows"]
    [line] = [line for line in cost if "priced" in str(line["prompt"])]
    assert line["requests"] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ({"model": "prompt:support", "extra_body": {"variables": {"tone": 3, "extra": 1}}}, 400, "question"),
        ({"model": "prompt:support@9", "extra_body": {"variables": QUESTION}}, 404, "support@9"),
        ({"model": "prompt:suport", "extra_body": {"variables": QUESTION}}, 404, "Nearest: support"),
        ({"model": "gpt-4o-mini", "extra_body": body_prompt()}, 400, "model"),
        ({"model": "", "extra_body": body_prompt(), "temperature": 0.9}, 400, "temperature"),
    ],
)
def test_what_cannot_be_called_is_the_sdks_error_and_a_refused_row(
    openai_client: openai.OpenAI, calls: Calls, arguments: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client.chat.completions.create(messages=[], **arguments)
    assert caught.value.status_code == status
    assert words in caught.value.message
    calls.row(outcome="refused", status=status)


# Where aliases move: two workers, and an upstream that answers with the system text it received.


def echo(seen: Seen) -> Script:
    messages = json.loads(seen.body)["messages"]
    said = {"role": "assistant", "content": messages[0]["content"]}
    choice = {"index": 0, "finish_reason": "stop", "message": said}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    whole = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "demo-chat", "choices": [choice]}
    return answer(json.dumps({**whole, "usage": usage}).encode())


@pytest.fixture(scope="module")
def echoing() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(reply_with=echo)
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory, echoing: ScriptedUpstream) -> Iterator[RunningServer]:
    config = PROTECTED.format(echo=echoing.base_url)
    running = RunningServer(tmp_path_factory.mktemp("moving"), config).start()
    yield running
    running.close()


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one caller was told."""

    question: str
    request_id: str
    prompt: str
    text: str


def client_of(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1",
        api_key="sk-anything",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )


def call(client: openai.OpenAI, reference: str, question: str) -> Told:
    raw = client.chat.completions.with_raw_response.create(
        model=f"prompt:{reference}", messages=[], extra_body={"variables": {"question": question}}
    )
    return Told(
        question=question,
        request_id=raw.headers["x-headgate-request-id"],
        prompt=raw.headers["x-headgate-prompt"],
        text=raw.parse().choices[0].message.content or "",
    )


@pytest.mark.slow
def test_the_version_recorded_is_the_version_sent_while_the_alias_moves_every_50_ms(
    moving: RunningServer, echoing: ScriptedUpstream
) -> None:
    push(moving, "racing", "First text.", "Second text.")
    move(moving, "racing", "production", 1)
    answers_one(moving, "racing@production")
    with client_of(moving) as client:
        call(client, "racing@production", "warm-up")  # the SDK is imported, part by part, with its first call
    over = threading.Event()

    def keep_calling(thread: int) -> list[Told]:
        heard: list[Told] = []
        with client_of(moving) as client:
            while not over.wait(0.005):
                heard.append(call(client, "racing@production", f"{thread}-{len(heard)}"))
        return heard

    # A move answers once the workers have it, which takes longer than 50 ms: several are under way at once.
    with ThreadPoolExecutor(4) as threads, ThreadPoolExecutor(12) as movers:
        callers = [threads.submit(keep_calling, thread) for thread in range(4)]
        try:
            started = []
            for number in range(MOVES):
                started.append(movers.submit(move, moving, "racing", "production", 2 - number % 2))
                over.wait(0.05)
            moved = sum(one.result()["move"] is not None for one in started)  # null: it stood there already
        finally:
            over.set()
        told = [one for caller in callers for one in caller.result()]
    assert moved > MOVES // 2
    assert_one_story(moving, echoing, told)
    recorded = moving.api("/api/history", {"object": "prompt:racing", "limit": 1000})["entries"]
    assert sum(entry["action"] == "alias.move" for entry in recorded) == moved + 1


def assert_one_story(server: RunningServer, upstream: ScriptedUpstream, told: list[Told]) -> None:
    """What the upstream received, what callers were told and what is stored is the same version for every call."""
    received = {}
    for seen in list(upstream.seen):
        system, user = (message["content"] for message in json.loads(seen.body)["messages"])
        received[user] = system
    numbers = {"First text. Be kind.": 1, "Second text. Be kind.": 2}
    hashes = {one["number"]: one["sha256"] for one in server.api("/api/prompts/racing/versions")["versions"]}
    ids = {one.request_id for one in told}
    stored: dict[str, dict[str, Any]] = {}

    def are_all_stored() -> bool:
        stored.update({row["request_id"]: row for row in server.rows(prompt="racing")})
        return ids <= stored.keys()

    eventually(are_all_stored, within_s=10, what="every call is in the log")
    for one in told:
        sent = numbers[received[one.question]]
        row = stored[one.request_id]
        assert (numbers[one.text], one.prompt) == (sent, f"racing@{sent}")
        assert (row["prompt_version"], row["prompt_sha256"], row["prompt_alias"]) == (sent, hashes[sent], "production")
    in_order = [numbers[one.text] for one in told]
    assert {1, 2} == set(in_order)
    assert len(told) > 40


def answers_one(server: RunningServer, reference: str) -> None:
    """Waits until both workers serve ``reference``: many connections in a row, each to either of them."""

    def serves() -> bool:
        return all(is_served(server, reference) for _ in range(12))

    eventually(serves, within_s=5, what=f"every worker serves {reference}")


def is_served(server: RunningServer, reference: str) -> bool:
    status, found = server.ask(
        "/v1/chat/completions", body={"model": f"prompt:{reference}", "variables": {"question": "warm-up"}}
    )
    assert status in (200, 404), found
    return status == 200


def test_a_removed_alias_is_not_served_by_any_worker_after_a_second(moving: RunningServer) -> None:
    assert len(moving.pids("worker")) == 2
    push(moving, "ending", "First text.", "Second text.")
    move(moving, "ending", "production", 1)
    move(moving, "ending", "candidate", 2)
    answers_one(moving, "ending@candidate")
    removed = moving.api("/api/prompts/ending/aliases/remove", body={"alias": "candidate", "reason": "over"})
    second_s = time.monotonic() + 1
    assert removed["aliases"] == {"production": 1}
    eventually(lambda: not is_served(moving, "ending@candidate"), within_s=1, what="a worker knows of the end")
    while time.monotonic() < second_s:  # every worker has the second
        is_served(moving, "ending@production")
    assert not any(is_served(moving, "ending@candidate") for _ in range(40))
    assert is_served(moving, "ending@production") and is_served(moving, "ending@2")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "none exists."),
        ({"override": True}, "An override needs a reason"),
    ],
)
def test_a_protected_production_is_refused_with_the_rule_and_what_to_do(
    moving: RunningServer, more: dict[str, Any], words: str
) -> None:
    push(moving, "guarded", "First text.")
    status, refused = moving.ask("/api/prompts/guarded/aliases", body={"alias": "production", "version": 1, **more})
    assert status == 403
    error = refused["error"]
    assert error["code"] == "move_refused"
    assert error["message"].startswith("Refused: guarded@1 may not become production. Policy standard (")
    assert "headgate.toml line 13) asks for a passing receipt for content " in error["message"]
    assert words in error["message"]
    assert moving.api("/api/prompts/guarded")["aliases"] == {}


def test_an_override_with_its_reason_moves_it_and_is_shown(moving: RunningServer) -> None:
    push(moving, "guarded-hotfix", "First text.")
    assert not is_served(moving, "guarded-hotfix")
    wish = {"alias": "production", "version": 1, "override": True, "reason": "the shop is closed"}
    moved = moving.api("/api/prompts/guarded-hotfix/aliases", body=wish)["move"]
    assert (moved["gate"], moved["policy"], moved["reason"]) == ("override", "standard", "the shop is closed")
    answers_one(moving, "guarded-hotfix")
    [newest, *_] = moving.api("/api/history", {"object": "prompt:guarded-hotfix"})["entries"]
    assert (newest["action"], newest["reason"], newest["detail"]["gate"]) == (
        "alias.move",
        "the shop is closed",
        "override",
    )

"""Objects of accounts against crafted requests: keys limited to models, odd paths, ids that two accounts have."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from headgate.core.settings import Route, Server, Target, Upstream
from headgate.snapshot import KeyEntry
from support.client import Got, call, request_bytes
from support.settings import QUICK, settings_for
from support.upstream import Script, ScriptedUpstream, Seen, answer
from support.worker import WorkerProcess

LIMITED = "hg_limited_0123456789abcdef"
APP = "hg_app_0123456789abcdef"
FILL = "x" * (2 << 20)


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """A worker before two accounts; each makes what it is asked for, and answers with what it was asked about."""

    worker: WorkerProcess
    first: ScriptedUpstream
    second: ScriptedUpstream

    def ask(
        self, method: str, path: str, body: str = "", *, key: str = APP, media: str = "application/json", **more: str
    ) -> Got:
        """One call; what the accounts saw before is forgotten."""
        self.first.seen.clear()
        self.second.seen.clear()
        headers = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in more.items()}}
        if body and method != "POST":
            headers |= {"Content-Length": str(len(body)), "Content-Type": media}
            data = request_bytes(path, b"", method=method, headers=headers) + body.encode()
        else:
            data = request_bytes(path, body.encode(), method=method, headers=headers)
        return call(self.worker.port, data.replace(b"application/json", media.encode()), method=method)

    def targets(self) -> list[str]:
        """What both saw, as `first GET /v1/files`."""
        pairs = (("first", self.first), ("second", self.second))
        return [f"{name} {b' '.join(one.request_line.split()[:2]).decode()}" for name, up in pairs for one in up.seen]

    def make(self, model: str, object_id: str) -> None:
        """Have the account of ``model`` answer with an object."""
        body = json.dumps({"model": model, "input": object_id})
        assert self.ask("POST", "/v1/responses", body).status == 200


def reply(seen: Seen) -> Script:
    asked = json.loads(seen.body) if seen.body.startswith(b'{"model": "') else {}
    return answer(json.dumps({"id": asked.get("input", "none-1"), "object": "thing"}).encode())


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    first, second = ScriptedUpstream(reply_with=reply), ScriptedUpstream(reply_with=reply)
    upstreams = [
        Upstream(name=name, kind="openai", base_url=one.base_url, timeout=QUICK)
        for name, one in (("first", first), ("second", second))
    ]
    claude = Upstream(name="claude", kind="anthropic", base_url=first.base_url, timeout=QUICK)
    settings = settings_for(
        *upstreams,
        claude,
        routes=(Route(model="of-second", targets=(Target(upstream="second"),), fallback_on=()),),
        server=Server(default_upstream={"openai": "first", "anthropic": "claude"}, require_key=True, drain_s=2),
    )
    keys = {
        hashlib.sha256(key.encode()).hexdigest(): KeyEntry(id=f"key_{name}", name=name, role="app", models=models)
        for key, name, models in ((LIMITED, "limited", ("gpt-*",)), (APP, "app", ()))
    }
    worker = WorkerProcess(tmp_path_factory.mktemp("worker"), settings, keys)
    yield Accounts(worker=worker, first=first, second=second)
    worker.stop()
    first.close()
    second.close()


NAMES = '{"model":"gpt-5"}'

REACHES = {
    "cancels a response": ("POST", "/v1/responses/resp_1/cancel", NAMES),
    "deletes a file": ("DELETE", "/v1/files/file-1", NAMES),
    "reads a file": ("GET", "/v1/files/file-1/content", NAMES),
    "reads a stored chat": ("GET", "/v1/chat/completions/chatcmpl-1/messages", NAMES),
    "lists files": ("GET", "/v1/files", NAMES),
    "adds to a conversation": ("POST", "/v1/conversations/conv_1/items", NAMES),
    "runs a batch": ("POST", "/v1/batches", '{"model":"gpt-5","input_file_id":"file-1"}'),
    "tunes a model": ("POST", "/v1/fine_tuning/jobs", '{"model":"gpt-5","training_file":"file-1"}'),
    "runs an assistant": ("POST", "/v1/threads/runs", '{"model":"gpt-5","assistant_id":"asst_1"}'),
    "searches a vector store": ("POST", "/v1/vector_stores/vs_1/search", NAMES),
    "two slashes": ("POST", "/v1//responses/resp_1/cancel", NAMES),
    "slashes within": ("POST", "/v1/responses//resp_1/cancel", NAMES),
    "an escape": ("POST", "/v1/%72esponses/resp_1/cancel", NAMES),
    "an escaped slash": ("POST", "/v1/responses%2Fresp_1/cancel", NAMES),
    "another case": ("POST", "/v1/Responses/resp_1/CANCEL", NAMES),
    "the other mount": ("DELETE", "/openai/v1/files/file-1", NAMES),
    "batches of anthropic": ("POST", "/anthropic/v1/messages/batches", '{"model":"gpt-5","requests":[]}'),
    "a session of anthropic": ("POST", "/anthropic/v1/sessions/sess_1/events", NAMES),
    "a key for a session": ("POST", "/v1/realtime/client_secrets", '{"model":"gpt-5","session":{"model":"o9"}}'),
    "deletes another model": ("DELETE", "/v1/models/claude-5", NAMES),
    "another model, escaped": ("DELETE", "/v1/%6dodels/claude-5", NAMES),
    "another model, two slashes": ("DELETE", "/v1//models/claude-5", NAMES),
    "the model twice": ("POST", "/v1/chat/completions", '{"model":"o9","model":"gpt-5"}'),
    "the model twice, one null": ("POST", "/v1/chat/completions", '{"model":"o9","x":1,"model":null,"model":"gpt-5"}'),
    "the model in capitals too": ("POST", "/v1/chat/completions", '{"Model":"o9","model":"gpt-5"}'),
    "the model escaped too": ("POST", "/v1/chat/completions", '{"\\u006dodel":"o9","model":"gpt-5"}'),
    "a list of other models": ("POST", "/v1/chat/completions", '{"model":"gpt-5","models":["o9"]}'),
    "fallbacks": ("POST", "/v1/chat/completions", '{"fallbacks":[{"model":"o9"}],"model":"gpt-5"}'),
    "the model twice in a large body": (
        "POST",
        "/v1/chat/completions",
        f'{{"model":"o9","x":"{FILL}","model":"gpt-5"}}',
    ),
    "in capitals behind a large member": (
        "POST",
        "/v1/chat/completions",
        f'{{"model":"gpt-5","x":"{FILL}","MODEL":"o9"}}',
    ),
}


@pytest.mark.parametrize("name", REACHES)
def test_a_key_limited_to_models_reaches_no_object_and_no_other_model(accounts: Accounts, name: str) -> None:
    method, path, body = REACHES[name]
    got = accounts.ask(method, path, body, key=LIMITED)
    assert got.status == 403, (got.status, got.body)
    assert got.error.get("code", "model_unreadable") in ("model_unreadable", "model_forbidden")
    assert accounts.first.seen == [] or not any(seen.body == body.encode() for seen in accounts.first.seen)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/chat/completions", '{"model":"gpt-5","messages":[{"model":"o9"}],"x":{"model":1,"Model":2}}'),
        ("POST", "/v1/chat/completions", f'{{"model":"gpt-5","x":"{FILL}"}}'),
        ("POST", "/v1/images/generations", NAMES),
        ("POST", "/v1/responses/compact", NAMES),
        ("POST", "/v1/responses/input_tokens", NAMES),
        ("POST", "/v1/videos", NAMES),
        ("GET", "/v1/models/gpt-5", ""),
        ("GET", "/v1/models/gpt-5%3Amine", ""),
    ],
)
def test_what_it_may_call_still_passes(accounts: Accounts, method: str, path: str, body: str) -> None:
    got = accounts.ask(method, path, body, key=LIMITED)
    assert got.status == 200, got.body
    assert accounts.targets() == [f"first {method} {path}"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/resp_second",
        "/openai/v1/responses/resp_second",
        "/v1//responses/resp_second",
        "/v1/responses//resp_second/",
        "/v1/responses/resp%5Fsecond",
        "/v1/%72esponses/%72esp_second",
        "/v1/responses%2fresp_second",
        "/v1/responses/resp_second/input_items?after=x%20y",
        "/v1/responses/resp_second?stream=true",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_however_its_path_is_spelt_an_object_is_asked_for_where_it_is(
    accounts: Accounts, method: str, path: str
) -> None:
    accounts.make("of-second", "resp_second")
    assert accounts.ask(method, path).status == 200
    assert accounts.targets() == [f"second {method} {path.replace('/openai', '')}"]


def test_an_id_of_two_accounts_belongs_to_the_one_that_answered_first(accounts: Accounts) -> None:
    accounts.make("of-second", "resp_of_both")
    accounts.make("any", "resp_of_both")
    accounts.ask("DELETE", "/v1/responses/resp_of_both")
    assert accounts.targets() == ["second DELETE /v1/responses/resp_of_both"]
    got = accounts.ask("POST", "/v1/responses", '{"model":"any","previous_response_id":"resp_of_both"}')
    assert (got.status, accounts.first.seen) == (200, [])  # the route of `any` leads to both, the object to one


@pytest.mark.parametrize(
    "object_id",
    ["file-%0d%0aX-Injected:%201", "%ff%fe", "..%2e", "a%3Fb", "a%23b", "%20", "-begins-oddly", "a" * 300, "~", "%25"],
)
def test_an_id_of_odd_bytes_is_asked_for_as_it_came_and_looked_up_nowhere(accounts: Accounts, object_id: str) -> None:
    got = accounts.ask("GET", f"/v1/files/{object_id}")
    assert (got.status, accounts.targets()) == (200, [f"first GET /v1/files/{object_id}"])
    assert all(b"X-Injected: " not in seen.head for seen in accounts.first.seen)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/files/%2e%2e/organization/users", "/v1/files/..%2f..%2forganization", "/v1/files/%2e%2e%2fx"),
        *("/v1/files/a%2f..%2fb", "/v1/files/a/..%2Fb", "/v1/files/%00", "/v1/files/a%5c..%5cb"),
    ],
)
def test_a_path_that_climbs_is_refused(accounts: Accounts, path: str) -> None:
    got = accounts.ask("GET", path)
    assert (got.status, got.error["code"], accounts.targets()) == (400, "bad_target", [])


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/organization/users", "/v1/organizations/api_keys", "/v1/projects/p", "/v1/webhook_endpoints/we_1"),
        *("/v1//organization/users", "/v1/Organization/users", "/v1/%6frganization/users", "/v1/organization%2fusers"),
        *("/anthropic/v1/organizations/users", "/openai/v1/projects"),
    ],
)
def test_what_administers_an_account_is_refused_however_it_is_spelt(accounts: Accounts, path: str) -> None:
    got = accounts.ask("GET", path, anthropic_version="2023-06-01" if "anthropic" in path else "")
    assert (got.status, accounts.targets()) == (403, [])


def test_a_change_of_an_object_that_nobody_knows_goes_nowhere(accounts: Accounts) -> None:
    for path in ("/v1/files/file-unknown", "/v1//files/file%2Dunknown", "/v1/agents/sessions/s_unknown"):
        got = accounts.ask("DELETE", path)
        assert (got.status, accounts.targets()) == (503, [])  # no control process behind this worker to ask


@pytest.mark.parametrize(
    "path", ["/v1/videos/edits", "/v1/threads/runs", "/v1/agents/sessions", "/v1/videos/characters", "/v1/files"]
)
def test_a_call_that_stands_where_an_id_would_is_no_object(accounts: Accounts, path: str) -> None:
    assert accounts.ask("POST", path, "{}").status == 200
    assert accounts.targets() == [f"first POST {path}"]

"""`transformers serve` behind Headgate: every habit of its own reaches the client, and the log reads it right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from support.both import Both, UpstreamProcess, ask
from support.later import Later
from support.server import RunningServer

if TYPE_CHECKING:
    import openai
else:
    openai = Later("openai")

pytestmark = pytest.mark.slow
MESSAGES: list[Any] = [{"role": "user", "content": "The quick brown fox"}]


@pytest.fixture
def model(transformers: UpstreamProcess) -> str:
    """What it calls its model: the folder."""
    return str(transformers.log.parent / "tiny")


def chat(model: str, **more: Any) -> Callable[[openai.OpenAI], Any]:
    """One call; of a stream its pieces."""

    def make(client: openai.OpenAI) -> Any:
        made: Any = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, **more)
        return list(made) if more.get("stream") else made

    return make


def completion(model: str, **more: Any) -> Callable[[openai.OpenAI], Any]:
    def make(client: openai.OpenAI) -> Any:
        made: Any = client.completions.create(model=model, prompt="A gateway", max_tokens=12, **more)
        return list(made) if more.get("stream") else made

    return make


# First of all: the list of models is a 500 until its cache has a folder.


def test_its_500_for_the_list_of_models_leaves_the_rest_of_the_list(
    local: Both[openai.OpenAI], transformers: UpstreamProcess, tiny: RunningServer
) -> None:
    with pytest.raises(openai.InternalServerError):
        local.direct.models.list()
    status, listed = ask(tiny.port, "GET", "/v1/models")
    assert (status, [model["id"] for model in listed["data"]]) == (200, ["tiny"])  # the route is still there
    for folder in transformers.log.parent.parent.glob("hf-home*"):
        (folder / "hub").mkdir(exist_ok=True)
    assert list(local.direct.models.list()) == []


@pytest.mark.parametrize("make", [chat, completion], ids=["chat", "completions"])
@pytest.mark.parametrize("options", [{}, {"seed": 11, "temperature": 1.2}], ids=["greedy", "seeded"])
def test_whole_answers_are_the_same(local: Both[openai.OpenAI], model: str, make: Any, options: dict[str, Any]) -> None:
    answer = local.same(make(model, **options))
    row = local.calls.row(outcome="ok", usage_source="provider", stream=False, finish_reason="length")
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, 12)
    assert (row["model"], row["response_id"]) == (f"{model}@main", answer.id)
    assert row["upstream_request_id"] == answer.id


@pytest.mark.parametrize("make", [chat, completion], ids=["chat", "completions"])
def test_streams_keep_the_usage_nobody_asked_for_and_end_without_done(
    local: Both[openai.OpenAI], model: str, make: Any
) -> None:
    pieces = local.same(make(model, stream=True))
    assert pieces[-1].usage.completion_tokens == 12
    assert pieces[-1].choices[0].finish_reason == "length"
    row = local.calls.row(outcome="ok", usage_source="provider", stream=True, finish_reason="length", output_tokens=12)
    assert row["model"] == f"{model}@main"


def test_no_done_is_invented(local: Both[openai.OpenAI], transformers: UpstreamProcess, model: str) -> None:
    for client in (local.direct, local.through):
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=MESSAGES, max_tokens=3, stream=True
        )
        text = raw.http_response.read().decode()
        assert text.startswith("data: {") and text.endswith("}\n\n") and "[DONE]" not in text


@pytest.mark.parametrize("asked", [{}, {"stream": True}], ids=["not asked for", "asked for"])
def test_responses_stream_whether_asked_or_not_and_are_read_by_what_they_are(
    local: Both[openai.OpenAI], model: str, asked: dict[str, Any]
) -> None:
    text = []
    for client in (local.direct, local.through):
        raw: Any = client.responses.with_raw_response.create(
            model=model, input="The quick", max_output_tokens=6, **asked, extra_headers={"x-request-id": "fixed-1"}
        )
        text.append(raw.http_response.read().decode())
    kinds = [[line.rpartition('"type":')[2] for line in one.splitlines() if line] for one in text]
    assert kinds[0] == kinds[1] and kinds[0][-1] == '"response.completed"}'
    row = local.calls.row(outcome="ok", endpoint="openai.responses", stream=True, usage_source="provider")
    assert (row["output_tokens"], row["response_id"]) == (6, "resp_fixed-1")


def test_a_name_of_ours_leads_to_its_folder(local: Both[openai.OpenAI], model: str) -> None:
    answer = local.through.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4)
    row = local.calls.row(outcome="ok", model_requested="tiny", model=f"{model}@main", route="tiny")
    assert row["response_id"] == answer.id


REFUSED: dict[str, tuple[Callable[[str], Callable[[openai.OpenAI], Any]], int]] = {
    "a field it does not know": (lambda model: chat(model, extra_body={"unknown_field": 1}), 422),
    "the same in a stream": (lambda model: chat(model, stream=True, extra_body={"unknown_field": 1}), 422),
    "another model": (lambda model: chat("no-such-model"), 400),
    "a path it does not have": (lambda model: lambda client: client.embeddings.create(model=model, input="a"), 404),
}


@pytest.mark.parametrize("name", REFUSED)
def test_its_errors_that_are_no_envelopes_of_openai_pass_as_they_are(
    local: Both[openai.OpenAI], model: str, name: str
) -> None:
    make, status = REFUSED[name]
    refused = local.same(make(model))
    assert refused[1] == status
    assert refused[3].startswith('{"detail":')
    local.calls.row(outcome="upstream_error", status=status)


def test_many_at_once_are_all_answered_and_logged(local: Both[openai.OpenAI], model: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: chat(model, stream=True)(local.through), range(16)))
    texts = {"".join(piece.choices[0].delta.content or "" for piece in pieces) for pieces in made}
    assert len(made) == 16 and len(texts) == 1
    rows = [local.calls.server.row(request_id) for request_id in local.calls.ids]
    assert {(row["outcome"], row["output_tokens"]) for row in rows} == {("ok", 12)}

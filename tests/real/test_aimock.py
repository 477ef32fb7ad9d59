"""aimock behind Headgate: both SDKs see what they see without, of every endpoint and fault, and the log is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from support.both import Both, UpstreamProcess, ask
from support.later import Later
from support.server import RunningServer

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

pytestmark = pytest.mark.slow
GREETING = "Grüße aus 東京 👩‍👩‍👧, thought through."
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time")
]


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def whole_chat(text: str, **more: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda client: client.chat.completions.create(model="gpt-5-mini", messages=user(text), **more)


def streamed_chat(text: str, **more: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda client: list(
        client.chat.completions.create(model="gpt-5-mini", messages=user(text), stream=True, **more)
    )


def message(text: str, *, stream: bool = False) -> Callable[[anthropic.Anthropic], Any]:
    """One call of messages; of a stream its events."""

    def make(client: anthropic.Anthropic) -> Any:
        made = client.messages.create(model="claude-sonnet-4-6", max_tokens=500, messages=user(text), stream=stream)
        return list(made) if stream else made

    return make


# What models say.


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["unasked", "asked"])
@pytest.mark.parametrize("text", ["think hard", "what is the weather", "letter by letter", "all at once"])
def test_streams_of_chat_are_the_same_piece_by_piece(
    chat: Both[openai.OpenAI], text: str, options: dict[str, Any]
) -> None:
    pieces = chat.same(streamed_chat(text, tools=TOOLS, **options))
    assert len(pieces) > 2
    assert (pieces[-1].usage is not None) is bool(options)
    row = chat.calls.priced(stream=True, endpoint="openai.chat", model_requested="gpt-5-mini")
    finish = [piece.choices[0].finish_reason for piece in pieces if piece.choices and piece.choices[0].finish_reason]
    assert [row["finish_reason"]] == finish
    assert row["response_id"] == pieces[0].id
    counts = {"think hard": (11, 22), "what is the weather": (7, 9), "letter by letter": (3, 34)}
    assert (row["input_tokens"], row["output_tokens"]) == counts.get(text, (row["input_tokens"], row["output_tokens"]))


@pytest.mark.parametrize("text", ["think hard", "what is the weather", "letter by letter", "all at once"])
def test_whole_answers_of_chat_are_the_same(chat: Both[openai.OpenAI], text: str) -> None:
    answer = chat.same(whole_chat(text, tools=TOOLS))
    row = chat.calls.priced(stream=False, endpoint="openai.chat", finish_reason=answer.choices[0].finish_reason)
    assert (row["model"], row["response_id"]) == (answer.model, answer.id)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("text", ["think hard", "what is the weather", "letter by letter"])
def test_responses_are_the_same_event_by_event(chat: Both[openai.OpenAI], text: str, stream: bool) -> None:
    def make(client: openai.OpenAI) -> Any:
        made: Any = client.responses.create(model="gpt-5-mini", input=text, stream=stream)
        return list(made) if stream else made

    made = chat.same(make)
    answer = made[-1].response if stream else made
    row = chat.calls.priced(endpoint="openai.responses", stream=stream, response_id=answer.id)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.input_tokens, answer.usage.output_tokens)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("text", ["think hard", "what is the weather", "letter by letter"])
def test_messages_with_thinking_and_tools_are_the_same_event_by_event(
    claude: Both[anthropic.Anthropic], text: str, stream: bool
) -> None:
    made = claude.same(message(text, stream=stream))
    row = claude.calls.priced(endpoint="anthropic.messages", stream=stream)
    stop = (
        next(event.delta.stop_reason for event in made if event.type == "message_delta") if stream else made.stop_reason
    )
    assert row["finish_reason"] == stop
    counts = {"think hard": (11, 22), "what is the weather": (7, 9), "letter by letter": (3, 34)}
    assert (row["input_tokens"], row["output_tokens"]) == counts[text]
    if text == "think hard":
        kinds = (
            [event.content_block.type for event in made if event.type == "content_block_start"]
            if stream
            else [block.type for block in made.content]
        )
        assert kinds == ["thinking", "text"]


@pytest.mark.parametrize("form", ["base64", "float"])
def test_embeddings_are_the_same(chat: Both[openai.OpenAI], form: Any) -> None:
    made = chat.same(
        lambda client: client.embeddings.create(
            model="text-embedding-3-small", input=["embed me", "and me"], encoding_format=form
        )
    )
    assert len(made.data) == 2
    chat.calls.row(endpoint="openai.embeddings", outcome="ok", usage_source="provider", input_tokens=0)  # so it says


# Everything that is no text.

OTHERS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "no such path": lambda client: client.models.retrieve("gpt-4o"),
    "moderation": lambda client: client.moderations.create(input="hello"),
    "an image": lambda client: client.images.generate(model="gpt-image-1", prompt="a gate"),
    "an edited image": lambda client: client.images.edit(
        model="gpt-image-1", prompt="a gate", image=("gate.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image/png")
    ),
    "speech": lambda client: client.audio.speech.create(model="tts-1", voice="alloy", input="hello").content,
    "a transcription": lambda client: client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", b"RIFF\0\0\0\0WAVE" + bytes(100_000), "audio/wav")
    ),
    "a transcription as a text": lambda client: client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", b"RIFF", "audio/wav"), response_format="text"
    ),
    "no such file": lambda client: client.files.retrieve("file-unknown"),
    "no such batch": lambda client: client.batches.retrieve("batch_unknown"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_text_is_the_same(chat: Both[openai.OpenAI], name: str) -> None:
    chat.same(OTHERS[name])
    status = 404 if name.startswith("no such") else 200
    chat.calls.row(status=status, outcome="ok" if status == 200 else "upstream_error")


def test_files_batches_and_tuning_jobs_live_their_lives(chat: Both[openai.OpenAI]) -> None:
    lines = b"".join(
        json.dumps({"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
        + b"\n"
        for n, body in enumerate([{"model": "gpt-5-mini", "messages": user("hello")}] * 3)
    )

    def live(client: openai.OpenAI) -> Any:
        file = client.files.create(file=("batch.jsonl", lines), purpose="batch")
        content = client.files.content(file.id).content
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        polled = [client.batches.retrieve(batch.id).status for _ in range(4)]
        listed = [one.id == file.id for one in client.files.list()].count(True)
        tuning = client.files.create(file=("tune.jsonl", b'{"messages":[]}\n'), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model="gpt-4o-mini-2024-07-18", training_file=tuning.id)
        events = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
        gone = client.files.delete(file.id)
        return [file, content, batch, polled, listed, job.status, events, gone.deleted]

    made = chat.same(live)
    assert made[1] == lines
    assert (made[4], made[7]) == (1, True)
    row = chat.calls.row(method="DELETE", outcome="ok")
    assert row["path"] == f"/v1/files/{made[0].id}"


# What goes wrong.


@pytest.mark.parametrize("text", ["too many", "bad request", "nobody knows this"])
@pytest.mark.parametrize("make", [whole_chat, streamed_chat], ids=["whole", "streamed"])
def test_refusals_of_chat_are_the_same(chat: Both[openai.OpenAI], make: Any, text: str) -> None:
    _, status, *_ = chat.same(make(text))
    chat.calls.row(outcome="upstream_error", status=status, endpoint="openai.chat")


@pytest.mark.parametrize("text", ["too many", "bad request"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_refusals_of_messages_are_the_same(claude: Both[anthropic.Anthropic], text: str, stream: bool) -> None:
    _, status, *_ = claude.same(message(text, stream=stream))
    claude.calls.row(outcome="upstream_error", status=status, endpoint="anthropic.messages")


def test_a_missing_count_of_tokens_is_the_same(claude: Both[anthropic.Anthropic]) -> None:
    refused = claude.same(
        lambda client: client.messages.count_tokens(model="claude-sonnet-4-6", messages=user("hello"))
    )
    assert refused[:2] == ["NotFoundError", 404]
    claude.calls.row(outcome="upstream_error", status=404, endpoint="other")


def faulty(make: Any, fault: str) -> Callable[[openai.OpenAI], Any]:
    """A call that meets one of aimock's faults for certain."""
    return make("hello", extra_headers={f"x-aimock-chaos-{fault}": "1"})  # type: ignore[no-any-return]


@pytest.mark.parametrize(("fault", "status"), [("drop", 500), ("ratelimit", 429)])
@pytest.mark.parametrize("make", [whole_chat, streamed_chat], ids=["whole", "streamed"])
def test_errors_of_a_faulty_upstream_reach_the_client_as_they_are(
    chat: Both[openai.OpenAI], make: Any, fault: str, status: int
) -> None:
    assert chat.same(faulty(make, fault))[1] == status
    row = chat.calls.row(outcome="upstream_error", status=status)
    assert row["error_message"].startswith("Chaos: ")


@pytest.mark.parametrize("make", [whole_chat, streamed_chat], ids=["whole", "streamed"])
def test_a_malformed_answer_reaches_the_client_as_it_is(chat: Both[openai.OpenAI], make: Any) -> None:
    def seen(client: openai.OpenAI) -> str:
        try:
            return repr(faulty(make, "malformed")(client))
        except (openai.APIError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    assert seen(chat.through) == seen(chat.direct)
    row = chat.calls.row(status=200, finish_reason=None, response_id=None)
    assert row["usage_source"] != "provider"


@pytest.mark.parametrize("make", [whole_chat, streamed_chat], ids=["whole", "streamed"])
def test_an_upstream_that_hangs_up_without_an_answer_is_named(chat: Both[openai.OpenAI], make: Any) -> None:
    with pytest.raises(openai.APIConnectionError):
        faulty(make, "disconnect")(chat.direct)
    with pytest.raises(openai.InternalServerError, match='upstream "mock"') as error:
        faulty(make, "disconnect")(chat.through)
    chat.calls.row(outcome="upstream_error", status=error.value.status_code)


def test_messages_that_break_off_break_off(claude: Both[anthropic.Anthropic]) -> None:
    seen: list[list[str]] = []
    for client in (claude.direct, claude.through):
        kinds: list[str] = []
        with pytest.raises(Exception, match="peer closed|incomplete|Connection|closed"):
            for event in client.messages.create(
                model="claude-sonnet-4-6", max_tokens=500, messages=user("break off"), stream=True
            ):
                kinds.append(event.type)
        seen.append(kinds)
    assert seen[0] == seen[1] != []
    claude.calls.row(outcome="upstream_aborted", status=200, endpoint="anthropic.messages")


def test_a_stream_that_breaks_off_breaks_off(chat: Both[openai.OpenAI]) -> None:
    seen: list[list[str]] = []
    for client in (chat.direct, chat.through):
        pieces: list[str] = []
        with pytest.raises(Exception, match="peer closed|incomplete|Connection|closed"):
            for piece in client.chat.completions.create(model="gpt-5-mini", messages=user("break off"), stream=True):
                pieces.append(piece.choices[0].delta.content or "")
        seen.append(pieces)
    assert seen[0] == seen[1]
    row = chat.calls.row(outcome="upstream_aborted", status=200, stream=True)
    assert row["usage_source"] == "estimated"


def test_who_leaves_a_slow_stream_is_in_the_log_with_what_there_was(chat: Both[openai.OpenAI]) -> None:
    seen = ""
    with chat.through.chat.completions.create(
        model="gpt-5-mini", messages=user("take your time"), stream=True
    ) as stream:
        for piece in stream:
            seen += piece.choices[0].delta.content or ""
            if seen:
                break
    row = chat.calls.row(outcome="client_closed", usage_source="estimated", stream=True)
    assert row["output_tokens"] < 10 < row["response_bytes"]


# What aimock was sent.


def test_aimock_receives_what_it_receives_without(chat: Both[openai.OpenAI], aimock: UpstreamProcess) -> None:
    odd = {"temperature": 0.1, "made_up": {"deep": [1, None, 1e30]}, "metadata": {"a": "ü"}}
    headers = {"OpenAI-Beta": "x=v1", "X-Odd": "a, b;q=1"}
    entries = []
    for way, client in (("direct", chat.direct), ("through", chat.through)):
        whole_chat("hello", extra_body=odd, extra_headers={**headers, "x-request-id": f"compare-{way}"})(client)
        (entry,) = aimock.raw("GET", f"/__aimock/journal?requestId=compare-{way}")[1]
        entry["headers"].pop("x-request-id")
        entry["headers"].pop("host")
        entry["headers"].pop("connection", None)
        entries.append({name: entry[name] for name in ("method", "path", "headers", "body")})
    assert entries[0] == entries[1]


def test_the_list_of_models_has_those_of_aimock(chat: Both[openai.OpenAI], mocked: RunningServer) -> None:
    direct = {model.id for model in chat.direct.models.list()}
    assert direct <= {model["id"] for model in ask(mocked.port, "GET", "/v1/models")[1]["data"]}

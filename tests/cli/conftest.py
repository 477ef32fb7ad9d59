"""A stopped home with a few requests in its spool, made by the real writer."""

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.core.home import Home
from headgate.core.ids import now_us, uuid7
from headgate.spool.record import Attempt, FinalRecord
from headgate.spool.writer import SpoolWriter

HOSTILE = "[bold]gpt[/bold]\x1b[2J\u202e"
ANSWER = "Grüße\r\n\x1b[31mred\x07 [bold]not bold[/bold]"


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the environment or the directory it was started in."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "API_KEY", "HOME", "CONFIG", "ADMIN_KEY", "ADMIN_KEY_FILE"):
        monkeypatch.delenv(f"HEADGATE_{name}", raising=False)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home nobody serves: a chat answered, one with a hostile model name, one refused."""
    place = Home(tmp_path / "home")
    place.prepare()
    writer = SpoolWriter(place.path / "spool", worker=0, segment_bytes=1 << 20)
    for number, fields in enumerate((CHAT, STRANGE, REFUSED)):
        at_us = now_us() - 60_000_000 + number * 1_000_000
        record = FinalRecord(request_id=uuid7(at_us), started_at_us=at_us, sequence=writer.next_sequence(), **fields)
        refused = record.outcome == "refused"
        assert writer.append_final(record, _request(fields), b"", [b"" if refused else _response(fields)])
    writer.close()
    return place.path


def _request(fields: dict[str, Any]) -> bytes:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello"}]
    return json.dumps({"model": fields["model_requested"], "messages": messages, "temperature": 0}).encode()


def _response(fields: dict[str, Any]) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
    usage = json.loads(fields["usage_raw"])
    return json.dumps({"id": "c-1", "model": fields["model"], "choices": [choice], "usage": usage}).encode()


CHAT: dict[str, Any] = {
    "endpoint": "openai.chat",
    "path": "/v1/chat/completions",
    "client": "OpenAI/Python 3.54.0",
    "model_requested": "gpt-4o-mini",
    "model": "gpt-4o-mini",
    "provider": "openai",
    "upstream": "openai",
    "route": "gpt-*",
    "status": 200,
    "finish_reason": "stop",
    "attempts": [Attempt(upstream="openai", status=200, latency_us=800_000)],
    "usage_raw": '{"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}',
    "latency_us": 812_000,
    "ttft_us": 300_000,
    "upstream_us": 811_000,
    "overhead_us": 400,
    "tags": {"team": "search"},
    "user_id": "u-1",
    "response_content_type": "application/json",
    "request_content_type": "application/json",
}
STRANGE: dict[str, Any] = {
    **CHAT,
    "model_requested": HOSTILE,
    "model": HOSTILE,
    "provider": None,
    "upstream": "local",
    "user_id": "u-2",
    "tags": None,
}
REFUSED: dict[str, Any] = {
    "endpoint": "openai.chat",
    "path": "/v1/chat/completions",
    "model_requested": "o5-mini",
    "status": 404,
    "outcome": "refused",
    "error_type": "not_found",
    "error_message": 'headgate: no route for model "o5-mini".',
}

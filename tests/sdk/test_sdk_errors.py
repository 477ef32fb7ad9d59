"""What goes wrong reaches each SDK as its own exception, says whose error it is, and leaves a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from support.calls import Calls
from support.later import Later

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

CHAT: Any = [{"role": "user", "content": "Hello"}]


def openai_error(client: openai.OpenAI, kind: type[openai.APIStatusError], **more: Any) -> openai.APIStatusError:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": CHAT, **more})
    assert type(caught.value) is kind
    return caught.value


def anthropic_error(
    client: anthropic.Anthropic, kind: type[anthropic.APIStatusError], **more: Any
) -> anthropic.APIStatusError:
    with pytest.raises(kind) as caught:
        client.messages.create(**{"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": CHAT, **more})
    return caught.value


def test_a_wrong_headgate_key_is_an_authentication_error_in_both(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    for place in ({"api_key": "hg_wrong"}, {"default_headers": {"x-headgate-key": "hg_wrong"}}):
        error = openai_error(openai_client.with_options(**place), openai.AuthenticationError)
        assert 'headgate: "hg_w…" is not a key of this gateway.' in str(error)
        assert (error.code, error.type) == ("key_unknown", "headgate_error")
        calls.row(outcome="refused", status=401, error_type="key_unknown", endpoint="openai.chat", cost_usd=None)
    other = anthropic_error(anthropic_client.with_options(api_key="hg_wrong"), anthropic.AuthenticationError)
    assert "headgate:" in str(other)
    assert isinstance(other.body, dict) and other.body["error"]["type"] == "authentication_error"
    calls.row(outcome="refused", status=401, endpoint="anthropic.messages")


def test_a_model_without_a_route_is_not_found_and_says_which_there_are(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    error = openai_error(openai_client, openai.NotFoundError, model="o5-mini")
    assert 'headgate: no route for model "o5-mini". Routes: ' in str(error)
    assert "headgate.toml" in str(error)
    calls.row(outcome="refused", status=404, error_type="no_route", model_requested="o5-mini", upstream=None)
    assert "o5-mini" in str(anthropic_error(anthropic_client, anthropic.NotFoundError, model="o5-mini"))
    calls.row(outcome="refused", status=404, error_type="no_route", endpoint="anthropic.messages")


def test_a_route_to_the_other_dialect_only_is_a_bad_request(openai_client: openai.OpenAI, calls: Calls) -> None:
    error = openai_error(openai_client, openai.BadRequestError, model="claude-sonnet-4-6")
    assert "speaks openai: anthropic" in str(error)
    calls.row(outcome="refused", status=400, error_type="no_target")


def test_bad_requests_are_told_apart_by_whose_word_they_are(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    ours = openai_error(openai_client, openai.BadRequestError, extra_headers={"x-headgate-capture": "all"})
    assert ours.type == "headgate_error"
    calls.row(outcome="refused", status=400, error_type="invalid_header")
    theirs = openai_error(openai_client, openai.BadRequestError, messages=[{"role": "nobody", "content": "Hello"}])
    assert theirs.type != "headgate_error"
    row = calls.row(outcome="upstream_error", status=400, upstream="openai")
    assert "role" in row["error_message"]
    budget = {"type": "enabled", "budget_tokens": 1}
    assert "budget_tokens" in str(anthropic_error(anthropic_client, anthropic.BadRequestError, thinking=budget))
    calls.row(outcome="upstream_error", status=400, error_type="invalid_request_error")


def test_a_body_over_the_limit_is_too_large(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    long: Any = [{"role": "user", "content": "x" * 600_000}]
    error = openai_error(openai_client, openai.APIStatusError, messages=long)
    assert error.status_code == 413
    assert "server.max_body_mb" in str(error)
    calls.row(outcome="refused", status=413, error_type="body_too_large", upstream=None)
    other = anthropic_error(anthropic_client, anthropic.RequestTooLargeError, messages=long)
    assert "server.max_body_mb" in str(other)
    calls.row(outcome="refused", status=413)


def test_a_rate_limit_passes_with_its_retry_after(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    error = openai_error(openai_client, openai.RateLimitError, model="demo-error-429")
    assert error.response.headers["retry-after"] == "1"
    assert "headgate:" not in str(error)
    calls.row(outcome="upstream_error", status=429, error_type="rate_limit_error", cost_usd=None)
    other = anthropic_error(anthropic_client, anthropic.RateLimitError, model="demo-error-429")
    assert other.response.headers["retry-after"] == "1"
    calls.row(outcome="upstream_error", status=429, error_type="rate_limit_error")


def test_an_sdk_that_retries_leaves_a_row_for_every_try(openai_client: openai.OpenAI, calls: Calls) -> None:
    openai_error(openai_client.with_options(max_retries=1), openai.RateLimitError, model="demo-error-429")
    assert len(set(calls.ids)) == 2
    calls.row(status=429)
    openai_error(openai_client.with_options(max_retries=2), openai.NotFoundError, model="o5-mini")
    assert len(calls.ids) == 3  # our own refusals tell the SDK not to try again


def test_failures_of_the_provider_pass(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    assert openai_error(openai_client, openai.InternalServerError, model="demo-error-500").status_code == 500
    calls.row(outcome="upstream_error", status=500)
    assert anthropic_error(anthropic_client, anthropic.APIStatusError, model="demo-overloaded").status_code == 529
    calls.row(outcome="upstream_error", status=529, error_type="overloaded_error")


def test_an_upstream_out_of_reach_is_502_and_a_late_one_504(openai_client: openai.OpenAI, calls: Calls) -> None:
    error = openai_error(openai_client, openai.InternalServerError, model="unreachable")
    assert error.status_code == 502
    assert 'headgate: upstream "nobody" cannot be reached' in str(error)
    calls.row(outcome="upstream_error", status=502, upstream="nobody", attempts=1, cost_usd=None)
    error = openai_error(openai_client, openai.InternalServerError, model="demo-slow")
    assert error.status_code == 504
    assert 'headgate: upstream "hasty" sent no answer within 0.3 s' in str(error)
    calls.row(outcome="timeout", status=504, upstream="hasty", cost_usd=None)


def test_a_broken_stream_is_an_error_for_the_client_and_never_looks_complete(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, calls: Calls
) -> None:
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(openai_client.chat.completions.create(model="demo-cut", messages=CHAT, stream=True))
    row = calls.row(outcome="upstream_aborted", stream=True, status=200, finish_reason=None)
    assert "closed the connection" in row["error_message"]
    with (
        pytest.raises((anthropic.APIConnectionError, httpx2.RemoteProtocolError)),
        anthropic_client.messages.stream(model="demo-cut", max_tokens=100, messages=CHAT) as stream,
    ):
        list(stream)
    calls.row(outcome="upstream_aborted", stream=True, endpoint="anthropic.messages")
    with pytest.raises(openai.APIConnectionError):
        openai_client.chat.completions.create(model="demo-cut", messages=CHAT)
    calls.row(outcome="upstream_aborted", stream=False)


def test_a_base_url_with_v1_twice_or_missing_is_answered_with_the_right_one(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    root = str(anthropic_client.base_url).rstrip("/")
    with pytest.raises(httpx2.HTTPStatusError, match="404") as caught:
        httpx2.post(f"{root}/v1/v1/messages", json={}, trust_env=False).raise_for_status()
    assert "http://HOST:PORT for Anthropic clients" in caught.value.response.text
    answer = httpx2.post(f"{root}/chat/completions", json={}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "wrong_base_url")

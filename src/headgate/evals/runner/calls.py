"""One call of the gateway, as an evaluation makes it: a body that is sent, and what came back, judged by its status."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx2

from headgate.client import CONNECT_TIMEOUT_S, base_url_of
from headgate.core.ids import monotonic_s, now_us, utc

MAX_ANSWER_BYTES = 64 << 20
CALL_TIMEOUT_S = 600.0
PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.embeddings": "/v1/embeddings",
    "anthropic.messages": "/v1/messages",
}
"""Endpoint to the path it is called at."""

Purpose = Literal["eval", "judge", "embedding"]
Ending = Literal["ok", "limited", "again", "unreadable", "refused", "denied"]
"""ok: a whole answer · limited: called too fast · again: worth another try · unreadable: a whole answer that cannot be
used · refused: this call never will be answered · denied: none will be."""

_LIMITED = (429, 503, 529)
_AGAIN = (408, 409, 425, 500, 502, 504)
_DENIED = (401, 403)
_MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call to be made; ``key`` is how the log finds it again."""

    key: str
    purpose: Purpose
    endpoint: str  # one of PATHS
    body: bytes
    kb: str | None = None  # `handbook@4`: read instead of what the prompt is pinned to
    about: str | None = None  # of a scorer's ask: the cell whose answer it is about, for people who look at the request


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came back for one call."""

    key: str
    ending: Ending
    request_id: str | None = None
    status: int | None = None  # None: no answer at all
    body: bytes = b""
    content_type: str | None = None
    retry_after_s: float | None = None
    latency_ms: float = 0.0
    fault: str = ""  # what went wrong, in words; empty when nothing did
    is_unreachable: bool = False  # the gateway itself did not answer


class Gateway:
    """Calls of one run through one gateway; each says its run, cell and purpose, so that the log is the evidence."""

    def __init__(self, url: str, *, api_key: str | None, run: str, connections: int) -> None:
        headers = {"user-agent": "headgate-eval", "content-type": "application/json", "x-headgate-tag-run": run}
        if api_key:
            headers["x-headgate-key"] = api_key
        self.url = base_url_of(url)
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def send(self, call: Call) -> Answered:
        """Makes one call, once. Never raises for what an upstream or a network does; it is in the answer."""
        headers = {"x-headgate-purpose": call.purpose, "x-headgate-tag-cell": call.key}
        if call.about is not None:
            headers["x-headgate-tag-about"] = call.about
        if call.endpoint == "anthropic.messages":
            headers["anthropic-version"] = "2023-06-01"
        if call.kb is not None:
            headers["x-headgate-kb"] = call.kb
        request = self._http.build_request("POST", PATHS[call.endpoint], content=call.body, headers=headers)
        began_s = monotonic_s()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                try:
                    return _answered(call, response, await _read(response), (monotonic_s() - began_s) * 1000)
                finally:
                    await response.aclose()
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            fault = f"no gateway answers at {self.url}"
            return Answered(key=call.key, ending="again", fault=fault, is_unreachable=True)
        except (httpx2.TimeoutException, TimeoutError):
            return Answered(key=call.key, ending="again", fault=f"no answer within {CALL_TIMEOUT_S:g} s")
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            return Answered(key=call.key, ending="again", fault=f"the answer broke off ({type(error).__name__})")


def prompt_call(
    key: str,
    purpose: Purpose,
    *,
    name: str,
    number: int,
    endpoint: str,
    variables: Mapping[str, Any],
    messages: object = None,
    kb: str | None = None,
) -> Call:
    """The call of a stored prompt with these variables; ``messages`` follow the prompt's own, ``kb`` (`handbook@4`) is
    read instead of what it is pinned to.
    """
    body: dict[str, Any] = {"prompt": {"id": name, "version": str(number), "variables": dict(variables)}}
    if messages:
        body["messages"] = messages
    return Call(key=key, purpose=purpose, endpoint=endpoint, body=_encoded(body), kb=kb)


def embedding_call(key: str, *, model: str, texts: object) -> Call:
    """The call that embeds texts."""
    body = {"model": model, "input": texts}
    return Call(key=key, purpose="embedding", endpoint="openai.embeddings", body=_encoded(body))


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, as a number or a date; None when it says nothing usable."""
    if value is None:
        return None
    text = value.strip()
    try:
        wait_s = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        wait_s = (at.replace(tzinfo=at.tzinfo or UTC) - utc(now_us())).total_seconds()
    return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S) if wait_s == wait_s else None


async def _read(response: httpx2.Response) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise httpx2.StreamError(f"larger than {MAX_ANSWER_BYTES >> 20} MB")
        pieces.append(piece)
    return b"".join(pieces)


def _answered(call: Call, response: httpx2.Response, body: bytes, latency_ms: float) -> Answered:
    status = response.status_code
    ending = ending_of(status)
    return Answered(
        key=call.key,
        ending=ending,
        request_id=response.headers.get("x-headgate-request-id"),
        status=status,
        body=body,
        content_type=response.headers.get("content-type"),
        retry_after_s=retry_after_s(response.headers.get("retry-after")),
        latency_ms=latency_ms,
        fault="" if ending == "ok" else f"{status}: {_message(body)}",
    )


def ending_of(status: int) -> Ending:
    """What a status means for the call that got it."""
    if 200 <= status < 300:
        return "ok"
    if status in _LIMITED:
        return "limited"
    if status in _DENIED:
        return "denied"
    return "again" if status in _AGAIN or status > 504 else "refused"


def _message(body: bytes) -> str:
    """The error's own words, on one line."""
    try:
        answer = json.loads(body)
        said = answer["error"]["message"] if isinstance(answer["error"], dict) else answer["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        said = body[:300].decode("utf-8", "replace")
    return " ".join(str(said).split())[:300] or "no reason given"


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

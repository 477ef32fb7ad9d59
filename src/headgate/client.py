"""A small synchronous Python client of Headgate's own API.

>>> with Client("http://127.0.0.1:4400", api_key="hg_...") as client:  # doctest: +SKIP
...     for row in client.requests({"since": "1h"})["requests"]:
...         row["model"], row["cost_usd"]
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import quote

import httpx2

from headgate.core.addresses import fault_of_base_url
from headgate.core.errors import ConfigurationError, HeadgateError
from headgate.core.settings import DEFAULT_URL

MAX_ANSWER_BYTES = 256 << 20
CONNECT_TIMEOUT_S = 5.0

BodyKind = Literal["request", "sent", "response"]
ExportFormat = Literal["jsonl", "csv", "parquet", "duckdb"]
Query = Mapping[str, str]


class NoGateway(HeadgateError):
    """Nothing answers at the address."""

    code, status = "no_gateway", 503


class GatewayBroke(HeadgateError):
    """Something answers at the address, but not completely, not in time, or not as Headgate does."""

    code, status = "gateway_broke", 502


class GatewayRefused(HeadgateError):
    """The gateway answered with an error: message, code, hint and status are the server's own words."""

    code = "gateway_refused"

    def __init__(self, message: str, *, status: int, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status


def base_url_of(url: str) -> str:
    """``url`` as the API's base: without a trailing slash and without the ``/v1`` that SDKs want; ConfigurationError
    when it is no http(s) address or carries a password.
    """
    text = url.strip()
    if fault := fault_of_base_url(text):
        raise ConfigurationError(f"The gateway's address is not allowed: {fault}.", hint=f"Like this: {DEFAULT_URL}.")
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


class Client:
    """One connection to one gateway. Every method raises a HeadgateError that says what to do; use it with ``with``."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.url = base_url_of(url)
        headers = {"user-agent": "headgate-client", "accept": "application/json"}
        if api_key:
            headers["x-headgate-key"] = api_key
        self._timeout_s = timeout_s
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    # -- what is there -------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """The answer of a real query to the store; a store that is down is an answer too."""
        return self._json("GET", "/api/health", accepted=(503,))

    def status(self) -> dict[str, Any]:
        """Everything ``headgate status`` prints."""
        return self._json("GET", "/api/status")

    def requests(self, filters: Query | None = None) -> dict[str, Any]:
        """One page of the newest requests: ``requests``, ``next`` (for the filter ``before``) and ``total``."""
        return self._json("GET", "/api/requests", query=filters)

    def tail(self, after: int | str | None = None, filters: Query | None = None) -> dict[str, Any]:
        """Requests in the order they were stored, after ``after`` (none: from now on), and ``next``."""
        query = dict(filters or {})
        if after is not None:
            query["after"] = str(after)
        return self._json("GET", "/api/requests/tail", query=query)

    def request(self, request_id: str) -> dict[str, Any]:
        """One request with attempts, price arithmetic, bodies and transcript."""
        return self._json("GET", f"/api/requests/{quote(request_id, safe='')}")

    def explain(self, request_id: str) -> dict[str, Any]:
        """Every decision behind one answer, in order."""
        return self._json("GET", f"/api/requests/{quote(request_id, safe='')}/explain")

    def body(self, request_id: str, kind: BodyKind) -> Iterator[bytes]:
        """The bytes of one body as they were received or sent."""
        return self._stream(f"/api/requests/{quote(request_id, safe='')}/body/{kind}")

    def export(
        self, file_format: ExportFormat, filters: Query | None = None, *, bodies: bool = False
    ) -> Iterator[bytes]:
        """The bytes of a file with the matching requests."""
        query = {**(filters or {}), "format": file_format, "bodies": "1" if bodies else "0"}
        return self._stream("/api/export", query)

    def cost(self, by: Sequence[str] = (), filters: Query | None = None) -> dict[str, Any]:
        """Cost and tokens grouped by columns, with coverage."""
        query = dict(filters or {})
        if by:
            query["by"] = ",".join(by)
        return self._json("GET", "/api/cost", query=query)

    def sql(self, query: str, *, max_rows: int | None = None) -> dict[str, Any]:
        """One read-only SELECT: ``columns``, ``rows``, ``truncated``."""
        body: dict[str, Any] = {"query": query}
        if max_rows is not None:
            body["max_rows"] = max_rows
        return self._json("POST", "/api/sql", body=body)

    def history(self, object_name: str | None = None, as_of: str | None = None) -> dict[str, Any]:
        """Who changed what, when and why."""
        given = {"object": object_name, "as_of": as_of}
        return self._json("GET", "/api/history", query={name: value for name, value in given.items() if value})

    # -- prompts -------------------------------------------------------------------------------------------------

    def prompts(self, as_of: str | None = None) -> dict[str, Any]:
        """All prompts with their aliases, now or as of a time: ``prompts``."""
        return self._json("GET", "/api/prompts", query=_given(as_of=as_of))

    def prompt(self, name: str, as_of: str | None = None) -> dict[str, Any]:
        """One prompt with its aliases and ``versions``, newest first, without their contents."""
        return self._json("GET", _prompt_path(name), query=_given(as_of=as_of))

    def prompt_version(self, name: str, ref: int | str, as_of: str | None = None) -> dict[str, Any]:
        """One version with its ``content``, by number or by alias (``latest`` is always the newest)."""
        which = {"version": str(ref)} if isinstance(ref, int) else {"alias": ref}
        return self._json("GET", _prompt_path(name), query=which | _given(as_of=as_of))

    def prompt_difference(self, name: str, before: int | str, after: int | str) -> dict[str, Any]:
        """What differs between two versions of a prompt, field by field: ``changes``."""
        query = {"from": str(before), "to": str(after)}
        return self._json("GET", f"{_prompt_path(name)}/diff", query=query)

    def push_prompts(
        self,
        files: Sequence[tuple[str, str]],
        *,
        message: str | None = None,
        git_commit: str | None = None,
        author: str | None = None,
    ) -> dict[str, Any]:
        """Stores prompt files (pairs of a file's name and its text) as versions, all or none: ``pushed``."""
        body = {
            "files": [{"file": file, "text": text} for file, text in files],
            "message": message,
            "git_commit": git_commit,
            "author": author,
        }
        return self._json("POST", "/api/prompts/push", body=body)

    def render_prompt(
        self, ref: str, variables: Mapping[str, Any] | None = None, *, endpoint: str = "openai.chat"
    ) -> dict[str, Any]:
        """What a call of a prompt would send, its tokens and its price; nothing is sent."""
        body = {"ref": ref, "variables": dict(variables or {}), "endpoint": endpoint}
        return self._json("POST", "/api/prompts/render", body=body)

    def move_alias(
        self, name: str, alias: str, version: int | str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Points an alias of a prompt to a version (a number, or an alias that stands there now): ``move`` (None when
        it stood there) and ``aliases``. A refused move raises GatewayRefused with the code ``move_refused``.
        """
        body = {"alias": alias, "version": version, "reason": reason, "override": override}
        return self._json("POST", f"{_prompt_path(name)}/aliases", body=body)

    def remove_alias(
        self, name: str, alias: str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Ends an alias of a prompt; it stops being served within a second."""
        body = {"alias": alias, "reason": reason, "override": override}
        return self._json("POST", f"{_prompt_path(name)}/aliases/remove", body=body)

    def rollback_alias(self, name: str, alias: str = "production", *, reason: str | None = None) -> dict[str, Any]:
        """Points an alias of a prompt back to the version it meant before."""
        return self._json("POST", f"{_prompt_path(name)}/rollback", body={"alias": alias, "reason": reason})

    def archive_prompt(
        self, name: str, version: int, *, archived: bool = True, reason: str | None = None
    ) -> dict[str, Any]:
        """Takes a version of a prompt out of service, or back; it still explains old requests."""
        body = {"version": version, "archived": archived, "reason": reason}
        return self._json("POST", f"{_prompt_path(name)}/archive", body=body)

    # -- changes -------------------------------------------------------------------------------------------------

    def delete_requests(self, *, ids: Iterable[str] = (), filters: Query | None = None) -> dict[str, Any]:
        """Takes rows and bodies out of every answer at once and out of every file within a day."""
        wanted: dict[str, Any] = {"ids": list(ids)} if filters is None else {"filter": dict(filters)}
        return self._json("POST", "/api/requests/delete", body=wanted)

    def keys(self) -> dict[str, Any]:
        """The API keys, without their secrets."""
        return self._json("GET", "/api/keys")

    def create_key(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A new key; its plaintext is in this answer and nowhere else."""
        return self._json("POST", "/api/keys", body=dict(fields))

    def revoke_key(self, key_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Refuses the key from now on, on every worker within two seconds."""
        return self._json("POST", f"/api/keys/{quote(key_id, safe='')}/revoke", body={"reason": reason})

    def rotate_key(self, key_id: str, *, overlap_s: float, reason: str | None = None) -> dict[str, Any]:
        """A successor of the key; the old one is accepted for ``overlap_s`` more."""
        wanted = {"overlap_s": overlap_s, "reason": reason}
        return self._json("POST", f"/api/keys/{quote(key_id, safe='')}/rotate", body=wanted)

    # -- the wire ------------------------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        accepted: Sequence[int] = (),
    ) -> dict[str, Any]:
        with self._answer(method, path, query=query, body=body, accepted=accepted) as response:
            raw = self._read(response, MAX_ANSWER_BYTES)
            status_code = response.status_code
            content_type = response.headers.get("content-type", "no content type")
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if status_code >= 300 and not (isinstance(answer, dict) and "status" in answer):
            raise self._refusal(path, status_code, raw)
        if not isinstance(answer, dict):
            raise GatewayBroke(
                f"The answer of {self.url}{path} is not Headgate's JSON ({content_type}).",
                hint="Is another program listening there? Another address: HEADGATE_URL.",
            )
        return answer

    def _stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        timeout_s = max(self._timeout_s, 600.0)
        with self._answer("GET", path, query=query, timeout_s=timeout_s) as response, self._readable():
            yield from response.iter_bytes()

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        timeout_s: float | None = None,
        accepted: Sequence[int] = (),
    ) -> Iterator[httpx2.Response]:
        request = self._http.build_request(
            method,
            path,
            params=dict(query or {}),
            json=body,
            timeout=httpx2.Timeout(timeout_s or self._timeout_s, connect=CONNECT_TIMEOUT_S),
        )
        with self._readable():
            response = self._http.send(request, stream=True)
        try:
            if response.status_code >= 300 and response.status_code not in accepted:
                raise self._refusal(path, response.status_code, self._read(response, 1 << 20))
            yield response
        finally:
            response.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns the transport's exceptions into ours."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NoGateway(
                f"No gateway answers at {self.url} ({_reason(error)}).",
                hint="Start one: headgate serve. Another address: HEADGATE_URL. "
                "Read a stopped one's files: --home .headgate",
            ) from error
        except httpx2.TimeoutException as error:
            raise GatewayBroke(
                f"{self.url} accepted the connection but did not answer within {self._timeout_s:g} s.",
                hint="Is it overloaded? See: headgate status. Narrow the question with --since.",
            ) from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise GatewayBroke(
                f"The answer of {self.url} broke off ({_reason(error)}).", hint="See its log: headgate status."
            ) from error

    def _read(self, response: httpx2.Response, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        with self._readable():
            for piece in response.iter_bytes():
                size_bytes += len(piece)
                if size_bytes > limit_bytes:
                    raise GatewayBroke(
                        f"The answer of {self.url} is larger than {limit_bytes >> 20} MB.",
                        hint="Ask for less: --limit.",
                    )
                pieces.append(piece)
        return b"".join(pieces)

    def _refusal(self, path: str, status: int, raw: bytes) -> GatewayRefused:
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, str):
            error = {"message": error}
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return GatewayRefused(
                f"{self.url}{path} answered {status} without a reason.",
                status=status,
                hint="Is this a Headgate server? Another address: HEADGATE_URL.",
            )
        code, hint = error.get("code"), error.get("hint")
        return GatewayRefused(
            error["message"].removeprefix("headgate: "),
            status=status,
            code=code if isinstance(code, str) else None,
            hint=hint if isinstance(hint, str) else None,
        )


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _prompt_path(name: str) -> str:
    return f"/api/prompts/{quote(name, safe='')}"


def _reason(error: Exception) -> str:
    """The transport's reason in plain words."""
    text = str(error)
    known = {
        "Connection refused": "connection refused",
        "Name or service not known": "unknown host name",
        "Temporary failure in name resolution": "host name not found",
        "No address associated": "host name not found",
        "Network is unreachable": "network unreachable",
        "No route to host": "no route to host",
        "No such file": "socket missing",
    }
    for words, plain in known.items():
        if words in text:
            return plain
    if isinstance(error, httpx2.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    return text or type(error).__name__

"""What every client of Headgate's API shares: the connection, its time limits, and errors in plain words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import httpx2

from headgate.core.addresses import fault_of_base_url
from headgate.core.errors import ConfigurationError, HeadgateError
from headgate.core.settings import DEFAULT_URL

MAX_ANSWER_BYTES = 256 << 20
CONNECT_TIMEOUT_S = 5.0
STREAM_TIMEOUT_S = 600.0

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


class Wire:
    """One connection to one gateway, ended by ``with``; every question raises a HeadgateError that says what to do."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.url = base_url_of(url)
        self.api_key = api_key
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        timeout_s: float | None = None,
        accepted: Sequence[int] = (),
    ) -> dict[str, Any]:
        request = self._request(
            method, path, query=query, body=body, content=content, content_type=content_type, timeout_s=timeout_s
        )
        with self._answer(request, path, accepted=accepted) as response:
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
        request = self._request("GET", path, query=query, timeout_s=max(self._timeout_s, STREAM_TIMEOUT_S))
        with self._answer(request, path) as response, self._readable():
            yield from response.iter_bytes()

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        timeout_s: float | None = None,
    ) -> httpx2.Request:
        return self._http.build_request(
            method,
            path,
            params=dict(query or {}),
            json=body,
            content=content,
            headers=None if content_type is None else {"content-type": content_type},
            timeout=httpx2.Timeout(timeout_s or self._timeout_s, connect=CONNECT_TIMEOUT_S),
        )

    @contextmanager
    def _answer(self, request: httpx2.Request, path: str, *, accepted: Sequence[int] = ()) -> Iterator[httpx2.Response]:
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


def given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


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

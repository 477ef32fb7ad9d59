"""Header rules, both ways: what is read, what travels on, what is written anew."""

import http
from collections.abc import Iterable
from typing import Any

Headers = list[tuple[bytes, bytes]]
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization")
    + (b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""RFC 9110 section 7.6.1, and the names that `connection` lists."""
CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"))
_NOT_SENT_ON = HOP_BY_HOP | {b"host", b"expect"}
_SPECIAL = _NOT_SENT_ON | CREDENTIALS | {b"content-length", b"accept-encoding", b"cookie"}
_NOTED = _SPECIAL | {
    *(b"content-type", b"content-encoding", b"user-agent", b"traceparent", b"anthropic-version"),
    *(b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"inference-header-content-length", b"accept"),
    *(b"access-control-request-method", b"access-control-request-headers"),
}
_OWN_PREFIX = b"x-headgate-"
_CODING = b"content-encoding"
SECRET_LEAST_BYTES = 8
"""Shorter ones are no secrets; to remove them would spoil what is logged."""
_COOKIE = b"__Host-headgate="
"""The session of our pages (`headgate.control.session`)."""
_NOT_LISTED = frozenset((b"close", b"keep-alive", b"content-length"))
"""Without its length an answer would end with its connection, and what follows on that be taken for a part of it."""
_NOTED_OF_ANSWERS = HOP_BY_HOP | {
    *(b"content-length", b"content-type", b"content-encoding", b"x-request-id", b"request-id")
}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ''}\r\n".encode()
    for status in range(100, 600)
}


class RequestHead:
    """A request's headers, read in one pass."""

    __slots__ = (
        "_accept_encodings_at",
        "_credentials_at",
        "_length_at",
        "_lines",
        "_secrets",
        "has_two_hosts",
        "key_digest",
        "length_count",
        "noted",
        "own",
        "sent",
        "told",
    )

    def __init__(self, headers: Headers) -> None:
        self.noted: dict[bytes, bytes] = {}  # lower-case name -> value, of the names that matter to us
        self.own: dict[bytes, bytes] = {}  # x-headgate-… without the prefix
        self.has_two_hosts = False
        self.length_count = 0  # how many Content-Length fields there are
        self.key_digest: str | None = None  # of the Headgate key it carries, once that was asked for
        self.sent: tuple[object, bytes] | None = None  # what was last sent for it (`outgoing`), and to whom
        self.told: dict[str, Any] | None = None  # what the log will say of it (`intake`)
        self._secrets: tuple[bytes, ...] | None = None
        self._credentials_at: list[int] = []
        self._accept_encodings_at: list[int] = []
        self._length_at = -1
        noted, noted_names = self.noted, _NOTED
        lines: list[bytes] = []
        self._lines = lines
        for name, value in headers:
            lowered = name.lower()
            if lowered in noted_names:
                if lowered in _SPECIAL and not self._is_sent_on(lowered, value):
                    continue
                noted[lowered] = value
            elif lowered[:2] == b"x-" and lowered.startswith(_OWN_PREFIX):
                self.own[lowered[len(_OWN_PREFIX) :]] = value
                continue
            lines.append(name + b": " + value)
        tokens = noted.get(b"connection")
        if tokens is not None and tokens not in (b"keep-alive", b"close"):
            self._drop_listed(tokens)

    def _is_sent_on(self, lowered: bytes, value: bytes) -> bool:
        """Note a header that does not travel as it is; False: not at all."""
        if lowered in _NOT_SENT_ON:
            if lowered == b"host" and b"host" in self.noted:
                self.has_two_hosts = True
            elif lowered == b"connection" and b"connection" in self.noted:
                value = self.noted[b"connection"] + b", " + value
            self.noted[lowered] = value
            return False
        if lowered in CREDENTIALS:
            if b"hg_" in value[:10]:  # our own key travels nowhere
                self.noted[lowered] = value
                return False
            self._credentials_at.append(len(self._lines))
        elif lowered == b"content-length":
            self._length_at = len(self._lines)
            self.length_count += 1
        elif lowered == b"accept-encoding":
            self._accept_encodings_at.append(len(self._lines))
        elif _COOKIE in value:
            kept = [crumb for crumb in value.split(b";") if not crumb.strip().startswith(_COOKIE)]
            if kept:
                self._lines.append(b"cookie: " + b";".join(kept).strip())
            return False
        return True

    def _drop_listed(self, tokens: bytes) -> None:
        listed = {token.strip().lower() for token in tokens.split(b",")} - {b"close", b"keep-alive"}
        for index, line in enumerate(self._lines):
            if line.partition(b":")[0].lower() in listed:
                self._lines[index] = b""

    def with_length(self, digits: bytes) -> "RequestHead":
        """The same head of a body of another size."""
        head = RequestHead.__new__(RequestHead)
        head.noted = self.noted.copy()
        head.noted[b"content-length"] = digits
        head.own = self.own
        head.has_two_hosts, head.length_count, head.key_digest = self.has_two_hosts, self.length_count, self.key_digest
        head._lines = self._lines  # the line of its length is made anew when it is sent on
        head._credentials_at, head._accept_encodings_at = self._credentials_at, self._accept_encodings_at
        head._length_at = self._length_at
        head._secrets = self._secrets
        head.sent, head.told = None, self.told
        return head

    def credentials(self) -> list[tuple[bytes, bytes]]:
        """The caller's credential headers, (lower-case name, value)."""
        return [(name, self.noted[name]) for name in CREDENTIALS if name in self.noted]

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The credentials it carries, ours and the caller's own; they must not reach the disk."""
        found = self._secrets
        if found is None:
            lines = (
                self._lines[at].partition(b": ") for at in self._credentials_at
            )  # of two of a name `noted` has one
            fields = [*self.credentials(), *((name.lower(), value) for name, _, value in lines)]
            values = {_without_scheme(value) if name == b"authorization" else value for name, value in fields}
            values.add(self.own.get(b"key", b""))
            long = [value for value in values if len(value) >= SECRET_LEAST_BYTES]
            found = self._secrets = tuple(sorted(long, key=len, reverse=True))  # one may begin another
        return found

    @property
    def content_length(self) -> int | None:
        """As announced; None: the body comes in chunks, or there is none."""
        value = self.noted.get(b"content-length")
        return None if value is None else int(value)

    @property
    def codings(self) -> str | None:
        """Every Content-Encoding, in order; None: there is none."""
        if b"content-encoding" not in self.noted:
            return None
        values = [
            value for name, _, value in (line.partition(b": ") for line in self._lines) if name.lower() == _CODING
        ]
        return b", ".join(values).decode("latin-1")

    def text(self, name: bytes) -> str | None:
        """A noted header as text."""
        value = self.noted.get(name)
        return None if value is None else value.decode("latin-1")

    def own_text(self, name: bytes) -> str | None:
        """An `x-headgate-…` header as text, by the name behind the prefix."""
        value = self.own.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    def build(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        body_bytes: int | None,
        *,
        credential: bytes | None,
        keeps_caller: bool,
        extra: Iterable[bytes] = (),
        plain_answer: bool = False,
        is_undone: bool = False,
    ) -> bytes:
        """The head for the upstream: same headers in the same order, host, length and credential as they must be.

        ``credential``: the line that replaces the caller's; ``keeps_caller``: the caller's own travels on instead;
        ``extra``: further lines; ``body_bytes``: None sends it in chunks; ``plain_answer``: ask for an answer without
        content coding; ``is_undone``: the body has lost the coding it came in.
        """
        lines = self._lines.copy()
        if is_undone:
            lines = [b"" if line[:17].lower() == b"content-encoding:" else line for line in lines]
        if not keeps_caller:
            self._replace_credentials(lines, credential)
        if body_bytes is None:
            lines.append(b"transfer-encoding: chunked")
        elif self._length_at >= 0:
            lines[self._length_at] = b"content-length: %d" % body_bytes
        elif body_bytes or method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"content-length: %d" % body_bytes)
        if plain_answer:
            for index in self._accept_encodings_at:
                lines[index] = b""
            if self._accept_encodings_at:
                lines[self._accept_encodings_at[0]] = b"accept-encoding: identity"
        lines.extend(extra)
        if len(self._credentials_at) > 1 or b"" in lines:
            lines = [line for line in lines if line]
        lines.append(b"\r\n")
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, target, host, b"\r\n".join(lines))

    def _replace_credentials(self, lines: list[bytes], credential: bytes | None) -> None:
        for index in self._credentials_at:
            lines[index] = b""
        if credential is None:
            return
        if self._credentials_at:
            lines[self._credentials_at[0]] = credential
        else:
            lines.append(credential)


def _without_scheme(value: bytes) -> bytes:
    """What follows `Bearer`, `Token` or the like, however it is spelt; all of it where there is one word."""
    words = value.split(None, 1)
    return words[-1].strip() if words else b""


class _Kinds(dict[bytes, bytes]):
    """What the name of an answer's field asks for, by its spelling: itself in lower case, or empty: it passes."""

    def __missing__(self, name: bytes) -> bytes:
        lowered = name.lower()
        kind = lowered if lowered in _NOTED_OF_ANSWERS or lowered.startswith(_OWN_PREFIX) else b""
        if len(self) < _KINDS_LIMIT and len(name) <= _KIND_BYTES:  # upstreams use few names, and short ones
            self[name] = kind
        return kind


_KINDS_LIMIT, _KIND_BYTES = 1024, 64
_kinds = _Kinds()


class ResponseHead:
    """An upstream's response head: what the client gets of it, and what we note."""

    __slots__ = (
        "content_length",
        "encoding",
        "is_framed",
        "lines",
        "media_type",
        "transfer_coding",
        "upstream_request_id",
    )

    def __init__(self, headers: Headers) -> None:
        self.content_length: int | None = None
        self.media_type: str | None = None
        self.encoding: str | None = None
        self.upstream_request_id: str | None = None
        self.is_framed = False  # the head says where the body ends
        self.transfer_coding: bytes | None = None  # the first that is not chunked, if there is such a one
        listed = b""
        kinds, lines = _kinds, []
        for name, value in headers:
            kind = kinds[name]
            if kind:
                if kind in HOP_BY_HOP:
                    if kind == b"connection":
                        listed = listed + b"," + value if listed else value
                    elif kind == b"transfer-encoding":
                        self._note_coding(value)
                    continue
                if kind.startswith(_OWN_PREFIX):
                    continue  # of a gateway behind us
                self._note(kind, value)
            lines.append(name + b": " + value + b"\r\n")
        if listed and listed.lower() not in (b"keep-alive", b"close"):
            names = {token.strip().lower() for token in listed.split(b",")} - _NOT_LISTED
            lines = [line for line in lines if line.partition(b":")[0].lower() not in names]
        self.lines: list[bytes] = lines

    def _note_coding(self, value: bytes) -> None:
        self.is_framed = True
        if self.transfer_coding in (None, b"chunked"):
            self.transfer_coding = value.strip().lower()

    def _note(self, lowered: bytes, value: bytes) -> None:
        if lowered == b"content-length":
            self.is_framed = True
            self.content_length = int(value) if value.isdigit() else None
        elif lowered == b"content-type":
            self.media_type = value.decode("latin-1")
        elif lowered == b"content-encoding":
            self.encoding = value.decode("latin-1")
        else:
            self.upstream_request_id = value.decode("latin-1")[:256]

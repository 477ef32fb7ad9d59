"""Edits of raw JSON that keep every other byte: a changed member is cut into the text, nothing is written anew.

Number spelling, escapes, white space, order and duplicates of all other members stay as the client sent them. Where a
key is given twice, parsers disagree on which one counts, so edits reach every duplicate.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.wire.loose import UNREADABLE

_SPACE = re.compile(rb"[ \t\r\n]*")
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_AFTER = re.compile(rb"[ \t\r\n]*([,}])[ \t\r\n]*")
_KEY = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_lenient = json.JSONDecoder(parse_int=str, parse_float=str)
_MAX_MEMBERS = 10_000  # real requests have some dozens; a walk takes microseconds for each
_INCLUDE_USAGE = b'{"include_usage":true}'


class _StreamOptions(msgspec.Struct):
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_stream_options = msgspec.json.Decoder(_StreamOptions).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a member of an object stands: ``body[start:end]`` is its value; ``body[member_start:member_end]`` the whole
    member with the one comma that goes with it.
    """

    start: int
    end: int
    member_start: int
    member_end: int


def top_level_span(body: bytes, key: str) -> Span | None:
    """The span of the last member named ``key`` in the outermost object; None when there is none.

    Raises `MalformedRequest` when ``body`` is not a JSON object.
    """
    spans = _spans(body, key)
    return spans[-1] if spans else None


def replace_value(body: bytes, key: str, new_json: bytes) -> bytes:
    """``body`` with the value of every ``key`` replaced; the member is appended when there is none."""
    spans = _spans(body, key)
    if not spans:
        return insert_member(body, key, new_json)
    return _with_ranges(body, [(span.start, span.end) for span in spans], new_json)


def insert_member(body: bytes, key: str, value_json: bytes) -> bytes:
    """``body`` (a JSON object) with a member appended at its end; the caller knows that ``key`` is absent."""
    end = len(body.rstrip(b" \t\r\n")) - 1
    if end < 1 or body[end] != 0x7D:
        raise _malformed("it does not end in a brace")
    comma = b"" if body[:end].rstrip(b" \t\r\n").endswith(b"{") else b","
    return b"%b%b%b:%b%b" % (body[:end], comma, json.dumps(key).encode(), value_json, body[end:])


def remove_member(body: bytes, key: str) -> bytes:
    """``body`` without any member named ``key``; the same object when there is none."""
    spans = _spans(body, key)
    if len(spans) > 1:
        # The first one last: whether a comma follows it depends on what is left.
        body = _with_ranges(body, [(span.member_start, span.member_end) for span in spans[1:]], b"")
        spans = _spans(body, key)
    return _with_ranges(body, [(span.member_start, span.member_end) for span in spans], b"") if spans else body


def with_include_usage(body: bytes) -> bytes | None:
    """A streaming chat or completions request that also asks for usage; None when the client decided that itself.

    The client has decided when ``stream_options.include_usage`` is present and not null, or when ``stream_options`` is
    something that only the upstream can judge.
    """
    try:
        if _decode_stream_options(body).stream_options is msgspec.UNSET:
            return insert_member(body, "stream_options", _INCLUDE_USAGE)
    except UNREADABLE:
        pass  # perhaps only stricter than the upstream: look closely
    span = top_level_span(body, "stream_options")
    if span is None:
        return insert_member(body, "stream_options", _INCLUDE_USAGE)
    options = body[span.start : span.end]
    if options == b"null":
        options = _INCLUDE_USAGE
    elif not options.startswith(b"{"):
        return None
    else:
        stated = top_level_span(options, "include_usage")
        if stated is None:
            options = insert_member(options, "include_usage", b"true")
        elif options[stated.start : stated.end] == b"null":
            options = options[: stated.start] + b"true" + options[stated.end :]
        else:
            return None
    return body[: span.start] + options + body[span.end :]


def _with_ranges(body: bytes, ranges: list[tuple[int, int]], new: bytes) -> bytes:
    """``body`` with ``new`` in place of each of the ordered, disjoint ranges."""
    parts: list[bytes] = []
    at = 0
    for start, end in ranges:
        parts += (body[at:start], new)
        at = end
    parts.append(body[at:])
    return b"".join(parts)


def _spans(body: bytes, key: str) -> list[Span]:
    """All members named ``key`` of the outermost object, in order."""
    try:
        raws = _decode_raw(body)
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except UNREADABLE as error:
        return _Lenient(body, str(error)).spans(key)
    if key not in raws:
        return []
    # Small bodies: three searches are cheaper than the walk. (Large ones: searching costs more than decoding did.)
    only = _only_span(body, key, bytes(raws[key])) if len(body) <= 8192 else None
    return only or _Strict(body, raws).spans(key)


def _only_span(body: bytes, key: str, value: bytes) -> list[Span] | None:
    """The span of a member known to be there, when its name stands once in the whole text and so can only be it."""
    name = b'"%b"' % key.encode()
    at = body.find(name)
    if at < 0 or body.find(name, at + 1) >= 0 or b"\\u00" in body:
        return None
    match = _COLON.match(body, at + len(name))
    if match is None:
        return None
    start, end = match.end(), match.end() + len(value)
    before = len(body[max(at - 256, 0) : at].rstrip(b" \t\r\n")) + max(at - 256, 0) - 1
    after = _AFTER.match(body, end)
    if after is None or body[before] not in b"{,":
        return None
    if body[before] == 0x2C:
        return [Span(start=start, end=end, member_start=before, member_end=end)]
    return [Span(start=start, end=end, member_start=at, member_end=end if after.group(1) == b"}" else after.end())]


class _Walk:
    """Walks over the members of the outermost object; a subclass knows how to skip keys and values."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def key(self, at: int) -> tuple[str, int]:
        """The member name that begins at ``at``, and where it ends."""
        raise NotImplementedError

    def value_end(self, key: str, at: int) -> int:
        """Where the value that begins at ``at`` ends."""
        raise NotImplementedError

    def spans(self, wanted: str) -> list[Span]:
        found: list[Span] = []
        comma = -1
        at = self.expect(self.space(0), b"{")
        if self.body[at : at + 1] == b"}":
            self.finish(at + 1)
            return found
        for _ in range(_MAX_MEMBERS):
            key_start = at
            key, at = self.key(at)
            start = self.expect(self.space(at), b":")
            end = self.value_end(key, start)
            at = self.space(end)
            last = self.body[at : at + 1] == b"}"
            after = at + 1 if last else self.expect(at, b",")
            if key == wanted:
                if comma >= 0:
                    member_start, member_end = comma, end
                else:
                    member_start, member_end = key_start, end if last else after
                found.append(Span(start=start, end=end, member_start=member_start, member_end=member_end))
            if last:
                self.finish(after)
                return found
            comma, at = at, after
        raise _malformed(f"it has more than {_MAX_MEMBERS} members")

    def space(self, at: int) -> int:
        match = _SPACE.match(self.body, at)
        return match.end() if match else at

    def expect(self, at: int, mark: bytes) -> int:
        """Past ``mark`` and the white space after it."""
        if self.body[at : at + 1] != mark:
            raise _malformed(f"{mark.decode()!r} is missing at byte {at}")
        return self.space(at + 1)

    def finish(self, at: int) -> None:
        if self.space(at) != len(self.body):
            raise _malformed(f"something follows the object at byte {at}")


class _Strict(_Walk):
    """Over a text already decoded: the length of each value is known, so nested values are stepped over, not read."""

    def __init__(self, body: bytes, raws: dict[str, msgspec.Raw]) -> None:
        super().__init__(body)
        self._raws = {key: bytes(raw) for key, raw in raws.items()}
        self._lenient: _Lenient | None = None

    def key(self, at: int) -> tuple[str, int]:
        match = _KEY.match(self.body, at)
        if match is None:
            raise _malformed(f"a name is missing at byte {at}")
        text = match.group()
        return (msgspec.json.decode(text, type=str) if b"\\" in text else text[1:-1].decode()), match.end()

    def value_end(self, key: str, at: int) -> int:
        raw = self._raws[key]
        if self.body.startswith(raw, at) and self.body[at + len(raw) : at + len(raw) + 1] in b" \t\r\n,}":
            return at + len(raw)
        # An earlier duplicate of the key, with another value.
        if self._lenient is None:
            self._lenient = _Lenient(self.body, "")
        return self._lenient.value_end(key, at)


class _Lenient(_Walk):
    """Over texts that the strict decoder refuses and others send: NaN, lone surrogates, bytes that are not UTF-8."""

    def __init__(self, body: bytes, reason: str) -> None:
        super().__init__(body)
        self._reason = reason
        self._text = body.decode("latin-1")  # one character a byte, so that positions are the same

    def key(self, at: int) -> tuple[str, int]:
        key, end = self._read(at)
        if not isinstance(key, str) or self._text[at] != '"':
            raise _malformed(f"a name is missing at byte {at}")
        with suppress(UnicodeError):
            key = key.encode("latin-1").decode()
        return key, end

    def value_end(self, key: str, at: int) -> int:
        return self._read(at)[1]

    def _read(self, at: int) -> tuple[object, int]:
        try:
            return _lenient.raw_decode(self._text, at)
        except RecursionError:
            raise _malformed("it is nested too deeply") from None
        except ValueError as error:
            raise _malformed(self._reason or str(error)) from None


def _malformed(reason: str) -> MalformedRequest:
    return MalformedRequest(f"the request body is not a JSON object: {reason}.", hint="Send one JSON object.")

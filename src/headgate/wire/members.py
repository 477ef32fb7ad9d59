"""The members of a JSON object that is never whole in memory: names, places and the values one asks for.

Brackets and texts are followed, nothing is built: what is wrong inside a value is the upstream's to judge.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from headgate.wire.loose import UNREADABLE

_SPACE = re.compile(rb"[ \t\r\n]*+")
_NAME = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_REST_OF_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# The outer repeat is not possessive: Python before 3.11.5 keeps what its failed last round has read (gh-106052).
_NO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*', re.DOTALL)
_SCALAR = re.compile(rb'[^,}\]"{\[ \t\r\n]*+')
_NAME_LIMIT_BYTES = 64 << 10
_VALUE_LIMIT_BYTES = 64 << 10
_MOST_FOUND = 64
_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _COLON, _COMMA = b'"\\{}:,'
_OPENING = frozenset(b"{[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of the outermost object. ``start``, ``end``: of its value, in bytes from the beginning."""

    name: str
    start: int
    end: int
    value: bytes | None  # None: over 64 KiB


class MemberScan:
    """Reads one object piece by piece, cut anywhere, and notes the members called one of ``wanted``, in order."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self.found: list[Member] = []
        self.problem: str | None = None  # why this is no JSON object
        self.is_whole = False
        self.inside_at = 0  # where the first member may stand: right after the opening brace
        self._step: Callable[[bytes, int], int] = self._begin
        self._held = b""
        self._base = 0  # where the piece being read begins
        self._depth = 0
        self._name = ""
        self._start = 0
        self._value: list[bytes] | None = None
        self._value_bytes = 0

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if self._held:
            data, self._held = self._held + data, b""
        at, size = 0, len(data)
        while at < size and self.problem is None:
            after = self._step(data, at)
            if after < 0:  # it takes more to go on
                self._held = data[at:]
                break
            at = after
        self._base += at

    def last(self, name: str) -> Member | None:
        """The last member of that name: the one that most parsers go by."""
        return next((member for member in reversed(self.found) if member.name == name), None)

    # Each step reads from ``at`` and says where it stopped; -1: nothing can be said yet.

    def _begin(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at == len(data):
            return at
        if data[at] != _OPEN:
            return self._fail("it does not begin with a brace")
        self.inside_at = self._base + at + 1
        self._step = self._first_name
        return at + 1

    def _first_name(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at < len(data):
            self._step = self._after_value if data[at] == _CLOSE else self._next_name
        return at

    def _next_name(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at == len(data):
            return at
        match = _NAME.match(data, at)
        if match is None:
            if data[at] != _QUOTE or len(data) - at > _NAME_LIMIT_BYTES:
                return self._fail(f"a name is missing at byte {self._base + at}")
            return -1
        try:
            self._name = msgspec.json.decode(match.group(), type=str)
        except UNREADABLE:
            self._name = ""  # none that matters
        self._step = self._colon
        return match.end()

    def _colon(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at == len(data):
            return at
        if data[at] != _COLON:
            return self._fail(f"a colon is missing at byte {self._base + at}")
        self._step = self._begin_value
        return at + 1

    def _begin_value(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at == len(data):
            return at
        self._start, self._depth = self._base + at, 0
        self._value = [] if self._name in self._wanted else None
        self._value_bytes = 0
        if data[at] == _QUOTE:
            self._step = self._text
            return self._took(data, at, at + 1)
        self._step = self._nested if data[at] in _OPENING else self._scalar
        return at

    def _text(self, data: bytes, at: int) -> int:
        match = _REST_OF_TEXT.match(data, at)
        end = at if match is None else match.end()
        if end == len(data):
            return self._took(data, at, end)
        if data[end] == _BACKSLASH:  # what it escapes has not come
            return self._took(data, at, end) if end > at else -1
        if self._depth:
            self._step = self._nested
            return self._took(data, at, end + 1)
        return self._ended(data, at, end + 1)

    def _nested(self, data: bytes, at: int) -> int:
        begin, size = at, len(data)
        while at < size:
            match = _NO_BRACKET.match(data, at)
            at = at if match is None else match.end()
            if at == size:
                break
            mark = data[at]
            at += 1
            if mark == _QUOTE:  # a text that ends in another piece
                self._step = self._text
                break
            if mark in _OPENING:
                self._depth += 1
                continue
            self._depth -= 1
            if not self._depth:
                return self._ended(data, begin, at)
        return self._took(data, begin, at)

    def _scalar(self, data: bytes, at: int) -> int:
        match = _SCALAR.match(data, at)
        end = at if match is None else match.end()
        return self._took(data, at, end) if end == len(data) else self._ended(data, at, end)

    def _after_value(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        if at == len(data):
            return at
        if data[at] == _COMMA:
            self._step = self._next_name
        elif data[at] == _CLOSE:
            self.is_whole = True
            self._step = self._after_end
        else:
            return self._fail(f"a comma is missing at byte {self._base + at}")
        return at + 1

    def _after_end(self, data: bytes, at: int) -> int:
        at = _space(data, at)
        return at if at == len(data) else self._fail(f"something follows the object at byte {self._base + at}")

    def _took(self, data: bytes, at: int, end: int) -> int:
        if self._value is not None:
            self._value_bytes += end - at
            if self._value_bytes <= _VALUE_LIMIT_BYTES:
                self._value.append(data[at:end])
            else:
                self._value.clear()
        return end

    def _ended(self, data: bytes, at: int, end: int) -> int:
        self._took(data, at, end)
        if self._value is not None:
            value = b"".join(self._value) if self._value_bytes <= _VALUE_LIMIT_BYTES else None
            self.found.append(Member(name=self._name, start=self._start, end=self._base + end, value=value))
            self._value = None
            if len(self.found) > _MOST_FOUND:
                del self.found[_MOST_FOUND:]
                return self._fail(f"it names members such as {self._name} more than {_MOST_FOUND} times")
        self._step = self._after_value
        return end

    def _fail(self, problem: str) -> int:
        self.problem = problem
        self.is_whole = False
        return 0


def _space(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    return at if match is None else match.end()

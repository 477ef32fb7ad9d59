"""Request heads that were read before: clients send the same one again and again, but for the length of its body.

A head that equals one which the parser has read and the guard has found good, byte for byte but for the digits of its
only Content-Length, is not read a second time. `docs/design/framing.md` says why this and no parser of our own.
"""

import re
from dataclasses import dataclass

from headgate.gateway.head import RequestHead
from headgate.wire.endpoints import Place

_LENGTH = re.compile(rb"[1-9][0-9]{0,8}\Z")
_NAMES = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_END = b"\r\n\r\n"
_NEVER = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"traceparent"))
"""Fields that change how a message is read, and one that is new with every message."""
_LONGEST_BYTES = 4 << 10
_MOST = 256


@dataclass(frozen=True, slots=True)
class Known:
    """A head and what was made of it. ``at``: where the digits stood; ``path``: the target without its query."""

    at: int
    target: bytes
    path: bytes
    place: Place
    head: RequestHead


@dataclass(frozen=True, slots=True)
class Recalled:
    """A head that was read before, with the length of its body now; the body begins at ``body_at``."""

    known: Known
    head: RequestHead
    length: int
    body_at: int


class Memo:
    """The heads of one worker, shared by its connections; forgets all when there are too many."""

    __slots__ = ("_known", "_whole")

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}  # by the head without its digits
        self._whole: dict[bytes, Recalled] = {}  # by the head as it came

    def remember(self, data: bytes, target: bytes, place: Place, head: RequestHead, field_count: int) -> None:
        """Keep the head that the parser has just read at the beginning of ``data``, if it is plain enough."""
        noted = head.noted
        if head.length_count != 1 or not noted.keys().isdisjoint(_NEVER) or not data.startswith(b"POST "):
            return
        end = data.find(_END, 0, _LONGEST_BYTES)
        at, stop = _digits(data, end)
        if at < 0 or data[at:stop] != noted[b"content-length"]:
            return
        lines = data.count(b"\r\n", 0, end)
        if lines != field_count or data.count(b"\n", 0, end) != lines:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[data[:at] + data[stop:end]] = Known(at, target, target.partition(b"?")[0], place, head)

    def recall(self, data: bytes) -> Recalled | None:
        """The head at the beginning of ``data``; None where it was not read before."""
        end = data.find(_END, 0, _LONGEST_BYTES)
        if end < 0:
            return None
        whole = data[:end]
        return self._whole.get(whole) or self._with_other_length(whole, end)

    def _with_other_length(self, data: bytes, end: int) -> Recalled | None:
        at, stop = _digits(data, end)
        if at < 0:
            return None
        known = self._known.get(data[:at] + data[stop:end])
        if known is None or known.at != at:
            return None
        digits = data[at:stop]
        if _LENGTH.match(digits) is None:
            return None
        recalled = Recalled(known, known.head.with_length(digits), int(digits), end + len(_END))
        if len(self._whole) >= _MOST:
            self._whole.clear()
        self._whole[data] = recalled
        return recalled


def _digits(data: bytes, end: int) -> tuple[int, int]:
    """Where the value of the first Content-Length of a head begins and stops; -1: there is none."""
    for name in _NAMES:
        at = data.find(name, 0, end)
        if at >= 0:
            at += len(name)
            stop = data.find(b"\r", at, end)
            return at, end if stop < 0 else stop
    return -1, -1

"""The copy of an answer: captured for the log and folded for usage, while the bytes go to the client untouched."""

from headgate.core.ids import monotonic_ns
from headgate.gateway.copies import Copy
from headgate.gateway.head import ResponseHead
from headgate.wire.decode import BodyDecoder
from headgate.wire.fold import Fold, Folded, fold_for
from headgate.wire.folded import NullFold, StreamFold

_BATCH_BYTES = 16 << 10
_LAST_WORDS = {
    "openai.chat": (b"[DONE]",),
    "openai.completions": (b"[DONE]",),
    "openai.responses": (b"response.completed", b"response.failed", b"response.incomplete"),
    "anthropic.messages": (b"message_stop",),
}
"""What the event holds after which clients hang up, before the end of the body."""
_TAIL_BYTES = 20


class Tee:
    """Collects one answer. ``copy``: what is kept of its body; ``secrets``: what is looked for in a coded one.

    Streams are folded some 16 KiB at a time, which costs a fraction of folding event by event; piece by piece only
    from the last words on, because the record must be written before the client can take the stream for ended.
    """

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_decoder",
        "_fold",
        "_folded",
        "_is_near_end",
        "_is_sse",
        "_last_words",
        "_looked_at",
        "_secrets",
        "_stream",
        "_tail",
        "copy",
        "first_byte_ns",
        "has_secret",
    )

    def __init__(self, endpoint: str, head: ResponseHead, copy: Copy, secrets: tuple[bytes, ...] = ()) -> None:
        self._fold: Fold = fold_for(endpoint, head.media_type or "")
        self._stream = self._fold if isinstance(self._fold, StreamFold) else None
        self._is_sse = self._stream is not None
        self._decoder = BodyDecoder(head.encoding) if head.encoding not in (None, "identity") else None
        self._last_words = _LAST_WORDS.get(endpoint, ())
        self._is_near_end = self._stream is None or self._decoder is not None
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._tail = self._looked_at = b""
        self._secrets = secrets
        self.has_secret = False  # under its coding
        self._folded: Folded | None = None
        self.copy = copy
        self.first_byte_ns = 0

    @property
    def is_sse(self) -> bool:
        """Whether the answer is an event stream."""
        return self._is_sse

    @property
    def note(self) -> str | None:
        """Why the answer could not be read in full."""
        if self._decoder is not None and self._decoder.note is not None:
            return self._decoder.note
        return self._folded.note if self._folded is not None else None

    def feed(self, data: bytes) -> bool:
        """Take a copy; True once a client may take the stream for ended, though the body goes on."""
        size = len(data)
        if not self.copy.byte_count:
            self.first_byte_ns = monotonic_ns()
        self.copy.add(data)
        if self._folded is not None:
            return False
        if self._is_near_end:
            if self._decoder is not None:
                data = self._decoder.feed(data)
                self._look_for_secrets(data)
            self._fold.feed(data)
            return self._stream is not None and self._stream.ended
        self._batch.append(data)
        self._batch_bytes += size
        probe = self._tail + data if self._tail else data
        for words in self._last_words:
            if words in probe:
                self._is_near_end = True
                self._flush()
                return self._stream is not None and self._stream.ended
        self._tail = b"" if data.endswith(b"\n") else probe[-_TAIL_BYTES:]  # last words cut in pieces
        if self._batch_bytes >= _BATCH_BYTES:
            self._flush()
        return False

    def _look_for_secrets(self, plain: bytes) -> None:
        if self.has_secret or not self._secrets:
            return
        reach = max(map(len, self._secrets)) - 1
        seam = self._looked_at + plain[:reach]
        self.has_secret = any(secret in plain or secret in seam for secret in self._secrets)
        self._looked_at = plain[-reach:] if len(plain) >= reach else seam[-reach:]

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._fold.feed(batch[0] if len(batch) == 1 else b"".join(batch))

    def folded(self) -> Folded:
        """What the answer said, as far as it came; asked once, at its end."""
        if self._folded is None:
            self._flush()
            self._folded = self._fold.finish()
            self._fold, self._stream = NullFold(), None  # it may hold a large event
        return self._folded


class SocketTee(Tee):
    """Counts what the server sends; what it says is read message by message."""

    finish_reason: str | None = None
    socket_note: str | None = None

    @property
    def note(self) -> str | None:
        """What was not read of either side."""
        return self.socket_note

    def folded(self) -> Folded:
        """How the connection ended."""
        return Folded(finish_reason=self.finish_reason, is_complete=True)

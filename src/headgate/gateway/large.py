"""A large JSON body: held outside the protocol while it arrives (`headgate.gateway.held`), sent on once its route is
known.

Clients of both vendors write the model's name behind the messages, so the route is often known only at the end. What is
in memory is a piece at a time; what can be asked of the body is its first-level members (`headgate.wire.members`).
"""

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from headgate.gateway.ahead import AHEAD_BYTES
from headgate.gateway.held import HeldBytes
from headgate.gateway.intake import USED
from headgate.gateway.limited import MODEL_SPELLINGS, OTHER_MODELS
from headgate.wire.members import MemberScan

if TYPE_CHECKING:
    from headgate.gateway.incoming import Client
    from headgate.gateway.upload import Uploader
    from headgate.gateway.upstream import UpstreamConnection
    from headgate.gateway.worker import Worker

MEMBERS = frozenset(("stream", "stream_options", "prompt", "variables", *USED)) | MODEL_SPELLINGS | OTHER_MODELS
_PIECE_BYTES = 64 << 10
_TURN_BYTES = 1 << 20
"""How much is sent before others have their turn: an upstream may take all at once, and asyncio takes all there is for
a TLS connection that broke, until it can say so."""
_AHEAD_IN_MEMORY_BYTES = 1 << 20
_AGAIN_BYTES = 4 << 20
"""How much of a body is kept in memory, where the disk is full, so that another upstream could have the whole."""

Edit = tuple[int, int, bytes]
"""Bytes to be sent in place of body[start:end]."""


class LargeBody:
    """One body. ``length``: as announced; None: it comes in chunks, and goes on in chunks."""

    __slots__ = (
        "_client",
        "_connection",
        "_edits",
        "_hash",
        "_held",
        "_is_client_paused",
        "_is_ended",
        "_next_edit",
        "_sent_at",
        "_uploader",
        "is_routed",
        "length",
        "members",
    )

    def __init__(self, worker: "Worker", uploader: "Uploader", client: "Client", length: int | None) -> None:
        self._uploader = uploader
        self._client = client
        self._held = HeldBytes(worker.holding)
        self._hash = sha256()
        self._connection: UpstreamConnection | None = None
        self._is_client_paused = self._is_ended = False
        self._edits: tuple[Edit, ...] = ()
        self._sent_at = self._next_edit = 0
        self.length = length
        self.is_routed = False
        self.members = MemberScan(MEMBERS)

    @property
    def has_sent(self) -> bool:
        """Whether a part has gone where it cannot be had back: only where the disk is full, and memory short."""
        return self._held.readable_bytes < self._held.byte_count

    def add(self, data: bytes) -> None:
        """The next piece, as the client sent it. Raises BodyNotHeld where there is no room for it."""
        if (
            self._held.memory_bytes > _AGAIN_BYTES
            and self._connection is not None
            and self._connection.sink is not None
        ):
            self._held.forget(self._sent_at)
        self._held.append(data)
        self._hash.update(data)
        self.members.feed(data)

    def go_on(self) -> None:
        """What was added may go upstream."""
        self._pump()
        if self.is_routed and self._held.byte_count - self._sent_at > self._most_ahead and not self._is_client_paused:
            self._is_client_paused = True
            self._client.pause_body()

    @property
    def _most_ahead(self) -> int:
        """How much may wait for an upstream that reads slowly, before the client is held back."""
        return _AHEAD_IN_MEMORY_BYTES if self._held.memory_bytes else AHEAD_BYTES

    def end(self) -> None:
        """That was all of it."""
        self._is_ended = True
        self._pump()

    def edit(self, edits: list[Edit]) -> int:
        """Have these ranges replaced in what is sent; returns by how many bytes that is longer."""
        self._edits = tuple(sorted(edits))
        return sum(len(new) - (end - start) for start, end, new in edits)

    def connect(self, connection: "UpstreamConnection") -> None:
        """The head has gone out on ``connection``; the body follows, from its beginning."""
        assert not self.has_sent
        if self._connection is not None:
            self._connection.upload = None
        self._connection = connection
        connection.begin_body(self)
        self._sent_at = self._next_edit = 0
        self._pump()

    def pause(self) -> None:
        """The upstream takes no more for now."""
        if not self._is_ended:
            self._uploader.upstream_reads_slowly(True)

    def resume(self) -> None:
        """The upstream takes more."""
        self._pump()
        if self._connection is not None and self._connection.is_sending:
            self._uploader.upstream_reads_slowly(False)

    def let_go(self) -> None:
        """The request is over, whatever is still to come of its body."""
        if self._connection is not None:
            self._connection.upload = None
            self._connection = None
        self._is_ended = True
        self._held.close()
        self._resume_client()

    def whole(self) -> bytes:
        """All of it in memory, for what cannot be done otherwise."""
        return self._held.read(0, self._held.byte_count)

    def captured(self, limit_bytes: int) -> tuple[bytes, str | None]:
        """Its beginning for the log, and what is missing there."""
        byte_count = self._held.byte_count
        kept = self._held.read(0, min(limit_bytes, self._held.readable_bytes))
        if len(kept) == byte_count:
            return kept, None
        return kept, f"request: {len(kept)} of {byte_count} bytes kept, sha256 {self._hash.hexdigest()}"

    def _pump(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_sending:
            return
        transport = connection.transport
        turn_ends_at = self._sent_at + _TURN_BYTES
        while not connection.is_write_paused and connection.sink is not None and not transport.is_closing():
            if self._sent_at >= turn_ends_at:
                asyncio.get_running_loop().call_soon(self._pump)
                break
            data = self._next()
            if data is None:
                break
            if data:
                transport.write(data if self.length is not None else b"%x\r\n%b\r\n" % (len(data), data))
        if self._is_ended and self._is_all_sent():
            if self.length is None:
                connection.transport.write(b"0\r\n\r\n")
            connection.is_sending = False
        elif self._held.byte_count - self._sent_at <= self._most_ahead:
            self._resume_client()

    def _is_all_sent(self) -> bool:
        return self._sent_at >= self._held.byte_count and self._next_edit >= len(self._edits)

    def _next(self) -> bytes | None:
        """The next piece to send, edited; None: there is none yet."""
        end = self._held.byte_count
        if self._next_edit < len(self._edits):
            start, after, new = self._edits[self._next_edit]
            if start == self._sent_at and after <= end:
                self._next_edit += 1
                self._sent_at = after
                return new
            end = min(end, start)
        count = min(_PIECE_BYTES, end - self._sent_at)
        if count <= 0:
            return None
        data = self._held.read(self._sent_at, count)
        self._sent_at += len(data)
        return data

    def _resume_client(self) -> None:
        if self._is_client_paused:
            self._is_client_paused = False
            self._client.resume_body()

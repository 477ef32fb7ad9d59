"""A request body that goes upstream while it still arrives: never whole in memory. What a slow upstream has not taken
yet waits in a file, so that the end of a client that leaves is read, not stuck behind its body.
"""

from typing import TYPE_CHECKING, Protocol

from headgate.gateway.ahead import Ahead
from headgate.gateway.copies import Copies, Copy

if TYPE_CHECKING:
    from headgate.gateway.incoming import Client
    from headgate.gateway.upstream import UpstreamConnection

LEAST_BYTES = 64 << 10
"""Shorter bodies are read whole: they may then be sent again on another connection or to another target."""
LARGE_BYTES = 1 << 20
"""JSON longer than this is not held in memory either (`headgate.gateway.large`)."""
_HELD_LIMIT = 64 << 10


class Uploader(Protocol):
    """Whose body it is."""

    def upstream_reads_slowly(self, is_slow: bool) -> None: ...


class Upload:
    """One body. ``length``: as announced; None: it comes in chunks, and goes on in chunks."""

    __slots__ = (
        "_ahead",
        "_client",
        "_connection",
        "_copies",
        "_held",
        "_held_bytes",
        "_is_client_paused",
        "_is_ended",
        "_uploader",
        "copy",
        "has_sent",
        "length",
    )

    def __init__(
        self, uploader: Uploader, client: "Client", copies: Copies, length: int | None, copy_bytes: int
    ) -> None:
        self._uploader = uploader
        self._client = client
        self._copies = copies
        self._connection: UpstreamConnection | None = None
        self._ahead: Ahead | None = None  # what waits for the upstream, once it was seen to be slow
        self._held: list[bytes] = []  # until there is a connection
        self._held_bytes = 0
        self._is_client_paused = self._is_ended = False
        self.length = length
        self.copy = Copy(copies, copy_bytes)
        self.has_sent = False  # a part has gone upstream, so no other upstream can have the whole

    def add(self, data: bytes) -> None:
        """The next piece, as the client sent it."""
        self.copy.add(data)
        if self._ahead is not None:
            self._ahead.add(data)
            if self._ahead.is_full:
                self._pause_client()
            self._pump()
        elif self._connection is not None:
            self._pass_on(data)
        else:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes > _HELD_LIMIT:
                self._pause_client()

    def end(self) -> None:
        """That was all of it."""
        self._is_ended = True
        self._pump()

    def connect(self, connection: "UpstreamConnection") -> None:
        """The head has gone out on ``connection``; the body follows."""
        self._connection = connection
        connection.begin_body(self)
        held, self._held = self._held, []
        for data in held:
            self._pass_on(data)
        self._pump()

    def read_ahead(self) -> None:
        """The client has been held back for a while: read on, and let what the upstream does not take wait in a file.

        A client that closes its connection politely is seen only at the end of what its kernel still holds; nothing
        that can be sent to it tells earlier (an interim answer would, and Node's fetch breaks off over one).
        """
        if self._is_client_paused and self._ahead is None and (ahead := Ahead.begun(self._copies)) is not None:
            self._ahead = ahead
            self._resume_client()

    def pause(self) -> None:
        """The upstream takes no more for now."""
        if not self._is_ended and self._ahead is None:
            self._pause_client()
        self._uploader.upstream_reads_slowly(True)

    def resume(self) -> None:
        """The upstream takes more."""
        self._pump()
        if self._connection is not None and self._connection.is_sending:
            self._uploader.upstream_reads_slowly(False)

    def captured(self, limit_bytes: int) -> tuple[bytes, str | None]:
        """Its beginning for the log, of which no more was kept than may be, and what is missing there."""
        return b"".join(self.copy.pieces), self.copy.note("request")

    def let_go(self) -> None:
        """The request is over, whatever is still to come of its body."""
        if self._connection is not None:
            self._connection.upload = None
            self._connection = None
        self._held = []
        self._is_ended = True
        self._drop_ahead()
        self.copy.let_go()
        self._resume_client()

    def _pass_on(self, data: bytes) -> None:
        assert self._connection is not None
        self.has_sent = True
        transport = self._connection.transport
        if transport.is_closing():  # what the upstream said of it is on its way
            return
        transport.write(data if self.length is not None else b"%x\r\n%b\r\n" % (len(data), data))

    def _pump(self) -> None:
        """Pass on what waits, as far as the upstream takes it."""
        connection, ahead = self._connection, self._ahead
        if connection is None or not connection.is_sending:
            return
        while ahead is not None and ahead.waiting_bytes and not connection.is_write_paused:
            self._pass_on(ahead.next())
        if ahead is not None and ahead.waiting_bytes:
            if not ahead.is_full:
                self._resume_client()
            return
        self._drop_ahead()
        if self._is_ended:
            if self.length is None:
                connection.transport.write(b"0\r\n\r\n")
            connection.is_sending = False
        elif not connection.is_write_paused:
            self._resume_client()

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.let_go()
            self._ahead = None

    def _pause_client(self) -> None:
        if not self._is_client_paused:
            self._is_client_paused = True
            self._client.pause_body()

    def _resume_client(self) -> None:
        if self._is_client_paused:
            self._is_client_paused = False
            self._client.resume_body()

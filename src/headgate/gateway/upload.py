"""A request body that goes upstream while it still arrives: never whole in memory, each side as fast as the slower."""

from typing import TYPE_CHECKING, Protocol

from headgate.gateway.copies import Copies, Copy

if TYPE_CHECKING:
    from headgate.gateway.answering import Client
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
        "_client",
        "_connection",
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
        self._connection: UpstreamConnection | None = None
        self._held: list[bytes] = []  # until there is a connection
        self._held_bytes = 0
        self._is_client_paused = self._is_ended = False
        self.length = length
        self.copy = Copy(copies, copy_bytes)
        self.has_sent = False  # a part has gone upstream, so no other upstream can have the whole

    def add(self, data: bytes) -> None:
        """The next piece, as the client sent it."""
        self.copy.add(data)
        if self._connection is not None:
            self._pass_on(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_LIMIT:
            self._pause_client()

    def end(self) -> None:
        """That was all of it."""
        self._is_ended = True
        if self._connection is not None:
            self._finish()

    def connect(self, connection: "UpstreamConnection") -> None:
        """The head has gone out on ``connection``; the body follows."""
        self._connection = connection
        connection.upload = self
        connection.is_sending = True
        held, self._held = self._held, []
        for data in held:
            self._pass_on(data)
        if self._is_ended:
            self._finish()
        elif not connection.is_write_paused:
            self._resume_client()

    def pause(self) -> None:
        """The upstream takes no more for now."""
        if not self._is_ended:
            self._pause_client()
            self._uploader.upstream_reads_slowly(True)

    def resume(self) -> None:
        """The upstream takes more."""
        if not self._is_ended:
            self._resume_client()
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
        self.copy.let_go()
        self._resume_client()

    def _pass_on(self, data: bytes) -> None:
        assert self._connection is not None
        self.has_sent = True
        transport = self._connection.transport
        transport.write(data if self.length is not None else b"%x\r\n%b\r\n" % (len(data), data))

    def _finish(self) -> None:
        assert self._connection is not None
        if self.length is None:
            self._connection.transport.write(b"0\r\n\r\n")
        self._connection.is_sending = False

    def _pause_client(self) -> None:
        if not self._is_client_paused:
            self._is_client_paused = True
            self._client.pause_body()

    def _resume_client(self) -> None:
        if self._is_client_paused:
            self._is_client_paused = False
            self._client.resume_body()

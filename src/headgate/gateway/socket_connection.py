"""A connection to an upstream that is asked to switch to WebSocket: an HTTP exchange, and then bytes."""

from typing import cast

import httptools

from headgate.gateway.upload import Uploader
from headgate.gateway.upstream import Pool, UnreadableAnswer, UpstreamConnection


class SocketConnection(UpstreamConnection):
    """A connection to an upstream that is asked to switch."""

    __slots__ = ("is_switched",)

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.is_switched = False

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if self.is_switched:
            if sink is not None:
                sink.upstream_data(self, [data], False)
            return
        try:
            super().data_received(data)
        except httptools.HttpParserUpgrade as error:
            self.is_switched = True
            rest = data[error.args[0] :]
            if sink is not None:
                sink.upstream_head(self)
            if rest and self.sink is not None:
                self.sink.upstream_data(self, [rest], False)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.keep_alive = False

    def _check_head(self) -> None:
        if self.status != 101:
            super()._check_head()
        elif not self._parser.should_upgrade():
            raise UnreadableAnswer("switched protocols without naming one")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_switched:
            super().connection_lost(exc)
            return
        self._pool.forget(self)
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.upstream_broken(self, "closed the connection" if exc is None else "reset the connection")

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._tell_sink(is_slow=True)

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._tell_sink(is_slow=False)

    def _tell_sink(self, *, is_slow: bool) -> None:
        if self.is_switched and self.sink is not None:
            cast(Uploader, self.sink).upstream_reads_slowly(is_slow)

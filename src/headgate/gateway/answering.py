"""The answering half of a relay: answers and refusals of our own, and the end of a request."""

from headgate.core.errors import DiskFull, HeadgateError, UpstreamTimeout, UpstreamUnreachable
from headgate.core.ids import monotonic_ns
from headgate.gateway.incoming import Incoming
from headgate.spool.record import Outcome
from headgate.wire.envelope import error_body


class Answering(Incoming):
    """A request that can be answered and recorded without an upstream."""

    __slots__ = ("_released", "_retry_after_s", "is_recorded", "last_byte_ns", "status")

    def _clear(self) -> None:
        super()._clear()
        self.status: int | None = None
        self.is_recorded = False
        self.last_byte_ns = 0
        self._released = False
        self._retry_after_s: int | None = None  # what a refusal says of another try

    @property
    def is_finished(self) -> bool:
        """Whether the answer has been handed to the connection."""
        return self._released

    def _record(
        self, outcome: Outcome, error_type: str | None = None, message: str | None = None, own_body: bytes = b""
    ) -> None:
        """Write the final record."""
        raise NotImplementedError

    def _stop_upstream(self) -> None:
        """Break off what goes on upstream, if anything does."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """The request is over: tell those who wait for it."""
        raise NotImplementedError

    def answer(self, status: int, body: bytes) -> None:
        """Answer with JSON of our own, and record it."""
        self.status = status
        self.last_byte_ns = monotonic_ns()
        self._record("ok", own_body=body)
        self._say(status, body)

    def refuse(self, error: HeadgateError, *, outcome: Outcome = "refused") -> None:
        """Answer with an error of our own, in the caller's dialect, and record it."""
        self._stop_upstream()
        if self.is_recorded:
            return
        self.status = error.status
        self.last_byte_ns = monotonic_ns()
        body = error_body(error, self.place.endpoint.dialect, self.asked.request_id)
        if isinstance(error, DiskFull):  # the reserve is for calls that were begun; this one is counted
            self.is_recorded = True
        else:
            self._record(outcome, error.code, str(error), own_body=b"" if self.reply.is_open else body)
        if self.reply.is_open:  # another answer is on its way already
            self.reply.break_off()
            self._finish()
            return
        if error.retry_after_s is not None:
            self._retry_after_s = error.retry_after_s
        if not self.has_body:
            self.reply.keep_alive = False
        self._say(error.status, body, retry=isinstance(error, (UpstreamTimeout, UpstreamUnreachable)))

    def _say(self, status: int, body: bytes, *, retry: bool = True) -> None:
        lines = [b"x-headgate-request-id: %b\r\n" % self.asked.request_id.encode()]
        if self._retry_after_s is not None:
            lines.append(b"retry-after: %d\r\n" % self._retry_after_s)
        elif status >= 400 and not retry:
            lines.append(b"x-should-retry: false\r\n")
        self.reply.whole(status, b"application/json", body, tuple(lines))
        self._finish()

    def _finish(self) -> None:
        if not self._released:
            self._released = True
            self._let_go()

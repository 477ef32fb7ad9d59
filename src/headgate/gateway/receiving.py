"""The receiving half of a relay: the body as it arrives, collected or passed on, within its size and its time."""

from typing import TYPE_CHECKING

from headgate.core.errors import BodyTooLarge, HeadgateError
from headgate.core.ids import monotonic_s
from headgate.gateway.answering import Answering
from headgate.gateway.incoming import UPLOAD_IDLE_S
from headgate.gateway.intake import calls_stored_prompt, check_late_members
from headgate.gateway.limited import check_one_model
from headgate.gateway.upload import LARGE_BYTES, Upload
from headgate.gateway.worker import UpstreamHandle
from headgate.wire.objects import OBJECT_ENDPOINTS
from headgate.wire.pieces import add_piece

if TYPE_CHECKING:
    from headgate.gateway.large import LargeBody


class Receiving(Answering):
    """A request whose body is on its way."""

    __slots__ = ("_phase", "handle", "upload")

    def _clear(self) -> None:
        super()._clear()
        self.upload: Upload | LargeBody | None = None  # the body, where it is never whole in memory
        self.handle: UpstreamHandle | None = None
        self._phase = "upload"

    def begin(self) -> None:
        """All is here that must be known, and it is its turn."""
        raise NotImplementedError

    def add_body(self, data: bytes) -> None:
        """A piece of the request body; refuses one over the server's size."""
        self.body_bytes += len(data)
        if self.body_bytes > self.worker.max_body_bytes and not self.is_recorded:
            self._body_pieces.clear()
            self.refuse_size(self.body_bytes)
        elif not self.is_recorded:
            if self._phase == "upload":
                self.deadline_s = monotonic_s() + UPLOAD_IDLE_S
            if self.large is not None:
                self._add_large(self.large, data)
            elif self.upload is not None:
                self.upload.add(data)
            else:
                add_piece(self._body_pieces, data)
                if self.body_bytes > LARGE_BYTES and self.may_be_large and self._client.may_answer(self):
                    self._begin_large()

    def _begin_large(self) -> None:
        """Hold no more of the body in memory."""
        from headgate.gateway.large import LargeBody

        body = self.large = self.upload = LargeBody(self.worker, self, self._client, self.head.content_length)
        pieces, self._body_pieces = self._body_pieces, []
        for data in pieces:
            if not self.is_recorded:
                self._add_large(body, data)

    def _add_large(self, body: "LargeBody", data: bytes) -> None:
        try:
            body.add(data)
            if body.is_routed:
                check_late_members(self.place, body.members)
                if self.principal is not None and self.principal.models:
                    check_one_model(self.principal, body.members.found)
                body.go_on()
        except HeadgateError as error:
            self.reply.keep_alive = False
            self.refuse(error)
            return
        if not body.is_routed and self._is_route_known(body):
            body.is_routed = True
            self.begin()

    def _is_route_known(self, body: "LargeBody") -> bool:
        """Whether nothing that may follow decides where the body goes."""
        endpoint = self.place.endpoint
        may_use_object = endpoint.name in OBJECT_ENDPOINTS and self.worker.has_several(endpoint.dialect)
        return body.members.last("model") is not None and not may_use_object and not self._must_be_whole(body)

    def _must_be_whole(self, body: "LargeBody") -> bool:
        return calls_stored_prompt(self.place, body.members)

    def _end_large(self, body: "LargeBody") -> None:
        """All has come before its route was known."""
        if self._must_be_whole(body):
            self._body_pieces = [body.whole()]
            body.let_go()
            self.large = self.upload = None
        else:
            body.is_routed = True
            body.end()
        self.begin()

    def body_ended(self) -> None:
        """The whole body has arrived, and it is the turn of this request."""
        upload = self.upload
        if upload is None:
            self.begin()
        elif self.large is not None and not self.large.is_routed:
            self._end_large(self.large)
        elif not self.is_recorded:
            upload.end()
            if self._phase == "upload":
                self._await_answer()

    def begin_upload(self) -> None:
        """Send the body on while it arrives; its head is all that is known."""
        self.upload = Upload(self, self._client, self.worker.copies, self.head.content_length, self._copy_bytes)
        self.begin()

    @property
    def _copy_bytes(self) -> int:
        """How much of a body the log may have."""
        return self.worker.capture_bytes if self.asked.capture == "full" else 0

    def upstream_reads_slowly(self, is_slow: bool) -> None:
        """The upstream has stopped, or begun again, to take the body (Uploader)."""
        if self._phase == "upload" and is_slow:
            self._await_answer()
        elif self._phase == "first_byte" and not is_slow:
            if self.has_body:  # the rest waits in a file
                self._await_answer()
            else:
                self._phase, self.deadline_s = "upload", monotonic_s() + UPLOAD_IDLE_S

    def read_ahead(self) -> None:
        """The client has been held back for a while."""
        if isinstance(self.upload, Upload):
            self.upload.read_ahead()

    def _await_answer(self) -> None:
        assert self.handle is not None
        self._phase, self.deadline_s = "first_byte", monotonic_s() + self.handle.upstream.timeout.first_byte_s

    def refuse_size(self, body_bytes: int) -> None:
        """Refuse a body of at least ``body_bytes``."""
        if not self._client.may_answer(self):  # behind another request in the pipeline
            self._client.transport.abort()
            return
        limit_mb = self.worker.settings.server.max_body_mb
        self.reply.keep_alive = False
        self.refuse(
            BodyTooLarge(
                f"the request body has {body_bytes} bytes or more; this gateway takes {limit_mb:g} MB.",
                hint="Raise server.max_body_mb, or send less.",
            )
        )

"""The receiving half of a relay: the body as it arrives, collected or passed on, within its size and its time."""

from headgate.core.errors import BodyTooLarge
from headgate.core.ids import monotonic_s
from headgate.gateway.answering import Answering, Client
from headgate.gateway.head import RequestHead
from headgate.gateway.reply import Reply
from headgate.gateway.upload import Upload
from headgate.gateway.worker import UpstreamHandle, Worker
from headgate.wire.endpoints import Place

UPLOAD_IDLE_S = 30.0


class Receiving(Answering):
    """A request whose body is on its way."""

    def __init__(
        self,
        client: Client,
        worker: Worker,
        place: Place,
        method: bytes,
        target: bytes,
        head: RequestHead,
        reply: Reply,
    ) -> None:
        super().__init__(client, worker, place, method, target, head, reply)
        self._body_pieces: list[bytes] = []
        self.upload: Upload | None = None  # the body, where it goes upstream while it still arrives
        self.handle: UpstreamHandle | None = None
        self._phase = "upload"
        self.deadline_s = monotonic_s() + UPLOAD_IDLE_S

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
            if self.upload is not None:
                self.upload.add(data)
            else:
                self._body_pieces.append(data)
            if self._phase == "upload":
                self.deadline_s = monotonic_s() + UPLOAD_IDLE_S

    def body_ended(self) -> None:
        """The whole body has arrived, and it is the turn of this request."""
        upload = self.upload
        if upload is None:
            self.begin()
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
        elif self._phase == "first_byte" and not is_slow and not self.has_body:
            self._phase, self.deadline_s = "upload", monotonic_s() + UPLOAD_IDLE_S

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

"""The request half of a relay: its head and body, who sends it, what it asks for, where it may go."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from headgate.core.errors import HeadgateError, MalformedRequest, NotFound, Unavailable
from headgate.core.ids import monotonic_ns, monotonic_s
from headgate.gateway.attempts import Attempts
from headgate.gateway.auth import principal_of
from headgate.gateway.head import RequestHead
from headgate.gateway.intake import Asked, describe, read_body, read_members
from headgate.gateway.limited import check_limits
from headgate.gateway.reply import Reply
from headgate.gateway.route import Plan
from headgate.gateway.upload import LEAST_BYTES
from headgate.gateway.worker import Worker
from headgate.snapshot import KeyEntry
from headgate.wire.endpoints import MISPLACED, MODELS, OTHER, Place
from headgate.wire.objects import object_in_path

if TYPE_CHECKING:
    from headgate.gateway.answering import Answering
    from headgate.gateway.knowledge import Wanted
    from headgate.gateway.large import LargeBody
    from headgate.gateway.owners import Named
    from headgate.gateway.relay import Relay

UPLOAD_IDLE_S = 30.0
"""How long a client may pause in the middle of a body."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MADE_ANEW = frozenset((b"prompt", b"vars", b"kb"))
"""Headers of ours that have a body made from the one that came."""


class Client(Protocol):
    """The client connection, as a relay sees it."""

    transport: asyncio.Transport
    is_write_paused: bool

    def relay_finished(self, relay: "Relay") -> None: ...

    def may_answer(self, relay: "Answering") -> bool: ...

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...


class Incoming:
    """What a client sent. ``target``: path and query as they came."""

    __slots__ = (
        "_body_pieces",
        "_client",
        "asked",
        "attempts",
        "body",
        "body_bytes",
        "deadline_s",
        "has_body",
        "head",
        "large",
        "method",
        "place",
        "principal",
        "prompt_line",
        "raw",
        "refusal",
        "reply",
        "resolved",
        "sought",
        "started_ns",
        "target",
        "wanted",
        "worker",
    )

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
        self.started_ns = monotonic_ns()
        self.deadline_s = monotonic_s() + UPLOAD_IDLE_S
        self._client = client
        self.reply = reply
        self.worker = worker
        self.place = place
        self.method = method
        self.target = target
        self.head = head
        self.asked = Asked(head, place.endpoint, method, target.partition(b"?")[0], worker.capture)
        self._body_pieces: list[bytes] = []
        self._clear()

    def _clear(self) -> None:
        """Set what is known later; each class that builds on this one adds its own."""
        self.refusal: HeadgateError | None = None  # found in its head, for when its turn comes
        self.principal: KeyEntry | None = None  # None until its key was found good
        self.attempts: Attempts | None = None  # None until it is admitted
        self.body = b""
        self.raw: bytes | None = None  # the body as it came, where ``body`` is what that says
        self.body_bytes = 0
        self.large: LargeBody | None = None  # the body, where it is JSON too large to be held
        self.resolved: bytes | None = None  # the body made of a stored prompt
        self.prompt_line = b""  # the response header that names its version
        self.wanted: Wanted | None = None  # what must be found in a knowledge base before the body can be made
        self.sought: tuple[str, Named] | None = None  # an object whose upstream is not known yet, and where it is named
        self.has_body = False  # the whole request has arrived

    def fault_of_key(self) -> HeadgateError | None:
        """Why the caller may not call at all; known from the head, before a body is read."""
        try:
            self.principal = principal_of(self.head, self.worker.snapshot)
        except HeadgateError as error:
            return error
        return None

    @property
    def is_list_of_models(self) -> bool:
        """Whether the gateway answers it itself."""
        return self.place.endpoint is MODELS.get(self.place.endpoint.dialect)

    def check_place(self) -> None:
        """Raises NotFound where a client's base URL is misspelt."""
        endpoint = self.place.endpoint
        if endpoint is MISPLACED[endpoint.dialect]:
            path = self.target.partition(b"?")[0].decode("latin-1")
            raise NotFound(
                f'no such path: "{path[:200]}".',
                code="wrong_base_url",
                hint="Set the client's base URL to http://HOST:PORT/v1 for OpenAI clients, to http://HOST:PORT for "
                "Anthropic clients (their SDK adds /v1).",
            )

    @property
    def is_upload(self) -> bool:
        """Whether its head is all that must be known, and its body is worth passing on while it arrives."""
        endpoint, noted = self.place.endpoint, self.head.noted
        if endpoint is not OTHER.get(endpoint.dialect) or b"json" in noted.get(b"content-type", b"").lower():
            return False
        length = self.head.content_length
        return b"transfer-encoding" in noted if length is None else length >= LEAST_BYTES

    @property
    def may_be_large(self) -> bool:
        """Whether its body can be routed by a look at its members: plain JSON that goes on as it came."""
        noted, own = self.head.noted, self.head.own
        return (
            b"json" in noted.get(b"content-type", b"").lower()
            and b"content-encoding" not in noted
            and self.place.endpoint.dialect != "inference"
            and not own.keys() & _MADE_ANEW
        )

    def fault_of_load(self) -> HeadgateError | None:
        """Why it cannot be taken on now; known before its body is read and before an upstream is called."""
        fault = self.worker.fault_of_load()
        if fault is not None and self.asked.capture == "full":  # bodies would be work and disk at the wrong time
            self.asked.capture = "metadata"
        return fault

    def check_load(self) -> None:
        """Raises Overloaded or DiskFull when it cannot be taken on now."""
        fault = self.fault_of_load()
        if fault is not None:
            raise fault

    def admit(self) -> None:
        """Read the whole request and plan its attempts. Raises RequestError."""
        self.check_load()
        if self.method == b"TRACE":  # its answer would show the stored key (RFC 9110 section 9.3.8)
            raise MalformedRequest("TRACE is not relayed: its answer would show credentials.", code="method_refused")
        worker, head, asked, place = self.worker, self.head, self.asked, self.place
        endpoint = place.endpoint
        principal = self.principal = principal_of(head, worker.snapshot)
        try:
            if self.large is not None:
                read_members(asked, place, self.large.members)
            else:
                self._make_readable()
                read_body(asked, place, self.body, head.text(b"content-type"))
        finally:
            describe(asked, head, principal)
        self.check_place()
        if self.is_list_of_models:
            return
        if asked.calls_by_body or asked.calls_by_model or b"prompt" in head.own or b"vars" in head.own:
            self._resolve()
        if self.wanted is not None or b"kb" in head.own:
            self._ask_knowledge()
        if principal.models:
            check_limits(self, principal)
        if worker.has_several(endpoint.dialect) and self._seek():
            return
        self.follow(worker.plan(endpoint.dialect, asked.model))

    def _make_readable(self) -> None:
        coding = self.head.codings
        if self.place.endpoint.needs_json and (coding is not None or self.body.startswith(_BYTE_ORDER_MARK)):
            from headgate.gateway.coded import readable

            self.body, self.raw = readable(self.body, coding), self.body

    def follow(self, plan: Plan) -> None:
        """This is where it may go."""
        self.asked.identity["route"] = plan.route
        self.attempts = Attempts(plan, self.started_ns, self.asked.model)

    def _seek(self) -> bool:
        """Whether the request is about an object of one account; its plan is made, or the object is ``sought``."""
        place, asked = self.place, self.asked
        in_path = None if place.endpoint.needs_json else object_in_path(place.endpoint.dialect, place.rest)
        named: Named = "body" if in_path is None else "path"
        object_id = in_path or asked.uses
        if object_id is None:
            return False
        owner = self.worker.owners().get(object_id)
        if owner is None:
            self.sought = object_id, named
        else:
            from headgate.gateway.owners import pin

            self.follow(pin(self, object_id, named, owner))
        return True

    async def find_owner(self) -> None:
        """Plan for the object that is ``sought``. Raises HeadgateError."""
        from headgate.gateway.owners import pin, plan_without_owner

        assert self.sought is not None
        object_id, named = self.sought
        try:
            owner = await self.worker.owners().ask(object_id)
        except Unavailable:
            if self.method not in (b"GET", b"HEAD"):
                raise
            owner = None
        if owner is None:
            self.follow(plan_without_owner(self, object_id, named))
        else:
            self.follow(pin(self, object_id, named, owner))

    def _resolve(self) -> None:
        from headgate.gateway.resolve import resolve

        worker = self.worker
        found = resolve(worker.library(), worker.snapshot, self.asked, self.head, self.place.endpoint.name, self.body)
        self.resolved, self.prompt_line, self.wanted = found.body, found.line, found.wanted

    def _ask_knowledge(self) -> None:
        from headgate.gateway import knowledge

        if b"kb" in self.head.own:
            self.wanted = knowledge.wanted_by_header(self)
        assert self.wanted is not None
        knowledge.stamp(self, self.wanted)

    @property
    def plain_body(self) -> bytes:
        """The body before a route or policy changes it: the prompt's, or as received."""
        return self.body if self.resolved is None else self.resolved

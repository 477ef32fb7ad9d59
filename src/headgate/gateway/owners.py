"""Whose account an object is in: responses, files, batches and the like are known only to the upstream that made them.

A worker remembers what it relayed; what it does not know it asks the control process, which has the log and the spools.
"""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate.core.errors import MalformedRequest, NotFound, Unavailable
from headgate.core.settings import Target
from headgate.gateway.fetch import fetch
from headgate.gateway.route import Plan
from headgate.gateway.upstream import Origin

if TYPE_CHECKING:
    from headgate.gateway.incoming import Incoming
    from headgate.gateway.worker import Worker

_KEPT = 20_000
_AT_ONCE = 4
_TIMEOUT_S = 5.0
_ANSWER_LIMIT = 64 << 10
_MOST_TRIES = 8
_SAFE = frozenset((b"GET", b"HEAD"))
_NEXT_ON: frozenset[int | str] = frozenset(("connect", "timeout", 400, 403, 404))
"""How upstreams answer to an id of another account."""


class _Owner(msgspec.Struct):
    upstream: str | None = None


_decode = msgspec.json.Decoder(_Owner).decode


class Owners:
    """What one worker knows of objects; the oldest are forgotten first."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._known: OrderedDict[str, str] = OrderedDict()
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._pool = worker.pool(
            Origin(
                host="control", port=80, is_tls=False, base_path=b"", socket_path=worker.home.socket_address("control")
            )
        )

    def note(self, object_id: str, upstream: str) -> None:
        """An upstream answered with this object; the first one counts."""
        self._known.setdefault(object_id, upstream)
        self._known.move_to_end(object_id)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def get(self, object_id: str) -> str | None:
        """The upstream this worker knows of."""
        return self._known.get(object_id)

    async def ask(self, object_id: str) -> str | None:
        """The upstream that control knows of; None: nobody does. Raises Unavailable when control does not answer."""
        request = f"GET /internal/objects/{object_id} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode("ascii")
        try:
            async with self._asking:
                found = await fetch(self._pool, request, timeout_s=_TIMEOUT_S, limit_bytes=_ANSWER_LIMIT)
            if found.status != 200:
                raise ConnectionError(f"status {found.status}")
            owner = _decode(found.body).upstream
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            raise Unavailable(
                f'where "{object_id}" was created cannot be looked up: the control process does not answer.',
                code="owner_unknown",
                hint="Try again in a few seconds; it is started again by itself.",
            ) from error
        if owner is not None:
            self.note(object_id, owner)
        return owner


Named = Literal["path", "body"]


def pin(incoming: "Incoming", object_id: str, named: Named, owner: str) -> Plan:
    """The plan that leads to the object and nowhere else. Raises NotFound or MalformedRequest."""
    worker, dialect = incoming.worker, incoming.place.endpoint.dialect
    upstream = worker.settings.upstreams.get(owner)
    if upstream is None or not upstream.speaks(dialect):
        raise NotFound(
            f'"{object_id}" was created at upstream "{owner}", which is not configured for {dialect} any more.',
            code="owner_gone",
            hint=f"Configure [upstreams.{owner}] again to reach it.",
        )
    if named == "path" or incoming.asked.model is None:
        return Plan(route=None, targets=(Target(upstream=owner),), fallback_on=frozenset(), max_attempts=1)
    plan = worker.plan(dialect, incoming.asked.model)
    targets = tuple(target for target in plan.targets if target.upstream == owner)[:1]
    if not targets:
        names = ", ".join(target.upstream for target in plan.targets)
        raise MalformedRequest(
            f'"{object_id}" was created at upstream "{owner}", where model "{incoming.asked.model[:200]}" does not '
            f"lead: {names}.",
            code="owner_differs",
            hint="Ask for a model of that upstream, or begin anew.",
        )
    return Plan(route=plan.route, targets=targets, fallback_on=frozenset(), max_attempts=1)


def plan_without_owner(incoming: "Incoming", object_id: str, named: Named) -> Plan:
    """Where to look for an object that nobody knows. Raises NotFound where looking would change something."""
    worker, dialect = incoming.worker, incoming.place.endpoint.dialect
    if named == "body":
        # It goes where it would go, and is not tried anywhere else: what it continues is in one place.
        plan = worker.plan(dialect, incoming.asked.model)
        return Plan(route=plan.route, targets=plan.targets[:1], fallback_on=frozenset(), max_attempts=1)
    if incoming.method not in _SAFE:
        raise NotFound(
            f'no upstream is known to have created "{object_id}": it is not in the log of this gateway.',
            code="object_unknown",
            hint="GET it first: every upstream is asked then, and the one that has it is remembered.",
        )
    default = worker.settings.default_upstream(dialect)
    first = () if default is None else (default,)
    # A client's own credential goes to one origin only, so an upstream that takes it is not tried on suspicion.
    others = (
        u for u in worker.settings.upstreams.values() if u.speaks(dialect) and u.auth != "caller" and u != default
    )
    targets = tuple(Target(upstream=upstream.name) for upstream in (*first, *others))[:_MOST_TRIES]
    return Plan(route=None, targets=targets, fallback_on=_NEXT_ON, max_attempts=len(targets))

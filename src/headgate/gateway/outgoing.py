"""What is sent to an upstream: the client's bytes, with only those values spliced that a route or a policy changes."""

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from headgate.gateway.worker import UpstreamHandle
from headgate.wire.splice import replace_value, with_include_usage

if TYPE_CHECKING:
    from headgate.gateway.large import Edit, LargeBody
    from headgate.gateway.relay import Relay

_COUNTED = ("openai.chat", "openai.completions")
"""Whose streams have usage only where it is asked for."""
_ASK_FOR_USAGE = b'"stream_options":{"include_usage":true},'


class Outgoing:
    """One request as an upstream gets it."""

    __slots__ = ("body", "has_injected_usage", "head", "is_changed")

    def __init__(self, head: bytes, body: bytes, *, is_changed: bool, has_injected_usage: bool) -> None:
        self.head = head
        self.body = body
        self.is_changed = is_changed  # the body differs from what the client sent
        self.has_injected_usage = has_injected_usage


def outgoing_for(relay: "Relay", handle: UpstreamHandle, model: str | None) -> Outgoing:
    """The request for one upstream; ``model`` replaces the name the client asked for."""
    asked, place = relay.asked, relay.place
    if relay.large is not None:
        return _outgoing_of_large(relay, relay.large, handle, model)
    body, rest = relay.plain_body, place.rest
    if model is not None and asked.model is not None and model != asked.model:
        if place.endpoint.dialect == "inference":
            rest = _with_model(rest, model)
        else:
            body = replace_value(body, "model", msgspec.json.encode(model))
    injects = False
    if asked.stream and handle.can_inject_usage and place.endpoint.name in _COUNTED and relay.raw is None:
        changed = with_include_usage(body)
        if changed is not None:
            body, injects = changed, True
    is_changed = body is not relay.body
    if relay.raw is not None and not is_changed:
        body = relay.raw
    length = len(body) if relay.upload is None else relay.upload.length
    is_undone = relay.raw is not None and is_changed
    head = _head(relay, handle, rest, length, plain_answer=injects, is_undone=is_undone)
    return Outgoing(head, body, is_changed=is_changed, has_injected_usage=injects)


def _head(
    relay: "Relay",
    handle: UpstreamHandle,
    rest: bytes,
    length: int | None,
    *,
    plain_answer: bool,
    is_undone: bool = False,
) -> bytes:
    head = relay.head
    wanted = (handle, relay.method, relay.target, rest, length, plain_answer, is_undone)
    if head.sent is not None and head.sent[0] == wanted:  # a recalled head is sent again as it was
        return head.sent[1]
    query = relay.target.partition(b"?")
    target = b"".join((handle.origin.base_path, rest, *query[1:]))
    data = head.build(
        relay.method,
        target,
        handle.host,
        length,
        credential=handle.credential(),
        keeps_caller=handle.upstream.auth == "caller",
        extra=handle.extra,
        plain_answer=plain_answer,
        is_undone=is_undone,
    )
    head.sent = wanted, data
    return data


def _outgoing_of_large(relay: "Relay", body: "LargeBody", handle: UpstreamHandle, model: str | None) -> Outgoing:
    """The same edits, noted for when the body is sent. Usage is asked for only where nothing can follow that asks for
    it otherwise.
    """
    asked, members = relay.asked, body.members
    edits: list[Edit] = []
    if model is not None and asked.model is not None and model != asked.model:
        new = msgspec.json.encode(model)
        edits += [(member.start, member.end, new) for member in members.found if member.name == "model"]
    injects = (
        asked.stream
        and handle.can_inject_usage
        and relay.place.endpoint.name in _COUNTED
        and members.is_whole
        and members.last("stream_options") is None
    )
    if injects:
        edits.append((members.inside_at, members.inside_at, _ASK_FOR_USAGE))
    longer = body.edit(edits)
    length = None if body.length is None else body.length + longer
    return Outgoing(
        _head(relay, handle, relay.place.rest, length, plain_answer=injects),
        b"",
        is_changed=False,
        has_injected_usage=injects,
    )


def _with_model(rest: bytes, model: str) -> bytes:
    """`/models/NAME/…` with another name: the Open Inference Protocol has it in the path."""
    parts = rest.split(b"/")
    parts[2] = quote(model, safe="").encode() + parts[2][len(parts[2].partition(b"@")[0]) :]
    return b"/".join(parts)

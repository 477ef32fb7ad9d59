"""Reading a request: who sent it, what it asks for, what the log will say of it before the upstream is called."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us, uuid7
from headgate.gateway.head import RequestHead
from headgate.snapshot import KeyEntry
from headgate.wire.endpoints import Endpoint, Place
from headgate.wire.loose import clean, dump, load
from headgate.wire.members import MemberScan
from headgate.wire.objects import OBJECT_ENDPOINTS, is_id

_TEXT_LIMIT = 1024
_TAG = b"tag-"
_TAGS_LIMIT = 32
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_CAPTURES = ("none", "metadata", "full")
_PURPOSES = frozenset(("traffic", "eval", "judge", "embedding", "shadow", "probe"))


_NO_RAW = msgspec.Raw(b"")
PROMPT_ENDPOINTS = frozenset(("openai.chat", "openai.responses", "anthropic.messages"))
PROMPT_MODEL = "prompt:"
_CALLS = ("prompt", "variables")
USED = ("previous_response_id", "conversation", "input_file_id", "training_file")
"""Members that name an object which a call continues or uses."""


class _Body(msgspec.Struct):
    """What routing must know of a JSON body; the rest is checked for syntax and passed on as it stands."""

    model: str | None = None
    stream: bool | None = None
    prompt: msgspec.Raw = _NO_RAW
    variables: msgspec.Raw = _NO_RAW
    previous_response_id: Any = None
    conversation: Any = None
    input_file_id: Any = None
    training_file: Any = None


class _PromptId(msgspec.Struct):
    id: str = ""


_decode_id = msgspec.json.Decoder(_PromptId).decode
_decode = msgspec.json.Decoder(_Body).decode
_EMPTY = _Body()


class Asked:
    """What a request asks for, and what the log will say of it. ``path`` is stored without its query; ``capture``: the
    server's level, which the request may lower.
    """

    __slots__ = (
        "calls_by_body",
        "calls_by_model",
        "capture",
        "identity",
        "model",
        "prompt",
        "prompt_given",
        "request_id",
        "stream",
        "uses",
        "variables",
    )

    def __init__(self, head: RequestHead, endpoint: Endpoint, method: bytes, path: bytes, capture: str) -> None:
        started_at_us = now_us()
        self.request_id = uuid7(started_at_us)
        self.model: str | None = None
        self.stream = False
        self.uses: str | None = None  # the object of an account that the body continues or uses
        self.calls_by_body = self.calls_by_model = False  # a stored prompt is called
        self.prompt_given = False  # the body has a `prompt` object, ours or the provider's
        self.prompt = self.variables = b""  # JSON of those members, where a stored prompt is called
        self.capture = capture
        wanted = head.own_text(b"capture") if head.own else None
        if wanted is not None:  # a misspelt level is refused, and keeps nothing
            self.capture = min(capture, wanted if wanted in _CAPTURES else "none", key=_CAPTURES.index)
        if head.told is None:
            head.told = _told(head, endpoint, method, path)
        identity = self.identity = {**head.told}
        identity["request_id"] = self.request_id
        identity["started_at_us"] = started_at_us
        identity["sequence"] = 0


def _told(head: RequestHead, endpoint: Endpoint, method: bytes, path: bytes) -> dict[str, Any]:
    """What the log says of every request with this head."""
    told: dict[str, Any] = {
        "endpoint": endpoint.name,
        "method": method.decode("latin-1"),
        "path": path[:_TEXT_LIMIT].decode("latin-1"),
    }
    agent = head.noted.get(b"user-agent")
    if agent is not None:
        told["client"] = agent[:_TEXT_LIMIT].decode("latin-1")
    trace = head.noted.get(b"traceparent")
    if trace is not None and _TRACEPARENT.match(trace):
        told["trace_id"] = trace[3:35].decode("latin-1")
    return told


def read_body(asked: Asked, place: Place, body: bytes, content_type: str | None) -> None:
    """Take model and stream flag from a JSON body. Raises MalformedRequest where the endpoint needs JSON."""
    endpoint = place.endpoint
    if not endpoint.needs_json and (not body or content_type is None or "json" not in content_type):
        if place.rest.startswith(b"/models/"):
            asked.model = place.rest[len(b"/models/") :].decode("latin-1").replace("%2F", "/").replace("%3A", ":")
        return
    try:
        read = _decode(body)
    except msgspec.ValidationError as error:
        loose = _read_loosely(body)
        if loose is None:
            if endpoint.needs_json:
                raise MalformedRequest(
                    f"the request body does not fit {endpoint.name}: {error}.", code="invalid_body"
                ) from error
            return
        read = loose
    except msgspec.DecodeError as error:
        loose = _read_loosely(body)
        if loose is None:
            if endpoint.needs_json:
                raise MalformedRequest(
                    f"the request body is not valid JSON: {error}.",
                    code="invalid_json",
                    hint="Check what the client sends; the upstream was not called.",
                ) from error
            return
        read = loose
    _note(asked, place, read)


def _note(asked: Asked, place: Place, read: _Body) -> None:
    name = place.endpoint.name
    asked.model = read.model
    asked.stream = bool(read.stream)
    if name in OBJECT_ENDPOINTS:
        asked.uses = _used((read.previous_response_id, read.conversation, read.input_file_id, read.training_file))
    if name in PROMPT_ENDPOINTS:
        _read_prompt(asked, read, name)
    elif read.model is not None and read.model.startswith(PROMPT_MODEL):
        raise MalformedRequest(
            f'"{read.model[:100]}" is a stored prompt, which cannot be called at {place.rest.decode("latin-1")[:100]}.',
            code="prompt_conflict",
            hint="Call it on /v1/chat/completions, /v1/responses or /v1/messages.",
        )


def _used(values: Iterable[Any]) -> str | None:
    for value in values:
        named = value.get("id") if isinstance(value, dict) else value
        if is_id(named):
            return str(named)
    return None


def read_members(asked: Asked, place: Place, members: MemberScan) -> None:
    """The same of a body that is not held in memory, as far as it has come. Raises MalformedRequest."""
    problem = members.problem
    if problem is None:
        asked.stream = _value(members, "stream") is True
        if place.endpoint.name in OBJECT_ENDPOINTS:
            asked.uses = _used(_value(members, name) for name in USED)
        model = members.last("model")
        if model is None or model.value == b"null":
            return
        named = _value(members, "model")
        if isinstance(named, str):
            asked.model = named
            return
        problem = "its model is no text"
    if place.endpoint.needs_json:
        raise MalformedRequest(
            f"the request body is not valid JSON for {place.endpoint.name}: {problem}.",
            code="invalid_json",
            hint="Check what the client sends; the upstream was not called.",
        )


def calls_stored_prompt(place: Place, members: MemberScan) -> bool:
    """Whether a body, as far as it has come, asks for a prompt of ours."""
    model, prompt = _value(members, "model"), members.last("prompt")
    if isinstance(model, str) and model.startswith(PROMPT_MODEL):
        return True
    if prompt is None or place.endpoint.name not in PROMPT_ENDPOINTS:
        return False
    if prompt.value is None:  # over 64 KiB, so what it is was not kept
        return place.endpoint.name != "openai.responses"
    return prompt.value[:1] == b"{" and (place.endpoint.name != "openai.responses" or _is_ours(prompt.value))


def check_late_members(place: Place, members: MemberScan) -> None:
    """Raise MalformedRequest over a member that would have changed where a body went, had it come in time."""
    models = [member for member in members.found if member.name == "model"]
    if len(models) > 1 or calls_stored_prompt(place, members):
        late = "model" if len(models) > 1 else "prompt"
        raise MalformedRequest(
            f'the request body has a second "{late}", or has it too late: a part has gone upstream.',
            code="late_member",
            hint=f'Write "{late}" once, before the long members.',
        )


def _value(members: MemberScan, name: str) -> Any:
    member = members.last(name)
    return None if member is None or member.value is None else load(member.value)


def _read_loosely(body: bytes) -> _Body | None:
    """What common writers send and strict readers refuse (NaN, half a surrogate pair, a `stream` that is no boolean):
    the upstream's to judge.
    """
    value = load(body)
    if not isinstance(value, dict):
        return None
    model, stream = value.get("model"), value.get("stream")
    if not isinstance(model, str | None):
        return None
    stream = stream if isinstance(stream, bool) else None
    prompt, variables = (msgspec.Raw(dump(value[key]).encode()) if key in value else _NO_RAW for key in _CALLS)
    used = {name: value.get(name) for name in USED}
    named = None if model is None else clean(model)
    return _Body(model=named, stream=stream, prompt=prompt, variables=variables, **used)


def _read_prompt(asked: Asked, read: _Body, endpoint: str) -> None:
    """Note the call of a stored prompt. Responses have a `prompt` of their own, ours has an id with `hg:` there."""
    if read.model is not None and read.model.startswith(PROMPT_MODEL):
        asked.calls_by_model = True
        asked.variables = bytes(read.variables)
    if read.prompt is _NO_RAW:
        return
    prompt = bytes(read.prompt)
    asked.prompt_given = prompt[:1] == b"{"
    if prompt[:1] == b"{" and (endpoint != "openai.responses" or _is_ours(prompt)):
        asked.calls_by_body = True
        asked.prompt = prompt


def _is_ours(prompt: bytes) -> bool:
    try:
        return _decode_id(prompt).id.startswith("hg:")
    except msgspec.MsgspecError:
        return False


def describe(asked: Asked, head: RequestHead, principal: KeyEntry) -> None:
    """Complete what start and final record share. Raises MalformedRequest over an unreadable header of ours."""
    identity = asked.identity
    identity["project"] = principal.project
    if principal.id:
        identity["key_id"] = principal.id
    if asked.stream:
        identity["stream"] = True
    if asked.model is not None:
        identity["model_requested"] = asked.model[:_TEXT_LIMIT]
    if head.own:
        _read_own(asked, head, principal)


def _read_own(asked: Asked, head: RequestHead, principal: KeyEntry) -> None:
    identity = asked.identity
    wanted = head.own_text(b"capture")
    if wanted is not None and wanted not in _CAPTURES:
        raise MalformedRequest(
            f'x-headgate-capture: "{wanted[:40]}" is none of full, metadata, none.', code="invalid_header"
        )
    purpose = head.own_text(b"purpose")
    if purpose is not None and principal.role != "app":
        if purpose not in _PURPOSES:
            raise MalformedRequest(
                f'x-headgate-purpose: "{purpose[:40]}" is none of {", ".join(sorted(_PURPOSES))}.',
                code="invalid_header",
            )
        identity["purpose"] = purpose
    if asked.capture == "none":
        return
    for header, field in ((b"session", "session_id"), (b"user", "user_id")):
        value = head.own_text(header)
        if value is not None:
            identity[field] = value[:_TEXT_LIMIT]
    tags = {
        name[len(_TAG) :].decode("latin-1")[:100]: value[:_TEXT_LIMIT].decode("utf-8", "replace")
        for name, value in head.own.items()
        if name.startswith(_TAG)
    }
    if len(tags) > _TAGS_LIMIT:
        raise MalformedRequest(f"{len(tags)} x-headgate-tag headers; at most {_TAGS_LIMIT}.", code="invalid_header")
    if tags:
        identity["tags"] = tags

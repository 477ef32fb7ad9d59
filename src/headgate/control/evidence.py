"""What the log has to say for a cell or an ask: the first call that was exactly this one, and its answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.control.run_knowledge import NOTHING, Read
from headgate.evals.canonical import NotCanonical, canonical_json, digest
from headgate.evals.output import Output, output_of
from headgate.store import lookup
from headgate.store.log import Log
from headgate.store.lookup import LoggedCall
from headgate.store.values import Bodies
from headgate.wire.decode import BodyDecoder

_NEUTRAL = frozenset(
    ("prompt", "model", "variables", "stream", "stream_options", "metadata", "user", "safety_identifier")
    + ("prompt_cache_key", "store", "service_tier", "messages")
)
"""Fields of a call of a stored prompt that do not change what is asked; messages are compared apart."""
_CUT_SHORT = ("length", "content_filter", "max_tokens", "refusal")
_MOST_REPEATS = 100
_object = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a call must have been to count: a prompt's content with inputs, or an embedding of texts."""

    prompt: str | None = None
    sha256: str | None = None
    variables: Mapping[str, Any] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    model: str | None = None  # of an embedding
    input: tuple[str, ...] = ()
    reads: Read = NOTHING  # of a prompt: the version of a knowledge base that its answer must rest on
    is_ask: bool = False  # an answer that was cut short is then none
    kb_of: Callable[[LoggedCall], str | None] = lambda _: None  # of a key alone: what a call read instead of its pin
    key: str | None = None  # alone: the call must be one whose content gives this key


@dataclass(frozen=True, kw_only=True)
class Found:
    """The call that counts and its answer, or why there is none."""

    call: LoggedCall | None = None
    output: Output | None = None
    problem: str | None = None
    was_asked: bool = False  # some call was made under the key


def answers(log: Log, wanted: Mapping[str, Wanted], purposes: Sequence[str]) -> dict[str, Found]:
    """Blocking: by key, the earliest call whose prompt, content, inputs and kept answer are what is wanted.

    The caller bounds how many keys it asks for at once: the answers are held in memory.
    """
    calls = lookup.calls_of_cells(log, list(wanted), purposes)
    return chosen(log, wanted, calls)


def chosen(log: Log, wanted: Mapping[str, Wanted], calls: Mapping[str, Sequence[LoggedCall]]) -> dict[str, Found]:
    """The same for calls found already, each key's in the order in which they may count."""
    found: dict[str, Found] = {}
    problems: dict[str, str] = {}
    for turn in range(lookup.MAX_OF_ONE_KEY):
        open_calls = {
            calls[key][turn].request_id: key for key in wanted if key not in found and turn < len(calls.get(key, ()))
        }
        if not open_calls:
            break
        here = [calls[key][turn] for key in open_calls.values()]
        for batch in lookup.batches(here):
            for call, output, problem in _read(log, batch, open_calls, wanted):
                key = open_calls[call.request_id]
                if problem is None:
                    found[key] = Found(call=call, output=output, was_asked=True)
                else:
                    problems.setdefault(key, f"request {call.request_id} is no evidence: {problem}")
    return {
        key: found.get(key) or Found(problem=problems.get(key, "it was not asked"), was_asked=key in problems)
        for key in wanted
    }


def output_from(call: LoggedCall, bodies: Bodies) -> Output:
    """The answer of a logged call with the log's own figures."""
    return output_of(
        call.endpoint,
        bodies.response,
        call.response_content_type,
        content_encoding=call.response_encoding,
        finish_reason=call.finish_reason,
        latency_ms=call.latency_ms,
        ttft_ms=call.ttft_ms,
        cost_usd=call.cost_usd,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        request_id=call.request_id,
    )


def request_fields(call: LoggedCall, bodies: Bodies) -> dict[str, Any] | None:
    """The request as received, None when it is no JSON object."""
    raw = bodies.request
    if call.request_encoding and call.request_encoding != "identity":
        raw = BodyDecoder(call.request_encoding).feed(raw)
    try:
        return _object.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def kept_problem(log: Log, call: LoggedCall) -> str | None:
    """Why a call's content cannot be looked at; None when it can."""
    if lookup.is_expired(log, call) or call.capture == "expired":
        return "its content is past [log] body_days"
    if call.capture in ("metadata", "none"):
        return f"its content was not kept (capture {call.capture})"
    return "its body was cut at [log] capture_mb" if call.capture == "truncated" else None


def extra_fields(fields: Mapping[str, Any]) -> list[str]:
    """Fields by which a call of a stored prompt asked for something else than the version."""
    return sorted(name for name, value in fields.items() if name not in _NEUTRAL and value is not None)


def _read(
    log: Log, batch: Sequence[LoggedCall], keys: Mapping[str, str], wanted: Mapping[str, Wanted]
) -> list[tuple[LoggedCall, Output | None, str | None]]:
    heads = {call.request_id: _head_problem(log, call, wanted[keys[call.request_id]]) for call in batch}
    good = [call for call in batch if heads[call.request_id] is None]
    variables = lookup.variables_of(log, good)
    bodies = lookup.bodies_of(log, good)
    read: list[tuple[LoggedCall, Output | None, str | None]] = []
    for call in batch:
        problem = heads[call.request_id]
        if problem is not None:
            read.append((call, None, problem))
            continue
        want, kept = wanted[keys[call.request_id]], bodies.get(call.request_id)
        if kept is None:
            read.append((call, None, "its body is gone"))
            continue
        problem = _content_problem(call, want, variables.get(call.request_id), kept)
        output = None if problem else output_from(call, kept)
        read.append((call, output, problem or _answer_problem(call, output, want)))
    return read


def _head_problem(log: Log, call: LoggedCall, want: Wanted) -> str | None:
    if call.outcome != "ok":
        return f"it ended {call.outcome}"
    if want.prompt is not None and call.prompt_name != want.prompt:
        return f"it called {call.prompt_name or 'no stored prompt'}, not {want.prompt}"
    if want.sha256 is not None and call.prompt_sha256 != want.sha256:
        return f"it called content {(call.prompt_sha256 or 'unknown')[:8]}, not {want.sha256[:8]}"
    if want.prompt is not None and (call.kb_name, call.kb_version) != want.reads:
        return f"it read {_read_words(call.kb_name, call.kb_version)}, not {_read_words(*want.reads)}"
    return kept_problem(log, call)


def _read_words(name: str | None, number: int | None) -> str:
    return "no knowledge base" if name is None else f"{name}@{number}"


def _content_problem(call: LoggedCall, want: Wanted, variables: str | None, bodies: Bodies) -> str | None:
    fields = request_fields(call, bodies)
    if fields is None:
        return "its request cannot be read"
    if want.key is not None:
        return _key_problem(call, want.key, fields, variables, want.kb_of(call))
    if want.prompt is None:
        is_same = _texts(fields) == want.input and fields.get("model") == want.model
        return None if is_same else "it embedded something else"
    if variables is None:
        return "its variables were not kept"
    if not _is_same(_json(variables), dict(want.variables or {})):
        return "its variables are not those of the case"
    if not _is_same(fields.get("messages") or None, [dict(one) for one in want.messages] if want.messages else None):
        return "it sent other messages along"
    if extra := extra_fields(fields):
        return f"it set {', '.join(extra[:5])}"
    return None


def _key_problem(
    call: LoggedCall, key: str, fields: Mapping[str, Any], variables: str | None, kb: str | None
) -> str | None:
    try:
        if call.purpose == "embedding":
            one = {"kind": "embedding", "model": fields.get("model"), "input": list(_texts(fields))}
            return None if digest(one) == key else "it embedded something else"
        given, messages = _json(variables or "null"), fields.get("messages") or None
        if call.purpose == "judge":
            is_it = (
                messages is None
                and kb is None
                and key == digest({"kind": "ask", "prompt": call.prompt_sha256, "variables": given})
            )
        else:
            cell = {"kind": "cell", "prompt": call.prompt_sha256, "kb": kb, "variables": given, "messages": messages}
            is_it = any(digest({**cell, "repeat": repeat}) == key for repeat in range(_MOST_REPEATS))
    except NotCanonical:
        is_it = False
    if not is_it:
        return "its inputs are not those of its key"
    extra = extra_fields(fields)
    return f"it set {', '.join(extra[:5])}" if extra else None


def _texts(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    texts = fields.get("input")
    return (texts,) if isinstance(texts, str) else tuple(texts) if isinstance(texts, list) else ()


def _answer_problem(call: LoggedCall, output: Output | None, want: Wanted) -> str | None:
    if output is None:
        return None
    if call.purpose == "embedding":
        return None if output.vectors else "its answer holds no vectors"
    if not (output.text or output.tool_calls or output.refusal or output.finish_reason):
        return "its answer cannot be read"
    if (want.is_ask or call.purpose == "judge") and output.finish_reason in _CUT_SHORT:
        return f"its answer ended early ({output.finish_reason})"
    return None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _is_same(one: Any, other: Any) -> bool:
    try:
        return canonical_json(one) == canonical_json(other)
    except NotCanonical:
        return False

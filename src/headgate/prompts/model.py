"""What one version of a prompt is, and the canonical JSON whose hash names it."""

import hashlib
from typing import Any, Literal

import msgspec

from headgate.prompts.faults import PromptFault

MAX_CONTENT_BYTES = 1 << 20
ROLES = ("system", "developer", "user", "assistant")


class Knowledge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The knowledge base a prompt reads from: `kb` is pinned to a version (`handbook@3`) when it is pushed."""

    kb: str
    query: str
    top_k: int = 4
    on_error: Literal["fail", "empty"] = "fail"
    filter: dict[str, Any] = {}  # field of a chunk's metadata to the value, or the values, it must have
    min_score: float | None = None  # the least cosine between question and chunk


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message: `content` is the template."""

    role: str
    content: str


class PromptContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a version is, and nothing else: same content, same version."""

    model: str
    parameters: dict[str, Any] = {}
    overridable: tuple[str, ...] = ()
    input: dict[str, Any] = {}
    knowledge: Knowledge | None = None
    messages: tuple[PromptMessage, ...]
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None


class RenderedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as the model reads it."""

    role: str
    content: str


_decoder = msgspec.json.Decoder(PromptContent)


def normal(content: PromptContent) -> PromptContent:
    """The same content with what has no order in one order: parameters and inputs by name, overridable sorted.

    Order below that (in tools, response formats and defaults) is the author's: it reaches the model, and providers
    write structured output in the order of the schema.
    """
    return msgspec.structs.replace(
        content,
        parameters=dict(sorted(content.parameters.items())),
        overridable=tuple(sorted(set(content.overridable))),
        input=dict(sorted(content.input.items())),
    )


def canonical(content: PromptContent) -> bytes:
    """The one JSON text of a content: fixed field order, no spaces, defaults left out, numbers as given."""
    return msgspec.json.encode(normal(content))


def content_sha256(content: PromptContent) -> str:
    """The hex digest that names a version."""
    return hashlib.sha256(canonical(content)).hexdigest()


def decode_content(data: bytes | str) -> PromptContent:
    """The content of a JSON text, shape and types checked, templates not; PromptFault says where it does not fit."""
    if len(data) > MAX_CONTENT_BYTES:
        raise PromptFault([f"a prompt's content is at most 1 MB; this one has {len(data):,} bytes"])
    try:
        return normal(_decoder.decode(data))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PromptFault([f"this is not a prompt's content: {error}"]) from None

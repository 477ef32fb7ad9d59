"""Shared by the dialects: the parsed body, its checked fields, and the bytes of an answer."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from headgate.providers.demo.ask import AskError, Json

# Fixed, so that equal requests get equal bytes: 2026-01-01T00:00:00Z.
RELEASED_AT_S = 1_767_225_600
RELEASED_AT = "2026-01-01T00:00:00Z"
MODELS = {"demo-chat": "Demo Chat", "demo-small": "Demo Small", "demo-embed": "Demo Embed"}


@dataclass(frozen=True, slots=True)
class Event:
    """A piece of a stream and how many tokens it stands for."""

    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, or a stream of events; ``output_tokens`` is what it took to write it."""

    body: Json | None
    events: Iterator[Event] | None
    output_tokens: int
    model: str


def seed_of(path: str, body: bytes) -> bytes:
    """The digest that everything about an answer is derived from."""
    return hashlib.sha256(path.encode("utf-8", "replace") + b"\0" + body).digest()


def identity(prefix: str, seed: bytes, *parts: object) -> str:
    """An id that looks like a provider's and depends on the request only."""
    return prefix + hashlib.sha256(seed + repr(parts).encode()).hexdigest()[:24]


def dump(value: Any) -> bytes:
    """Compact UTF-8 JSON; lone surrogates, which UTF-8 cannot carry, become question marks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def parse(body: bytes) -> Json:
    """The request's JSON object."""
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AskError(
            f"We could not parse the JSON body of your request: {str(error)[:200]}. Send one JSON object."
        ) from None
    if not isinstance(parsed, dict):
        raise AskError("The JSON body of your request is not an object.")
    return parsed


def model_of(body: Json) -> str:
    """The named model; names starting with ``missing-`` do not exist."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise AskError("you must provide a model parameter", param="model")
    return known(model)


def known(model: str) -> str:
    """``model``, unless its name says that it does not exist."""
    if model.startswith("missing-"):
        raise AskError(
            f"The model `{model[:200]}` does not exist or you do not have access to it.",
            status=404,
            kind="not_found_error",
            param="model",
            code="model_not_found",
        )
    return model


def listed(body: Json, name: str) -> list[Any]:
    """A field that must be a list with something in it."""
    value = body.get(name)
    if not isinstance(value, list) or not value:
        what = "Missing required parameter" if value is None else "Invalid value for parameter"
        raise AskError(f"{what}: '{name}'. A non-empty list is needed.", param=name, code="missing_required_parameter")
    return value


def whole(body: Json, name: str, *, least: int, most: int) -> int | None:
    """An optional whole number within bounds."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        shown = str(value)[:40]
        raise AskError(f"Invalid value for '{name}': {shown}. Give a whole number from {least} to {most}.", param=name)
    return value


def number(body: Json, name: str) -> float | None:
    """An optional number; anything else counts as absent."""
    value = body.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def texts(value: Any) -> tuple[str, ...]:
    """A text or a list of texts."""
    if isinstance(value, str):
        return (value,)
    return tuple(part for part in value if isinstance(part, str)) if isinstance(value, list) else ()


def items(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def strings_of(part: Any, name: str) -> str:
    """A text field of a part, or nothing."""
    value = part.get(name) if isinstance(part, dict) else None
    return value if isinstance(value, str) else ""


def inner(value: Any, *path: str) -> Any:
    """The value under nested keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value

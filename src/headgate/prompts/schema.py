"""Checks a prompt's `input` itself, when it is pushed: known keywords, right types, defaults that fit."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.core.settings_file import nearest
from headgate.prompts.faults import quoted
from headgate.prompts.inputs import COUNTS, KINDS, LIMITS, NotPlain, check_of, weight

VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_TEMPLATE_WORDS = "knowledge loop self super caller varargs kwargs true false none True False None"
_OPERATORS = "and or not in is if else elif for endfor endif import include"
RESERVED = frozenset(f"{_TEMPLATE_WORDS} {_OPERATORS}".split())
MOST_INPUTS = 200
_DEEPEST_SCHEMA = 8
_NOTES = ("title", "description", "examples", "format", "deprecated", "$comment")
_KNOWN = (
    "type", "enum", "const", "default", *LIMITS, *COUNTS,
    "items", "properties", "required", "additionalProperties", *_NOTES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """One fault of an `input`, and where in it."""

    path: tuple[str | int, ...]
    text: str


def schema_faults(properties: Mapping[str, Any]) -> list[SchemaFault]:
    """Every fault of the properties; none: `Inputs` can be made of them."""
    if len(properties) > MOST_INPUTS:
        return [SchemaFault((), f"a prompt has at most {MOST_INPUTS} inputs; this one has {len(properties)}")]
    found: list[SchemaFault] = []
    for name, schema in properties.items():
        if not VARIABLE.fullmatch(name):
            text = "is not a variable's name: a letter, then letters, digits and _"
            found.append(SchemaFault((name,), f"{quoted(name)} {text}"))
        elif name in RESERVED:
            found.append(SchemaFault((name,), f"{quoted(name)} is a word of the template language; choose another"))
        found.extend(_faults(schema, (name,), 0))
    return found


def _faults(schema: Any, path: tuple[str | int, ...], depth: int) -> list[SchemaFault]:
    if not isinstance(schema, dict):
        hint = f" (write {{type: {schema}}})" if schema in KINDS else ""
        return [SchemaFault(path, f"an input is described by a JSON Schema mapping{hint}")]
    if depth > _DEEPEST_SCHEMA:
        return [SchemaFault(path, f"schemas nest at most {_DEEPEST_SCHEMA} deep")]
    found: list[SchemaFault] = []
    for keyword, value in schema.items():
        rule = _RULES.get(keyword)
        if rule is None:
            found.append(SchemaFault((*path, keyword), _unknown(keyword)))
        elif (text := rule(value)) is not None:
            found.append(SchemaFault((*path, keyword), f"{keyword} {text}"))
    if not found:
        found = _inner_faults(schema, path, depth)
    return found or _enum_faults(schema, path) or _default_faults(schema, path, depth)


def _unknown(keyword: str) -> str:
    if keyword == "pattern":
        return "pattern is not checked here: a pattern can take time without bound"
    close = nearest(keyword, list(_KNOWN))
    meant = f"; did you mean {close}?" if close else f" (known: {', '.join(_KNOWN[: -len(_NOTES)])})"
    return f"unknown schema keyword {quoted(keyword)}{meant}"


def _inner_faults(schema: dict[str, Any], path: tuple[str | int, ...], depth: int) -> list[SchemaFault]:
    found: list[SchemaFault] = []
    if "items" in schema:
        found.extend(_faults(schema["items"], (*path, "items"), depth + 1))
    for name, inner in schema.get("properties", {}).items():
        found.extend(_faults(inner, (*path, "properties", name), depth + 1))
    if isinstance(schema.get("additionalProperties"), dict):
        found.extend(_faults(schema["additionalProperties"], (*path, "additionalProperties"), depth + 1))
    return found


def _enum_faults(schema: dict[str, Any], path: tuple[str | int, ...]) -> list[SchemaFault]:
    if "enum" not in schema or "type" not in schema:
        return []
    check, misfits = check_of({"type": schema["type"]}), list[str]()
    for value in schema["enum"]:
        check(value, "a value of enum", misfits)
    return [SchemaFault((*path, "enum"), misfit.replace('"', "")) for misfit in misfits[:1]]


def _default_faults(schema: dict[str, Any], path: tuple[str | int, ...], depth: int) -> list[SchemaFault]:
    if "default" not in schema:
        return []
    where = (*path, "default")
    if depth:
        return [SchemaFault(where, "only a whole input may have a default, not a part of one")]
    misfits: list[str] = []
    try:
        weight(schema["default"])
    except NotPlain as error:
        return [SchemaFault(where, f"the default {error}")]
    check_of(schema)(schema["default"], str(path[0]), misfits)
    return [SchemaFault(where, f"the default does not fit: {misfit}") for misfit in misfits]


def _type_rule(value: Any) -> str | None:
    kinds = value if isinstance(value, list | tuple) and value else [value]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in KINDS:
            close = nearest(str(kind), list(KINDS)) if isinstance(kind, str) else None
            return f"is one of {', '.join(KINDS)}, not {quoted(kind)}" + (f"; did you mean {close}?" if close else "")
    return None


def _enum_rule(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= 1000:
        return "is a list of 1 to 1000 values"
    return next((text for text in map(_const_rule, value) if text is not None), None)


def _const_rule(value: Any) -> str | None:
    return "holds text, numbers, booleans and null" if isinstance(value, list | tuple | dict) else None


def _count_rule(value: Any) -> str | None:
    return None if type(value) is int and value >= 0 else "is a whole number from 0"


def _limit_rule(value: Any) -> str | None:
    return None if type(value) in (int, float) else "is a number"


def _properties_rule(value: Any) -> str | None:
    return None if isinstance(value, dict) else "is a mapping of names to schemas"


def _required_rule(value: Any) -> str | None:
    sound = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return None if sound else "is a list of names (a whole input is required unless it has a default)"


def _additional_rule(value: Any) -> str | None:
    return None if isinstance(value, bool | dict) else "is true, false or a schema"


def _anything(value: Any) -> str | None:
    return None


_RULES: dict[str, Callable[[Any], str | None]] = {
    **dict.fromkeys((*_NOTES, "default", "items"), _anything),
    "const": _const_rule,
    **dict.fromkeys(COUNTS, _count_rule),
    **dict.fromkeys(LIMITS, _limit_rule),
    "type": _type_rule,
    "enum": _enum_rule,
    "properties": _properties_rule,
    "required": _required_rule,
    "additionalProperties": _additional_rule,
}

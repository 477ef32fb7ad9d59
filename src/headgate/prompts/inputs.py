"""Checks variables against a prompt's `input`: a listed part of JSON Schema, turned into functions once per version."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headgate.prompts.faults import MOST_FAULTS, PromptTooLarge, VariablesFault, quoted

LARGEST_INPUT = 1 << 20
"""Most that the variables (and, apart, the knowledge) of one render may weigh: UTF-8 bytes of text, keys included, plus
`VALUE_WEIGHT` for every value."""
VALUE_WEIGHT = 16
DEEPEST_INPUT = 32
_LARGEST_INT = 1 << 64
_MOST_UNKNOWN = 100

Check = Callable[[Any, str, list[str]], None]
"""Adds a sentence for every misfit of a value at a path."""


class NotPlain(Exception):
    """A value that JSON could not have brought, or not in a size we read."""


def weight(value: Any, depth: int = DEEPEST_INPUT) -> int:
    """What a value weighs, in one pass that stops above LARGEST_INPUT; raises NotPlain for anything but finite numbers,
    booleans, None, Unicode text, and lists and mappings of them.
    """
    kind = type(value)
    if kind is str:
        return VALUE_WEIGHT + _text_bytes(value)
    if kind is list or kind is tuple:
        return _weight_of_list(value, depth)
    if kind is dict:
        return _weight_of_mapping(value, depth)
    if kind is int and -_LARGEST_INT < value < _LARGEST_INT:
        return VALUE_WEIGHT
    if value is None or kind is bool or (kind is float and math.isfinite(value)):
        return VALUE_WEIGHT
    if kind is int or kind is float:
        raise NotPlain("holds a number beyond 64 bits")
    raise NotPlain("holds something that is not text, a number, a boolean, a list or a mapping")


def _text_bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise NotPlain("holds half of a Unicode surrogate pair") from None


def _weight_of_list(values: list[Any] | tuple[Any, ...], depth: int) -> int:
    if not depth:
        raise NotPlain(f"is nested more than {DEEPEST_INPUT} deep")
    total = VALUE_WEIGHT
    for value in values:
        total += weight(value, depth - 1)
        if total > LARGEST_INPUT:
            break
    return total


def _weight_of_mapping(values: dict[Any, Any], depth: int) -> int:
    if not depth:
        raise NotPlain(f"is nested more than {DEEPEST_INPUT} deep")
    total = VALUE_WEIGHT
    for key, value in values.items():
        if type(key) is not str:
            raise NotPlain("holds a mapping whose keys are not text")
        total += _text_bytes(key) + weight(value, depth - 1)
        if total > LARGEST_INPUT:
            break
    return total


class Inputs:
    """The inputs of one version, ready to check variables."""

    def __init__(self, properties: Mapping[str, Any], label: str) -> None:
        self._label = label
        self._checks = {name: check_of(schema) for name, schema in properties.items()}
        self._defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
        self._required = [name for name in self._checks if name not in self._defaults]
        self._default_weights = {name: weight(value) for name, value in self._defaults.items()}

    def complete(self, variables: Mapping[str, Any], largest: int) -> dict[str, Any]:
        """The variables with the defaults filled in; VariablesFault names every one that does not fit, PromptTooLarge
        says what they weigh when that is above ``largest``.
        """
        faults: list[str] = []
        total = 0
        for name, value in variables.items():
            check = self._checks.get(name)
            if check is None:
                faults.append(self._unknown(name))
                if len(faults) > _MOST_UNKNOWN:
                    break
                continue
            try:
                total += weight(value)
            except NotPlain as error:
                faults.append(f"{quoted(name)} {error}")
                continue
            if total > largest:
                break
            check(value, name, faults)
        if total > largest:
            raise too_large(self._label, "variables", largest)
        faults.extend(f"{quoted(name)} is missing" for name in self._required if name not in variables)
        if faults:
            raise VariablesFault(self._label, faults)
        total += sum(size for name, size in self._default_weights.items() if name not in variables)
        if total > largest:
            raise too_large(self._label, "variables", largest)
        return {**self._defaults, **variables}

    def _unknown(self, name: str) -> str:
        known = list(self._checks)
        if not known:
            return f"{quoted(name)} is unknown (this prompt takes no variables)"
        listed = ", ".join(known[:MOST_FAULTS]) + (", …" if len(known) > MOST_FAULTS else "")
        return f"{quoted(name)} is unknown (inputs: {listed})"


def too_large(label: str, what: str, largest: int) -> PromptTooLarge:
    """The refusal of more data than a render may read."""
    return PromptTooLarge(
        f"{label} cannot be rendered: the {what} are above {largest:,} bytes "
        f"(text, plus {VALUE_WEIGHT} for every value), the most that its templates may read.",
        hint="Send less, or choose before the call what the prompt needs.",
    )


def check_of(schema: Mapping[str, Any]) -> Check:
    """The function that checks a value against one property's schema, which `schema_faults` found sound."""
    steps: list[Check] = []
    kinds = _kinds(schema)
    if kinds:
        steps.append(_type_check(kinds))
    if "enum" in schema:
        steps.append(_enum_check(schema["enum"]))
    if "const" in schema:
        steps.append(_enum_check([schema["const"]]))
    for keyword, (kinds_of_value, measure, holds, words) in _BOUNDS.items():
        if keyword in schema:
            steps.append(_bound_check(kinds_of_value, measure, holds, schema[keyword], words))
    if "items" in schema:
        steps.append(_items_check(check_of(schema["items"])))
    if schema.keys() & {"properties", "required", "additionalProperties"}:
        steps.append(_object_check(schema))
    return _all(steps)


def _all(steps: list[Check]) -> Check:
    if len(steps) == 1:
        return steps[0]

    def check(value: Any, path: str, faults: list[str]) -> None:
        before = len(faults)
        for step in steps:
            step(value, path, faults)
            if len(faults) > before:
                return

    return check


def _kinds(schema: Mapping[str, Any]) -> tuple[str, ...]:
    stated = schema.get("type")
    if stated is None:
        return ()
    return (stated,) if isinstance(stated, str) else tuple(stated)


def kind_of(value: Any) -> str:
    """The JSON Schema type of a plain value; a whole float is an `integer` too, as JSON Schema has it."""
    return _KIND_NAMES.get(type(value), "unknown")


_KIND_NAMES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    tuple: "array",
    dict: "object",
    type(None): "null",
}
KINDS = ("string", "number", "integer", "boolean", "array", "object", "null")


def _is_kind(value: Any, kinds: tuple[str, ...]) -> bool:
    kind = kind_of(value)
    if kind in kinds:
        return True
    if kind == "integer":
        return "number" in kinds
    return kind == "number" and "integer" in kinds and value == int(value)


def _type_check(kinds: tuple[str, ...]) -> Check:
    words = " or ".join(_article(kind) for kind in kinds)
    if kinds == ("string",):

        def check_text(value: Any, path: str, faults: list[str]) -> None:
            if type(value) is not str:
                faults.append(f"{quoted(path)} must be {words}, not {_article(kind_of(value))}")

        return check_text

    def check(value: Any, path: str, faults: list[str]) -> None:
        if not _is_kind(value, kinds):
            faults.append(f"{quoted(path)} must be {words}, not {_article(kind_of(value))}")

    return check


def _article(kind: str) -> str:
    return "null" if kind == "null" else f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _enum_check(allowed: Sequence[Any]) -> Check:
    known = frozenset(map(_told_apart, allowed))
    words = ", ".join(_shown(value) for value in allowed[:MOST_FAULTS])

    def check(value: Any, path: str, faults: list[str]) -> None:
        if type(value) in _CONTAINERS or _told_apart(value) not in known:
            faults.append(f"{quoted(path)} must be one of {words}")

    return check


def _shown(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _told_apart(value: Any) -> tuple[bool, Any]:
    # As JSON has it: 1 is 1.0, and true is not 1, though both are equal to Python.
    return isinstance(value, bool), value


def _identity(value: Any) -> Any:
    return value


_NUMBERS = frozenset((int, float))
_TEXTS = frozenset((str,))
_LISTS = frozenset((list, tuple))
_DICTS = frozenset((dict,))
_CONTAINERS = _LISTS | _DICTS
Bound = tuple[frozenset[type], Callable[[Any], Any], Callable[[Any, Any], bool], str]
_BOUNDS: dict[str, Bound] = {
    "minimum": (_NUMBERS, _identity, lambda value, bound: value >= bound, "must be at least {}"),
    "maximum": (_NUMBERS, _identity, lambda value, bound: value <= bound, "must be at most {}"),
    "exclusiveMinimum": (_NUMBERS, _identity, lambda value, bound: value > bound, "must be above {}"),
    "exclusiveMaximum": (_NUMBERS, _identity, lambda value, bound: value < bound, "must be below {}"),
    "minLength": (_TEXTS, len, lambda value, bound: value >= bound, "must have at least {} characters"),
    "maxLength": (_TEXTS, len, lambda value, bound: value <= bound, "must have at most {} characters"),
    "minItems": (_LISTS, len, lambda value, bound: value >= bound, "must have at least {} items"),
    "maxItems": (_LISTS, len, lambda value, bound: value <= bound, "must have at most {} items"),
    "minProperties": (_DICTS, len, lambda value, bound: value >= bound, "must have at least {} entries"),
    "maxProperties": (_DICTS, len, lambda value, bound: value <= bound, "must have at most {} entries"),
}
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _bound_check(
    kinds: frozenset[type], measure: Callable[[Any], Any], holds: Callable[[Any, Any], bool], bound: Any, words: str
) -> Check:
    sentence = words.format(bound)

    def check(value: Any, path: str, faults: list[str]) -> None:
        if type(value) in kinds and not holds(measure(value), bound):
            faults.append(f"{quoted(path)} {sentence}")

    return check


def _items_check(each: Check) -> Check:
    def check(value: Any, path: str, faults: list[str]) -> None:
        if type(value) is list or type(value) is tuple:
            for index, item in enumerate(value):
                each(item, f"{path}[{index}]", faults)
                if len(faults) > MOST_FAULTS:
                    return

    return check


def _object_check(schema: Mapping[str, Any]) -> Check:
    checks = {name: check_of(inner) for name, inner in schema.get("properties", {}).items()}
    required = tuple(schema.get("required", ()))
    additional = schema.get("additionalProperties", True)
    rest = check_of(additional) if isinstance(additional, dict) else None

    def check(value: Any, path: str, faults: list[str]) -> None:
        if type(value) is not dict:
            return
        for name, item in value.items():
            known = checks.get(name, rest)
            if known is not None:
                known(item, f"{path}.{name}", faults)
            elif additional is False:
                faults.append(f"{quoted(f'{path}.{name}')} is unknown")
            if len(faults) > MOST_FAULTS:
                return
        faults.extend(f"{quoted(f'{path}.{name}')} is missing" for name in required if name not in value)

    return check

"""The filters and tests of templates: each a function of ours whose time and result are linear in what it reads."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import LoopContext, Undefined

from headgate.prompts.inputs import kind_of

LONGEST_TEXT = 1 << 20
"""Most characters of any text on the way through an expression; the output has its own limit, in bytes."""
LONGEST_NUMBER = 40


class ValueMisused(TemplateRuntimeError):
    """A value of another kind than the template's construct works on."""


class TextTooLong(TemplateRuntimeError):
    """A text grew above LONGEST_TEXT."""


def as_text(value: Any) -> str:
    """How a value is written into a message: text as it is, anything else as JSON."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int or kind is float:
        return repr(value)
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, LoopContext):
        raise ValueMisused("loop itself cannot be written; write loop.index")
    return tojson(value)


def tojson(value: Any, indent: int | None = None) -> str:
    """JSON, keys in their order, text as it is (no HTML escapes)."""
    if isinstance(value, Undefined):
        return str(value)
    return bounded(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False))


def bounded(text: str) -> str:
    """The text itself; raises TextTooLong above LONGEST_TEXT."""
    if len(text) > LONGEST_TEXT:
        raise TextTooLong
    return text


def each(value: Any) -> Any:
    """What a loop walks: a list, or a mapping's keys."""
    if isinstance(value, list | tuple | dict):
        return value
    _misused("a loop", value, "a list or a mapping")


def _misused(what: str, value: Any, wanted: str) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises, naming it
    raise ValueMisused(f"{what} works on {wanted}, not on {_kind(value)}")


def _kind(value: Any) -> str:
    kind = kind_of(value)
    return "null" if kind == "null" else f"an {kind}" if kind[0] in "aiou" else f"a {kind}"


def _text(name: str, value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) in (int, float, bool):
        return as_text(value)
    return _misused(name, value, "text")  # type: ignore[no-any-return]


def upper(value: Any) -> str:
    return bounded(_text("upper", value).upper())


def lower(value: Any) -> str:
    return bounded(_text("lower", value).lower())


def capitalize(value: Any) -> str:
    return bounded(_text("capitalize", value).capitalize())


def trim(value: Any, chars: str | None = None) -> str:
    return _text("trim", value).strip(chars)


def escape(value: Any) -> str:
    text = _text("escape", value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return bounded(text.replace("'", "&#39;").replace('"', "&#34;"))


def replace(value: Any, old: str, new: str) -> str:
    text = _text("replace", value)
    if len(new) > len(old) and len(text) + text.count(old) * (len(new) - len(old)) > LONGEST_TEXT:
        raise TextTooLong
    return text.replace(old, new)


_LINE_WITH_TEXT = re.compile(r"\n(?=[^\n])")
_LINE = re.compile(r"\n")


def indent(value: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:
    text, pad = _text("indent", value), " " * width
    if len(text) + (text.count("\n") + 1) * width > LONGEST_TEXT:
        raise TextTooLong
    indented = (_LINE if blank else _LINE_WITH_TEXT).sub("\n" + pad, text)
    return pad + indented if first else indented


def truncate(value: Any, length: int = 255, killwords: bool = False, end: str = "...") -> str:
    text = _text("truncate", value)
    if len(text) <= length + 5:  # Jinja's leeway
        return text
    kept = text[: max(length - len(end), 0)]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + end


def join(value: Any, d: str = "", attribute: str | None = None) -> str:
    parts, total = [], 0
    for item in _items_of("join", value):
        part = as_text(item if attribute is None else field(item, attribute))
        total += len(part) + len(d)
        if total > LONGEST_TEXT + len(d):
            raise TextTooLong
        parts.append(part)
    return d.join(parts)


def map_(value: Any, attribute: str) -> list[Any]:
    return [field(item, attribute) for item in _items_of("map", value)]


def field(value: Any, name: str) -> Any:
    """A field of a mapping; raises naming it when there is none."""
    if type(value) is dict and name in value:
        return value[name]
    if type(value) is dict:
        raise ValueMisused(f"an item has no field {json.dumps(name)}")
    raise ValueMisused(f"an item is {_kind(value)}, which has no field {json.dumps(name)}")


def _items_of(name: str, value: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return value
    return _misused(name, value, "a list")  # type: ignore[no-any-return]


def items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if type(value) is dict else _misused("items", value, "a mapping")


def length(value: Any) -> int:
    return len(value) if type(value) in (str, list, tuple, dict) else _misused("length", value, "text, lists, mappings")


def first(value: Any) -> Any:
    return _end("first", value, 0)


def last(value: Any) -> Any:
    return _end("last", value, -1)


def _end(name: str, value: Any, index: int) -> Any:
    if type(value) not in (str, list, tuple):
        _misused(name, value, "a list or text")
    if not value:
        raise ValueMisused(f"{name} asks for an item of an empty list")
    return value[index]


def default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, Undefined) or (boolean and not value):
        return default_value
    return value


def to_int(value: Any, default: int = 0) -> int:
    try:
        if type(value) is not str:
            return int(_number("int", value))
        text = _number_text(value)
        return int(text) if text.strip().lstrip("+-").isdigit() else int(float(text))
    except (ValueError, OverflowError):
        return default


def to_float(value: Any, default: float = 0.0) -> float:
    try:
        number = float(_number_text(value) if type(value) is str else _number("float", value))
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def _number_text(text: str) -> str:
    # Reading digits takes time that grows with the square of their count.
    if len(text) > LONGEST_NUMBER:
        raise ValueError
    return text


def _number(name: str, value: Any) -> int | float:
    if type(value) in (int, float, bool):
        return value  # type: ignore[no-any-return]
    return _misused(name, value, "a number")  # type: ignore[no-any-return]


def round_(value: Any, precision: int = 0, method: str = "common") -> int | float:
    number = _number("round", value)
    if method == "common":
        rounded: int | float = round(number, precision)
        return rounded
    try:
        factor: int = 10**precision
        edge = math.floor(number * factor) if method == "floor" else math.ceil(number * factor)
        return edge / factor
    except OverflowError:
        return number


def abs_(value: Any) -> int | float:
    return abs(_number("abs", value))


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs_,
    "capitalize": capitalize,
    "count": length,
    "d": default,
    "default": default,
    "e": escape,
    "escape": escape,
    "first": first,
    "float": to_float,
    "indent": indent,
    "int": to_int,
    "items": items,
    "join": join,
    "last": last,
    "length": length,
    "lower": lower,
    "map": map_,
    "replace": replace,
    "round": round_,
    "string": as_text,
    "tojson": tojson,
    "trim": trim,
    "truncate": truncate,
    "upper": upper,
}


def _is_kind(*kinds: type) -> Callable[[Any], bool]:
    allowed = frozenset(kinds)
    return lambda value: type(value) in allowed


def _parity(value: Any, wanted: int) -> bool:
    if type(value) is not int:
        _misused("even and odd", value, "whole numbers")
    return bool(value % 2 == wanted)


def _equal(value: Any, other: Any) -> bool:
    return bool(value == other)


def contains(value: Any, container: Any) -> bool:
    """``value in container``, for text, lists and mappings."""
    if isinstance(value, Undefined):
        str(value)
    if type(container) is str and type(value) is str:
        return value in container
    if type(container) is dict:
        return type(value) is str and value in container
    if isinstance(container, list | tuple):
        return value in container
    return bool(_misused("in", container, "text, lists and mappings"))


TESTS: dict[str, Callable[..., bool]] = {
    "boolean": _is_kind(bool),
    "defined": lambda value: not isinstance(value, Undefined),
    "eq": _equal,
    "equalto": _equal,
    "even": lambda value: _parity(value, 0),
    "false": lambda value: value is False,
    "float": _is_kind(float),
    "in": contains,
    "integer": _is_kind(int),
    "mapping": _is_kind(dict),
    "ne": lambda value, other: not _equal(value, other),
    "none": lambda value: value is None,
    "number": _is_kind(int, float),
    "odd": lambda value: _parity(value, 1),
    "sequence": _is_kind(list, tuple, str),
    "string": _is_kind(str),
    "true": lambda value: value is True,
    "undefined": lambda value: isinstance(value, Undefined),
}

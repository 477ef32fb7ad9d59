"""The listed part of Jinja2, as data: filters with what they cost and take, tests, and words for what is left out."""

from dataclasses import dataclass, field
from typing import Literal

Reads = Literal["ends", "keeps", "whole"]
"""What a filter costs: `ends` takes the same time whatever the size; `keeps` is linear and its result is at least as
long as what it read; `whole` is linear, and its result may be short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a filter: a literal within bounds, or any value when ``kind`` is `value`."""

    name: str
    kind: Literal["whole number", "text", "boolean", "value"]
    most: int = 0  # largest whole number, or most characters
    is_required: bool = False
    is_keyword: bool = False  # must be written with its name


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRule:
    """How the checker counts one filter."""

    reads: Reads = "ends"
    result: Literal["as read", "new", "number"] = "new"  # `as read`: what it was given, or the default
    is_widening: bool = False  # the result may be several times as long
    weight: int = 1  # nanoseconds per unit of what it reads, about
    arguments: tuple[Argument, ...] = field(default=())


def _number(name: str, most: int) -> Argument:
    return Argument(name=name, kind="whole number", most=most)


def _literal(name: str, most: int, *, is_required: bool = False) -> Argument:
    return Argument(name=name, kind="text", most=most, is_required=is_required)


def _flag(name: str) -> Argument:
    return Argument(name=name, kind="boolean")


_default = FilterRule(result="as read", arguments=(Argument(name="default_value", kind="value"), _flag("boolean")))
_escape = FilterRule(reads="keeps", is_widening=True, weight=8)
_number_result = FilterRule(result="number")
_case = FilterRule(reads="keeps", weight=16)
MOST_WIDER = 16
"""`replace` may make a text at most this many times as long."""

FILTERS: dict[str, FilterRule] = {
    "abs": _number_result,
    "capitalize": _case,
    "count": _number_result,
    "d": _default,
    "default": _default,
    "e": _escape,
    "escape": _escape,
    "first": FilterRule(),
    "float": FilterRule(result="number", arguments=(_number("default", 1 << 31),)),
    "indent": FilterRule(
        reads="whole", is_widening=True, weight=64, arguments=(_number("width", 16), _flag("first"), _flag("blank"))
    ),
    "int": FilterRule(result="number", arguments=(_number("default", 1 << 31),)),
    "items": FilterRule(reads="whole", weight=8),
    "join": FilterRule(
        reads="whole", is_widening=True, weight=32, arguments=(_literal("d", 64), _literal("attribute", 64))
    ),
    "last": FilterRule(),
    "length": _number_result,
    "lower": _case,
    "map": FilterRule(
        reads="whole",
        weight=16,
        arguments=(Argument(name="attribute", kind="text", most=64, is_required=True, is_keyword=True),),
    ),
    "replace": FilterRule(
        reads="whole",
        is_widening=True,
        weight=32,
        arguments=(_literal("old", 64, is_required=True), _literal("new", 64, is_required=True)),
    ),
    "round": FilterRule(result="number", arguments=(_number("precision", 12), _literal("method", 6))),
    "string": FilterRule(reads="keeps", is_widening=True, weight=16),
    "tojson": FilterRule(reads="keeps", is_widening=True, weight=16, arguments=(_number("indent", 8),)),
    "trim": FilterRule(reads="whole", weight=8, arguments=(_literal("chars", 16),)),
    "truncate": FilterRule(
        reads="whole", arguments=(_number("length", 1 << 20), _flag("killwords"), _literal("end", 16))
    ),
    "upper": _case,
}
WEIGHT_OF_INDENTED_JSON = 128
COMPARISON_WEIGHT = 4
SEARCH_WEIGHT = 128
"""`a in b` on short texts: CPython's search may take the product of two lengths below 2,500 characters."""
LOOP_NODE_WEIGHT = 6
"""A node inside a loop runs once for each value of a list, and each value weighs 16 units."""

TESTS: dict[str, bool] = {
    "boolean": False,
    "defined": False,
    "eq": True,
    "equalto": True,
    "even": False,
    "false": False,
    "float": False,
    "in": True,
    "integer": False,
    "mapping": False,
    "ne": True,
    "none": False,
    "number": False,
    "odd": False,
    "sequence": False,
    "string": False,
    "true": False,
    "undefined": False,
}
"""Each test, and whether it takes a value to compare with."""

LOOP_FIELDS = frozenset(("index", "index0", "revindex", "revindex0", "first", "last", "length"))

_COMPUTED = "compute the value before the call and pass it as a variable"
REFUSED: dict[str, str] = {
    "Add": f"+ is not available: {_COMPUTED}, or write two values next to each other",
    "Sub": f"- is not available: {_COMPUTED}",
    "Mul": f"* is not available: {_COMPUTED}",
    "Div": f"/ is not available: {_COMPUTED}",
    "FloorDiv": f"// is not available: {_COMPUTED}",
    "Mod": f"% is not available: {_COMPUTED}",
    "Pow": f"** is not available: {_COMPUTED}",
    "Pos": f"+ is not available: {_COMPUTED}",
    "Concat": "~ is not available: write two values next to each other, {{ a }}{{ b }}",
    "Call": "calls are not available: a template has values, filters and tests, no functions",
    "Assign": "set is not available: a template assigns nothing",
    "AssignBlock": "set is not available: a template assigns nothing",
    "With": "with is not available: a template assigns nothing",
    "Macro": "macro is not available",
    "CallBlock": "call is not available",
    "FilterBlock": "filter blocks are not available: put the filter behind the value",
    "Include": "include is not available: a version holds its whole text",
    "Import": "import is not available: a version holds its whole text",
    "FromImport": "import is not available: a version holds its whole text",
    "Extends": "extends is not available: a version holds its whole text",
    "Block": "block is not available",
    "Scope": "autoescape is not available; the filter escape is",
    "Slice": "slices are not available; first, last, truncate and loop.index are",
    "List": "a list may stand behind in only, and holds literals",
    "Tuple": "a list may stand behind in only, and holds literals",
    "Dict": "a mapping cannot be written here: pass it as a variable",
}
"""What the parser knows and templates may not say, by the name of the syntax node."""

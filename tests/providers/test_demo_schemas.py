"""JSON built from schemas fits them; patterns are written, hostile schemas end."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.providers.demo import patterns, schemas


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 7}, 7),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5}, 5),
        ({"type": "number", "maximum": -3}, -3),
        ({"type": ["null", "integer"], "minimum": 9}, 9),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "string", "minLength": 3, "maxLength": 3}, "dem"),
        ({"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"k": {"const": 1}}}}}, {"k": 1}),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": "b"}]}, [1, "b"]),
    ],
)
def test_the_plainest_fitting_value_is_built(schema: dict[str, Any], expected: Any) -> None:
    assert schemas.build(schema) == expected


def test_a_hint_is_used_only_where_it_fits() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "maximum": 3}}}
    assert schemas.build(schema, lambda name, _: "told" if name == "a" else 5) == {"a": "told", "b": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 2},
        {"allOf": [{"$ref": "#"}] * 50},
        {"type": "object", "properties": {str(at): {"$ref": "#"} for at in range(60)}},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    ],
)
def test_schemas_that_contain_themselves_end(schema: dict[str, Any]) -> None:
    schemas.build(schema)


@pytest.mark.parametrize(
    "pattern",
    [r"^INV-\d{4}$", r"[A-Z]{2}\d+", r"(?:a|b)c?", r"[^a-z]x", r"\w+@\w+\.com", r"^$", r"a{2,5}b*", r"[\d.]+", r"x|y"],
)
def test_common_patterns_get_a_matching_text(pattern: str) -> None:
    assert re.search(pattern, patterns.example(pattern))


@settings(deadline=None)
@given(st.from_regex(r"[a-c0-9()\[\]{}|*+?\\^$.,-]{0,30}", fullmatch=True))
def test_any_pattern_is_written_or_refused(pattern: str) -> None:
    try:
        written = patterns.example(pattern)
    except patterns.UnsupportedPattern:
        return
    assert isinstance(written, str)


_schemas = st.recursive(
    st.one_of(
        st.builds(lambda low: {"type": "integer", "minimum": low, "maximum": low + 3}, st.integers(-9, 9)),
        st.builds(lambda low: {"type": "string", "minLength": low, "maxLength": low + 2}, st.integers(0, 30)),
        st.just({"type": "boolean"}),
        st.builds(lambda options: {"enum": options}, st.lists(st.integers(), min_size=1, max_size=3)),
    ),
    lambda inner: st.one_of(
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(
            lambda named: {"type": "object", "properties": named, "required": list(named)},
            st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
        ),
    ),
    max_leaves=8,
)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] == "integer":
        return bool(schema["minimum"] <= value <= schema["maximum"])
    if schema["type"] == "string":
        return bool(schema["minLength"] <= len(value) <= schema["maxLength"])
    if schema["type"] == "array":
        return len(value) >= schema["minItems"] and all(fits(item, schema["items"]) for item in value)
    if schema["type"] == "object":
        return set(value) == set(schema["properties"]) and all(
            fits(value[k], s) for k, s in schema["properties"].items()
        )
    return isinstance(value, bool)


@settings(deadline=None)
@given(_schemas)
def test_what_is_built_fits(schema: dict[str, Any]) -> None:
    assert fits(schemas.build(schema), schema)

"""Variables against `input`: each misfit is named, and the schema itself is checked at push."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.prompts.faults import PromptTooLarge, VariablesFault
from headgate.prompts.inputs import LARGEST_INPUT, Inputs, NotPlain, weight
from headgate.prompts.schema import schema_faults


def complete(properties: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    assert schema_faults(properties) == []
    return Inputs(properties, "prompt a@1").complete(variables, LARGEST_INPUT)


def faults_of(properties: dict[str, Any], variables: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(VariablesFault) as caught:
        complete(properties, variables)
    return caught.value.faults


QUESTION: dict[str, Any] = {"question": {"type": "string"}, "tone": {"type": "string", "default": "friendly"}}


def test_defaults_fill_what_is_left_out() -> None:
    assert complete(QUESTION, {"question": "q"}) == {"question": "q", "tone": "friendly"}
    assert complete(QUESTION, {"question": "q", "tone": "dry"})["tone"] == "dry"


def test_every_missing_unknown_and_wrong_variable_is_named_at_once() -> None:
    properties = {**QUESTION, "count": {"type": "integer"}}
    with pytest.raises(VariablesFault) as caught:
        complete(properties, {"tone": 3, "colour": "red", "shape": "round"})
    assert (caught.value.status, caught.value.code) == (400, "prompt_variables")
    assert str(caught.value) == (
        'prompt a@1 cannot be rendered: "tone" must be a string, not an integer; '
        '"colour" is unknown (inputs: question, tone, count); "shape" is unknown (inputs: question, tone, count); '
        '"question" is missing; "count" is missing.'
    )


@pytest.mark.parametrize(
    ("schema", "good", "bad", "words"),
    [
        ({"type": "string"}, ["", "x"], [1, None, [], True], "must be a string"),
        ({"type": "integer"}, [1, -1, 2.0], [1.5, "1", True], "must be an integer"),
        ({"type": "number"}, [1, 1.5], ["1", True, None], "must be a number"),
        ({"type": "boolean"}, [True, False], [0, 1, "true"], "must be a boolean"),
        ({"type": "array"}, [[], [1, "x"]], ["x", {}], "must be an array"),
        ({"type": "object"}, [{}, {"a": 1}], [[], "x"], "must be an object"),
        ({"type": ["string", "null"]}, ["x", None], [1], "must be a string or null, not an integer"),
        ({"enum": ["a", 1, None]}, ["a", 1, 1.0, None], ["b", True, [], {}], 'must be one of "a", 1, null'),
        ({"const": True}, [True], [1, False], "must be one of true"),
        ({"minimum": 0, "maximum": 9}, [0, 9, 4.5, "any"], [-1], "must be at least 0"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.5], [0], "must be above 0"),
        ({"minLength": 1, "maxLength": 3}, ["abc", 12345], [""], "must have at least 1 characters"),
        ({"minItems": 1, "maxItems": 2}, [[1]], [[]], "must have at least 1 items"),
        ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 2}], "must have at most 1 entries"),
        ({"type": "array", "items": {"type": "string"}}, [["a"]], [["a", 1]], '"v[1]" must be a string'),
        ({"properties": {"n": {"type": "string"}}, "required": ["n"]}, [{"n": "x", "o": 1}], [{}], '"v.n" is missing'),
        ({"properties": {"n": {}}, "additionalProperties": False}, [{"n": 1}], [{"m": 1}], '"v.m" is unknown'),
        ({"additionalProperties": {"type": "integer"}}, [{"n": 1}], [{"m": "x"}], '"v.m" must be an integer'),
        ({}, ["x", 1, None, [], {}], [], ""),
    ],
)
def test_listed_part_of_json_schema(schema: dict[str, Any], good: list[Any], bad: list[Any], words: str) -> None:
    for value in good:
        assert complete({"v": schema}, {"v": value}) == {"v": value}
    for value in bad:
        assert any(words in fault for fault in faults_of({"v": schema}, {"v": value})), value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        1 << 64,
        object(),
        b"x",
        {1: 2},
        {"a": {"b": {3}}},
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
    ],
)
def test_what_json_could_not_bring_is_refused_by_name(value: Any) -> None:
    assert any('"v"' in fault for fault in faults_of({"v": {}}, {"v": value}))
    with pytest.raises(NotPlain):
        weight(value)


def test_hostile_names_and_numbers_of_variables_stay_bounded_in_the_error() -> None:
    variables = {f"{index}\n\x1b[31m{'x' * 500}": 1 for index in range(50_000)}
    with pytest.raises(VariablesFault) as caught:
        complete(QUESTION, variables)
    assert len(str(caught.value)) < 6000 and "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    with pytest.raises(VariablesFault) as caught:
        complete({"v": {"items": {"type": "string"}}}, {"v": [1] * 50_000})
    assert len(str(caught.value)) < 6000


def test_too_much_text_or_too_many_values_are_refused_before_anything_reads_them() -> None:
    for value in ("x" * (LARGEST_INPUT + 1), "é" * (LARGEST_INPUT // 2 + 1), [0] * 70_000, {"k" * LARGEST_INPUT: 1}):
        with pytest.raises(PromptTooLarge, match="above 1,048,576 bytes") as caught:
            complete({"v": {"type": "string"}}, {"v": value})
        assert (caught.value.status, caught.value.code) == (413, "prompt_too_large")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"q": "string"}, "write {type: string}"),
        ({"q": {"typ": "string"}}, 'unknown schema keyword "typ"; did you mean type?'),
        ({"q": {"type": "text"}}, "type is one of string, number"),
        ({"q": {"type": "strng"}}, "did you mean string?"),
        ({"q": {"pattern": "(a+)+$"}}, "a pattern can take time without bound"),
        ({"q": {"anyOf": []}}, "unknown schema keyword"),
        ({"q": {"enum": []}}, "enum is a list of 1 to 1000 values"),
        ({"q": {"enum": [[1]]}}, "enum holds text, numbers, booleans and null"),
        ({"q": {"type": "string", "enum": ["yes", False]}}, "must be a string, not a boolean"),
        ({"q": {"minLength": -1}}, "minLength is a whole number from 0"),
        ({"q": {"minimum": "1"}}, "minimum is a number"),
        ({"q": {"required": True}}, "required is a list of names"),
        ({"q": {"properties": []}}, "properties is a mapping"),
        ({"q": {"additionalProperties": 1}}, "additionalProperties is true, false or a schema"),
        ({"q": {"items": {"type": "strange"}}}, "type is one of"),
        ({"q": {"items": {"default": 1}}}, "only a whole input may have a default"),
        ({"q": {"type": "string", "default": 1}}, 'the default does not fit: "q" must be a string'),
        ({"q": {"default": float("nan")}}, "the default holds a number beyond 64 bits"),
        ({"1q": {}}, "is not a variable's name"),
        ({"__class__": {}}, "is not a variable's name"),
        ({"knowledge": {}}, "is a word of the template language"),
        ({"loop": {}}, "is a word of the template language"),
        ({f"v{index}": {} for index in range(201)}, "at most 200 inputs"),
    ],
)
def test_schemas_are_checked_at_push(properties: dict[str, Any], words: str) -> None:
    assert any(words in fault.text for fault in schema_faults(properties)), schema_faults(properties)


def test_schemas_nest_only_so_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(20):
        schema = {"items": schema}
    assert "nest at most" in schema_faults({"q": schema})[0].text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_value_passes_an_open_input_or_is_refused_by_name(value: Any) -> None:
    try:
        assert complete({"v": {}}, {"v": value}) == {"v": value}
    except VariablesFault as fault:
        assert '"v"' in str(fault)

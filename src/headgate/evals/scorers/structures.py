"""Scorers of structured answers: JSON by schema and by value, tool calls, refusals."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from headgate.evals.canonical import NotCanonical, canonical_json
from headgate.evals.dataset import Row
from headgate.evals.output import Output, ToolCall
from headgate.evals.scorer import (
    BaseScorer,
    NamedFile,
    NoParams,
    Score,
    ScorerFault,
    ScorerSpec,
    params_of,
    scored,
    unscored,
)
from headgate.evals.scorers.aim import (
    MISSING,
    Aimed,
    ExpectedHelp,
    Extract,
    FieldHelp,
    NotThere,
    Unreadable,
    at_pointer,
    check_aim,
    expected_of,
    json_of,
    judged_text,
)
from headgate.prompts.faults import quoted
from headgate.prompts.inputs import check_of
from headgate.prompts.schema import schema_faults

_REFUSES = re.compile(
    r"\b(?:I (?:can(?:no|')t|am (?:unable|not able) to|won't|will not)|I'm (?:sorry|unable|not able)|as an AI)\b", re.I
)


class SchemaParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Annotated[dict[str, Any], msgspec.Meta(description="JSON Schema, or a file beside the suite")]
    allow_fence: Annotated[bool, msgspec.Meta(description="JSON in a Markdown fence counts too")] = False


class PathParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Annotated[str, msgspec.Meta(description="JSON pointer into the answer, like /total")]
    expected: Annotated[Any, ExpectedHelp] = MISSING
    field: Annotated[str | None, FieldHelp] = None


class ToolParams(Aimed, frozen=True, kw_only=True):
    match: Annotated[str, msgspec.Meta(description="ordered, unordered, subset or f1")] = "ordered"
    args: Annotated[str, msgspec.Meta(description="exact, subset or ignore")] = "exact"


class JsonSchema(BaseScorer):
    """The answer is JSON that fits a schema (the part of JSON Schema that prompts' inputs use)."""

    params_type = SchemaParams
    named_files = {"schema": NamedFile(into="schema", kind="mapping")}

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, SchemaParams)
        faults = schema_faults({"answer": self._params.schema})
        if faults:
            raise ScorerFault(f"schema: {faults[0].text}", ("schema", *faults[0].path[1:]))
        self._check = check_of(self._params.schema)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when it fits, else 0 with the first misfit."""
        try:
            value = json_of(output.text, allow_fence=self._params.allow_fence)
        except Unreadable as error:
            return scored(0, str(error))
        faults: list[str] = []
        self._check(value, "answer", faults)
        return scored(not faults, "; ".join(faults[:3]) or "the answer fits the schema")


class JsonMatch(BaseScorer):
    """The answer is JSON equal to the expected value, whatever the order of keys; 1.0 equals 1."""

    params_type = Aimed

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, Aimed)
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when equal, else 0."""
        try:
            wanted = expected_of(self._params, row)
            if isinstance(wanted, str):
                wanted = json_of(wanted)
            given = json_of(judged_text(self._params.extract, output), allow_fence=True)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        try:
            is_equal = canonical_json(wanted) == canonical_json(given)
        except NotCanonical as error:
            return scored(0, f"the answer cannot be compared: {error}")
        shown = json.dumps(given, ensure_ascii=False)[:200]
        return scored(is_equal, "the answer is the expected value" if is_equal else f"answered {shown}")


class JsonPath(BaseScorer):
    """The value at one place of the answer's JSON is the expected one, texts compared as texts."""

    params_type = PathParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        params = params_of(spec, PathParams)
        self._pointer = params.path
        self._params = Aimed(expected=params.expected, field=params.field)
        check_aim(Aimed(extract=Extract(json_pointer=params.path)))
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when equal, else 0."""
        try:
            wanted = expected_of(self._params, row)
            value = at_pointer(json_of(output.text, allow_fence=True), self._pointer)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if value is MISSING:
            return scored(0, f"the answer has nothing at {self._pointer}")
        is_equal = _equal(value, wanted)
        return scored(is_equal, f"{self._pointer} is {quoted(json.dumps(value, ensure_ascii=False))}")


class ToolCalls(BaseScorer):
    """The answer calls the expected tools: `expected` is a list of {name, arguments}."""

    params_type = ToolParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, ToolParams)
        check_aim(self._params)
        if self._params.match not in ("ordered", "unordered", "subset", "f1"):
            raise ScorerFault("match is ordered, unordered, subset or f1", ("match",))
        if self._params.args not in ("exact", "subset", "ignore"):
            raise ScorerFault("args is exact, subset or ignore", ("args",))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when they match, else 0; with f1 the balance of calls found and calls made."""
        try:
            wanted = expected_of(self._params, row)
        except NotThere as error:
            return unscored(str(error))
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if not isinstance(wanted, list) or not all(isinstance(call, dict) and "name" in call for call in wanted):
            return unscored("the expected value is no list of {name, arguments}")
        made = list(output.tool_calls)
        names = ", ".join(call.name for call in made) or "none"
        if self._params.match == "f1":
            found = self._found(wanted, made)
            total = len(wanted) + len(made)
            value = 2 * found / total if total else 1.0
            return scored(value, f"{found} of {len(wanted)} expected calls among {len(made)} made: {names}")
        if self._params.match != "subset" and len(made) != len(wanted):
            return scored(0, f"expected {len(wanted)} calls, made {len(made)}: {names}")
        if self._params.match == "ordered":
            is_met = all(self._fits(one, call) for one, call in zip(wanted, made, strict=True))
        else:
            is_met = self._found(wanted, made) == len(wanted)
        return scored(is_met, f"calls made: {names}")

    def _found(self, wanted: list[dict[str, Any]], made: Sequence[ToolCall]) -> int:
        """How many expected calls were made, each made one counted once; the most specific are looked for first."""
        left = list(made)
        count = 0
        for one in sorted(wanted, key=lambda call: -len(call.get("arguments") or ())):
            fitting = next((call for call in left if self._fits(one, call)), None)
            if fitting is not None:
                left.remove(fitting)
                count += 1
        return count

    def _fits(self, wanted: dict[str, Any], call: ToolCall) -> bool:
        if wanted["name"] != call.name:
            return False
        if self._params.args == "ignore" or "arguments" not in wanted:
            return True
        try:
            given = json_of(call.arguments_json)
        except Unreadable:
            return False
        asked = wanted["arguments"]
        if self._params.args == "exact" or not isinstance(asked, dict) or not isinstance(given, dict):
            return _equal(given, asked)
        return all(name in given and _equal(given[name], value) for name, value in asked.items())


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1, and 1.0 is."""
    try:
        return canonical_json(one) == canonical_json(other)
    except NotCanonical:
        return False


class Refusal(BaseScorer):
    """The answer refuses, by the provider's own mark or by the usual words; 1 means it did not."""

    params_type = NoParams

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 for an answer, 0 for a refusal."""
        if output.refusal is not None:
            return scored(0, f"refused: {quoted(output.refusal)}")
        found = _REFUSES.search(output.text[:400])
        return scored(found is None, "no refusal" if found is None else f"refused: {quoted(found.group(0))}")

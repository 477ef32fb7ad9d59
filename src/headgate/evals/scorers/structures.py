"""Scorers of structured answers: JSON by schema and by value, numbers, distance of texts, tool calls, refusals."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec

from headgate.evals.canonical import NotCanonical, canonical_json
from headgate.evals.dataset import Row
from headgate.evals.output import Output
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
    Aimed,
    NotThere,
    Unreadable,
    check_aim,
    expected_of,
    expected_text,
    json_of,
    judged_text,
)
from headgate.prompts.faults import quoted
from headgate.prompts.inputs import check_of
from headgate.prompts.schema import schema_faults

MAX_DISTANCE_CHARS = 5_000
_NUMBER = re.compile(r"[-+−]?\$?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?:\s?/\s?\d+)?\s?%?")
_REFUSES = re.compile(
    r"\b(?:I (?:can(?:no|')t|am (?:unable|not able) to|won't|will not)|I'm (?:sorry|unable|not able)|as an AI)\b", re.I
)


class SchemaParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Annotated[dict[str, Any], msgspec.Meta(description="JSON Schema, or a file beside the suite")]
    allow_fence: Annotated[bool, msgspec.Meta(description="JSON in a Markdown fence counts too")] = False


class NumericParams(Aimed, frozen=True, kw_only=True):
    abs: Annotated[float, msgspec.Meta(description="how far the number may be off")] = 0.0
    rel: Annotated[float, msgspec.Meta(description="how far, as a share of the expected number")] = 0.0


class DistanceParams(Aimed, frozen=True, kw_only=True):
    ignore_case: Annotated[bool, msgspec.Meta(description="letters of both cases are the same")] = False


class ToolParams(Aimed, frozen=True, kw_only=True):
    match: Annotated[str, msgspec.Meta(description="ordered, unordered or subset")] = "ordered"
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


def number_in(text: str) -> Decimal | None:
    """The last number of a text: thousands with commas, percent, a plain fraction, LaTeX's boxed and frac."""
    plain = re.sub(r"\\d?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text[-20_000:].replace("−", "-").replace("\\%", "%"))
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", plain)
    found = _NUMBER.findall(boxed[-1] if boxed else plain)
    if not found:
        return None
    bare = re.sub(r"[$,\s+]", "", found[-1])
    is_percent, bare = bare.endswith("%"), bare.rstrip("%")
    top, _, under = bare.partition("/")
    try:
        value = Decimal(top) / Decimal(under or 1)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return value / 100 if is_percent else value


class Numeric(BaseScorer):
    """The last number of the answer is the expected one, within a tolerance."""

    params_type = NumericParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, NumericParams)
        check_aim(self._params)
        if self._params.abs < 0 or self._params.rel < 0:
            raise ScorerFault("a tolerance is at least 0", ("abs" if self._params.abs < 0 else "rel",))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 within the tolerance, else 0; an answer without a number is 0."""
        try:
            wanted = number_in(expected_text(self._params, row))
            given = number_in(judged_text(self._params.extract, output))
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if wanted is None:
            return unscored("the expected value is no number")
        if given is None:
            return scored(0, "the answer holds no number")
        allowed = max(Decimal(str(self._params.abs)), abs(wanted) * Decimal(str(self._params.rel)))
        return scored(abs(given - wanted) <= allowed, f"expected {wanted:g}, answered {given:g}")


class EditDistance(BaseScorer):
    """How alike answer and expected text are: 1 minus the Levenshtein distance over the longer length."""

    params_type = DistanceParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, DistanceParams)
        check_aim(self._params)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """From 0 to 1; texts beyond 5,000 characters are unscored."""
        try:
            wanted, given = expected_text(self._params, row), judged_text(self._params.extract, output)
        except NotThere as error:
            return unscored(str(error))
        except Unreadable as error:
            return scored(0, str(error))
        if max(len(wanted), len(given)) > MAX_DISTANCE_CHARS:
            return unscored(f"a text has more than {MAX_DISTANCE_CHARS:,} characters")
        if self._params.ignore_case:
            wanted, given = wanted.casefold(), given.casefold()
        longest = max(len(wanted), len(given))
        steps = distance(wanted, given)
        return scored(1 - steps / longest if longest else 1, f"{steps} edits apart")


def distance(one: str, other: str) -> int:
    """The Levenshtein distance."""
    before = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        row = [at]
        for column, right in enumerate(other, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (left != right)))
        before = row
    return before[-1]


class ToolCalls(BaseScorer):
    """The answer calls the expected tools: `expected` is a list of {name, arguments}."""

    params_type = ToolParams

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        self._params = params_of(spec, ToolParams)
        check_aim(self._params)
        if self._params.match not in ("ordered", "unordered", "subset"):
            raise ScorerFault("match is ordered, unordered or subset", ("match",))
        if self._params.args not in ("exact", "subset", "ignore"):
            raise ScorerFault("args is exact, subset or ignore", ("args",))

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 when they match, else 0."""
        try:
            wanted = expected_of(self._params, row)
        except NotThere as error:
            return unscored(str(error))
        if not isinstance(wanted, list) or not all(isinstance(call, dict) and "name" in call for call in wanted):
            return unscored("the expected value is no list of {name, arguments}")
        made = list(output.tool_calls)
        names = ", ".join(call.name for call in made) or "none"
        if self._params.match != "subset" and len(made) != len(wanted):
            return scored(0, f"expected {len(wanted)} calls, made {len(made)}: {names}")
        if self._params.match == "ordered":
            is_met = all(self._fits(one, call) for one, call in zip(wanted, made, strict=True))
        else:
            is_met = self._all_found(wanted, made)
        return scored(is_met, f"calls made: {names}")

    def _all_found(self, wanted: list[dict[str, Any]], made: list[Any]) -> bool:
        for one in wanted:
            found = next((call for call in made if self._fits(one, call)), None)
            if found is None:
                return False
            made.remove(found)
        return True

    def _fits(self, wanted: dict[str, Any], call: Any) -> bool:
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
            return bool(given == asked)
        return all(name in given and given[name] == value for name, value in asked.items())


class Refusal(BaseScorer):
    """The answer refuses, by the provider's own mark or by the usual words; 1 means it did not."""

    params_type = NoParams

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """1 for an answer, 0 for a refusal."""
        if output.refusal is not None:
            return scored(0, f"refused: {quoted(output.refusal)}")
        found = _REFUSES.search(output.text[:400])
        return scored(found is None, "no refusal" if found is None else f"refused: {quoted(found.group(0))}")

"""The seam of scorers: what a scorer is, and the table of names from which each is imported when it is used."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, TypeVar, cast

import msgspec

from headgate.core.settings_file import nearest
from headgate.evals.dataset import Row
from headgate.evals.faults import EvaluationFault
from headgate.evals.output import Output
from headgate.prompts.faults import quoted

Direction = Literal["higher", "lower"]
Role = Literal["primary", "guard", "info"]
Status = Literal["ok", "unscored", "error"]
MAX_REASON_CHARS = 1000
Params = TypeVar("Params", bound=msgspec.Struct)


class ScorerFault(EvaluationFault):
    """A scorer that cannot be made; ``path`` leads to the faulty part of its entry in the suite."""

    code = "scorer_invalid"

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class ScorerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer as a suite names it; ``params`` are the keys of its own type, checked by `scorer_of`."""

    id: str
    type: str
    must_pass: bool = False
    role: Role = "primary"
    direction: Direction = "higher"
    judge: str | None = None
    params: dict[str, Any] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a scorer needs: to the judge that the suite names ``judge``, or for embeddings of ``input``."""

    kind: Literal["judge", "embedding"]
    judge: str | None = None
    variables: dict[str, Any] = {}
    model: str | None = None
    input: tuple[str, ...] = ()


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A judgement. ``value`` is None unless ``status`` is ok; ``evidence`` is what the value rests on, as JSON."""

    value: float | None
    status: Status
    reason: str
    evidence: dict[str, Any] = {}


def scored(value: float, reason: str, **evidence: Any) -> Score:
    """A value with its reason."""
    return Score(value=float(value), status="ok", reason=reason[:MAX_REASON_CHARS], evidence=evidence)


def unscored(reason: str, **evidence: Any) -> Score:
    """No value, because there is nothing to judge by; never a zero and never a tie."""
    return Score(value=None, status="unscored", reason=reason[:MAX_REASON_CHARS], evidence=evidence)


def failed(reason: str, **evidence: Any) -> Score:
    """No value, because the scorer itself failed."""
    return Score(value=None, status="error", reason=reason[:MAX_REASON_CHARS], evidence=evidence)


class Scorer(Protocol):
    """What every scorer has. Pure: the same arguments give the same score; what is wrong with an output is a score
    with a reason, never an exception.
    """

    version: int
    """Raised whenever the same input could be given another value."""
    direction: Direction
    range: tuple[float | None, float | None]
    """Least and largest value; None: without bound."""
    role: Role
    """Its role in a suite that names none."""
    needs_baseline: bool
    """It compares with a baseline's output: its value is a difference, 0 for equal, above 0 for the candidate."""
    needs_judge: bool
    spec: ScorerSpec
    source: Literal["control", "client"]
    """Who computes it: the control process from the log, or the client, whose word counts for less."""

    @property
    def about(self) -> str:
        """One sentence about its type."""

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """The calls whose answers `score` needs, in order; empty when it needs none for this output."""

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """The judgement; ``answers`` belong to `asks`, None where the call failed."""


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A parameter that may name a file beside the suite: its content goes ``into`` another (or the same) parameter."""

    into: str
    kind: Literal["text", "mapping"] = "text"
    is_kept: bool = False
    """Whether the name stays in the suite beside the content."""


class NoParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class BaseScorer:
    """What built-in scorers share. A scorer needs no calls unless it says so; ``spec`` is its entry in the suite."""

    params_type: type[msgspec.Struct] = NoParams
    named_files: Mapping[str, NamedFile] = {}
    version: int = 1
    direction: Direction = "higher"
    range: tuple[float | None, float | None] = (0.0, 1.0)
    role: Role = "primary"
    needs_baseline: bool = False
    needs_judge: bool = False
    source: Literal["control", "client"] = "control"

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    @property
    def about(self) -> str:
        """One sentence about the type."""
        return SCORERS[self.spec.type].about

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """No calls."""
        return ()


@dataclass(frozen=True, kw_only=True)
class ScorerEntry:
    """A name of the table: where the scorer is, and one sentence about it."""

    target: str
    about: str


def params_of(spec: ScorerSpec, kind: type[Params]) -> Params:
    """The parameters of ``spec``, checked; ScorerFault names the key and the nearest one that exists."""
    known = kind.__struct_fields__
    for key in spec.params:
        if key not in known:
            close = nearest(key, list(known))
            there = f"known: {', '.join(known)}" if known else "it has none of its own"
            meant = f"did you mean {close}?" if close else there
            raise ScorerFault(f"unknown key {quoted(key)} of scorer type {spec.type}; {meant}", (key,))
    try:
        return msgspec.convert(spec.params, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`").partition(".")[0].partition("[")[0]
        raise ScorerFault(f"{key or spec.type}: {what}", (key,) if key else ()) from None


def scorer_class(kind: str) -> type[BaseScorer]:
    """The class of a scorer type; ScorerFault names the nearest type that exists."""
    if kind not in SCORERS:
        close = nearest(kind, list(SCORERS))
        meant = f"did you mean {close}?" if close else f"known: {', '.join(SCORERS)}"
        raise ScorerFault(f"unknown scorer type {quoted(kind)}; {meant}", ("type",))
    return _loaded(SCORERS[kind].target)


@cache
def _loaded(target: str) -> type[BaseScorer]:
    module, _, attribute = target.partition(":")
    found: type[BaseScorer] = getattr(importlib.import_module(module), attribute)
    return found


def scorer_of(spec: ScorerSpec) -> Scorer:
    """The scorer of a suite's entry, ready to use; ScorerFault when its parameters do not fit."""
    made = scorer_class(spec.type)(spec)
    return cast(Scorer, made)  # BaseScorer leaves `score` to each type; the conformance kit holds them to it


_TEXTS = "headgate.evals.scorers.texts"
_STRUCTURES = "headgate.evals.scorers.structures"
_MEASURES = "headgate.evals.scorers.measures"
_JUDGES = "headgate.evals.scorers.judges"
SCORERS: dict[str, ScorerEntry] = {
    "exact": ScorerEntry(target=f"{_TEXTS}:Exact", about="The answer is the expected text."),
    "iequals": ScorerEntry(target=f"{_TEXTS}:Iequals", about="The answer is the expected text, whatever its case."),
    "contains": ScorerEntry(target=f"{_TEXTS}:ContainsAll", about="The answer holds every expected text."),
    "contains_any": ScorerEntry(target=f"{_TEXTS}:ContainsAny", about="The answer holds one of the expected texts."),
    "not_contains": ScorerEntry(target=f"{_TEXTS}:NotContains", about="The answer holds none of the expected texts."),
    "regex": ScorerEntry(target=f"{_TEXTS}:Regex", about="The answer matches a pattern, or does not."),
    "choice": ScorerEntry(target=f"{_TEXTS}:Choice", about="The answer names the expected one of listed choices."),
    "json_schema": ScorerEntry(target=f"{_STRUCTURES}:JsonSchema", about="The answer is JSON that fits a schema."),
    "json_match": ScorerEntry(target=f"{_STRUCTURES}:JsonMatch", about="The answer is the expected JSON value."),
    "numeric": ScorerEntry(target=f"{_STRUCTURES}:Numeric", about="The answer's last number is the expected one."),
    "edit_distance": ScorerEntry(target=f"{_STRUCTURES}:EditDistance", about="How alike answer and expected text are."),
    "tool_calls": ScorerEntry(target=f"{_STRUCTURES}:ToolCalls", about="The answer calls the expected tools."),
    "refusal": ScorerEntry(target=f"{_STRUCTURES}:Refusal", about="The answer is no refusal."),
    "answered": ScorerEntry(target=f"{_MEASURES}:Answered", about="The answer is not empty."),
    "finish_reason": ScorerEntry(target=f"{_MEASURES}:FinishReason", about="The answer came to its own end."),
    "length": ScorerEntry(target=f"{_MEASURES}:Length", about="How long the answer is, or whether within bounds."),
    "latency": ScorerEntry(target=f"{_MEASURES}:Latency", about="Milliseconds from request to last byte."),
    "cost": ScorerEntry(target=f"{_MEASURES}:Cost", about="US dollars, as the log priced the call."),
    "tokens": ScorerEntry(target=f"{_MEASURES}:Tokens", about="Tokens that the model wrote."),
    "judge.rubric": ScorerEntry(target=f"{_JUDGES}:Rubric", about="A judge says whether it meets a rubric."),
    "judge.reference": ScorerEntry(target=f"{_JUDGES}:Reference", about="A judge says whether it is what is expected."),
    "judge.faithfulness": ScorerEntry(
        target=f"{_JUDGES}:Faithfulness", about="A judge says whether the row's context supports every claim."
    ),
    "judge.pairwise": ScorerEntry(
        target=f"{_JUDGES}:Pairwise", about="A judge picks the better of two, in both orders."
    ),
}

"""The seam of scorers: what a scorer is, and the table of names from which each is imported when it is used."""

import importlib
import re
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
    reads_chunks: bool
    """It looks at what the answer read from a knowledge base."""
    spec: ScorerSpec
    source: Literal["control", "client"]
    """Who computes it: the control process from the log, or the client, whose word counts for less."""

    @property
    def about(self) -> str:
        """One sentence about its type."""

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """The calls whose answers `score` needs, in order; empty when it needs none for this output."""

    def follow_ups(self, row: Row, output: Output, answers: Sequence[Output | None]) -> tuple[Ask, ...]:
        """Further calls that depend on the answers to `asks`; empty for most."""

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """The judgement; ``answers`` belong to `asks`, then to `follow_ups`, None where the call failed."""


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
    reads_chunks: bool = False
    source: Literal["control", "client"] = "control"

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec
        params_of(spec, self.params_type)

    @property
    def about(self) -> str:
        """One sentence about the type."""
        return SCORERS[self.spec.type].about

    def asks(self, row: Row, output: Output, baseline: Output | None) -> tuple[Ask, ...]:
        """No calls."""
        return ()

    def follow_ups(self, row: Row, output: Output, answers: Sequence[Output | None]) -> tuple[Ask, ...]:
        """No further calls."""
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
        if missing := re.fullmatch(r"Object missing required field `(\w+)`", str(error)):
            raise ScorerFault(f"{missing.group(1)} is missing: {spec.type} needs it") from None
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
_DISTANCES = "headgate.evals.scorers.distances"
_MEASURES = "headgate.evals.scorers.measures"
_JUDGES = "headgate.evals.scorers.judges"
_GROUNDING = "headgate.evals.scorers.grounding"
_RETRIEVED = "headgate.evals.scorers.retrieved"
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
    "json_path": ScorerEntry(target=f"{_STRUCTURES}:JsonPath", about="One value in the answer's JSON is as expected."),
    "numeric": ScorerEntry(
        target="headgate.evals.scorers.numeric:Numeric", about="The answer states the expected number."
    ),
    "edit_distance": ScorerEntry(
        target=f"{_DISTANCES}:EditDistance", about="How alike answer and expected text are, by Levenshtein distance."
    ),
    "rouge_l": ScorerEntry(
        target=f"{_DISTANCES}:RougeL", about="How much of the expected words the answer has, in order (ROUGE-L)."
    ),
    "similarity": ScorerEntry(
        target="headgate.evals.scorers.similarity:Similarity",
        about="How near the embeddings of answer and expected text are.",
    ),
    "tool_calls": ScorerEntry(target=f"{_STRUCTURES}:ToolCalls", about="The answer calls the expected tools."),
    "refusal": ScorerEntry(target=f"{_STRUCTURES}:Refusal", about="The answer is no refusal."),
    "answered": ScorerEntry(target=f"{_MEASURES}:Answered", about="The answer is not empty."),
    "finish_reason": ScorerEntry(target=f"{_MEASURES}:FinishReason", about="The answer came to its own end."),
    "length": ScorerEntry(target=f"{_MEASURES}:Length", about="How long the answer is, or whether within bounds."),
    "latency": ScorerEntry(target=f"{_MEASURES}:Latency", about="Milliseconds from request to last byte."),
    "cost": ScorerEntry(target=f"{_MEASURES}:Cost", about="US dollars, as the log priced the call."),
    "tokens": ScorerEntry(target=f"{_MEASURES}:Tokens", about="Tokens that the model wrote."),
    "retrieval.recall": ScorerEntry(
        target=f"{_RETRIEVED}:Recall", about="The share of the relevant documents that the answer read."
    ),
    "retrieval.precision": ScorerEntry(
        target=f"{_RETRIEVED}:Precision", about="The share of what the answer read that is relevant."
    ),
    "retrieval.mrr": ScorerEntry(
        target=f"{_RETRIEVED}:ReciprocalRank", about="1 / the place of the first relevant chunk that was read."
    ),
    "retrieval.ndcg": ScorerEntry(
        target=f"{_RETRIEVED}:Ndcg", about="How near the order of what was read is to the best one."
    ),
    "python": ScorerEntry(target="headgate.evals.scorers.own:Own", about="A Python file of your own says."),
    "judge.rubric": ScorerEntry(target=f"{_JUDGES}:Rubric", about="A judge says whether it meets a rubric."),
    "judge.reference": ScorerEntry(target=f"{_JUDGES}:Reference", about="A judge says whether it is what is expected."),
    "judge.faithfulness": ScorerEntry(
        target=f"{_JUDGES}:Faithfulness",
        about="A judge says whether the row's context, or what the answer read, supports every claim.",
    ),
    "judge.claims": ScorerEntry(
        target=f"{_GROUNDING}:Claims", about="The share of the answer's claims that what it read supports."
    ),
    "judge.context_recall": ScorerEntry(
        target=f"{_GROUNDING}:ContextRecall", about="The share of the expected claims that are in what was read."
    ),
    "judge.context_precision": ScorerEntry(
        target=f"{_GROUNDING}:ContextPrecision", about="Whether what is of use stands first in what was read."
    ),
    "judge.answer_relevance": ScorerEntry(
        target=f"{_GROUNDING}:AnswerRelevance", about="How near the answer is to the question, by embeddings."
    ),
    "judge.pairwise": ScorerEntry(
        target=f"{_JUDGES}:Pairwise", about="A judge picks the better of two, in both orders."
    ),
}

"""A model version on a labelled dataset: every row run in a process of its own, and scored here.

Scores are per row, so that two versions can be compared row by row: `correct`, `brier`, `abs_error`, and two whose mean
is a known number: `roc_auc` (each row's part of the area, by DeLong's components: the mean is the area, and the
variance of the mean is DeLong's) and `closeness` (1 is right, 0 is no better than always saying the labels' median).
"""

import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from headgate.control.model_runs import MISSING
from headgate.control.prediction_rows import answers_of, class_name, verdict_of
from headgate.core.errors import MalformedRequest, Unavailable
from headgate.core.settings import Models
from headgate.core.signature import Signature
from headgate.registry.model_rows import ModelVersion
from headgate.runtimes.batch import FAILED, NO_RUNTIME
from headgate.spool.record import TensorRecord
from headgate.wire.frames import INFER, FrameReader, decode, encode
from headgate.wire.inference import Call
from headgate.wire.scoring import column_names, read_scoring

if TYPE_CHECKING:
    from headgate.evals.dataset import Row

ROWS_PER_CALL = 500
MAX_S = 600.0
_READ_BYTES = 1 << 20

Role = Literal["primary", "guard"]


@dataclass(frozen=True, kw_only=True)
class ModelScorer:
    """One score of a row; primary: what a gate decides on unless its policy names others."""

    id: str
    direction: Literal["higher", "lower"]
    role: Role


CORRECT = ModelScorer(id="correct", direction="higher", role="primary")
ROC_AUC = ModelScorer(id="roc_auc", direction="higher", role="primary")
BRIER = ModelScorer(id="brier", direction="lower", role="guard")
CLOSENESS = ModelScorer(id="closeness", direction="higher", role="primary")
ABS_ERROR = ModelScorer(id="abs_error", direction="lower", role="guard")
SQUARED_ERROR = ModelScorer(id="squared_error", direction="lower", role="guard")
METHOD = "headgate/model-scores@1"


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """What one row got, by scorer; ``problem``: why it got nothing."""

    values: dict[str, float]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Every row of a dataset, in its order, and the scorers that apply to this kind of model."""

    scorers: tuple[ModelScorer, ...]
    rows: tuple[RowScores, ...]


def score(home: Path, limits: Models, version: ModelVersion, rows: Sequence["Row"]) -> Scored:
    """Blocking: run a version on labelled rows. Raises MalformedRequest for rows or models that cannot be scored,
    Unavailable without onnxruntime."""
    signature = version.signature
    if signature.task == "other":
        raise MalformedRequest(
            f"{version.name}@{version.number} is neither a classification nor a regression, so nothing tells whether "
            "its answers are right.",
            code="model_task_unknown",
            hint="Register it with --task and, where the file does not say, --classes.",
        )
    answers = _answers(home, limits, version, rows)
    if signature.task == "classification":
        return _of_classes(rows, answers, signature)
    return _of_numbers(rows, answers, signature)


# Running.


def _answers(home: Path, limits: Models, version: ModelVersion, rows: Sequence["Row"]) -> list[dict[str, Any]]:
    calls = list(_calls(version, rows))
    with tempfile.TemporaryDirectory(dir=home / "tmp", prefix="score-") as folder:
        asked, answered = Path(folder) / "calls", Path(folder) / "answers"
        with asked.open("wb") as file:
            for call in calls:
                file.write(encode(0, INFER, call.tensors))
        _run(home, limits, version, asked, answered)
        found: list[dict[str, Any]] = []
        reader = FrameReader()
        waiting = iter(calls)
        with answered.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                for raw in reader.feed(piece):
                    tensors = [TensorRecord(one.code, one.shape, one.data) for one in decode(raw).tensors]
                    found += answers_of(tensors, next(waiting).rows, version.signature)
    return found


def _run(home: Path, limits: Models, version: ModelVersion, asked: Path, answered: Path) -> None:
    arguments = [
        *(sys.executable, "-m", "headgate.runtimes.batch", "--bundle", str(home / "models" / version.sha256)),
        *("--sha256", version.sha256, "--calls", str(asked), "--answers", str(answered)),
        *("--memory-mb", str(limits.memory_mb), "--timeout-s", str(limits.timeout_s)),
    ]
    name = f"{version.name}@{version.number}"
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAX_S)
    except subprocess.TimeoutExpired:
        raise _not_scored(name, f"it took over {MAX_S:g} s") from None
    if done.returncode == NO_RUNTIME:
        raise Unavailable(MISSING, code="no_model_runtime")
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = words[-1][:500] if done.returncode == FAILED and words else f"its process ended with {done.returncode}"
        raise _not_scored(name, said)


def _not_scored(name: str, why: str) -> MalformedRequest:
    return MalformedRequest(
        f"{name} could not be run on the dataset: {why}.",
        code="model_not_scored",
        hint="Try the rows by a call, or raise models.memory_mb and models.timeout_s.",
    )


def _calls(version: ModelVersion, rows: Sequence["Row"]) -> Iterator[Call]:
    """The rows as calls of the scoring protocol, read as a caller's are: what does not fit is refused in its words."""
    signature = version.signature
    is_open = version.joins != "no" and all(spec.shape[:1] == (-1,) for spec in signature.inputs)
    step = ROWS_PER_CALL if is_open else 1
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        try:
            call = read_scoring(_body([row.input for row in some], signature), "application/json", signature)
        except MalformedRequest as error:
            which = f"row {start}" if step == 1 else f"rows {start} to {start + len(some) - 1}"
            raise MalformedRequest(f"{which} of the dataset do not fit {version.name}@{version.number}: {error}")  # noqa: B904
        yield call


def _body(inputs: Sequence[dict[str, Any]], signature: Signature) -> bytes:
    if column_names(signature):
        return msgspec.json.encode({"dataframe_records": inputs})
    named = {
        spec.name: [row[spec.name] for row in inputs if spec.name in row]
        for spec in signature.inputs
        if any(spec.name in row for row in inputs)
    }
    return msgspec.json.encode({"inputs": named})


# Scoring.


def _of_classes(rows: Sequence["Row"], answers: Sequence[dict[str, Any]], signature: Signature) -> Scored:
    found: list[RowScores] = []
    ranked: list[tuple[int, float, bool]] = []
    positive = signature.positive if len(signature.classes) == 2 else None
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        truth = label_of(row.expected)
        predicted, _ = verdict_of(answer, signature)
        if truth is None or predicted is None:
            problem = "the row has no label" if truth is None else "the model named no class"
            found.append(RowScores(values={}, problem=problem))
            continue
        values = {CORRECT.id: float(predicted == truth)}
        scores = answer.get(signature.scores or "")
        if isinstance(scores, list) and len(scores) == len(signature.classes) and truth in signature.classes:
            apart = [float(score) - (name == truth) for name, score in zip(signature.classes, scores, strict=True)]
            values[BRIER.id] = 0.5 * math.fsum(one * one for one in apart)
            if positive is not None:
                ranked.append((place, float(scores[signature.classes.index(positive)]), truth == positive))
        found.append(RowScores(values=values))
    scorers = [CORRECT]
    if any(BRIER.id in row.values for row in found):
        scorers.append(BRIER)
    if parts := auc_parts([(score, hit) for _, score, hit in ranked]):
        scorers.append(ROC_AUC)
        for (place, _, _), part in zip(ranked, parts, strict=True):
            found[place].values[ROC_AUC.id] = part
    return Scored(scorers=tuple(scorers), rows=tuple(found))


def auc_parts(cases: Sequence[tuple[float, bool]]) -> list[float]:
    """Each case's part of the area under the ROC curve; their mean is the area. Empty while one class has no case.

    A case's component (for a positive: the share of negatives it stands above, ties half) is spread around the area in
    the measure of how many cases its class has, so that the mean's variance is that of DeLong's estimator.
    """
    import numpy as np

    scores = np.array([score for score, _ in cases], dtype=float)
    hits = np.array([hit for _, hit in cases], dtype=bool)
    positives, negatives = int(hits.sum()), int((~hits).sum())
    if not positives or not negatives or not np.isfinite(scores).all():
        return []

    def share(values: Any, others: Any) -> Any:
        ordered = np.sort(others)
        below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
        return (below + upto) / 2 / len(ordered)

    component = np.empty(len(scores))
    component[hits] = share(scores[hits], scores[~hits])
    component[~hits] = 1 - share(scores[~hits], scores[hits])
    area = float(component[hits].mean())
    weight = len(scores) / np.where(hits, positives, negatives)
    parts: list[float] = (area + weight * (component - area)).tolist()
    return parts


def _of_numbers(rows: Sequence["Row"], answers: Sequence[dict[str, Any]], signature: Signature) -> Scored:
    truths = [number_of(row.expected) for row in rows]
    known = sorted(truth for truth in truths if truth is not None)
    median = known[len(known) // 2] if known else 0.0
    spread = math.fsum(abs(truth - median) for truth in known) / len(known) if known else 0.0
    found: list[RowScores] = []
    for truth, answer in zip(truths, answers, strict=True):
        _, value = verdict_of(answer, signature)
        if truth is None or value is None or not math.isfinite(value):
            problem = "the row has no number as its label" if truth is None else "the model gave no finite number"
            found.append(RowScores(values={}, problem=problem))
            continue
        error = abs(value - truth)
        values = {ABS_ERROR.id: error, SQUARED_ERROR.id: error * error}
        if spread > 0:
            values[CLOSENESS.id] = 1 - error / spread
        found.append(RowScores(values=values))
    more = (CLOSENESS,) if spread > 0 else ()
    return Scored(scorers=(*more, ABS_ERROR, SQUARED_ERROR), rows=tuple(found))


def label_of(expected: object) -> str | None:
    """A label as predictions name classes; None where there is none."""
    if isinstance(expected, bool):
        return str(int(expected))
    if isinstance(expected, str | int | float) and expected != "":
        return class_name(expected)
    return None


def number_of(expected: object) -> float | None:
    """A label as a number; None where it is none."""
    try:
        value = float(expected) if isinstance(expected, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None

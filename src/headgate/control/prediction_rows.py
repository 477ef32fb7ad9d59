"""A call of a classic model as rows of the table `predictions`: features, the whole answer, the prediction."""

from collections.abc import Sequence
from typing import Any

import msgspec

from headgate.core.errors import NotFound
from headgate.core.ids import utc
from headgate.core.signature import DATATYPE_BY_CODE, Signature
from headgate.registry import models
from headgate.registry.database import Database
from headgate.spool.record import FinalRecord, Prediction, TensorRecord
from headgate.wire.frames import Tensor
from headgate.wire.tensor_json import values_of

MAX_CELL_BYTES = 64 << 10
"""Larger features or outputs of one row (an image) are not kept as a cell; the bodies have them."""
MAX_ROWS = 100_000
_KNOWN_LIMIT = 1024


class PredictionRows:
    """What ingest calls for records of model calls; a version's signature never changes, so it is read once."""

    def __init__(self, registry: Database) -> None:
        self._registry = registry
        self._known: dict[tuple[str, int], Signature | None] = {}

    def __call__(self, final: FinalRecord) -> list[dict[str, Any]]:
        """The rows of one record."""
        prediction = final.prediction
        if prediction is None:
            return []
        signature = self._signature(prediction.model, prediction.version)
        return [] if signature is None else rows_of(final.request_id, final.started_at_us, prediction, signature)

    def _signature(self, name: str, number: int) -> Signature | None:
        key = (name, number)
        if key not in self._known:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            try:
                self._known[key] = models.get_version(self._registry, name, number).signature
            except NotFound:  # a registry put back from a copy
                self._known[key] = None
        return self._known[key]


def rows_of(request_id: str, started_at_us: int, prediction: Prediction, signature: Signature) -> list[dict[str, Any]]:
    """The rows of one call, from 0."""
    count = min(prediction.rows, MAX_ROWS)
    features = _features(prediction, signature, count)
    answers = answers_of(prediction.outputs, prediction.rows, signature, count)
    entities = prediction.entities or []
    at = utc(started_at_us).replace(tzinfo=None)
    rows: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        predicted, score = verdict_of(answer, signature)
        rows.append(
            {
                "request_id": request_id,
                "row": number,
                "model": prediction.model,
                "version": prediction.version,
                "features": features[number],
                "output": _cell(answer) if answer else None,
                "score": score,
                "predicted": predicted,
                "alias": prediction.alias,
                "entity": entities[number] if number < len(entities) else None,
                "predicted_at": at,
            }
        )
    return rows


def answers_of(
    outputs: Sequence[TensorRecord], rows: int, signature: Signature, count: int | None = None
) -> list[dict[str, Any]]:
    """Each row's answer by output: a value, or a flat list of them. ``count``: only the first rows."""
    columns = [(spec, _by_row(tensor, rows)) for spec, tensor in zip(signature.outputs, outputs, strict=False)]
    return [
        {spec.name: values[number] for spec, values in columns} for number in range(rows if count is None else count)
    ]


def _features(prediction: Prediction, signature: Signature, count: int) -> list[str | None]:
    if prediction.inputs is None:
        return [None] * count
    columns = [
        (spec, _by_row(tensor, prediction.rows))
        for spec, tensor in zip(signature.inputs, prediction.inputs, strict=False)
    ]
    names = signature.features
    if signature.is_matrix and names and columns:
        values = columns[0][1]
        return [_cell(dict(zip(names, values[row], strict=False))) for row in range(count)]
    return [_cell({spec.name: _alone(values[row]) for spec, values in columns}) for row in range(count)]


def _by_row(record: TensorRecord, rows: int) -> list[Any]:
    """The elements of each row: a value, or a flat list; a tensor that is not by row is whole in every row."""
    tensor = Tensor(record.code, tuple(record.shape), record.data)
    values = values_of(tensor)
    if DATATYPE_BY_CODE[record.code].name == "FP32":
        values = [_short(value) for value in values]
    if tensor.shape[:1] != (rows,):
        return [values] * rows
    width = len(values) // rows
    if len(tensor.shape) == 1:
        return values
    return [values[row * width : (row + 1) * width] for row in range(rows)]


def _short(value: float) -> float:
    """The shortest number that is the same 32-bit one, as people wrote it."""
    return float(f"{value:.9g}") if value == value else value


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _cell(value: object) -> str | None:
    text = msgspec.json.encode(value)
    return text.decode() if len(text) <= MAX_CELL_BYTES else None


def verdict_of(answer: dict[str, Any], signature: Signature) -> tuple[str | None, float | None]:
    """The predicted class with its score, or the predicted number."""
    value = _alone(answer.get(signature.predicted or ""))
    scores = answer.get(signature.scores or "")
    if signature.task == "classification":
        if value is None and isinstance(scores, list) and scores and signature.classes:
            value = signature.classes[scores.index(max(scores))]
        predicted = None if value is None else class_name(value)
        return predicted, _score_of(predicted, scores, signature.classes)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value), float(value)
    return (None if value is None or isinstance(value, list) else str(value)), None


def class_name(value: Any) -> str:
    """A class as predictions and labels write it: 1 and 1.0 are one."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _score_of(predicted: str | None, scores: Any, classes: Sequence[str]) -> float | None:
    if not isinstance(scores, list) or not scores:
        return None
    if predicted in classes and classes.index(predicted) < len(scores):
        return float(scores[classes.index(predicted)])
    return float(max(scores))

"""Classic models for tests: trained here and now from scikit-learn's bundled data, converted to ONNX.

scikit-learn and skl2onnx take two seconds to import: only a process that trains a model does it.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from support.server import RunningServer

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """An estimator, its ONNX file, and rows to ask it."""

    estimator: Any
    onnx: bytes
    rows: Floats
    truth: NDArray[Any]
    features: tuple[str, ...]

    def local(self, rows: Floats) -> list[NDArray[Any]]:
        """What onnxruntime answers in this process."""
        found: list[NDArray[Any]] = self.session().run(None, {"X": rows})
        return found

    @cache  # noqa: B019  # one session for each of the few models of a test run
    def session(self) -> ort.InferenceSession:
        return ort.InferenceSession(self.onnx, providers=["CPUExecutionProvider"])


def _converted(estimator: Any, rows: Floats, **options: Any) -> bytes:
    from skl2onnx import to_onnx

    data: bytes = to_onnx(estimator, rows[:1], **options).SerializeToString()
    return data


def _classifier(rows: Floats, labels: NDArray[Any], **options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, **options)).fit(rows, labels)


@cache
def breast_cancer(regularisation: float = 1.0) -> TrainedModel:
    """A classifier of 30 features; another ``regularisation`` is another version."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rows = data.data.astype(np.float32)
    estimator = _classifier(rows[:400], data.target[:400], C=regularisation)
    return TrainedModel(
        estimator=estimator,
        onnx=_converted(estimator, rows, options={"zipmap": False}),
        rows=rows[400:],
        truth=data.target[400:],
        features=tuple(str(name) for name in data.feature_names),
    )


@cache
def worse() -> TrainedModel:
    """A classifier of the same 30 features that has learnt from shuffled labels, so that its guesses are no good."""
    from sklearn.datasets import load_breast_cancer

    good = breast_cancer()
    data = load_breast_cancer()
    rows, labels = data.data.astype(np.float32)[:400], np.random.default_rng(3).permutation(data.target[:400])
    estimator = _classifier(rows, labels)
    return replace(good, estimator=estimator, onnx=_converted(estimator, rows, options={"zipmap": False}))


def labelled(trained: TrainedModel, *, rows: int | None = None) -> str:
    """Held-out rows with their labels, as a dataset file."""
    lines = [
        {"id": f"case-{number}", "input": dict(zip(trained.features, map(float, row), strict=True)), "expected": truth}
        for number, (row, truth) in enumerate(zip(trained.rows[:rows], trained.truth[:rows].tolist(), strict=True))
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@cache
def diabetes() -> TrainedModel:
    """A regression of 10 features."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    data = load_diabetes()
    rows = data.data.astype(np.float32)
    estimator = LinearRegression().fit(rows[:300], data.target[:300])
    return TrainedModel(
        estimator=estimator,
        onnx=_converted(estimator, rows),
        rows=rows[300:],
        truth=data.target[300:],
        features=tuple(data.feature_names),
    )


def register(server: RunningServer, name: str, onnx: bytes, **facts: Any) -> dict[str, Any]:
    """Upload and register a model through the API; the answer."""
    status, answer = try_register(server, name, onnx, **facts)
    assert status == 200, answer
    return answer


def try_register(server: RunningServer, name: str, data: bytes, **facts: Any) -> tuple[int, dict[str, Any]]:
    """The same, whatever comes of it."""
    upload = server.api("/api/models/uploads", method="POST", body={})["upload"]
    step = 4 << 20
    for offset in range(0, len(data), step):
        piece = server.send(f"/api/models/uploads/{upload}?offset={offset}", data[offset : offset + step])
        assert piece["bytes"] == min(offset + step, len(data))
    return server.ask("/api/models/register", body={"name": name, "upload": upload, **facts})


def infer_body(rows: Floats, **more: Any) -> bytes:
    """A V2 call in JSON of a model with one matrix input."""
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [tensor], **more}).encode()

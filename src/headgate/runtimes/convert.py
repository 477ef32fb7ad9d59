"""`headgate.register_model`: an estimator becomes an ONNX bundle in the process that trained it, where its code is
trusted; only data travels, with what the estimator said of a sample.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.client import Client
from headgate.core.errors import ConfigurationError
from headgate.core.settings import client_environment
from headgate.runtimes.bundle import MODEL_FILE, REFERENCE_FILE, SAMPLE_FILE
from headgate.runtimes.lineage import dataset_lineage
from headgate.wire.frames import INFER, OUTPUTS, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SAMPLE_ROWS = 1000
INPUT = "X"


def register_model(
    name: str,
    estimator: Any,
    sample: Any,
    *,
    features: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
    datasets: Sequence[str] = (),
    message: str | None = None,
    description: str | None = None,
    entity: str | None = None,
    positive: object = None,
    metadata: Mapping[str, str | int | float | bool] | None = None,
    target_opset: int | None = None,
    tolerance: float = 1e-5,
    url: str | None = None,
    api_key: str | None = None,
) -> dict[str, Any]:
    """Converts a fitted scikit-learn estimator to ONNX and registers it; returns ``version``, ``is_new``,
    ``signature_changes`` and ``report`` with the row-for-row parity of the server's answers and the estimator's.

    ``sample``: some rows it was trained on or tested with, as a matrix (n, features) or a data frame; at most 1,000 are
    sent. ``features``: names of the columns, else those of the data frame. ``metrics``: as you measured them,
    recorded as they are. ``datasets``: as for `--dataset`. ``url`` and
    ``api_key``: else HEADGATE_URL and HEADGATE_API_KEY. Needs the extra `[convert]`; raises ConfigurationError when the
    estimator cannot be converted, GatewayRefused when the server refuses the model.
    """
    columns, rows = _rows_of(sample)
    data = _converted(estimator, rows, target_opset)
    classes = [str(one) for one in getattr(estimator, "classes_", ())]
    facts: dict[str, Any] = {
        "metrics": {key: float(value) for key, value in (metrics or {}).items()},
        "metadata": {**_framework(estimator), **(metadata or {})},
        "lineage": [entry for text in datasets for entry in dataset_lineage(text, Path.cwd())],
        "message": message,
        "description": description,
        "entity": entity,
        "positive": None if positive is None else str(positive),
        "features": list(features) or columns,
        "classes": classes,
        "tolerance": tolerance,
    }
    environment = client_environment()
    with Client(url or environment.url, api_key=api_key or environment.api_key) as client:
        return client.register_model_file(name, io.BytesIO(_bundle(data, estimator, rows)), facts)


def _rows_of(sample: Any) -> tuple[list[str], "NDArray[np.float32]"]:
    """Names of the columns, where the sample has them, and its first rows as 32-bit numbers."""
    import numpy as np

    features = [str(column) for column in getattr(sample, "columns", ())]
    try:
        rows = np.ascontiguousarray(np.asarray(sample)[:MAX_SAMPLE_ROWS], dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The sample is no matrix of numbers ({error}).",
            hint="Columns of text: convert with skl2onnx yourself, and register the file: headgate model register",
        ) from error
    if rows.ndim != 2 or not len(rows):
        raise ConfigurationError(f"The sample has shape {list(rows.shape)}; expected rows of features, at least one.")
    return features, rows


def _converted(estimator: Any, rows: "NDArray[np.float32]", target_opset: int | None) -> bytes:
    try:
        from skl2onnx import to_onnx
    except ImportError as error:
        raise ConfigurationError(
            f"The conversion to ONNX is not installed ({error}).", hint='Install it: pip install "headgate[convert]"'
        ) from error
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    try:
        model = to_onnx(estimator, rows[:1], options=options, target_opset=target_opset)
    except Exception as error:  # border: plug-in call. Converters raise many types; all mean that there is no model.
        raise ConfigurationError(
            f"{type(estimator).__name__} cannot be converted to ONNX: {str(error).strip().splitlines()[0][:300]}",
            hint="skl2onnx lists what it converts; other steps belong before the model, in the caller.",
        ) from error
    data: bytes = model.SerializeToString()
    return data


def _framework(estimator: Any) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    package = type(estimator).__module__.partition(".")[0]
    try:
        found = version({"sklearn": "scikit-learn"}.get(package, package))
    except PackageNotFoundError:
        found = "unknown"
    return {
        "estimator": f"{type(estimator).__module__}.{type(estimator).__qualname__}",
        "framework": f"{package} {found}",
    }


def _bundle(model: bytes, estimator: Any, rows: "NDArray[np.float32]") -> bytes:
    """A tar of the model, the sample, and what the estimator said of it."""
    from headgate.runtimes.arrays import tensor_of
    from headgate.runtimes.onnx_file import read_onnx

    names = [spec.name for spec in read_onnx(model).outputs]
    said = _said(estimator, rows, names)
    reference = encode(0, OUTPUTS, [tensor_of(value) for value in said.values()], json.dumps(list(said)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (
            (MODEL_FILE, model),
            (SAMPLE_FILE, encode(0, INFER, [tensor_of(rows)])),
            (REFERENCE_FILE, reference),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _said(estimator: Any, rows: "NDArray[np.float32]", outputs: Sequence[str]) -> dict[str, Any]:
    """The estimator's own answers, by the output that stands for them."""
    import numpy as np

    predicted = np.asarray(estimator.predict(rows))
    if predicted.ndim == 1 and not hasattr(estimator, "predict_proba"):
        predicted = predicted.reshape(-1, 1)  # converted regressions answer in a column
    said = {outputs[0]: predicted}
    if hasattr(estimator, "predict_proba") and len(outputs) > 1:
        said[outputs[1]] = np.asarray(estimator.predict_proba(rows))
    return {name: np.ascontiguousarray(value) for name, value in said.items()}

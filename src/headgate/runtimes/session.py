"""One loaded model: tensors in, tensors out, alone or many calls in one run. Imports onnxruntime and numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headgate.core.signature import DATATYPE_BY_CODE, Signature
from headgate.runtimes.bundle import MODEL_FILE
from headgate.wire.frames import Tensor
from headgate.wire.tensor_text import pack_texts, texts_of

_NUMPY = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_DTYPES = {kind.code: np.dtype(_NUMPY[kind.name]) for kind in DATATYPE_BY_CODE.values() if kind.name in _NUMPY}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
BYTES_CODE = next(kind.code for kind in DATATYPE_BY_CODE.values() if kind.name == "BYTES")
TOLERANCE = 1e-5

Array = NDArray[np.generic]


class CallRefused(Exception):
    """The model cannot take this input; the text is for the caller."""


class Session:
    """A model in memory, one thread."""

    def __init__(self, directory: Path, signature: Signature) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = ort.InferenceSession(str(directory / MODEL_FILE), options, providers=["CPUExecutionProvider"])
        self._signature = signature
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]
        self.can_join = all(spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs))

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of one call. Raises CallRefused."""
        return [tensor_of(array) for array in self._run([array_of(tensor) for tensor in tensors])]

    def run_joined(self, calls: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """The outputs of several calls in one run. Raises CallRefused when one of them cannot be taken."""
        joined = [np.concatenate([array_of(call[place]) for call in calls]) for place in range(len(self._inputs))]
        outputs = self._run(joined)
        counts = [call[0].rows for call in calls]
        total = sum(counts)
        if any(output.shape[:1] != (total,) for output in outputs):
            raise CallRefused("the model answers with another number of rows than it was asked")
        results: list[list[Tensor]] = []
        at = 0
        for count in counts:
            results.append([tensor_of(output[at : at + count]) for output in outputs])
            at += count
        return results

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        try:
            outputs: list[Array] = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        except Exception as error:  # border: plug-in call. onnxruntime raises many types; all say what it did not like.
            raise CallRefused(_first_line(error)) from error
        return outputs


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:500]


def array_of(tensor: Tensor) -> Array:
    """A tensor as an array; numbers are not copied."""
    if tensor.code == BYTES_CODE:
        texts = [text.decode("utf-8", "replace") for text in texts_of(tensor.data)]
        return np.array(texts, dtype=object).reshape(tensor.shape)
    return np.frombuffer(tensor.data, _DTYPES[tensor.code]).reshape(tensor.shape)


def tensor_of(array: Array) -> Tensor:
    """An array as a tensor."""
    code = _CODES.get(array.dtype)
    if code is not None:
        return Tensor(code, array.shape, array.tobytes())
    if array.dtype.kind in "OU":
        return Tensor(BYTES_CODE, array.shape, pack_texts([str(value) for value in array.ravel().tolist()]))
    raise CallRefused(f"the model answers with the type {array.dtype}, which the protocol has not")


def differences(got: Array, wanted: Array) -> NDArray[np.float64]:
    """Per element how far two arrays are apart; 0 or infinity for what is no number, 0 for NaN on both sides.

    Numbers are apart by |a - b| / max(1, |b|). Raises ValueError when the shapes differ.
    """
    if got.shape != wanted.shape:
        raise ValueError(f"shape {list(got.shape)} instead of {list(wanted.shape)}")
    if got.dtype.kind in "biuf" and wanted.dtype.kind in "biuf":
        one, two = got.astype(np.float64), wanted.astype(np.float64)
        with np.errstate(invalid="ignore"):
            apart = np.abs(one - two) / np.maximum(1.0, np.abs(two))
        apart[(one == two) | (np.isnan(one) & np.isnan(two))] = 0.0
        return np.where(np.isnan(apart), np.inf, apart)
    same = np.array([str(a) == str(b) for a, b in zip(got.ravel().tolist(), wanted.ravel().tolist(), strict=True)])
    return np.where(same, 0.0, np.inf).reshape(got.shape)

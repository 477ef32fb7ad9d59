"""Tensors as arrays and back, and how far two arrays are apart. Imports numpy."""

import numpy as np
from numpy.typing import NDArray

from headgate.core.signature import DATATYPE_BY_CODE
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

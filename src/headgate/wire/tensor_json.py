"""JSON numbers and texts to the raw bytes of a tensor, and back; every fault is named with what was expected."""

import struct
from array import array
from itertools import chain
from typing import Any

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.core.signature import DATATYPE, DATATYPE_BY_CODE, MAX_DIMS, Datatype, TensorSpec
from headgate.wire.frames import Tensor
from headgate.wire.tensor_text import pack_texts, texts_of

_ELEMENT: dict[str, Any] = {"bool": bool, "int": int, "float": float, "text": str}
_WORDS = {
    "bool": "true or false",
    "int": "whole numbers",
    "float": "numbers",
    "text": "strings",
}


def _decoder(element: Any, depth: int) -> "msgspec.json.Decoder[Any]":
    for _ in range(depth):
        element = list[element]
    return msgspec.json.Decoder(element)


_DECODERS = {
    (name, depth): _decoder(element, depth) for name, element in _ELEMENT.items() for depth in range(1, MAX_DIMS + 1)
}
_WITH_NULL = {depth: _decoder(float | None, depth) for depth in range(1, MAX_DIMS + 1)}


def bad_input(message: str, spec: TensorSpec | None = None) -> MalformedRequest:
    """The refusal of a call that does not fit the model."""
    hint = "" if spec is None else f"Expected: {spec}."
    return MalformedRequest(message, code="input_refused", hint=hint)


def tensor_from_json(raw: bytes, shape: tuple[int, ...], spec: TensorSpec) -> Tensor:
    """The tensor in a JSON list, flat or nested as ``shape`` says. Raises MalformedRequest."""
    kind = DATATYPE[spec.datatype]
    if kind.json == "none":
        raise bad_input(f'input "{spec.name}" is {kind.name}, which travels as binary data only.', spec)
    depth = _depth_of(raw)
    if not 1 <= depth <= MAX_DIMS:
        raise bad_input(f'the data of input "{spec.name}" is no list.', spec)
    values = _flat(_decode(raw, kind, depth, spec), depth, shape, spec)
    count = 1
    for size in shape:
        count *= size
    if len(values) != count:
        raise bad_input(
            f'input "{spec.name}" has {len(values)} values where shape {list(shape)} asks for {count}.', spec
        )
    return Tensor(kind.code, shape, pack(values, kind, spec))


def _depth_of(raw: bytes) -> int:
    depth = 0
    for byte in raw[:256]:
        if byte == 0x5B:
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return depth


def _decode(raw: bytes, kind: Datatype, depth: int, spec: TensorSpec) -> Any:
    try:
        return _DECODERS[kind.json, depth].decode(raw)
    except msgspec.ValidationError as error:
        if kind.json == "float":
            try:
                return _WITH_NULL[depth].decode(raw)
            except msgspec.ValidationError:
                pass
        raise bad_input(
            f'the data of input "{spec.name}" does not fit {kind.name}: {_plain(error)}. '
            f"{kind.name} takes {_WORDS[kind.json]}.",
            spec,
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_input(f'the data of input "{spec.name}" is no valid JSON: {error}.', spec) from None


def _plain(error: Exception) -> str:
    return str(error)[:200]


def _flat(values: Any, depth: int, shape: tuple[int, ...], spec: TensorSpec) -> list[Any]:
    """Nested lists as one, row-major; each level must have the size that the shape names."""
    if depth == 1:
        flat: list[Any] = values
        return flat
    if depth != len(shape):
        raise bad_input(
            f'the data of input "{spec.name}" is nested {depth} deep, its shape {list(shape)} is not.', spec
        )
    level = [values]
    for size in shape[:-1]:
        for part in level:
            if len(part) != size:
                raise bad_input(f'the data of input "{spec.name}" is nested otherwise than shape {list(shape)}.', spec)
        level = list(chain.from_iterable(level))
    for part in level:
        if len(part) != shape[-1]:
            raise bad_input(f'the data of input "{spec.name}" is nested otherwise than shape {list(shape)}.', spec)
    return list(chain.from_iterable(level))


def pack(values: list[Any], kind: Datatype, spec: TensorSpec) -> bytes:
    """The raw bytes of decoded values; None among numbers with a point is NaN."""
    if kind.json == "text":
        return pack_texts(values)
    assert kind.typecode is not None
    try:
        return array(kind.typecode, values).tobytes()
    except TypeError:
        return array(kind.typecode, [float("nan") if value is None else value for value in values]).tobytes()
    except OverflowError:
        raise bad_input(
            f'input "{spec.name}" holds a number beyond {kind.name} ({kind.low} to {kind.high}).', spec
        ) from None


def values_of(tensor: Tensor) -> list[Any]:
    """The elements of a tensor as Python values, row-major. FP16 becomes float."""
    kind = DATATYPE_BY_CODE[tensor.code]
    if kind.json == "text":
        return [element.decode("utf-8", "replace") for element in texts_of(tensor.data)]
    if kind.name == "FP16":
        return list(struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data))
    assert kind.typecode is not None
    values: list[Any] = array(kind.typecode, tensor.data).tolist()
    if kind.json == "bool":
        return [value != 0 for value in values]
    return values

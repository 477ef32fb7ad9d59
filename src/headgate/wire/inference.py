"""The Open Inference Protocol V2 over REST: calls in JSON or with binary tensors, and their answers.

https://github.com/kserve/open-inference-protocol, with Triton's binary tensor data extension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.core.signature import DATATYPE, DATATYPE_BY_CODE, MAX_TENSORS, Signature, TensorSpec
from headgate.wire.frames import Tensor
from headgate.wire.tensor_json import bad_input, tensor_from_json, values_of
from headgate.wire.tensor_text import texts_of

_NO_RAW = msgspec.Raw(b"")
_MAX_ID_CHARS = 1024


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = _NO_RAW


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _AnsweredTensor(msgspec.Struct, omit_defaults=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] | None = None
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_AnsweredTensor]
    id: str | None = None


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that fits its model: tensors in the order of the signature, ``rows`` in each; what shall come back."""

    tensors: list[Tensor]
    rows: int
    id: str | None = None
    wanted: tuple[tuple[int, bool], ...] | None = None  # (output's place, binary); None: all of them, as JSON
    entities: tuple[str | None, ...] = ()  # whom each row is about, where the caller said so
    style: str = "v2"


def read_call(body: bytes, json_bytes: int | None, signature: Signature) -> Call:
    """The call in a request body; ``json_bytes``: how much of it is JSON, None for all. Raises MalformedRequest."""
    if json_bytes is not None and not 0 < json_bytes <= len(body):
        raise bad_input(f"Inference-Header-Content-Length is {json_bytes}, the body has {len(body)} bytes.")
    text = body if json_bytes is None else body[:json_bytes]
    try:
        request = _decode(text)
    except msgspec.ValidationError as error:
        raise bad_input(
            f"the request does not fit the protocol: {error}. Expected inputs: {_listed(signature)}."
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_input(f"the request body is no valid JSON: {error}. Expected inputs: {_listed(signature)}.") from None
    binary = b"" if json_bytes is None else body[json_bytes:]
    tensors = _tensors(request.inputs, binary, signature)
    rows = rows_of(tensors, signature)
    if request.id is not None and len(request.id) > _MAX_ID_CHARS:
        raise bad_input(f"the id has {len(request.id)} characters; at most {_MAX_ID_CHARS} are echoed.")
    return Call(
        tensors=tensors,
        rows=rows,
        id=request.id,
        wanted=_wanted(request, signature),
        entities=_entities(request.parameters, rows),
    )


def _listed(signature: Signature) -> str:
    return "; ".join(map(str, signature.inputs[:20]))


def _tensors(inputs: Sequence[_Input], binary: bytes, signature: Signature) -> list[Tensor]:
    if len(inputs) > MAX_TENSORS:
        raise bad_input(f"{len(inputs)} inputs; the model takes {len(signature.inputs)}: {_listed(signature)}.")
    found: dict[str, Tensor] = {}
    at = 0
    for given in inputs:
        spec = signature.input(given.name)
        if spec is None:
            raise bad_input(f'the model has no input "{given.name[:100]}". Its inputs: {_listed(signature)}.')
        if given.name in found:
            raise bad_input(f'input "{spec.name}" is given twice.', spec)
        shape = _checked_shape(given, spec)
        size = (given.parameters or {}).get("binary_data_size")
        if size is None:
            if given.data is _NO_RAW:
                raise bad_input(f'input "{spec.name}" has no data.', spec)
            found[spec.name] = tensor_from_json(bytes(given.data), shape, spec)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or size > len(binary) - at:
            raise bad_input(
                f'input "{spec.name}" announces {str(size)[:40]} bytes of binary data; {len(binary) - at} are left.',
                spec,
            )
        found[spec.name] = _binary_tensor(binary[at : at + size], shape, spec)
        at += size
    missing = [str(spec) for spec in signature.inputs if spec.name not in found]
    if missing:
        raise bad_input(f"missing input: {'; '.join(missing[:20])}.")
    if at != len(binary):
        raise bad_input(f"{len(binary) - at} bytes follow the binary data that the inputs announce.")
    return [found[spec.name] for spec in signature.inputs]


def _checked_shape(given: _Input, spec: TensorSpec) -> tuple[int, ...]:
    if given.datatype != spec.datatype:
        raise bad_input(f'input "{spec.name}" is given as {given.datatype[:40]}.', spec)
    shape = tuple(given.shape)
    if not spec.accepts(shape) or any(size < 0 for size in shape):
        raise bad_input(f'input "{spec.name}" has shape {str(list(shape))[:200]}.', spec)
    return shape


def _binary_tensor(data: bytes, shape: tuple[int, ...], spec: TensorSpec) -> Tensor:
    kind = DATATYPE[spec.datatype]
    count = 1
    for size in shape:
        count *= size
    if kind.item_bytes:
        if len(data) != count * kind.item_bytes:
            raise bad_input(
                f'input "{spec.name}" has {len(data)} bytes where {kind.name} {list(shape)} takes '
                f"{count * kind.item_bytes}.",
                spec,
            )
        return Tensor(kind.code, shape, data)
    try:
        elements = texts_of(data)
    except ValueError as error:
        raise bad_input(f'the BYTES of input "{spec.name}" are {error}.', spec) from None
    if len(elements) != count:
        raise bad_input(f'input "{spec.name}" has {len(elements)} elements, its shape {list(shape)} {count}.', spec)
    return Tensor(kind.code, shape, data)


def rows_of(tensors: Sequence[Tensor], signature: Signature) -> int:
    """How many cases the tensors hold. Raises MalformedRequest for none, and for inputs that disagree."""
    rows = 1
    free = [spec.shape[:1] == (-1,) for spec in signature.inputs]
    counts = {tensor.rows for tensor, is_free in zip(tensors, free, strict=True) if is_free}
    if len(counts) > 1:
        raise bad_input(f"the inputs have different numbers of rows: {', '.join(map(str, sorted(counts)))}.")
    if counts:
        rows = counts.pop()
    if rows == 0 or any(0 in tensor.shape for tensor in tensors):
        raise bad_input(f"the request has no rows. Expected at least one: {_listed(signature)}.")
    return rows


def _wanted(request: _Request, signature: Signature) -> tuple[tuple[int, bool], ...] | None:
    parameters = request.parameters
    binary = bool(parameters.get("binary_data_output")) if parameters else False
    if not request.outputs:
        return None if not binary else tuple((place, True) for place in range(len(signature.outputs)))
    places = {spec.name: place for place, spec in enumerate(signature.outputs)}
    wanted: dict[int, bool] = {}
    for output in request.outputs:
        place = places.get(output.name)
        if place is None:
            known = "; ".join(map(str, signature.outputs[:20]))
            raise bad_input(f'the model has no output "{output.name[:100]}". Its outputs: {known}.')
        if place in wanted:
            raise bad_input(f'output "{output.name}" is asked for twice.')
        own = (output.parameters or {}).get("binary_data")
        if "classification" in (output.parameters or {}):
            raise bad_input("the classification extension is not offered here; ask for the tensor.")
        wanted[place] = binary if own is None else bool(own)
    return tuple(wanted.items())


def _entities(parameters: Mapping[str, Any] | None, rows: int) -> tuple[str | None, ...]:
    value = parameters.get("entity") if parameters else None
    if value is None:
        return ()
    return entities_of(value, rows)


def entities_of(value: object, rows: int) -> tuple[str | None, ...]:
    """Whom each row is about: a text or number for one row, a JSON list in a text for several."""
    if isinstance(value, str) and value.startswith("["):
        try:
            listed = msgspec.json.decode(value, type=list[str | int | None])
        except msgspec.DecodeError as error:
            raise bad_input(f"the parameter entity is no list of keys: {error}.") from None
        if len(listed) != rows:
            raise bad_input(f"the parameter entity names {len(listed)} keys for {rows} rows.")
        return tuple(None if key is None else str(key)[:256] for key in listed)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise bad_input("the parameter entity is neither a text nor a whole number.")
    if rows != 1:
        raise bad_input(f'the parameter entity names one key for {rows} rows; write a JSON list: "[…]".')
    return (str(value)[:256],)


def answer(call: Call, tensors: Sequence[Tensor], signature: Signature, name: str, version: int) -> tuple[bytes, int]:
    """The answer's body, and how much of it is JSON (0: all of it)."""
    wanted = call.wanted
    if wanted is None:
        wanted = tuple((place, False) for place in range(len(tensors)))
    outputs: list[_AnsweredTensor] = []
    raw: list[bytes] = []
    for place, is_binary in wanted:
        tensor, spec = tensors[place], signature.outputs[place]
        kind = DATATYPE_BY_CODE[tensor.code]
        if is_binary or kind.json == "none":
            raw.append(tensor.data)
            size = {"binary_data_size": len(tensor.data)}
            outputs.append(_AnsweredTensor(spec.name, kind.name, tensor.shape, size))
        else:
            outputs.append(_AnsweredTensor(spec.name, kind.name, tensor.shape, None, values_of(tensor)))
    text = _encode(_Answer(name, str(version), outputs, call.id))
    if not raw:
        return text, 0
    return b"".join((text, *raw)), len(text)


def metadata(name: str, versions: Sequence[int], signature: Signature) -> dict[str, Any]:
    """The model metadata response."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": "onnx_onnxv1",
        "inputs": [_spec_json(spec) for spec in signature.inputs],
        "outputs": [_spec_json(spec) for spec in signature.outputs],
    }


def _spec_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}

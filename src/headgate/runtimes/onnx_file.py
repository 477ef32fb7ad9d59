"""What an ONNX file says of itself, read without running it: its signature, the operators and files it asks for.

Reads the protobuf wire format by hand, so that nothing of the file is interpreted before it was judged:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers, seen 2026-11).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from headgate.core.errors import MalformedRequest
from headgate.core.signature import MAX_TENSORS, TensorSpec

MAX_NODES = 1_000_000
MAX_DEPTH = 32
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator sets that are part of onnxruntime. Any other needs a library loaded, which is code."""
REFUSED_OPERATORS = frozenset({"EPContext", "PyOp", "ATen"})
"""Part of them, but they load what an execution provider or a Python module finds elsewhere."""
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip
_CLASS_LABELS = frozenset({"classlabels_ints", "classlabels_int64s", "classlabels_strings"})
_TYPES = {4: "a sequence", 5: "a map", 8: "a sparse tensor", 9: "an optional"}


class ModelRefused(MalformedRequest):
    """The file is no model that may be served."""

    code = "model_refused"


def refuse(message: str, hint: str = "") -> NoReturn:
    """Raise ModelRefused."""
    raise ModelRefused(message, hint=hint)


@dataclass(kw_only=True)
class OnnxFacts:
    """What a file says; ``external``: files beside it that hold its weights."""

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    external: set[str] = field(default_factory=set)
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # of the last classifier in it
    nodes: int = 0
    functions: set[tuple[str, str]] = field(default_factory=set)  # (domain, name) of functions the file defines


_Field = tuple[int, int | memoryview]  # number; a varint, or the bytes of everything else


def read_onnx(data: bytes) -> OnnxFacts:
    """The facts of an ONNX file. Raises ModelRefused when it is none, or asks for code or files from elsewhere."""
    check_is_data(data[:4096])
    facts = OnnxFacts()
    try:
        graphs = _read_model(memoryview(data), facts)
        if len(graphs) != 1:
            refuse(f"The file is no ONNX model: it holds {len(graphs)} graphs.", _HOW)
        _read_graph(graphs[0], facts, depth=0)
    except (IndexError, UnicodeDecodeError, RecursionError, _Broken) as error:
        raise ModelRefused(f"The file is no ONNX model ({error}).", hint=_HOW) from None
    if not facts.inputs or not facts.outputs:
        refuse("The model has no inputs or no outputs that can be called.")
    return facts


_HOW = "Register an .onnx file, or convert the estimator where it was trained: headgate.register_model(…)."


def check_is_data(head: bytes) -> None:
    """Refuse what is known to run code when it is opened, by its first bytes."""
    kind = ""
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        kind = "a pickle"
    elif head[:2] in (b"\x78\x9c", b"\x78\x01", b"\x78\xda") or head.startswith((b"BZh", b"\xfd7zXZ", b"ZF")):
        kind = "a compressed file, as joblib writes it"
    elif head.startswith((b"(lp", b"cos\n", b"(dp", b"c__builtin__", b"cposix\n", b"csklearn")):
        kind = "a pickle"
    elif head.startswith(b"PK\x03\x04"):
        kind = "a zip archive, as torch or skops write it"
    elif head.startswith(b"\x89HDF"):
        kind = "an HDF5 file, as Keras writes it"
    if kind:
        refuse(f"The file is {kind}. Opening it may run code, so it is never opened here.", _HOW)


class _Broken(ValueError):
    """The bytes are no protobuf."""


def _fields(data: memoryview) -> Iterator[_Field]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _Broken(f"wire type {wire}")
        if number == 0 or size > end - at:
            raise _Broken("a field goes beyond the end")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _Broken("a number is too long")


def _parts(data: memoryview, number: int) -> Iterator[memoryview]:
    for found, value in _fields(data):
        if found == number and isinstance(value, memoryview):
            yield value


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise _Broken("a number where a text belongs")
    return bytes(value).decode()


def _pair(data: memoryview) -> tuple[str, str]:
    key = value = ""
    for number, found in _fields(data):
        if number == 1:
            key = _text(found)
        elif number == 2:
            value = _text(found)
    return key, value


def _read_model(data: memoryview, facts: OnnxFacts) -> list[memoryview]:
    graphs: list[memoryview] = []
    functions = list(_parts(data, 25))
    facts.functions.update(map(_function_name, functions))
    for function in functions:
        for node in _parts(function, 7):
            _read_node(node, facts, depth=1)
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            facts.ir_version = value
        elif number == 2:
            facts.producer = _text(value)[:200]
        elif number == 7 and isinstance(value, memoryview):
            graphs.append(value)
        elif number == 8 and isinstance(value, memoryview):
            _read_opset(value, facts)
        elif number == 14 and isinstance(value, memoryview):
            key, text = _pair(value)
            facts.metadata[key[:200]] = text[:65536]
    return graphs


def _read_opset(data: memoryview, facts: OnnxFacts) -> None:
    domain, version = "", 0
    for number, value in _fields(data):
        if number == 1:
            domain = _text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    # A file may name operator sets that no node uses; nodes are judged one by one.
    facts.opsets[domain[:200]] = version


def _function_name(data: memoryview) -> tuple[str, str]:
    """A function of the file's own is made of operators, which are judged like those of the graph."""
    domain = name = ""
    for number, value in _fields(data):
        if number == 10:
            domain = _text(value)
        elif number == 1:
            name = _text(value)
    return domain, name


def _read_graph(data: memoryview, facts: OnnxFacts, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Broken("graphs nested too deep")
    inputs: list[memoryview] = []
    outputs: list[memoryview] = []
    constants: set[str] = set()
    for number, value in _fields(data):
        if isinstance(value, int):
            continue
        if number == 1:
            _read_node(value, facts, depth=depth)
        elif number == 5:
            constants.add(_read_tensor(value, facts))
        elif number == 15:
            _read_sparse(value, facts)
        elif number == 11:
            inputs.append(value)
        elif number == 12:
            outputs.append(value)
    if depth == 0:
        _take_signature([value for value in inputs if _name(value) not in constants], outputs, facts)


def _take_signature(inputs: list[memoryview], outputs: list[memoryview], facts: OnnxFacts) -> None:
    if len(inputs) > MAX_TENSORS or len(outputs) > MAX_TENSORS:
        raise _Broken(f"{len(inputs)} inputs and {len(outputs)} outputs")
    facts.inputs, facts.outputs = tuple(map(_spec, inputs)), tuple(map(_spec, outputs))


def _read_sparse(data: memoryview, facts: OnnxFacts) -> None:
    for part in (*_parts(data, 1), *_parts(data, 2)):
        _read_tensor(part, facts)


def _read_node(data: memoryview, facts: OnnxFacts, *, depth: int) -> None:
    facts.nodes += 1
    if facts.nodes > MAX_NODES:
        raise _Broken(f"over {MAX_NODES} nodes")
    operator = domain = ""
    for number, value in _fields(data):
        if number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5 and isinstance(value, memoryview):
            _read_attribute(value, facts, depth=depth)
    facts.operators.add(f"{domain}.{operator}" if domain else operator)
    _check_operator(domain, operator, facts)


def _check_operator(domain: str, operator: str, facts: OnnxFacts) -> None:
    if domain not in DOMAINS and (domain, operator) not in facts.functions:
        refuse(
            f"The model uses the custom operator {domain[:80]}.{operator[:80]}, which needs a library of code.",
            f"Only operators of onnxruntime itself are run: {', '.join(sorted(DOMAINS - {''}))}.",
        )
    if operator in REFUSED_OPERATORS:
        refuse(f"The model uses the operator {operator}, which loads code or files from elsewhere.")


def _read_attribute(data: memoryview, facts: OnnxFacts, *, depth: int) -> None:
    if _name(data) in _CLASS_LABELS:
        facts.classes = tuple(_labels(data))
        return
    for number, value in _fields(data):
        if isinstance(value, int):
            continue
        if number in (6, 11):
            _read_graph(value, facts, depth=depth + 1)
        elif number in (5, 10):
            _read_tensor(value, facts)
        elif number in (22, 23):
            _read_sparse(value, facts)


def _labels(data: memoryview) -> Iterator[str]:
    for number, value in _fields(data):
        if number == 9:
            yield _text(value)
        elif number == 8 and isinstance(value, int):
            yield _signed(value)
        elif number == 8 and isinstance(value, memoryview):  # packed
            at = 0
            while at < len(value):
                found, at = _varint(value, at)
                yield _signed(found)


def _signed(value: int) -> str:
    return str(value - (1 << 64) if value >= 1 << 63 else value)


def _read_tensor(data: memoryview, facts: OnnxFacts) -> str:
    name = ""
    for number, value in _fields(data):
        if number == 8:
            name = _text(value)
        elif number == 13 and isinstance(value, memoryview):
            key, text = _pair(value)
            if key == "location":
                facts.external.add(_checked_location(text))
    return name


def _checked_location(location: str) -> str:
    """The plain name of a file beside the model."""
    if not location or "/" in location or "\\" in location or location in (".", "..") or "\0" in location:
        refuse(
            f'The model\'s weights are outside the bundle: "{location[:100]}".',
            "Keep external data beside the .onnx file, and register the directory that holds both.",
        )
    return location


def _name(data: memoryview) -> str:
    return next((_text(value) for number, value in _fields(data) if number == 1), "")


def _spec(data: memoryview) -> TensorSpec:
    name = _name(data)
    for kind in _parts(data, 2):
        for number, value in _fields(kind):
            if number == 1 and isinstance(value, memoryview):
                return _tensor_spec(name, value)
            if number in _TYPES:
                refuse(
                    f'"{name[:100]}" of the model is {_TYPES[number]}, which the protocol cannot carry.',
                    'Convert without it: skl2onnx options={"zipmap": False}.',
                )
    raise _Broken(f'"{name[:100]}" has no type')


def _tensor_spec(name: str, data: memoryview) -> TensorSpec:
    element, shape, has_shape = 0, [], False
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            element = value
        elif number == 2 and isinstance(value, memoryview):
            has_shape = True
            shape = [_size(dim) for dim in _parts(value, 1)]
    if element not in _DATATYPES:
        refuse(f'"{name[:100]}" of the model has the element type {element}, which the protocol has not.')
    if not has_shape or len(shape) > 8:
        refuse(f'"{name[:100]}" of the model has no shape, or one of over 8 dimensions.')
    return TensorSpec(name=name, datatype=_DATATYPES[element], shape=tuple(shape))


def _size(dim: memoryview) -> int:
    for number, value in _fields(dim):
        if number == 1 and isinstance(value, int) and 0 < value < 1 << 31:
            return value
    return -1

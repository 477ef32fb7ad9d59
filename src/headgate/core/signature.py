"""What a classic model takes and gives: named tensors with types and shapes, and what the numbers mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "regression", "other"]

MAX_TENSORS = 4096
MAX_DIMS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Datatype:
    """A datatype of the Open Inference Protocol. ``typecode``: of `array.array`; None where that has none."""

    name: str
    code: int  # in frames
    item_bytes: int  # 0: elements of their own length
    typecode: str | None
    json: Literal["bool", "int", "float", "text", "none"]  # what JSON calls its elements; none: binary only
    low: int = 0
    high: int = 0


DATATYPES: tuple[Datatype, ...] = (
    Datatype(name="BOOL", code=1, item_bytes=1, typecode="B", json="bool"),
    Datatype(name="UINT8", code=2, item_bytes=1, typecode="B", json="int", high=2**8 - 1),
    Datatype(name="UINT16", code=3, item_bytes=2, typecode="H", json="int", high=2**16 - 1),
    Datatype(name="UINT32", code=4, item_bytes=4, typecode="I", json="int", high=2**32 - 1),
    Datatype(name="UINT64", code=5, item_bytes=8, typecode="Q", json="int", high=2**64 - 1),
    Datatype(name="INT8", code=6, item_bytes=1, typecode="b", json="int", low=-(2**7), high=2**7 - 1),
    Datatype(name="INT16", code=7, item_bytes=2, typecode="h", json="int", low=-(2**15), high=2**15 - 1),
    Datatype(name="INT32", code=8, item_bytes=4, typecode="i", json="int", low=-(2**31), high=2**31 - 1),
    Datatype(name="INT64", code=9, item_bytes=8, typecode="q", json="int", low=-(2**63), high=2**63 - 1),
    Datatype(name="FP16", code=10, item_bytes=2, typecode=None, json="none"),
    Datatype(name="FP32", code=11, item_bytes=4, typecode="f", json="float"),
    Datatype(name="FP64", code=12, item_bytes=8, typecode="d", json="float"),
    Datatype(name="BYTES", code=13, item_bytes=0, typecode=None, json="text"),
)
DATATYPE = {kind.name: kind for kind in DATATYPES}
DATATYPE_BY_CODE = {kind.code: kind for kind in DATATYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output; -1 in ``shape``: any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a version takes and gives.

    ``features``: names of the columns, where known: of the one matrix input, or of inputs that are a column each.
    ``entity``: the column that says whom a row is about; it is logged and joins labels, the model never sees it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: Task = "other"
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()  # of the scores' columns
    predicted: str | None = None  # the output that holds the class or the number
    scores: str | None = None  # the output that holds a score per class
    positive: str | None = None  # the class whose score is kept; None: that of the predicted class
    entity: str | None = None

    def input(self, name: str) -> TensorSpec | None:
        """The input called ``name``."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    @property
    def is_matrix(self) -> bool:
        """One input with a row per case and a column per feature."""
        return len(self.inputs) == 1 and len(self.inputs[0].shape) == 2

    @property
    def is_columns(self) -> bool:
        """One input per column, each with a row per case."""
        return all(len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] in (1, -1)) for spec in self.inputs)


def changes_of_signature(before: Signature, after: Signature) -> list[str]:
    """Why callers of ``before`` could not call ``after`` as they do; empty: they can."""
    found: list[str] = []
    for kind, old, new in (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs)):
        fresh = {spec.name: spec for spec in new}
        for spec in old:
            other = fresh.pop(spec.name, None)
            if other is None:
                found.append(f"{kind} {spec} is gone")
            elif not _fits(spec, other, is_input=kind == "input"):
                found.append(f"{kind} {spec} became {other}")
        if kind == "input":
            found.extend(f"input {spec} is new" for spec in fresh.values())
    if before.features and after.features and before.features != after.features:
        found.append(_feature_change(before.features, after.features))
    if before.classes and after.classes and before.classes != after.classes:
        found.append(f"classes {', '.join(before.classes[:20])} became {', '.join(after.classes[:20])}")
    if before.task != after.task:
        found.append(f"task {before.task} became {after.task}")
    return found


def _fits(old: TensorSpec, new: TensorSpec, *, is_input: bool) -> bool:
    if old.datatype != new.datatype or len(old.shape) != len(new.shape):
        return False
    wide, narrow = (new, old) if is_input else (old, new)  # inputs may accept more, outputs may promise more
    return all(a in (-1, b) for a, b in zip(wide.shape, narrow.shape, strict=True))


def _feature_change(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    gone = [name for name in before if name not in after]
    fresh = [name for name in after if name not in before]
    parts = [f"without {', '.join(gone[:5])}"] if gone else []
    parts += [f"with {', '.join(fresh[:5])}"] if fresh else []
    return f"the features differ: {' and '.join(parts) or 'in another order'}"

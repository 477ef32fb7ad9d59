"""Runs a bundle's sample once, in a process of its own: `python -m headgate.runtimes.replay`.

Writes what the model answered beside the bundle, and prints the report as JSON: does it load, do its outputs have the
types it promises, may calls be run together, and is every row what the training process saw.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.core.signature import DATATYPE_BY_CODE, Signature, TensorSpec
from headgate.runtimes.bundle import EXPECTED_FILE, REFERENCE_FILE, SAMPLE_FILE, read_manifest
from headgate.runtimes.limits import confine
from headgate.wire.frames import INFER, OUTPUTS, Tensor, decode, encode

if TYPE_CHECKING:
    from headgate.runtimes.session import Session

SAMPLE_ROWS = 4
SAMPLE_SEED = 7
MAX_ROWS_LISTED = 1000
MAX_FILE_BYTES = 256 << 20
FAILED, NO_RUNTIME = 3, 4


def main(arguments: list[str]) -> int:
    """Print the report; 3 with a reason on standard error when the model cannot be run, 4 without onnxruntime."""
    parser = argparse.ArgumentParser(prog="headgate.runtimes.replay")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--tolerance", type=float, required=True)
    parser.add_argument("--check", action="store_true", help="compare with what is stored, write nothing")
    given = parser.parse_args(arguments)
    signal.setitimer(signal.ITIMER_REAL, given.timeout_s)
    signature = read_manifest(given.bundle).signature
    confine(memory_mb=given.memory_mb, file_bytes=MAX_FILE_BYTES)
    try:
        from headgate.runtimes.session import Session
    except ImportError as error:
        print(f"onnxruntime cannot be imported ({error})", file=sys.stderr)  # noqa: T201
        return NO_RUNTIME
    try:
        session = Session(given.bundle, signature)
        report = _replayed(session, signature, given)
    except Exception as error:  # border: plug-in call. Whatever onnxruntime raises, the model is not taken.
        print(f"{type(error).__name__}: {error}"[:2000], file=sys.stderr)  # noqa: T201
        return FAILED
    print(json.dumps(report))  # noqa: T201
    return 0


def _replayed(session: "Session", signature: Signature, given: argparse.Namespace) -> dict[str, Any]:
    directory: Path = given.bundle
    sample_file = directory / SAMPLE_FILE
    is_made_up = not sample_file.exists()
    sample = made_up_sample(signature) if is_made_up else decode(sample_file.read_bytes()).tensors
    outputs = session.run(sample)
    _check_outputs(signature, outputs)
    reference: dict[str, Tensor] = {}
    if given.check:
        stored = decode((directory / EXPECTED_FILE).read_bytes()).tensors
        reference = {spec.name: one for spec, one in zip(signature.outputs, stored, strict=True)}
    elif (directory / REFERENCE_FILE).exists():
        frame = decode((directory / REFERENCE_FILE).read_bytes())
        reference = dict(zip(json.loads(frame.text), frame.tensors, strict=True))
    report: dict[str, Any] = {
        "rows": sample[0].rows if sample else 0,
        "sample": "made up" if is_made_up else "given",
        "joins": _may_join(session, sample, outputs),
        "parity": parity(signature, outputs, reference, given.tolerance) if reference else None,
    }
    if not given.check:
        sample_file.write_bytes(encode(0, INFER, sample))
        (directory / EXPECTED_FILE).write_bytes(encode(0, OUTPUTS, outputs))
    return report


def made_up_sample(signature: Signature) -> list[Tensor]:
    """A few rows of plausible values where no sample was given: the same ones for the same signature."""
    import numpy as np

    from headgate.runtimes.arrays import tensor_of

    random = np.random.default_rng(SAMPLE_SEED)
    tensors: list[Tensor] = []
    for spec in signature.inputs:
        shape = _made_up_shape(spec)
        if spec.datatype == "BYTES":
            tensors.append(tensor_of(np.full(shape, "a", dtype=object)))
        elif spec.datatype.startswith("FP"):
            values = random.normal(size=shape).astype({"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}[spec.datatype])
            tensors.append(tensor_of(values))
        else:
            kind = "?" if spec.datatype == "BOOL" else spec.datatype.lower()
            tensors.append(tensor_of(random.integers(0, 2, size=shape).astype(kind)))
    return tensors


def _made_up_shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple((SAMPLE_ROWS if place == 0 else 1) if size == -1 else size for place, size in enumerate(spec.shape))


def _check_outputs(signature: Signature, outputs: list[Tensor]) -> None:
    for spec, tensor in zip(signature.outputs, outputs, strict=True):
        name = DATATYPE_BY_CODE[tensor.code].name
        if name != spec.datatype or not spec.accepts(tensor.shape):
            raise ValueError(f"output {spec} came as {name} {list(tensor.shape)}")


def _may_join(session: "Session", sample: list[Tensor], outputs: list[Tensor]) -> str:
    """Whether rows that are run together answer as they do alone: exact, close, or no."""
    from headgate.runtimes.arrays import TOLERANCE, CallRefused, array_of, differences, tensor_of

    rows = sample[0].rows if sample else 0
    if not session.can_join or rows < 2 or any(one.shape[:1] != (rows,) for one in (*sample, *outputs)):
        return "no"
    worst = 0.0
    try:
        for row in range(min(rows, 32)):
            alone = session.run([tensor_of(array_of(one)[row : row + 1].copy()) for one in sample])
            for got, whole in zip(alone, outputs, strict=True):
                apart = differences(array_of(got), array_of(whole)[row : row + 1])
                worst = max(worst, float(apart.max()) if apart.size else 0.0)
    except (CallRefused, ValueError):
        return "no"
    return "exact" if worst == 0 else "close" if worst <= TOLERANCE else "no"


def parity(
    signature: Signature, outputs: list[Tensor], reference: dict[str, Tensor], tolerance: float
) -> dict[str, Any]:
    """Row for row: how far the served answer is from what the training process computed."""
    import numpy as np

    from headgate.runtimes.arrays import array_of, differences

    served = dict(zip((spec.name for spec in signature.outputs), outputs, strict=True))
    worst_of_row: Any = None
    found: dict[str, Any] = {}
    for name, wanted in reference.items():
        if name not in served:
            raise ValueError(f'the reference names the output "{name}", which the model has not')
        apart = differences(array_of(served[name]), array_of(wanted))
        by_row = apart.reshape(apart.shape[0], -1).max(axis=1) if apart.ndim else apart.reshape(1)
        worst_of_row = by_row if worst_of_row is None else np.maximum(worst_of_row, by_row)
        found[name] = {"max_difference": _number(by_row.max()), "rows_off": int((by_row > tolerance).sum())}
    rows = int(worst_of_row.shape[0])
    off = [int(row) for row in np.flatnonzero(worst_of_row > tolerance)]
    return {
        "rows": rows,
        "rows_equal": rows - len(off),
        "rows_off": off[:MAX_ROWS_LISTED],
        "by_row": [_number(value) for value in worst_of_row[:MAX_ROWS_LISTED]],
        "max_difference": _number(worst_of_row.max()),
        "tolerance": tolerance,
        "outputs": found,
        "passed": not off,
    }


def _number(value: Any) -> float | None:
    """None: the two are no numbers, or not both, and differ."""
    number = float(value)
    return None if number == float("inf") else number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

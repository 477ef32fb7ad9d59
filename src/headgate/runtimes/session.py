"""One loaded model: tensors in, tensors out, alone or many calls in one run. Imports onnxruntime and numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from headgate.core.signature import Signature
from headgate.runtimes.arrays import Array, CallRefused, array_of, tensor_of
from headgate.runtimes.bundle import MODEL_FILE
from headgate.wire.frames import Tensor


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

"""Uploads of model files and what becomes of them: a checked bundle under HOME/models, or a refusal."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headgate.core.errors import BodyTooLarge, HomeError, MalformedRequest, NotFound
from headgate.core.ids import now_us, uuid7
from headgate.core.signature import DATATYPE, Signature, Task, TensorSpec
from headgate.runtimes.archive import is_archive, unpack
from headgate.runtimes.bundle import (
    MANIFEST_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    SAMPLE_FILE,
    Manifest,
    hash_of,
)
from headgate.runtimes.onnx_file import OnnxFacts, check_is_data, read_onnx, refuse
from headgate.wire.frames import FrameError, decode

_UPLOAD = re.compile(r"[0-9a-f-]{36}")
_UPLOAD_LIFE_S = 3600
_MAX_UPLOADS = 16
_MAX_SAMPLE_BYTES = 64 << 20
_MAX_ONNX_BYTES = 2 << 30  # a protobuf ends there; larger weights are external data
CODE_ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".so", ".dylib", ".dll", ".pyc")
_WAY_OUT = "Convert the model to ONNX where it was trained: headgate.register_model(name, estimator, sample)."


class Uploads:
    """Files on their way in, piece by piece, under HOME/tmp."""

    def __init__(self, home: Path, limit_bytes: int) -> None:
        self._directory, self._limit_bytes = home / "tmp", limit_bytes

    def begin(self) -> str:
        """A new upload's id; forgets those that nobody goes on with."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        oldest_s = now_us() / 1e6 - _UPLOAD_LIFE_S
        found = list(self._directory.glob("upload-*"))
        for path in found:
            if path.stat().st_mtime < oldest_s:
                path.unlink(missing_ok=True)
        if len(found) >= _MAX_UPLOADS:
            raise MalformedRequest(
                f"{len(found)} uploads are open; that is the most.", hint="Finish them, or wait an hour."
            )
        name = uuid7(now_us())
        os.close(os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return name

    def add(self, name: str, offset: int, data: bytes) -> int:
        """Append a piece at ``offset``, which is where the upload ends; its size now."""
        path = self.path(name)
        size = path.stat().st_size
        if offset != size:
            raise MalformedRequest(f"The upload has {size} bytes, the piece begins at {offset}.", code="upload_offset")
        if size + len(data) > self._limit_bytes:
            raise BodyTooLarge(
                f"The upload is over {self._limit_bytes >> 20} MB.", hint="Raise models.max_file_mb if it is meant to."
            )
        try:
            with path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise HomeError(f"The upload cannot be written ({error.strerror}).", hint="Make room.") from error
        return size + len(data)

    def path(self, name: str) -> Path:
        """Where an upload is; raises NotFound."""
        if not _UPLOAD.fullmatch(name) or not self._path(name).is_file():
            raise NotFound("There is no such upload.", code="upload_missing", hint="Begin: POST /api/models/uploads")
        return self._path(name)

    def remove(self, name: str) -> None:
        """Forget an upload."""
        if _UPLOAD.fullmatch(name):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"upload-{name}"


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A bundle that is whole and checked, but not yet run."""

    directory: Path
    manifest: Manifest
    facts: OnnxFacts
    size_bytes: int


def stage(home: Path, upload: Path, given: Mapping[str, Any], *, limit_bytes: int) -> Staged:
    """Make a bundle of an upload; ``given``: what the author says of the signature. Raises ModelRefused.

    The directory is the caller's to put in its place or to remove.
    """
    models = home / "models"
    models.mkdir(mode=0o700, exist_ok=True)
    directory = models / f".new-{uuid7(now_us())}"
    directory.mkdir(mode=0o700)
    try:
        return _stage(directory, upload, given, limit_bytes)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _stage(directory: Path, upload: Path, given: Mapping[str, Any], limit_bytes: int) -> Staged:
    if is_archive(upload):
        names = unpack(upload, directory, limit_bytes=limit_bytes)
    else:
        shutil.copyfile(upload, directory / MODEL_FILE)
        names = [MODEL_FILE]
    model = _the_model(directory, names)
    facts = read_onnx(_read(directory / model))
    for name in sorted(facts.external):
        if name not in names:
            refuse(
                f'The model\'s weights are outside the bundle: "{name[:100]}" is not beside {model}.',
                "Register the directory or archive that holds both.",
            )
    if model != MODEL_FILE:
        (directory / model).rename(directory / MODEL_FILE)
    kept = {MODEL_FILE, *facts.external}
    evidence = {SAMPLE_FILE, REFERENCE_FILE} & set(names)
    for name in set(names) - kept - evidence - {model}:
        (directory / name).unlink()
    for name in evidence:
        _check_frame(directory / name)
    files = {name: hash_of(directory / name) or "" for name in sorted(kept)}
    manifest = Manifest(files=files, signature=signature_for(facts, given))
    (directory / MANIFEST_FILE).write_bytes(manifest.canonical())
    size_bytes = sum((directory / name).stat().st_size for name in kept)
    return Staged(directory=directory, manifest=manifest, facts=facts, size_bytes=size_bytes)


def _the_model(directory: Path, names: list[str]) -> str:
    """The name of the one ONNX file; refuses what would have to be unpickled."""
    code = [name for name in names if name.lower().endswith(CODE_ENDINGS)]
    if code:
        refuse(f'The bundle holds "{code[0][:100]}". Opening it may run code, so it is never opened here.', _WAY_OUT)
    found = [name for name in names if name.lower().endswith(".onnx")]
    if len(found) == 1:
        return found[0]
    if found:
        refuse(f"The bundle holds {len(found)} ONNX files: {', '.join(found[:5])}.", "Register one model at a time.")
    if "MLmodel" in names:
        refuse("This MLflow model has no ONNX flavor; a pyfunc is Python code, which is never run here.", _WAY_OUT)
    refuse(f"The bundle holds no .onnx file, but {', '.join(names[:5]) or 'nothing'}.", _WAY_OUT)


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MAX_ONNX_BYTES:
        refuse("The .onnx file is over 2 GB.", "Keep its weights as external data beside it.")
    data = path.read_bytes()
    check_is_data(data[:4096])
    return data


def _check_frame(path: Path) -> None:
    try:
        if path.stat().st_size > _MAX_SAMPLE_BYTES:
            raise FrameError(f"over {_MAX_SAMPLE_BYTES >> 20} MB")
        decode(path.read_bytes())
    except FrameError as error:
        refuse(f"{path.name} is no sample ({error}).", "headgate.register_model writes it.")


def signature_for(facts: OnnxFacts, given: Mapping[str, Any]) -> Signature:
    """What the file says, and what its author adds: names of features and classes, what the outputs mean."""
    for spec in (*facts.inputs, *facts.outputs):
        if spec.datatype not in DATATYPE:
            refuse(f'"{spec.name}" has a type that the protocol has not.')
    predicted = _named(facts.outputs, given.get("predicted"), "predicted") or _guessed_prediction(facts.outputs)
    scores = _named(facts.outputs, given.get("scores"), "scores") or _guessed_scores(facts.outputs, predicted)
    task: Task = given.get("task") or _guessed_task(facts.outputs, predicted, scores)
    classes = tuple(map(str, given.get("classes") or facts.classes)) if task == "classification" else ()
    features = tuple(map(str, given.get("features") or ()))
    signature = Signature(
        inputs=facts.inputs,
        outputs=facts.outputs,
        task=task,
        features=features,
        classes=_fitting(facts.outputs, scores, classes),
        predicted=predicted,
        scores=scores if task == "classification" else None,
        entity=given.get("entity") or None,
    )
    _check_features(signature)
    positive = given.get("positive") or (signature.classes[1] if len(signature.classes) == 2 else None)
    if positive is not None and signature.classes and positive not in signature.classes:
        refuse(f'The positive class "{positive}" is none of {", ".join(signature.classes[:20])}.')
    return replace(signature, positive=positive)


def _named(outputs: tuple[TensorSpec, ...], name: str | None, what: str) -> str | None:
    if name is not None and all(spec.name != name for spec in outputs):
        refuse(f'{what} = "{name[:100]}" is no output. Outputs: {", ".join(spec.name for spec in outputs[:20])}.')
    return name


def _is_column(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _guessed_prediction(outputs: tuple[TensorSpec, ...]) -> str | None:
    return next((spec.name for spec in outputs if _is_column(spec)), None)


def _guessed_scores(outputs: tuple[TensorSpec, ...], predicted: str | None) -> str | None:
    return next(
        (
            spec.name
            for spec in outputs
            if spec.datatype.startswith("FP") and len(spec.shape) == 2 and spec.shape[1] != 1 and spec.name != predicted
        ),
        None,
    )


def _guessed_task(outputs: tuple[TensorSpec, ...], predicted: str | None, scores: str | None) -> Task:
    spec = next((one for one in outputs if one.name == predicted), None)
    if spec is None:
        return "other"
    if not spec.datatype.startswith("FP"):
        return "classification"
    return "other" if scores else "regression"


def _fitting(outputs: tuple[TensorSpec, ...], scores: str | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    spec = next((one for one in outputs if one.name == scores), None)
    if spec is None or spec.shape[1] == -1 or len(classes) == spec.shape[1]:
        return classes
    return tuple(map(str, range(spec.shape[1]))) if not classes else _refuse_classes(classes, spec)


def _refuse_classes(classes: tuple[str, ...], spec: TensorSpec) -> tuple[str, ...]:
    refuse(f"{len(classes)} classes are named, the output {spec} has {spec.shape[1]}.")


def _check_features(signature: Signature) -> None:
    features = signature.features
    if not features:
        return
    if len(set(features)) != len(features):
        refuse("A feature is named twice.")
    if signature.is_matrix and signature.inputs[0].shape[1] not in (-1, len(features)):
        refuse(f"{len(features)} features are named, the input is {signature.inputs[0]}.")


def place(staged: Staged, home: Path) -> Path:
    """Put a bundle where its hash says; the one that is there already stays as it is."""
    final = home / "models" / staged.manifest.sha256
    for file in staged.directory.iterdir():
        file.chmod(0o400)
    try:
        staged.directory.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(staged.directory, ignore_errors=True)
    return final

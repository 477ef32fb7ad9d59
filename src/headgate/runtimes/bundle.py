"""A bundle: the directory of one model version, named by the hash of what it serves. Standard library only.

``manifest.json`` names the files with their hashes and the signature; its own hash is the version's.
``sample.bin`` and ``expected.bin`` are frames of a sample call and its answer, kept as evidence, not content.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

from headgate.core.signature import Signature, Task, TensorSpec

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
SAMPLE_FILE = "sample.bin"
EXPECTED_FILE = "expected.bin"
REFERENCE_FILE = "reference.bin"
_CHUNK_BYTES = 1 << 20


class BundleDamaged(Exception):
    """What is on disk is not what was registered."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a version serves; ``files``: name to SHA-256."""

    files: Mapping[str, str]
    signature: Signature
    format: Literal["onnx"] = "onnx"

    def canonical(self) -> bytes:
        """The bytes of ``manifest.json``: the same content is always the same bytes."""
        content = {"format": self.format, "files": dict(self.files), "signature": signature_json(self.signature)}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @property
    def sha256(self) -> str:
        """The version's hash."""
        return sha256(self.canonical()).hexdigest()


def signature_json(signature: Signature) -> dict[str, Any]:
    """A signature as JSON, empty parts left out."""
    return {name: value for name, value in asdict(signature).items() if value not in (None, (), "")}


def signature_of(value: Mapping[str, Any]) -> Signature:
    """The signature in ``signature_json``'s form; raises KeyError, TypeError or ValueError for any other."""

    def specs(name: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=one["name"], datatype=one["datatype"], shape=tuple(map(int, one["shape"])))
            for one in value[name]
        )

    task = value.get("task", "other")
    if task not in ("classification", "regression", "other"):
        raise ValueError(f"task {task!r}")
    return Signature(
        inputs=specs("inputs"),
        outputs=specs("outputs"),
        task=cast(Task, task),
        features=tuple(map(str, value.get("features", ()))),
        classes=tuple(map(str, value.get("classes", ()))),
        predicted=value.get("predicted"),
        scores=value.get("scores"),
        positive=value.get("positive"),
        entity=value.get("entity"),
    )


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle. Raises BundleDamaged."""
    try:
        found = json.loads((directory / MANIFEST_FILE).read_bytes())
        return Manifest(files=dict(found["files"]), signature=signature_of(found["signature"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleDamaged(f"{directory / MANIFEST_FILE} cannot be read ({type(error).__name__}: {error})") from error


def verified(directory: Path, wanted_sha256: str) -> Manifest:
    """The manifest, once every byte it names was read and is as registered. Raises BundleDamaged."""
    manifest = read_manifest(directory)
    if manifest.sha256 != wanted_sha256:
        raise BundleDamaged(f"{directory / MANIFEST_FILE} is not that of version {wanted_sha256[:12]}")
    for name, wanted in manifest.files.items():
        if Path(name).name != name or hash_of(directory / name) != wanted:
            raise BundleDamaged(f"{directory / name} is not the file that was registered")
    return manifest


def hash_of(path: Path) -> str | None:
    """The SHA-256 of a file; None when it cannot be read."""
    digest = sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()

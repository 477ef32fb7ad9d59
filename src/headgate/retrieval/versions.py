"""Versions on disk: an immutable directory named by the hash of its manifest, whose hashes cover every file in it."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from headgate.core.errors import Unavailable
from headgate.retrieval.model import Chunk, Manifest, canonical, sha256_of

MANIFEST = "manifest.json"
CHUNKS = "chunks.jsonl"
VECTORS = "vectors.npy"
KEYWORDS = "bm25"
MAX_MANIFEST_BYTES = 64 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_decode_manifest = msgspec.json.Decoder(Manifest).decode
_decode_chunk = msgspec.json.Decoder(Chunk).decode


class VersionDamaged(Unavailable):
    """A version's directory is not what its name says."""

    code = "kb_damaged"
    hint = "Put the directory back from a copy, or push the same sources again: they become the next version."


def version_path(home: Path, sha256: str) -> Path:
    """The directory of a version; ValueError when that is no digest."""
    if not _DIGEST.fullmatch(sha256):
        raise ValueError(f"{sha256[:80]!r} is no SHA-256")
    return home / "kb" / sha256


def read_manifest(home: Path, sha256: str) -> Manifest:
    """The manifest of a version, checked against its name; raises VersionDamaged."""
    path = version_path(home, sha256)
    try:
        with (path / MANIFEST).open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise VersionDamaged(f"{path / MANIFEST} cannot be read: {error.strerror}.") from None
    if sha256_of(data) != sha256:
        raise VersionDamaged(f"{path / MANIFEST} is damaged: its hash is not the directory's name.")
    try:
        return _decode_manifest(data)
    except msgspec.MsgspecError as error:
        raise VersionDamaged(f"{path / MANIFEST} was written by another Headgate: {error}.") from None


def verify(home: Path, sha256: str) -> Manifest:
    """The manifest of a version whose every file has the hash that stands in it; raises VersionDamaged."""
    manifest = read_manifest(home, sha256)
    for name in manifest.files:
        read_file(home, sha256, manifest, name)
    return manifest


def read_file(home: Path, sha256: str, manifest: Manifest, name: str) -> bytes:
    """One file of a version, checked; raises VersionDamaged."""
    path = version_path(home, sha256) / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VersionDamaged(f"{path} cannot be read: {error.strerror}.") from None
    if sha256_of(data) != manifest.files[name]:
        raise VersionDamaged(f"{path} is damaged: its hash is not the one in the manifest.")
    return data


def read_chunks(home: Path, sha256: str) -> list[Chunk]:
    """The chunks of a version in their order, checked; raises VersionDamaged."""
    return decode_chunks(read_file(home, sha256, read_manifest(home, sha256), CHUNKS))


def decode_chunks(data: bytes) -> list[Chunk]:
    """The chunks in the bytes of a checked file."""
    return [_decode_chunk(line) for line in data.splitlines()]


def encode_chunks(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """The lines of a chunks file."""
    return (canonical(chunk) + b"\n" for chunk in chunks)


def put_in_place(home: Path, made: Path) -> str:
    """Gives a finished directory its name, durably, and returns the hash; the same version is there once only."""
    data = (made / MANIFEST).read_bytes()
    sha256 = sha256_of(data)
    for file in made.rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            _sync(file)
    _sync(made)
    target = version_path(home, sha256)
    if target.exists():
        try:
            verify(home, sha256)
            shutil.rmtree(made)
            return sha256
        except VersionDamaged:
            target.rename(made.with_name(f"damaged-{sha256[:16]}-{os.getpid()}"))
    made.rename(target)
    _sync(target.parent)
    return sha256


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

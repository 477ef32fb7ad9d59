"""Sources into a version below HOME/kb: chunks here, vectors and keyword index in a short process of their own."""

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headgate.core.errors import HeadgateError, MalformedRequest
from headgate.registry import kbs
from headgate.registry.database import Database
from headgate.registry.kbs import Kb, KbVersion, NewKbVersion
from headgate.retrieval import versions
from headgate.retrieval.chunking import chunks_of
from headgate.retrieval.job import JOB, Job
from headgate.retrieval.model import (
    LEXICAL_DIMENSIONS,
    MAX_CHUNKS,
    Chunk,
    Embedder,
    KbSettings,
    Origin,
    Source,
    content_sha256,
)
from headgate.retrieval.sources import SourceText
from headgate.retrieval.versions import VersionDamaged

_BUILD_TIMEOUT_S = 1800.0
_MOST_REUSED = 5


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The sources of a push, cut into chunks."""

    sources: tuple[Source, ...]
    chunks: list[Chunk]


def cut(texts: Iterable[SourceText], settings: KbSettings) -> Cut:
    """Blocking: the chunks of all sources; raises MalformedRequest."""
    sources: list[Source] = []
    chunks: list[Chunk] = []
    for text in sorted(texts, key=lambda one: one.path):
        found = chunks_of(text.path, text.text, settings.chunk)
        chunks += found
        sources.append(Source(path=text.path, sha256=text.sha256, chunks=len(found)))
        if len(chunks) > MAX_CHUNKS:
            raise MalformedRequest(
                f"The sources make more than {MAX_CHUNKS:,} chunks.", hint="Raise chunk.size, or make several."
            )
    if not chunks:
        raise MalformedRequest(
            "There is no text in the sources.", code="kb_empty", hint="Push files with text in them."
        )
    return Cut(sources=tuple(sources), chunks=chunks)


def known_version(home: Path, kb: Kb | None, content: str) -> KbVersion | None:
    """The version made of the same sources and settings, if its files are whole."""
    for version in kb.versions if kb is not None else ():
        if version.content_sha256 == content:
            try:
                versions.verify(home, version.sha256)
            except VersionDamaged:
                continue
            return version
    return None


def reusable(home: Path, kb: Kb | None, embedder: Embedder) -> dict[str, set[str]]:
    """Manifest hash to the hashes of embedded texts, of the newest whole versions with the same embedder."""
    found: dict[str, set[str]] = {}
    for version in kb.versions if kb is not None else ():
        if (version.embedder, version.embed_asks) != (embedder.model, embedder.dimensions):
            continue
        try:
            versions.verify(home, version.sha256)
            found[version.sha256] = {chunk.sha256 for chunk in versions.read_chunks(home, version.sha256)}
        except VersionDamaged:
            continue
        if len(found) >= _MOST_REUSED:
            break
    return found


@dataclass(frozen=True, kw_only=True)
class Making:
    """Everything that a version is made of."""

    name: str
    settings: KbSettings
    made: Cut
    origin: Origin
    kb: Kb | None
    dimensions: int = LEXICAL_DIMENSIONS
    reuse: Sequence[str] = ()
    new_vectors: Path | None = None

    @property
    def content_sha256(self) -> str:
        """What makes it the same version as another."""
        return content_sha256(self.settings, [(source.path, source.sha256) for source in self.made.sources])


def build(home: Path, making: Making) -> str:
    """Blocking: the manifest hash of the finished version, its files in place; raises HeadgateError."""
    folder = staging(home)
    try:
        with (folder / versions.CHUNKS).open("wb") as file:
            file.writelines(versions.encode_chunks(making.made.chunks))
        job = Job(
            name=making.name,
            content_sha256=making.content_sha256,
            settings=making.settings,
            dimensions=making.dimensions,
            sources=making.made.sources,
            parent=making.kb.versions[0].sha256 if making.kb is not None and making.kb.versions else None,
            origin=making.origin,
            reuse=tuple(making.reuse),
            new_vectors=None if making.new_vectors is None else str(making.new_vectors),
            home=str(home),
        )
        (folder / JOB).write_bytes(msgspec.json.encode(job))
        return _run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def staging(home: Path) -> Path:
    """A new folder of one's own below HOME/kb."""
    folder = home / "kb" / "staging" / uuid.uuid4().hex
    for path in (home / "kb", home / "kb" / "staging", folder):
        path.mkdir(mode=0o700, exist_ok=True)
    return folder


def _run(folder: Path) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "headgate.retrieval.build", str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HeadgateError(f"The index could not be built: {error}.", code="kb_build") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise HeadgateError(f"The index could not be built: {said[-1] if said else 'no reason given'}", code="kb_build")
    return done.stdout.strip()


def register(
    registry: Database, home: Path, making: Making, sha256: str, *, description: str, message: str | None, who: str
) -> tuple[KbVersion, bool]:
    """Blocking: the number that a finished version gets, and whether it is new."""
    manifest = versions.read_manifest(home, sha256)
    return kbs.add_version(
        registry,
        NewKbVersion(
            name=making.name,
            description=description,
            sha256=sha256,
            content_sha256=making.content_sha256,
            embedder=making.settings.embedder.model,
            dimensions=manifest.dimensions,
            embed_asks=making.settings.embedder.dimensions,
            documents=len(making.made.sources),
            chunks=manifest.chunks,
            message=message,
            author=making.origin.author,
            git_commit=making.origin.git_commit,
            dvc=making.origin.dvc,
        ),
        who=who,
    )

"""Pushes of knowledge bases: sources come in pieces, then a plan with its cost, then the work with its progress."""

import asyncio
import hashlib
import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate.control import kb_build
from headgate.control.kb_build import Cut, Making
from headgate.control.kb_embed import BATCH, Cost, GatewayEmbedder, counted_cost, estimated_cost
from headgate.control.kb_settings import KbFile
from headgate.core.errors import HeadgateError, MalformedRequest, NotFound
from headgate.core.ids import monotonic_s
from headgate.registry import kbs
from headgate.registry.kbs import Kb, KbVersion
from headgate.retrieval.model import (
    LEXICAL_DIMENSIONS,
    MAX_DOCUMENT_BYTES,
    MAX_PATH_CHARS,
    MAX_SOURCES,
    MAX_TOTAL_BYTES,
    Chunk,
    Embedder,
    Origin,
    canonical,
    content_sha256,
    text_sha256,
)
from headgate.retrieval.sources import SourceText, kind_of
from headgate.retrieval.vectors_file import VectorsFile

if TYPE_CHECKING:
    from headgate.control.state import ControlApp

MOST_OPEN = 8
EXPIRY_S = 3600.0
_SOURCES = "sources.jsonl"
_logger = logging.getLogger("headgate.control")
State = Literal["open", "running", "done", "failed"]


class _Line(msgspec.Struct):
    path: str
    text: str


_decode_line = msgspec.json.Decoder(_Line).decode


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a push will do."""

    documents: int
    chunks: int
    to_embed: int  # texts, each once, that have no vector yet
    cost: Cost
    unchanged: KbVersion | None  # the version that these sources and settings are already


@dataclass(kw_only=True, eq=False)
class Push:
    """One push, from its beginning to its end."""

    id: str
    name: str
    file: KbFile
    origin: Origin
    message: str | None
    who: str
    key: str | None  # whose calls the embeddings are; in memory only
    folder: Path
    touched_s: float
    state: State = "open"
    paths: dict[str, str] = field(default_factory=dict)  # path -> SHA-256
    size_bytes: int = 0
    plan: Plan | None = None
    embedded: int = 0
    tokens: int | None = 0
    cost: Cost | None = None
    error: HeadgateError | None = None
    version: KbVersion | None = None
    is_new: bool = False
    task: asyncio.Task[None] | None = None
    cut: Cut | None = None
    kb: Kb | None = None
    missing: list[Chunk] = field(default_factory=list)
    reuse: tuple[str, ...] = ()


class Pushes:
    """The pushes that are under way; one that nobody touches for an hour is dropped."""

    def __init__(self) -> None:
        self._open: dict[str, Push] = {}

    def begin(self, home: Path, name: str, file: KbFile, origin: Origin, message: str | None, who: str) -> Push:
        """A new push; raises MalformedRequest."""
        kbs.check_name(name)
        self._expire()
        if sum(push.state in ("open", "running") for push in self._open.values()) >= MOST_OPEN:
            raise MalformedRequest(f"{MOST_OPEN} pushes are under way; that is the most.", hint="Wait for one to end.")
        push = Push(
            id=uuid.uuid4().hex,
            name=name,
            file=file,
            origin=origin,
            message=message,
            who=who,
            key=None,
            folder=kb_build.staging(home),
            touched_s=monotonic_s(),
        )
        self._open[push.id] = push
        return push

    def get(self, push_id: str) -> Push:
        """A push by its id; raises NotFound."""
        push = self._open.get(push_id)
        if push is None:
            raise NotFound("There is no such push.", code="kb_push_missing", hint="Begin it again: headgate kb push")
        push.touched_s = monotonic_s()
        return push

    def _expire(self) -> None:
        limit_s = monotonic_s() - EXPIRY_S
        for push in [one for one in self._open.values() if one.state != "running" and one.touched_s < limit_s]:
            del self._open[push.id]
            shutil.rmtree(push.folder, ignore_errors=True)


def add_documents(push: Push, documents: Sequence[tuple[str, str]]) -> None:
    """Blocking: takes (path, text) pairs in; raises MalformedRequest and then keeps none of them."""
    if push.state != "open" or push.plan is not None:
        raise MalformedRequest("This push takes no more documents.", hint="Begin a new one.")
    fresh: dict[str, str] = {}
    for path, text in documents:
        _check_document(push, fresh, path, text)
        fresh[path] = text_sha256(text)
    size = push.size_bytes + sum(len(text.encode("utf-8", "replace")) for _, text in documents)
    if size > MAX_TOTAL_BYTES or len(push.paths) + len(fresh) > MAX_SOURCES:
        raise MalformedRequest(
            f"A knowledge base has at most {MAX_SOURCES:,} sources and {MAX_TOTAL_BYTES >> 20} MB of text.",
            hint="Make several of it.",
        )
    with (push.folder / _SOURCES).open("ab") as file:
        file.writelines(canonical(_Line(path=path, text=text)) + b"\n" for path, text in documents)
    push.paths |= fresh
    push.size_bytes = size


def _check_document(push: Push, fresh: dict[str, str], path: str, text: str) -> None:
    parts = path.split("/")
    if not 0 < len(path) <= MAX_PATH_CHARS or not path.isprintable() or {"", ".", ".."} & set(parts):
        raise MalformedRequest(f"{path[:80]!r} is no path below a folder.", code="kb_source")
    if kind_of(path) is None:
        raise MalformedRequest(f"{path} has an ending that is not read as a source.", code="kb_source")
    if path in push.paths or path in fresh:
        raise MalformedRequest(f"{path} is in this push twice.", code="kb_source")
    if len(text) > MAX_DOCUMENT_BYTES:
        raise MalformedRequest(f"{path} is larger than {MAX_DOCUMENT_BYTES >> 20} MB.", code="kb_source")


def make_plan(control: "ControlApp", push: Push) -> Plan:
    """Blocking: cuts the sources and finds out what must be embedded; raises HeadgateError."""
    if not push.paths:
        raise MalformedRequest("This push has no sources.", code="kb_empty", hint="Push a folder with text files.")
    home, settings = control.home.path, push.file.settings
    push.kb = _kb(control, push.name)
    content = content_sha256(settings, list(push.paths.items()))
    unchanged = kb_build.known_version(home, push.kb, content)
    push.cut = kb_build.cut(_sources(push), settings)
    push.missing = []
    if unchanged is None and not settings.embedder.is_lexical:
        known = kb_build.reusable(home, push.kb, settings.embedder)
        push.reuse = tuple(known)
        have = set[str]().union(*known.values(), _half_done(home, push.name, settings.embedder))
        texts = {chunk.sha256: chunk for chunk in push.cut.chunks if chunk.sha256 not in have}
        push.missing = list(texts.values())
    cost = estimated_cost(control, settings.embedder.model, [chunk.indexed for chunk in push.missing])
    push.plan = Plan(
        documents=len(push.paths),
        chunks=len(push.cut.chunks),
        to_embed=len(push.missing),
        cost=cost,
        unchanged=unchanged,
    )
    return push.plan


def _kb(control: "ControlApp", name: str) -> Kb | None:
    try:
        return kbs.get_kb(control.publisher.registry, name)
    except NotFound:
        return None


def _sources(push: Push) -> list[SourceText]:
    with (push.folder / _SOURCES).open("rb") as file:
        lines = [_decode_line(line) for line in file]
    return [SourceText(path=line.path, text=line.text, sha256=push.paths[line.path]) for line in lines]


async def run(control: "ControlApp", push: Push) -> None:
    """The work of a planned push, to its version or its failure; what was embedded by then is kept for the next."""
    assert push.plan is not None and push.cut is not None
    try:
        if push.plan.unchanged is not None:
            push.version, push.is_new = push.plan.unchanged, False
            push.cost = counted_cost(control, push.file.settings.embedder.model, 0)
        else:
            await _make(control, push, push.cut)
        push.state = "done"
    except HeadgateError as error:
        push.error, push.state = error, "failed"
    except Exception:  # border: job. A defect must end this push, not the process, and be seen.
        _logger.exception("the push of %s failed", push.name)
        push.error, push.state = HeadgateError("a defect of ours; the server's own output has the details."), "failed"
    finally:
        push.key = None
        shutil.rmtree(push.folder, ignore_errors=True)


async def _make(control: "ControlApp", push: Push, made: Cut) -> None:
    home, embedder = control.home.path, push.file.settings.embedder
    dimensions, new_vectors = LEXICAL_DIMENSIONS, None
    if not embedder.is_lexical:
        dimensions, new_vectors = await _embed(control, push, embedder)
    push.cost = counted_cost(control, embedder.model, push.tokens)
    making = Making(
        name=push.name,
        settings=push.file.settings,
        made=made,
        origin=push.origin,
        kb=push.kb,
        dimensions=dimensions,
        reuse=push.reuse,
        new_vectors=new_vectors,
    )
    sha256 = await control.read(kb_build.build, home, making)
    registry = control.publisher.registry
    push.version, push.is_new = await control.publisher.change(
        lambda: kb_build.register(
            registry,
            home,
            making,
            sha256,
            description=push.file.description,
            message=push.message,
            who=push.who,
        )
    )
    for path in _half_done_files(home, push.name, embedder):
        path.unlink(missing_ok=True)


async def _embed(control: "ControlApp", push: Push, embedder: Embedder) -> tuple[int, Path | None]:
    """Embeds what has no vector; the dimensions and the file of new vectors. Raises HeadgateError."""
    home = control.home.path
    dimensions = _known_dimensions(home, push, embedder)
    if not push.missing:
        assert dimensions is not None
        files = _half_done_files(home, push.name, embedder)
        return dimensions, files[0] if files else None
    caller = GatewayEmbedder(control, embedder, push.key, {"kb": push.name, "kb-push": push.id})
    file: VectorsFile | None = None
    try:
        for at in range(0, len(push.missing), BATCH):
            chunks = push.missing[at : at + BATCH]
            got = await caller.embed([chunk.indexed for chunk in chunks])
            dimensions = _checked(push, embedder, dimensions, got.vectors)
            if file is None:
                file = VectorsFile(_half_done_path(home, push.name, embedder, dimensions), dimensions)
            pairs = list(zip((chunk.sha256 for chunk in chunks), got.vectors, strict=True))
            await control.read(file.append, pairs)
            push.embedded += len(chunks)
            push.tokens = None if push.tokens is None or got.tokens is None else push.tokens + got.tokens
    except HeadgateError as error:
        if error.code != "kb_dimension":
            error.hint = f"{push.embedded} of {len(push.missing)} are embedded and kept: push again to go on."
        raise
    finally:
        await caller.close()
        if file is not None:
            file.close()
    assert file is not None and dimensions is not None
    return dimensions, file.path


def _known_dimensions(home: Path, push: Push, embedder: Embedder) -> int | None:
    """What the vectors to be used again have."""
    used = [version.dimensions for version in (push.kb.versions if push.kb else ()) if version.sha256 in push.reuse]
    kept = [int(path.suffixes[-2][1:]) for path in _half_done_files(home, push.name, embedder)]
    return next(iter([*used, *kept]), None)


def _checked(push: Push, embedder: Embedder, dimensions: int | None, vectors: list[list[float]]) -> int:
    lengths = {len(vector) for vector in vectors}
    if len(lengths) == 1 and dimensions in (None, *lengths):
        return lengths.pop()
    raise MalformedRequest(
        f'The embedding model "{embedder.model}" now gives {" and ".join(map(str, sorted(lengths)))} dimensions; '
        f"the vectors of {push.name} have {dimensions}.",
        code="kb_dimension",
        hint="State embedder.dimensions in the settings, or name the new model: then everything is embedded again.",
    )


def _half_done(home: Path, name: str, embedder: Embedder) -> set[str]:
    """The hashes of texts that a failed push has embedded."""
    found: set[str] = set()
    for path in _half_done_files(home, name, embedder):
        file = VectorsFile(path, int(path.suffixes[-2][1:]))
        found |= file.hashes()
        file.close()
    return found


def _half_done_files(home: Path, name: str, embedder: Embedder) -> list[Path]:
    return sorted((home / "kb" / "embedding").glob(f"{_stem(name, embedder)}.*.vectors"))


def _half_done_path(home: Path, name: str, embedder: Embedder, dimensions: int) -> Path:
    return home / "kb" / "embedding" / f"{_stem(name, embedder)}.{dimensions}.vectors"


def _stem(name: str, embedder: Embedder) -> str:
    return hashlib.sha256(canonical([name, embedder])).hexdigest()[:32]

"""What a version of a knowledge base is made of, and the hashes that name it."""

import hashlib
from typing import Literal

import msgspec

SCHEMA = "headgate/kb@1"
CHUNKER_VERSION = 1
"""Raised when the same text would be cut in another way: it is part of what a version is."""
LEXICAL = "lexical"
"""The built-in embedder: hashed character n-grams. It knows words, not meanings."""
LEXICAL_DIMENSIONS = 384
MAX_DOCUMENT_BYTES = 3 << 20
MAX_SOURCES = 20_000
MAX_CHUNKS = 200_000
MAX_TOTAL_BYTES = 256 << 20
MAX_PATH_CHARS = 300
MAX_QUERY_CHARS = 8000
MAX_TOP_K = 100

Scalar = str | int | float | bool
Metadata = dict[str, Scalar]
Filter = dict[str, Scalar | list[Scalar]]
"""Field to the value, or the values, that a chunk's metadata must have there."""


class Chunker(msgspec.Struct, frozen=True, kw_only=True):
    """How texts are cut; sizes are characters."""

    by: Literal["heading", "paragraph", "size"] = "heading"
    size: int = 1000
    overlap: int = 100
    version: int = CHUNKER_VERSION


class Embedder(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a text into a vector: the built-in one, or a routed model."""

    model: str = LEXICAL
    dimensions: int | None = None  # asked of a routed model; None: its own

    @property
    def is_lexical(self) -> bool:
        """Whether no call is needed."""
        return self.model == LEXICAL


class KbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides, with the sources, what a version is."""

    chunk: Chunker = Chunker()
    embedder: Embedder = Embedder()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a version: its path below the pushed folder, the hash of its text, how many chunks it became."""

    path: str
    sha256: str
    chunks: int = 0


class Chunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a document; ``id`` is made of everything else, so the same piece has the same id in every version."""

    id: str
    source: str
    heading: str = ""
    text: str
    metadata: Metadata = {}

    @property
    def indexed(self) -> str:
        """What is embedded and searched: the text under its headings."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text

    @property
    def sha256(self) -> str:
        """The hash of what is embedded: the same text is never embedded twice."""
        return text_sha256(self.indexed)


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the sources came from, as far as that is known."""

    git_commit: str | None = None
    author: str | None = None
    dvc: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version: the hash of these bytes names its directory, and the hashes in it cover every other file."""

    schema: str = SCHEMA
    name: str
    content_sha256: str
    settings: KbSettings
    dimensions: int
    sources: tuple[Source, ...]
    chunks: int
    parent: str | None  # the manifest hash of the version before
    origin: Origin
    files: dict[str, str]  # relative path -> SHA-256


_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces."""
    return _encode(value)


def sha256_of(data: bytes) -> str:
    """The hex digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def text_sha256(text: str) -> str:
    """The hex digest of a text."""
    return sha256_of(text.encode("utf-8", "replace"))


def content_sha256(settings: KbSettings, sources: list[tuple[str, str]]) -> str:
    """What makes two pushes the same version: settings, and the (path, SHA-256) of every source."""
    return sha256_of(canonical([SCHEMA, settings, sorted(sources)]))


def chunk_id(source: str, heading: str, text: str, metadata: Metadata) -> str:
    """The id of a chunk: 12 hex digits of the hash of all it says."""
    return sha256_of(canonical([source, heading, text, metadata]))[:12]

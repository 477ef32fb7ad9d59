"""What the process that makes a version is told; without numpy, as the control process writes it."""

import msgspec

from headgate.retrieval.model import KbSettings, Origin, Source

JOB = "job.json"
HASH_BYTES = 32


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to make."""

    name: str
    content_sha256: str
    settings: KbSettings
    dimensions: int
    sources: tuple[Source, ...]
    parent: str | None
    origin: Origin
    reuse: tuple[str, ...]  # manifest hashes of versions with the same embedder
    new_vectors: str | None  # path of the file of new ones
    home: str

"""Makes the files of one version: `python -m headgate.retrieval.build JOB`, a short process of its own for each push.

The job's folder has `job.json` and `chunks.jsonl`; vectors come from the versions named there, from a file of new ones
(records of 32 bytes hash and 4 bytes per dimension), or from the built-in embedder. Numpy stays out of the control
process this way.
"""

import sys
from pathlib import Path

import msgspec
import numpy as np

from headgate.core.errors import HeadgateError
from headgate.retrieval import versions
from headgate.retrieval.index import save_keywords
from headgate.retrieval.job import HASH_BYTES, JOB, Job
from headgate.retrieval.lexical import Vectors, embed, normalised
from headgate.retrieval.model import Chunk, Manifest, canonical, sha256_of

_BATCH = 512


def main(arguments: list[str]) -> int:
    """Makes what the job says and prints the hash of its manifest; 1 with a sentence on standard error."""
    folder = Path(arguments[0])
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    try:
        print(build(folder, job))  # noqa: T201
    except HeadgateError as error:
        print(error.sentence, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def build(folder: Path, job: Job) -> str:
    """The hash of the finished version, in its place below HOME/kb; raises HeadgateError."""
    chunks = versions.decode_chunks((folder / versions.CHUNKS).read_bytes())
    vectors = _vectors(job, chunks)
    made = folder / "made"
    made.mkdir(mode=0o700)
    (folder / versions.CHUNKS).rename(made / versions.CHUNKS)
    with (made / versions.VECTORS).open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    (made / versions.KEYWORDS).mkdir(mode=0o700)
    save_keywords(chunks, made / versions.KEYWORDS)
    manifest = Manifest(
        name=job.name,
        content_sha256=job.content_sha256,
        settings=job.settings,
        dimensions=int(vectors.shape[1]),
        sources=job.sources,
        chunks=len(chunks),
        parent=job.parent,
        origin=job.origin,
        files={
            file.relative_to(made).as_posix(): sha256_of(file.read_bytes())
            for file in sorted(made.rglob("*"))
            if file.is_file()
        },
    )
    (made / versions.MANIFEST).write_bytes(canonical(manifest))
    return versions.put_in_place(Path(job.home), made)


def _vectors(job: Job, chunks: list[Chunk]) -> Vectors:
    if job.settings.embedder.is_lexical:
        texts = [chunk.indexed for chunk in chunks]
        return np.concatenate([embed(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)])
    vectors = np.zeros((len(chunks), job.dimensions), dtype=np.float32)
    rows: dict[str, list[int]] = {}
    for row, chunk in enumerate(chunks):
        rows.setdefault(chunk.sha256, []).append(row)
    if job.new_vectors is not None:
        _take_new(Path(job.new_vectors), job.dimensions, rows, vectors)
    for sha256 in job.reuse:
        if rows:
            _take_old(Path(job.home), sha256, rows, vectors)
    if rows:
        raise HeadgateError(f"{len(rows)} chunks have no vector.", hint="Push again: what is embedded is kept.")
    return normalised(vectors)


def _take_new(path: Path, dimensions: int, rows: dict[str, list[int]], vectors: Vectors) -> None:
    data = path.read_bytes() if path.exists() else b""
    length = HASH_BYTES + 4 * dimensions
    for at in range(0, len(data) - length + 1, length):
        for row in rows.pop(data[at : at + HASH_BYTES].hex(), ()):
            vectors[row] = np.frombuffer(data, dtype="<f4", count=dimensions, offset=at + HASH_BYTES)


def _take_old(home: Path, sha256: str, rows: dict[str, list[int]], vectors: Vectors) -> None:
    manifest = versions.verify(home, sha256)
    old = np.load(versions.version_path(home, sha256) / versions.VECTORS, allow_pickle=False)
    chunks = versions.decode_chunks(versions.read_file(home, sha256, manifest, versions.CHUNKS))
    for chunk, vector in zip(chunks, old, strict=True):
        for row in rows.pop(chunk.sha256, ()):
            vectors[row] = vector


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

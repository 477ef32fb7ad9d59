"""One version in memory: vectors and keywords of its chunks, and the search that puts both rankings together."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import MalformedRequest
from headgate.retrieval.lexical import Vectors, embed, normalised
from headgate.retrieval.model import Chunk, Filter, Manifest, Scalar
from headgate.retrieval.versions import CHUNKS, KEYWORDS, VECTORS, VersionDamaged, decode_chunks, read_file, verify
from headgate.retrieval.words import words

RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): 1 / (60 + rank) of each ranking, summed."""
_DEPTH = 50
_MOST_MASKS = 64
Ranks = dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A chunk that a search found. ``score``: 1 is first in both rankings; ranks are None where it was not ranked."""

    chunk: Chunk
    score: float
    vector_rank: int | None
    keyword_rank: int | None
    vector_score: float  # cosine
    keyword_score: float  # BM25


class Index:
    """The chunks of a version, ready to be searched."""

    def __init__(self, manifest: Manifest, chunks: Sequence[Chunk], vectors: Vectors, keywords: Any | None) -> None:
        self.manifest = manifest
        self.chunks = chunks
        self._vectors = vectors
        self._keywords = keywords
        self._masks: dict[bytes, NDArray[np.bool_]] = {}

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return int(self._vectors.nbytes) + sum(len(chunk.text) * 2 + 500 for chunk in self.chunks)

    def search(
        self,
        query: str,
        *,
        top_k: int,
        vector: Sequence[float] | None = None,
        filters: Filter | None = None,
        min_score: float | None = None,
        use: Sequence[str] = ("vectors", "keywords"),
    ) -> list[Hit]:
        """The best ``top_k`` chunks. ``vector``: of the query, unless the embedder is the built-in one (None then: by
        keywords alone); ``min_score``: the least cosine a chunk must have. Raises MalformedRequest for a vector that
        does not fit.
        """
        mask = self._mask(filters or {})
        depth = max(_DEPTH, 2 * top_k)
        cosines = self._cosines(query, vector) if "vectors" in use else None
        bm25 = self._bm25(query) if "keywords" in use else None
        allowed = mask if min_score is None or cosines is None else mask & (cosines >= min_score)
        by_vector = _ranks(cosines, allowed, depth)
        by_keyword = _ranks(bm25, allowed, depth)
        fused = {
            at: sum(1 / (RANK_CONSTANT + ranks[at]) for ranks in (by_vector, by_keyword) if at in ranks)
            for at in {*by_vector, *by_keyword}
        }
        rankings = (cosines is not None) + (bm25 is not None)
        best = sorted(fused, key=lambda at: (-fused[at], at))[:top_k]
        return [
            Hit(
                chunk=self.chunks[at],
                score=round(fused[at] * (RANK_CONSTANT + 1) / rankings, 6),
                vector_rank=by_vector.get(at),
                keyword_rank=by_keyword.get(at),
                vector_score=0.0 if cosines is None else round(float(cosines[at]), 6),
                keyword_score=0.0 if bm25 is None else round(float(bm25[at]), 6),
            )
            for at in best
        ]

    def _cosines(self, query: str, vector: Sequence[float] | None) -> Vectors | None:
        if self.manifest.settings.embedder.is_lexical:
            own = embed([query])[0]
        elif vector is None:
            return None
        elif len(vector) != self._vectors.shape[1]:
            raise MalformedRequest(
                f"The query has {len(vector)} dimensions, the vectors of this version have {self._vectors.shape[1]}.",
                code="kb_dimension",
                hint="The embedding model has changed since it was pushed: push the sources again.",
            )
        else:
            own = normalised(np.array([vector], dtype=np.float32))[0]
        found: Vectors = self._vectors @ own
        return found

    def _bm25(self, query: str) -> Vectors | None:
        known = [] if self._keywords is None else self._keywords.get_tokens_ids(words(query))
        if self._keywords is None:
            return None
        if not known:
            return np.zeros(len(self.chunks), dtype=np.float32)
        scores: Vectors = self._keywords.get_scores_from_ids(known)
        return scores

    def _mask(self, filters: Filter) -> NDArray[np.bool_]:
        if not filters:
            return np.ones(len(self.chunks), dtype=np.bool_)
        key = repr(sorted(filters.items())).encode()
        mask = self._masks.get(key)
        if mask is None:
            wanted = {name: value if isinstance(value, list) else [value] for name, value in filters.items()}
            mask = np.array([_fits(chunk, wanted) for chunk in self.chunks], dtype=np.bool_)
            if len(self._masks) >= _MOST_MASKS:
                self._masks.clear()
            self._masks[key] = mask
        return mask


def _fits(chunk: Chunk, wanted: Mapping[str, list[Scalar]]) -> bool:
    facts = {"source": chunk.source, **chunk.metadata}
    return all(name in facts and any(_same(facts[name], value) for value in values) for name, values in wanted.items())


def _same(one: Scalar, other: Scalar) -> bool:
    """As people write filters: 3 is "3" of a front matter, but true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and (one == other or str(one) == str(other))


def _ranks(scores: Vectors | None, allowed: NDArray[np.bool_], depth: int) -> Ranks:
    """Place to rank (1 is best) of the best ``depth`` allowed chunks with a score above 0."""
    if scores is None:
        return {}
    places = np.flatnonzero(allowed & (scores > 0))
    if len(places) > depth:
        places = places[np.argpartition(-scores[places], depth - 1)[:depth]]
    order = places[np.lexsort((places, -scores[places]))]
    return {int(at): rank for rank, at in enumerate(order, 1)}


def load(home: Path, sha256: str) -> Index:
    """Reads a version, every file checked by its hash; raises VersionDamaged."""
    manifest = verify(home, sha256)
    files = {name: read_file(home, sha256, manifest, name) for name in manifest.files}
    chunks = decode_chunks(files[CHUNKS])
    vectors: Vectors = np.load(io.BytesIO(files[VECTORS]), allow_pickle=False)
    if vectors.shape != (len(chunks), manifest.dimensions):
        raise VersionDamaged(f"{home}/kb/{sha256}: {vectors.shape} vectors for {len(chunks)} chunks.")
    return Index(manifest, chunks, vectors, _load_keywords(files))


def _load_keywords(files: Mapping[str, bytes]) -> Any | None:
    """The keyword index, from the bytes that were checked rather than from a file that may have changed since."""
    found = {name.partition("/")[2]: data for name, data in files.items() if name.startswith(f"{KEYWORDS}/")}
    if not found:
        return None
    with tempfile.TemporaryDirectory(prefix="headgate-kb-") as folder:
        for name, data in found.items():
            (Path(folder) / name).write_bytes(data)
        return bm25s.BM25.load(folder, show_progress=False)


def save_keywords(chunks: Sequence[Chunk], folder: Path) -> bool:
    """Writes the keyword index; False when there is no word in any chunk."""
    split = [words(chunk.indexed) for chunk in chunks]
    vocabulary = {word: at for at, word in enumerate(sorted({word for one in split for word in one}))}
    if not vocabulary:
        return False
    index = bm25s.BM25(method="lucene")
    ids = [[vocabulary[word] for word in one] for one in split]
    index.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    index.save(str(folder), show_progress=False)
    return True

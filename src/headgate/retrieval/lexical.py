"""The built-in embedder: hashed character n-grams, a lexical baseline without network: it sees spelling, not meaning.

"refund" and "refunds" are near each other, "refund" and "money back" are not. Words are weighted by their own shape
only, so a text has one vector, whatever else is in the knowledge base.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from headgate.retrieval.model import LEXICAL_DIMENSIONS
from headgate.retrieval.words import words

Vectors = NDArray[np.float32]
_SHORT_WORD = 3
_SHORT_WEIGHT = 0.25
_WHOLE_WEIGHT = 1.5


def embed(texts: Sequence[str]) -> Vectors:
    """One vector of length 1 per text, ``LEXICAL_DIMENSIONS`` wide; a text without words has a vector of zeros."""
    vectors = np.zeros((len(texts), LEXICAL_DIMENSIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        for word, times in Counter(words(text)).items():
            places, weights = _features(word)
            np.add.at(vectors[row], places, weights * np.float32(1 + math.log(times)))
    return normalised(vectors)


def normalised(vectors: Vectors) -> Vectors:
    """The vectors at length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


@lru_cache(maxsize=100_000)
def _features(word: str) -> tuple[NDArray[np.intp], Vectors]:
    """Where a word and its parts of 3 and 4 letters add to a vector, and how much."""
    padded = f"<{word}>"
    parts = [padded[at : at + size] for size in (3, 4) for at in range(len(padded) - size + 1)]
    whole = _SHORT_WEIGHT if len(word) <= _SHORT_WORD else _WHOLE_WEIGHT
    share = whole / math.sqrt(len(parts) or 1)
    hashed = [zlib.crc32(f"w{word}".encode()), *(zlib.crc32(part.encode()) for part in parts)]
    signs = [1.0 if value >> 31 else -1.0 for value in hashed]
    weights = [sign * weight for sign, weight in zip(signs, [whole, *([share] * len(parts))], strict=True)]
    places = np.array([value % LEXICAL_DIMENSIONS for value in hashed], dtype=np.intp)
    return places, np.array(weights, dtype=np.float32)

"""Embeddings without a model: hashed word stems and letter triples, so texts that share words are near each other."""

import base64
import hashlib
import math
import struct
from collections import Counter
from functools import lru_cache

from headgate.providers.demo import words

DEFAULT_DIMENSIONS = 256
MOST_DIMENSIONS = 4096
_LIMIT = 200_000


@lru_cache(maxsize=20_000)
def _place(feature: str) -> int:
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def embed(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """A vector of length 1 for ``text``."""
    weights: Counter[str] = Counter()
    stems = Counter(words.content_words(text[:_LIMIT]) or words.words(text[:_LIMIT]) or ["(empty)"])
    for stem, times in stems.items():
        weight = 1 + math.log(times)
        weights[stem[:60]] += weight  # type: ignore[assignment]
        padded = f" {stem[:60]} "
        for at in range(len(padded) - 2):
            weights["#" + padded[at : at + 3]] += 0.3 * weight  # type: ignore[assignment]
    vector = [0.0] * dimensions
    for feature, weight in weights.items():
        place = _place(feature)
        vector[place % dimensions] += weight if place >> 63 else -weight
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def as_base64(vector: list[float]) -> str:
    """Little-endian 32-bit floats in base64, as OpenAI writes them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")

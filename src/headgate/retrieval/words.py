"""Text into the words that keywords are matched by: folded, without accents, English plurals cut. Pure functions."""

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_LONGEST = 64


def words(text: str) -> list[str]:
    """The words of a text in order, as they are compared."""
    return [plain(word) for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=200_000)
def plain(word: str) -> str:
    """One folded word without accents and without the plural's s (Harman's weak stemmer)."""
    word = word[:_LONGEST]
    if not word.isascii():
        word = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    if len(word) > 3 and word.endswith("s"):
        if word.endswith("ies") and word[-4] not in "ae":
            return word[:-3] + "y"
        if word.endswith("es") and word[-3] not in "aeo":
            return word[:-1]
        if word[-2] not in "us":
            return word[:-1]
    return word

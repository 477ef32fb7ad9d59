"""The demo provider's own token count: words in pieces of at most seven letters. Deterministic, close to real
vocabularies on English prose, and not one of them.
"""

import json
import re
from typing import Any

# Covers every character exactly once, so that the pieces of a text join to the text again.
_PIECE = re.compile(r" ?\w{1,7}| ?[^\w\s]|\s+")
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 85


def pieces(text: str) -> list[str]:
    """The tokens of ``text``; joined they are ``text``."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """How many tokens ``text`` has."""
    return sum(1 for _ in _PIECE.finditer(text))


def count_json(value: Any) -> int:
    """How many tokens ``value`` has when written as JSON."""
    return count(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) if value else 0


def head(text: str, limit: int) -> tuple[str, bool]:
    """The first ``limit`` tokens of ``text``, and whether something was left off."""
    for at, found in enumerate(_PIECE.finditer(text)):
        if at == limit:
            return text[: found.start()], True
    return text, False

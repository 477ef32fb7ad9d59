"""Words, stems and sentences: all that the demo model understands of a language."""

import re
from collections.abc import Collection, Iterable

# East Asian scripts have no spaces: each character counts as a word of its own.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]{{1,3}}\b)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=\S)|(?<=[。！？])|\n+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_CITATION = re.compile(r"\s?\[[^\[\]\n]{1,80}\]")

STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    a about above after again all also am an and any are aren't as at be because been before being below between
    both but by can can't cannot could did didn't do does doesn't doing don't down during each few for from further
    get got had has hasn't have having he her here hers him his how i i'd i'll i'm i've if in into is isn't it it's
    its itself just let's like may me might more most must my no nor not now of off on once only or other our ours
    out over own please same shall she should so some such tell than that that's the their them then there there's
    these they this those through to too under until up us very was we we're were what what's when where which while
    who whom whose why will with won't would you you're your yours know want need give say according question answer
    explain describe okay ok yes
    """,
    )
)


def stem(word: str) -> str:
    """A rough stem: plural, -ing, -ed, -ation, -able and -ly endings and a last e removed."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) <= 3 or not word.isascii() or word.isdigit():
        return word
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return word[:-3] + "y"
    for ending, shortest in (("ation", 8), ("able", 7), ("ing", 6), ("ed", 5), ("ly", 6)):
        if word.endswith(ending) and len(word) >= shortest:
            return _bare(word[: -len(ending)])
    if word.endswith(("sses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _bare(word)


def _bare(word: str) -> str:
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        return word[:-1]
    if word.endswith("ll") and len(word) > 4:
        return word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def words(text: str) -> list[str]:
    """Every word of ``text``, in lower case."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, repeated as they come."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def numbers(text: str) -> set[str]:
    """The numbers written in ``text``."""
    return set(_NUMBER.findall(text))


def sentences(text: str, limit: int = 4000) -> list[str]:
    """The sentences of ``text`` (lines count as sentences), at most ``limit``."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        _keep(text[start : end.start()] + end.group().rstrip(), found)
        start = end.end()
        if len(found) >= limit:
            return found
    _keep(text[start:], found)
    return found


def _keep(piece: str, found: list[str]) -> None:
    if piece.strip():
        found.append(piece.strip())


def without_citations(text: str) -> str:
    """``text`` without marks such as ``[handbook-3]``."""
    return _CITATION.sub("", text)


def share_found(wanted: Collection[str], given: Iterable[str]) -> float:
    """Which share (0 to 1) of the stems ``wanted`` is among those ``given``; 0 when nothing is wanted."""
    needed = set(wanted)
    return len(needed & set(given)) / len(needed) if needed else 0.0

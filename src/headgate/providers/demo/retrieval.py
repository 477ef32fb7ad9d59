"""Finds the sentences of given passages that are nearest to a question, by shared words weighted by their rarity."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.providers.demo import words

# Under this share of the question's word weight a sentence is not about the question.
_LEAST_SHARE = 0.22
_MOST_SENTENCES = 4000
_NEXT_ELEMENT = re.compile(r"\s*</([A-Za-z][\w.:-]{0,80})>\s*<\1(?:\s[^<>]{0,200})?>\s*")
_IDENTIFIED = re.compile(r"^\s{0,8}(?:[-*•]\s{0,4})?\[([^\[\]\n]{1,80})\]:?\s+", re.M)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A sentence with the number of its passage and which share of the question's weight it holds."""

    text: str
    passage: int
    position: int
    score: float


def passages(texts: Sequence[str]) -> list[str]:
    """Each ``[id] text`` of ``texts`` apart, each of several elements of one name, or each text whole."""
    found: list[str] = []
    for text in [part for whole in texts for part in _NEXT_ELEMENT.sub("\0", whole).split("\0")]:
        pieces = _IDENTIFIED.split(text)
        found += [piece.strip() for piece in (pieces[2::2] if len(pieces) > 2 else pieces) if piece.strip()]
    return found


def ranked(question: str, given: Sequence[str]) -> list[Hit]:
    """The sentences that are about the question, best first."""
    wanted = set(words.content_words(question))
    split = [(at, sentence) for at, passage in enumerate(given) for sentence in words.sentences(passage)]
    stems = [set(words.content_words(sentence)) for _, sentence in split[:_MOST_SENTENCES]]
    seen = Counter(stem for found in stems for stem in found & wanted)
    weight = {stem: math.log(1 + (len(stems) + 1) / (seen[stem] + 0.5)) for stem in wanted}
    total = sum(weight[stem] for stem in sorted(wanted)) or 1.0
    whole: dict[int, set[str]] = {}
    for (at, _), found in zip(split, stems, strict=False):
        whole.setdefault(at, set()).update(found & wanted)
    hits: list[Hit] = []
    for position, ((at, sentence), found) in enumerate(zip(split, stems, strict=False)):
        own = sum(weight[stem] for stem in sorted(found & wanted)) / total
        around = sum(weight[stem] for stem in sorted(whole[at])) / total
        if own and 0.75 * own + 0.25 * around >= _LEAST_SHARE:
            hits.append(Hit(text=sentence, passage=at, position=position, score=0.75 * own + 0.25 * around))
    return sorted(hits, key=lambda hit: (-hit.score, hit.position))


def best(question: str, given: Sequence[str], most: int = 2) -> list[Hit]:
    """Up to ``most`` sentences that answer the question, in the order of the text; none when nothing is about it."""
    hits = ranked(question, given)
    kept = [hit for hit in hits[:most] if hit.score >= 0.7 * hits[0].score]
    return sorted(kept, key=lambda hit: hit.position)

"""Cuts a judge prompt into its fenced sections (candidate, reference, context, question, rubric) and the
instructions around them, so that nothing inside a section is taken for an instruction.

A section is an element (``<candidate>...</candidate>``), a pair of lines (``BEGIN ANSWER x`` ... ``END ANSWER x``,
``[The Start of ...]`` ... ``[The End of ...]``), or a line that names it followed by a code fence or by plain text.
Only the forms with an end are safe against a candidate that imitates the next section; a random word in the name
of the element or line makes them safe against one that imitates the end.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Kind = Literal["candidate", "reference", "context", "question", "rubric"]
Side = Literal["A", "B"]

_MOST = 200
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("reference", re.compile(r"reference|expected|ideal|gold|ground.?truth|correct.answer|expert|target", re.I)),
    ("rubric", re.compile(r"rubric|criteri|guideline|checklist|levels?\b", re.I)),
    (
        "candidate",
        re.compile(
            r"candidate|submission|answer|response|completion|output|assistant|repl(?:y|ies)|generation|summary"
            r"|baseline|challenger|option",
            re.I,
        ),
    ),
    ("context", re.compile(r"context|note|passage|document|source|knowledge|excerpt|chunk|evidence|retrieved", re.I)),
    ("question", re.compile(r"question|query|input|user|request|conversation", re.I)),
)
_SIDES: tuple[tuple[Side, re.Pattern[str]], ...] = (
    ("A", re.compile(r"(?:^|[\s_:.\-\"'=(])(?:a|1|one|first)(?![a-z0-9])|baseline|\b(?:answer|response)1\b", re.I)),
    ("B", re.compile(r"(?:^|[\s_:.\-\"'=(])(?:b|2|two|second)(?![a-z0-9])|challenger|\b(?:answer|response)2\b", re.I)),
)
_OPENING = re.compile(r"<([A-Za-z][\w.:-]{0,80})((?:\s[^<>]{0,200})?)>")
_BEGIN = re.compile(
    r"^(\W{0,12})(?:(?:the\s+)?(begin(?:ning)?|start)(?:\s+of)?)\s+(?:the\s+)?([^\n]{1,120}?)\W{0,12}$", re.I | re.M
)
_LABEL = re.compile(
    r"^[\s#*_>=-]{0,8}\[?((?:the\s+)?[A-Za-z][\w '’./()-]{0,60}?)\]?[*_]{0,2}\s{0,2}"
    r"(?:(:)[*_]{0,2}[ \t]*([^\n]*)|\]?[*_]{0,2}[ \t]*)$",
    re.M,
)
_ORDER = re.compile(
    r"\n[ \t]{0,80}\n(?=\s{0,40}(?:reply|respond|answer with|return|output|grade|judge|score|rate|decide|give|which|"
    r"now|please|first|your)\b)",
    re.I,
)
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^\n]*)\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A named part of a judge prompt; ``fenced`` when its end is marked."""

    kind: Kind
    side: Side | None
    text: str
    fenced: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The sections of a prompt in order, and the instructions outside all of them."""

    sections: tuple[Section, ...]
    instructions: str

    def texts(self, kind: Kind) -> list[str]:
        """The texts of the sections of one kind."""
        return [section.text for section in self.sections if section.kind == kind]

    def joined(self, kind: Kind) -> str:
        """The sections of one kind as one text."""
        return "\n".join(self.texts(kind)).strip()


def cut(text: str) -> Parts:
    """The sections of ``text`` and what stands outside them."""
    found: list[Section] = []
    outside: list[str] = []
    at = 0
    for start, end, section in _marked(text):
        if start < at:
            continue
        outside.append(text[at:start])
        at = end
        found.append(section)
    outside.append(text[at:])
    # A labelled section ends at the next one, so labels are read piece by piece, never across a marked section.
    order: list[Section] = []
    instructions: list[str] = []
    for index, piece in enumerate(outside):
        rest, labelled = _labelled(piece)
        instructions.append(rest)
        order += labelled
        order += found[index : index + 1]
    return Parts(sections=tuple(order), instructions="\n".join(instructions))


def _kind(name: str) -> Kind | None:
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), None)


def _side(name: str) -> Side | None:
    return next((side for side, pattern in _SIDES if pattern.search(name)), None)


def _section(name: str, text: str, *, fenced: bool) -> Section | None:
    kind = _kind(name)
    if kind is None:
        return None
    return Section(kind=kind, side=_side(name) if kind == "candidate" else None, text=text.strip(), fenced=fenced)


def _marked(text: str) -> list[tuple[int, int, Section]]:
    """Sections with a marked end, outermost first: (start, end, section) by start."""
    spans = [*_elements(text), *_pairs(text)]
    return sorted(spans, key=lambda span: (span[0], -span[1]))


def _last(matches: Iterator[re.Match[str]]) -> re.Match[str] | None:
    kept = deque(islice(matches, 10_000), maxlen=1)
    return kept[0] if kept else None


def _openings(text: str) -> list[re.Match[str]]:
    """Openings of elements; one in running text is a mention where the same name also opens at a line's start."""
    found = [opening for opening in islice(_OPENING.finditer(text), _MOST) if _kind(opening.group(1))]
    leading = {opening.group(1) for opening in found if _starts_line(text, opening.start())}
    return [one for one in found if one.group(1) not in leading or _starts_line(text, one.start())]


def _starts_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _ends(text: str, name: str, start: int, limit: int) -> list[int]:
    """Where an element may end: its end marks that end a line (one in running text is a mention), else any."""
    mark = f"</{name}>"
    found: list[int] = []
    at = text.find(mark, start, limit)
    while at >= 0 and len(found) < _MOST:
        found.append(at)
        at = text.find(mark, at + len(mark), limit)
    ending = [at for at in found if text[at + len(mark) : at + len(mark) + 80].split("\n")[0].strip() in ("", ".", ",")]
    return ending or found


def _elements(text: str) -> list[tuple[int, int, Section]]:
    """Elements from their first start. An end mark more than there are starts was written by the text inside, so
    the last one counts; otherwise the last one before another element starts.
    """
    spans: list[tuple[int, int, Section]] = []
    at = 0
    openings = _openings(text)
    for index, opening in enumerate(openings):
        name, attributes = opening.group(1), opening.group(2).strip()
        if opening.start() < at:
            continue
        same = [one for one in openings[index:] if one.group(1) == name]
        limit = next((one.start() for one in same if one.group(2).strip() != attributes), len(text))
        ends = _ends(text, name, opening.end(), limit)
        if not ends:
            continue
        end = ends[-1]
        if len(ends) <= sum(1 for one in same if one.start() < limit):
            others = (one.start() for one in openings[index:] if one.group(1) != name and one.start() > ends[0])
            boundary = next(others, len(text))
            end = max(mark for mark in ends if mark < boundary)
        section = _section(f"{name} {attributes}", text[opening.end() : end], fenced=True)
        if section is not None:
            at = end + len(name) + 3
            spans.append((opening.start(), at, section))
    return spans


def _pairs(text: str) -> list[tuple[int, int, Section]]:
    spans: list[tuple[int, int, Section]] = []
    at = 0
    for opening in islice(_BEGIN.finditer(text), _MOST):
        label = opening.group(3)
        if opening.start() < at or _kind(label) is None:
            continue
        named = re.escape(label)
        ending = re.compile(rf"^\W{{0,12}}(?:the\s+)?end(?:\s+of)?\s+(?:the\s+)?{named}\W{{0,12}}$", re.I | re.M)
        closing = _last(ending.finditer(text, opening.end()))
        section = _section(label, text[opening.end() : closing.start()], fenced=True) if closing else None
        if section is not None and closing is not None:
            at = closing.end()
            spans.append((opening.start(), at, section))
    return spans


def _labelled(piece: str) -> tuple[str, list[Section]]:
    """Sections of ``piece`` that start with a line naming them, and the rest of it."""
    labels = [
        found
        for found in islice(_LABEL.finditer(piece), 4 * _MOST)
        if (found.group(2) or found.group(0).lstrip()[:1] in "#[*")
        and _kind(found.group(1))
        and _is_name(found.group(1))
    ]
    rest: list[str] = []
    sections: list[Section] = []
    at = 0
    for index, label in enumerate(labels):
        if label.start() < at:
            continue
        rest.append(piece[at : label.start()])
        inline = (label.group(3) or "").strip()
        fence = None if inline else _FENCE.match(piece, label.end())
        limit = labels[index + 1].start() if index + 1 < len(labels) else len(piece)
        if fence:
            body, at = _fenced(piece, fence, limit)
        else:
            body, at = _open_text(piece, label, inline, limit)
        section = _section(label.group(1), body, fenced=fence is not None)
        if section is not None and (section.text or fence):
            sections.append(section)
    rest.append(piece[at:])
    return "".join(rest), sections


def _is_name(label: str) -> bool:
    """A label is a name, not a sentence that happens to end in a colon."""
    return (
        len(label.split()) <= 5
        and not re.match(r"(?:reply|respond|answer|return|output|grade|judge|score)\s+\w", label, re.I)
        or bool(re.match(r"(?:answer|response|output|candidate)\s+(?:[ab12]|from|to|given)\b", label, re.I))
    )


def _fenced(piece: str, fence: re.Match[str], limit: int) -> tuple[str, int]:
    """The text of a code fence up to its last end before the next label."""
    ending = re.compile(rf"^\s{{0,3}}{re.escape(fence.group(1))}[`~]*[ \t]*$", re.M)
    closing = _last(ending.finditer(piece, fence.end(), max(limit, fence.end())))
    closing = closing or ending.search(piece, fence.end())
    end, after = (closing.start(), closing.end()) if closing else (len(piece), len(piece))
    return piece[fence.end() : end], after


def _open_text(piece: str, label: re.Match[str], inline: str, limit: int) -> tuple[str, int]:
    """Text after a label: its line, or everything up to the next label or an instruction after a blank line."""
    body = piece[label.end() : limit]
    if inline:
        body = f"{inline}\n{body}"
    order = _ORDER.search(body)
    kept = body[: order.start()] if order else body
    return kept, limit - (len(body) - len(kept))

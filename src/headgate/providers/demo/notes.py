"""Reads a conversation into the notes it gives, the question it asks and the instructions around them.

Notes are recognised as lines ``[id] text``, as the text after a line such as ``Context:`` or ``... these notes:``, as
``<context>``, ``<notes>`` or ``<document id="...">`` elements, and as tool results.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from headgate.providers.demo.ask import Turn

READ_LIMIT = 400_000
_MOST_ELEMENTS = 2000
_NAMES = (
    "context|contexts|note|notes|passage|passages|document|documents|source|sources|knowledge|excerpt|excerpts|"
    "chunk|chunks|background|handbook|kb|search_results|snippets|knowledge base|facts"
)
_ELEMENT = re.compile(rf"<({_NAMES})\b([^<>]{{0,200}})>", re.IGNORECASE)
_IDENTITY = re.compile(r"\b(?:id|index|name|title|source)\s*=\s*[\"']?([^\"'\s>]{1,80})", re.IGNORECASE)
_IDENTIFIED = re.compile(r"^\s{0,8}(?:[-*•]\s{0,4})?\[([^\[\]\n]{1,80})\]:?\s+(\S.*)$")
# A heading is `Context: text`, a line that ends in `... these notes you have:`, or a Markdown heading.
_MARK = r"[*_\s]{0,4}"
_HEADING = re.compile(
    rf"^(?:[\s#*_>=-]{{0,8}}(?:(?:the|given|relevant|retrieved|your)\s+)?(?:{_NAMES}){_MARK}:[*_]{{0,2}}\s*(.*)"
    rf"|[^\n.?!:]{{0,120}}\b(?:{_NAMES})\b[^\n.?!:]{{0,60}}:{_MARK}"
    rf"|\s{{0,3}}#{{1,6}}\s{{0,4}}(?:the\s+)?(?:{_NAMES})\s*)$",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^[\s#*_>=-]{0,8}(?:(?:the|user'?s?|customer'?s?)\s+)?(?:question|query|q|user|customer)[*_\s]{0,4}:[*_]{0,2}\s*(.*)$",
    re.IGNORECASE,
)
_CUE = re.compile(r"^\s*(?:final\s+)?(?:answer|reply|response|a|assistant)\s*:\s*$", re.IGNORECASE)
_ORDER = re.compile(
    r"^\s*(?:please\s+)?(?:answer|reply|respond|use|using|do not|don't|never|always|if|cite|keep|be|write|return|say|"
    r"only|end|start|begin|include|mention)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A piece of given text, with its id when it has one."""

    text: str
    id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a conversation gives and asks; ``has_notes`` is also true for a heading with nothing under it."""

    notes: tuple[Note, ...]
    question: str
    instructions: str
    has_notes: bool


def read(turns: Sequence[Turn]) -> Reading:
    """Notes of all messages, question of the newest user message, instructions of both."""
    last_user = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=-1)
    page = _Page()
    instructions: list[str] = []
    question = ""
    budget = READ_LIMIT
    for at, turn in enumerate(turns):
        if turn.role == "assistant" or budget <= 0:
            continue
        text, budget = turn.text[:budget], budget - len(turn.text)
        if turn.role == "tool":
            page.note(turn.tool_name, text)
            continue
        questions, rest = page.read(text)
        if at == last_user:
            question = "\n".join(questions) or page.trailing_question(text) or "\n".join(rest)
        if at == last_user or turn.role == "system":
            instructions += [*rest, *questions]
    return Reading(
        notes=tuple(page.written()),
        question=question.strip(),
        instructions="\n".join(instructions).strip(),
        has_notes=page.has_notes,
    )


class _Page:
    """Collects notes over several messages; a note is its id and its lines."""

    def __init__(self) -> None:
        self.notes: list[tuple[str | None, list[str]]] = []
        self.has_notes = False

    def note(self, identity: str | None, text: str) -> None:
        self.has_notes = True
        self.notes.append((identity, [text]))

    def written(self) -> Iterator[Note]:
        for identity, lines in self.notes:
            if text := "\n".join(lines).strip():
                yield Note(text=text, id=identity)

    def read(self, text: str) -> tuple[list[str], list[str]]:
        """Adds the notes of ``text``; returns its question lines and its other lines."""
        lines = _Lines(self)
        lines.read(self._without_elements(text).split("\n"))
        return [line for line in lines.questions if line.strip()], [line for line in lines.rest if line.strip()]

    def trailing_question(self, text: str) -> str:
        """Takes the last paragraph of ``text`` back from the notes when it is a question."""
        blocks = text.strip().split("\n\n")
        asked = blocks[-1].strip()
        if len(blocks) < 2 or not asked.endswith("?") or not self.notes:
            return ""
        lines = self.notes[-1][1]
        if not lines or lines[-1].strip() != asked.split("\n")[-1].strip():
            return ""
        for line in reversed(asked.split("\n")):
            if lines and lines[-1].strip() == line.strip():
                lines.pop()
        return asked

    def _without_elements(self, text: str) -> str:
        """``text`` without its note elements, which are added to the notes."""
        out: list[str] = []
        lowered = text.lower()
        unclosed: set[str] = set()
        at = 0
        for opening in islice(_ELEMENT.finditer(text), _MOST_ELEMENTS):
            name = opening.group(1).lower()
            if opening.start() < at or name in unclosed:
                continue
            end = lowered.find(f"</{name}>", opening.end())
            if end < 0:
                unclosed.add(name)
                continue
            self._element(opening.group(2), text[opening.end() : end])
            out.append(text[at : opening.start()])
            at = end + len(name) + 3
        return "".join([*out, text[at:]])

    def _element(self, attributes: str, inner: str) -> None:
        self.has_notes = True
        lines = inner.split("\n")
        if _ELEMENT.search(inner):
            self._inner_elements(inner)
        elif any(_IDENTIFIED.match(line) for line in lines):
            _Lines(self, in_notes=True).read(lines)
        else:
            named = _IDENTITY.search(attributes)
            self.note(named.group(1) if named else None, inner.strip())

    def _inner_elements(self, inner: str) -> None:
        for opening in islice(_ELEMENT.finditer(inner), _MOST_ELEMENTS):
            named = _IDENTITY.search(opening.group(2))
            text = re.split(r"<(?=[/a-zA-Z])", inner[opening.end() : opening.end() + READ_LIMIT], maxsplit=1)[0]
            if text.strip():
                self.note(named.group(1) if named else None, text.strip())


class _Lines:
    """Walks through the lines of one message, which are notes, questions or the rest."""

    def __init__(self, page: _Page, *, in_notes: bool = False) -> None:
        self.page = page
        self.where = "notes" if in_notes else "rest"
        self.after_blank = False
        self.questions: list[str] = []
        self.rest: list[str] = []

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.strip():
                self._line(line)
            self.after_blank = not line.strip()

    def _line(self, line: str) -> None:
        if found := _IDENTIFIED.match(line):
            self.where = "notes"
            self.page.note(found.group(1), found.group(2))
        elif found := _QUESTION.match(line):
            self.where = "question"
            self.questions.append(found.group(1))
        elif _CUE.match(line):
            self.where = "rest"
        elif found := _HEADING.match(line):
            self.page.has_notes, self.where = True, "notes"
            if found.group(1):
                self.page.note(None, found.group(1))
            else:
                self.rest.append(line)
        elif self.where == "notes" and not (self.after_blank and _ORDER.match(line)):
            self._note_line(line)
        else:
            self.where = "question" if self.where == "question" else "rest"
            (self.questions if self.where == "question" else self.rest).append(line)

    def _note_line(self, line: str) -> None:
        if self.page.notes and self.page.notes[-1][0] is not None:
            self.page.notes[-1][1].append(line)
        else:
            self.page.note(None, line)

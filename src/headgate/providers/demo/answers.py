"""Text in, text out: answers from the notes when there are notes, else from the skills; in the style asked for.

Style is read from the instructions: a length ("one sentence", "at most 20 words", "one word"), "bullet points",
"in capitals", a friendly tone, words to end with, what to say when nothing is found, no citations, not to use the
notes. `demo-small` answers with one sentence and takes the second best one in about one of four requests; so does
any model at a temperature above 1, the more often the higher it is.
"""

import re
from dataclasses import dataclass

from headgate.providers.demo import notes, retrieval, skills, words
from headgate.providers.demo.ask import Ask
from headgate.providers.demo.judging import NOT_IN_NOTES, NOTICE
from headgate.providers.demo.notes import Reading
from headgate.providers.demo.retrieval import Hit

_IGNORES_NOTES = re.compile(
    r"\b(?:ignore|do not (?:use|read)|don't (?:use|read)|without(?: using)?)\s+(?:the |any |these )?"
    r"(?:notes|context|passages|documents)\b",
    re.I,
)
_NO_CITATIONS = re.compile(r"\b(?:do not|don't|without|no)\s+(?:cite|citing|citations?|sources|ids|references)\b", re.I)
_MOST = re.compile(
    r"\b(\d{1,4}|one|two|three|four|five|ten|a single)(?:\s+(?:short|brief|simple))?\s+(words?|sentences?)\b", re.I
)
_COUNTS = {"one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10}
_BRIEF = re.compile(r"\b(?:be brief|briefly|concise(?:ly)?|short answer|keep it short|terse)\b", re.I)
_LIST = re.compile(r"\b(?:bullet(?:s|ed)?|as a list|list form)\b", re.I)
_CAPITALS = re.compile(r"\b(?:upper ?case|all caps|in capitals|capital letters)\b", re.I)
_FRIENDLY = re.compile(r"\bfriendly\b|\bwarm(?:ly)?\b", re.I)
_BARE = re.compile(r"\b(?:only the|nothing else|no preamble|just the|answer only|only with|reply with only)\b", re.I)
_ENDS = re.compile(r"\b(?:end|finish|close|sign off)(?: \w+){0,4} with\s*:?\s*[\"“'`]([^\"”`\n]{1,200}?)[\"”'`]", re.I)
_STARTS = re.compile(r"\b(?:start|begin|open)(?: \w+){0,4} with\s*:?\s*[\"“'`]([^\"”`\n]{1,200}?)[\"”'`]", re.I)
_INCLUDES = re.compile(r"\b(?:include|mention)(?: \w+){0,4}\s*:?\s*[\"“`]([^\"”`\n]{1,200}?)[\"”`]", re.I)
_SAID = r"\s*:?\s*[\"“`]([^\"”`\n]{1,200})[\"”`]"
_VERB = r"\b(?:say|reply|answer|respond|write)(?: with)?"
_OTHERWISE = (
    re.compile(rf"\b(?:if|when|unless|otherwise)\b[^.\n]{{0,120}}{_VERB}{_SAID}", re.I),
    re.compile(rf"{_VERB}{_SAID}\s*(?:if|when|unless)\b", re.I),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How the answer should look."""

    most_words: int | None
    most_sentences: int
    cites: bool
    uses_notes: bool
    otherwise: str
    instructions: str

    @property
    def is_bare(self) -> bool:
        """Whether the answer must stand alone, without the demo model's notice."""
        return bool(_BARE.search(self.instructions)) or (self.most_words is not None and self.most_words < 12)


def style_of(instructions: str, model: str) -> Style:
    """The style that ``instructions`` ask for."""
    most_words: int | None = None
    most_sentences = 1 if model == "demo-small" or _BRIEF.search(instructions) else 2
    for found in _MOST.finditer(instructions[:20_000]):
        number = found.group(1).lower()
        count = max(1, _COUNTS.get(number) or (int(number) if number.isdigit() else 1))
        if found.group(2).lower().startswith("word"):
            most_words = count
        else:
            most_sentences = min(count, 6)
    otherwise = [said.group(1) for pattern in _OTHERWISE if (said := pattern.search(instructions[:20_000]))]
    return Style(
        most_words=most_words,
        most_sentences=most_sentences,
        cites=not _NO_CITATIONS.search(instructions),
        uses_notes=not _IGNORES_NOTES.search(instructions),
        otherwise=otherwise[0] if otherwise else NOT_IN_NOTES,
        instructions=instructions,
    )


def answer(ask: Ask, choice: int = 0) -> str:
    """The answer to ``ask`` as text; ``choice`` counts the alternatives asked for by ``n``."""
    reading = notes.read(ask.turns)
    style = style_of(reading.instructions, ask.model)
    core, is_bare = _core(ask, reading, style, choice)
    images = [image for turn in ask.turns if turn.role == "user" for image in turn.images]
    if images and not is_bare:
        core = f"I was given {_and(images)}. {core}"
    return _styled(core, style, is_bare=is_bare or style.is_bare, choice=choice)


def bare_answer(ask: Ask) -> str:
    """The answer without notice or citations, for a field of a JSON object."""
    reading = notes.read(ask.turns)
    style = style_of(reading.instructions, ask.model)
    core, _ = _core(ask, reading, style, 0)
    return words.without_citations(core).strip()


def cited(ask: Ask) -> list[str]:
    """The ids of the notes that the answer rests on."""
    reading = notes.read(ask.turns)
    hits = retrieval.best(reading.question, [note.text for note in reading.notes])
    found = [reading.notes[hit.passage].id for hit in hits]
    return list(dict.fromkeys(identity for identity in found if identity))


def _core(ask: Ask, reading: Reading, style: Style, choice: int) -> tuple[str, bool]:
    """The answer before its style, and whether it must stand alone."""
    last = ask.last
    if last is not None and last.role == "tool":
        return f"The tool {last.tool_name or 'call'} returned: {last.text[:4000]}", False
    chosen = skills.label(reading.question, reading.instructions)
    if chosen:
        return chosen, True
    if reading.notes and style.uses_notes:
        hits = _hits(ask, reading, style, choice)
        if hits:
            return _from_notes(hits, reading, style), False
    if done := skills.arithmetic(reading.question):
        return (done.rpartition("= ")[2], True) if style.is_bare else (f"{done}.", False)
    if reading.has_notes and style.uses_notes:
        return style.otherwise, style.otherwise != NOT_IN_NOTES
    return _without_notes(reading, style)


def _without_notes(reading: Reading, style: Style) -> tuple[str, bool]:
    question = reading.question
    if said := skills.repeated(question):
        return said, True
    for skill in (skills.translation, skills.shortened, skills.small_talk):
        if done := skill(question):
            return done, False
    about = " ".join(question.split()[:20])
    if not about:
        return "There was no question to answer.", False
    if style.uses_notes:
        return f"You asked: {about[:200]} I have no notes to answer from; give me some in the request.", False
    return f"You asked: {about[:200]} I was told not to use the notes, so I cannot say.", False


def _hits(ask: Ask, reading: Reading, style: Style, choice: int) -> list[Hit]:
    texts = [note.text for note in reading.notes]
    found = retrieval.ranked(reading.question, texts)
    if found and len(found) > 1 and _is_careless(ask, choice):
        return [found[1]]
    return retrieval.best(reading.question, texts, style.most_sentences)


def _is_careless(ask: Ask, choice: int) -> bool:
    """Whether this request is one of those answered with the second best sentence."""
    chance = 0.25 if ask.model == "demo-small" else 0.0
    if ask.temperature is not None and ask.temperature > 1:
        chance = max(chance, min(1.0, (ask.temperature - 1) * 0.6))
    return ask.seed[(7 + choice) % len(ask.seed)] < chance * 256


def _from_notes(hits: list[Hit], reading: Reading, style: Style) -> str:
    lines: list[str] = []
    for hit in hits:
        identity = reading.notes[hit.passage].id
        lines.append(f"{hit.text} [{identity}]" if identity and style.cites else hit.text)
    if _LIST.search(style.instructions):
        return "\n".join(f"- {line}" for line in lines)
    return " ".join(lines)


def _styled(core: str, style: Style, *, is_bare: bool, choice: int) -> str:
    text = core
    if style.most_words is not None and len(text.split()) > style.most_words:
        text = " ".join(words.without_citations(text).split()[: style.most_words])
    if _FRIENDLY.search(style.instructions) and not is_bare:
        text = f"Happy to help! {text}"
    if choice and not is_bare:
        text = f"Answer {choice + 1}: {text}"
    if not is_bare:
        text = f"{NOTICE}{chr(10) if text.startswith('- ') else ' '}{text}"
    if starts := _STARTS.search(style.instructions):
        text = f"{starts.group(1)} {text}"
    for found in (_INCLUDES.search(style.instructions), _ENDS.search(style.instructions)):
        if found and found.group(1) not in text:
            text = f"{text} {found.group(1)}"
    return text.upper() if _CAPITALS.search(style.instructions) else text


def _and(parts: list[str]) -> str:
    shown = parts[:5] if len(parts) <= 5 else [*parts[:5], f"{len(parts) - 5} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

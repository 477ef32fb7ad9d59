"""What the demo model can do without notes: arithmetic, repeating, choosing a label, shortening, small talk."""

import hashlib
import re
from decimal import Decimal, localcontext
from itertools import islice

from headgate.providers.demo import words

_LIMIT = 20_000
_OPERAND = r"\({0,5}-?\d[\d.,]{0,15}\){0,5}"
_SUM = re.compile(
    rf"(?<![\w.(]){_OPERAND}(?:\s{{0,5}}(?:[-+*/x×÷^]|plus|minus|times|divided by)\s{{0,5}}{_OPERAND}){{1,20}}"
)
_SPOKEN = {"plus": "+", "minus": "-", "times": "*", "divided by": "/", "×": "*", "x": "*", "÷": "/"}
_PART = re.compile(r"\d+(?:\.\d+)?|[-+*/^()]")
_FILLERS = r"(?: (?:exactly|only|just|back|after me|the (?:words?|text|phrase|following)|this)){0,4}"
_SAY_QUOTED = re.compile(
    rf"\b(?:say|repeat|echo|(?:reply|respond|answer) with|write|print){_FILLERS}\s{{0,4}}"
    r"(?::?\s{0,4}[\"“'`]([^\"”`\n]{1,2000}?)[\"”'`]|:\s{0,4}(\S[^\n]{0,2000}))",
    re.IGNORECASE,
)
_SAY_PLAIN = re.compile(rf"^\s*(?:please )?(?:say|repeat|echo){_FILLERS} (\S+(?: \S+){{0,11}})\s*$", re.IGNORECASE)
_LABELS = re.compile(
    r"\b(?:one of|as either|as|labels?|categories|classes|options|choose from|into)\b\s{0,4}:?([^\n.?!]{3,400})", re.I
)
_SEPARATOR = re.compile(r",|/|\||\bor\b|\band\b", re.IGNORECASE)
_CLASSIFIES = re.compile(r"\b(?:classif\w+|categor\w+|label|sentiment|route|triage)\b", re.IGNORECASE)
_TRANSLATES = re.compile(
    r"\btranslate\b(.{0,2000}?)\b(?:in)?to\s+([A-Z]\w{2,20})\b:?\s*(.*)", re.IGNORECASE | re.DOTALL
)
_SHORTENS = re.compile(r"\b(?:summari[sz]e|summary|shorten|tl;?dr)\b", re.IGNORECASE)
_POSITIVE = frozenset(
    words.content_words("good great love loved excellent happy thanks wonderful perfect fast works best amazing")
)
_NEGATIVE = frozenset(
    words.content_words("bad terrible hate broken angry awful slow worst refund late error crash failed poor cancel")
)
_GREETING = re.compile(r"^\s*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings|howdy)\b", re.IGNORECASE)


def arithmetic(text: str) -> str | None:
    """The result of the first sum in ``text`` such as ``17 * 23``, exact, or None."""
    found = _SUM.search(text[:_LIMIT])
    if not found:
        return None
    written = found.group(0).strip()
    plain = written.replace(",", "").rstrip(".")
    for spoken, sign in _SPOKEN.items():
        plain = plain.replace(spoken, sign)
    plain = plain + ")" * max(0, plain.count("(") - plain.count(")"))
    try:
        with localcontext() as context:
            context.prec = 30
            value = _Sum(_PART.findall(plain)).value()
            whole = value == value.to_integral_value()
            shown = f"{value if whole else round(value, 10):f}" if abs(value) < 10**28 else f"{value:.6e}"
    except (ArithmeticError, ValueError):
        return None
    return f"{written} = {shown.rstrip('0').rstrip('.') if '.' in shown and 'e' not in shown else shown}"


class _Sum:
    """Sums with the usual precedence, nothing else."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts

    def value(self) -> Decimal:
        out = self._terms()
        if self.parts:
            raise ValueError("not a sum")
        return out

    def _next(self, *signs: str) -> str | None:
        return self.parts.pop(0) if self.parts and self.parts[0] in signs else None

    def _terms(self) -> Decimal:
        out = self._factors()
        while sign := self._next("+", "-"):
            right = self._factors()
            out = out + right if sign == "+" else out - right
        return out

    def _factors(self) -> Decimal:
        out = self._power()
        while sign := self._next("*", "/"):
            right = self._power()
            out = out * right if sign == "*" else out / right
        return out

    def _power(self) -> Decimal:
        out = self._atom()
        if self._next("^"):
            exponent = self._power()
            if abs(exponent) > 64:
                raise ValueError("too large")
            out = out**exponent
        return out

    def _atom(self) -> Decimal:
        if self._next("-"):
            return -self._atom()
        if self._next("("):
            out = self._terms()
            if not self._next(")"):
                raise ValueError("unbalanced")
            return out
        if not self.parts:
            raise ValueError("incomplete")
        return Decimal(self.parts.pop(0))


def repeated(text: str) -> str | None:
    """The words that ``text`` asks to say, or None."""
    if found := _SAY_QUOTED.search(text[:_LIMIT]):
        return (found.group(1) or found.group(2)).strip()
    found = _SAY_PLAIN.search(text[:_LIMIT])
    return found.group(1).rstrip(".") if found else None


def label(question: str, instructions: str) -> str | None:
    """The label chosen for the text asked about, when the request asks for one of a list of labels."""
    everything = f"{instructions}\n{question}"[:_LIMIT]
    if not _CLASSIFIES.search(everything):
        return None
    for found in islice(_LABELS.finditer(everything), 20):
        listed = found.group(1).split(":")[0]
        labels = [part.strip(" \"'`*()[]") for part in _SEPARATOR.split(listed)]
        labels = [part for part in labels if part and len(part.split()) <= 3]
        if len(labels) > 1:
            return choose(labels, question.replace(listed, ""))
    return None


def choose(labels: list[str], text: str) -> str:
    """The label whose words are in ``text``, whose feeling fits it, or one picked by the text's hash."""
    stems = set(words.content_words(text))
    for option in labels:
        if set(words.content_words(option)) & stems:
            return option
    lowered = {option.lower(): option for option in labels}
    good, bad = len(stems & _POSITIVE), len(stems & _NEGATIVE)
    feeling = "positive" if good > bad else "negative" if bad > good else "neutral"
    if feeling in lowered:
        return lowered[feeling]
    if "other" in lowered:
        return lowered["other"]
    return labels[hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] % len(labels)]


def translation(text: str) -> str | None:
    """The text to translate, unchanged, with a word on why."""
    found = _TRANSLATES.search(text[:_LIMIT])
    if not found:
        return None
    wanted = (found.group(3).strip() or found.group(1).strip(" :\"'\n"))[:2000]
    return f"It cannot translate to {found.group(2)}; here is the text unchanged: {wanted}" if wanted else None


def shortened(text: str) -> str | None:
    """The first sentences of a text to summarise."""
    if not _SHORTENS.search(text[:400]):
        return None
    found = [sentence for sentence in words.sentences(text[:_LIMIT]) if not _SHORTENS.search(sentence)]
    return "In short: " + " ".join(found[:2]) if found else None


def small_talk(text: str) -> str | None:
    """An answer to a greeting or to thanks."""
    if _GREETING.match(text):
        return "Hello! Ask me something over notes, a sum, or to call one of your tools."
    if re.match(r"\s*(?:thanks|thank you)\b", text, re.IGNORECASE):
        return "You are welcome."
    if re.search(r"\bwho are you|what are you|your name|which model\b", text[:2000], re.IGNORECASE):
        return "I answer by word rules, deterministically, and I run inside your gateway."
    return None

"""Reads the value of an expression as people and models write it: plain, LaTeX, percent, sets and tuples of numbers.

Exact where it can be (fractions of any size within bounds), else 64-bit floats. What needs algebra is not read.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 4_000
_DEEPEST = 40
_MOST_DIGITS = 400
_MOST_BITS = 400_000
_LARGEST_FACTORIAL = 5_000
_LARGEST_BINOMIAL = 20_000

Number = Fraction | float


@dataclass(frozen=True, slots=True)
class Several:
    """A tuple, an interval's ends, or (``is_set``) a set of numbers."""

    items: tuple[Number, ...]
    is_set: bool


class NoValue(ValueError):
    """The text is no expression that is read here."""


_SPACES = re.compile(
    r"\\[,;:!> ]|~|\\q?quad\b|\\displaystyle\b|\\(?:left|right|big|Big|bigg|Bigg)(?![a-zA-Z])|\\\$|\$|\\[()\[\]]"
)
_UNITS = re.compile(r"\\(?:text|mathrm|mbox|textrm|mathbf|textbf|operatorname)\s*\{[^{}]{0,200}\}")
_DEGREES = re.compile(r"\^\s*(?:\\circ\b|\{\s*\\circ\s*\})|°|\\degree\b")
_REPLACED = (
    ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cdot", "*"), ("\\times", "*"), ("\\div", "/"), ("×", "*"),
    ("·", "*"), ("÷", "/"), ("−", "-"), ("–", "-"), ("**", "^"), ("\\%", "%"), ("π", "\\pi"), ("√", "\\sqrt"),
    ("\\{", "⟨"), ("\\}", "⟩"), ("\\lbrace", "⟨"), ("\\rbrace", "⟩"),
)  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)|\\?(?P<name>frac|sqrt|pi|binom)(?![a-zA-Z])"
    r"|(?P<sign>[-+*/^()\[\]{},!%⟨⟩]))"
)
_MIXED = re.compile(r"\s*(-?)(\d{1,9})\s+(\d{1,9}/[1-9]\d{0,8})\s*")
_BOXED = re.compile(r"\\(?:boxed|fbox|beginboxed)\s*\{")
_SAID = re.compile(r"\b(?:final\s+)?answer\s*(?:is|=|:)\s*:?\s*([^\n]{1,2000})", re.IGNORECASE)
_MARKED = re.compile(r"\$\$?([^$]{1,2000})\$\$?")
_FORMULA = re.compile(r"[\\^_]|(?<![^\W\d_])[^\W\d_](?![^\W\d_])")
"""Signs of a formula with names in it, whose last number is not its value."""
_LAST = re.compile(r"(?<![\w.])[-+−]?\$?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?:\s?/\s?\d+)?\s?%?")


def notation(text: str) -> str:
    """A text without what does not change its meaning: spaces, dollar signs, \\left and \\right, a final dot."""
    return re.sub(r"\s+", "", _prepared(text)).strip(".").casefold()


def final_answer(text: str) -> str:
    """The part of an answer that states its result: the last \\boxed, what follows "answer is", else the whole."""
    if (boxed := _boxed(text)) is not None:
        return boxed
    said = _SAID.findall(text[-20_000:])
    return said[-1].strip().rstrip(".") if said else text


def value_of(text: str) -> Number | Several:
    """The value of an expression, of one side of an equation, of a set or a tuple; raises NoValue."""
    if len(text) > MAX_CHARS:
        raise NoValue(f"an expression has at most {MAX_CHARS:,} characters")
    plain = _prepared(text).strip().rstrip(".")
    if plain.count("=") == 1:
        left, _, right = plain.partition("=")
        return _first_of((right, left))
    if mixed := _MIXED.fullmatch(plain):
        whole = int(mixed.group(2)) + Fraction(mixed.group(3))
        return -whole if mixed.group(1) else whole
    try:
        return _Expression(plain).whole()
    except (ArithmeticError, RecursionError):
        raise NoValue("the expression cannot be worked out") from None


def last_number(text: str) -> Number:
    """The last number that stands in a text; raises NoValue."""
    found = _LAST.findall(text[-20_000:])
    if not found:
        raise NoValue("there is no number in it")
    bare = found[-1].replace("−", "-")
    mantissa, _, power = bare.lower().partition("e")
    value = value_of(mantissa.strip(" ,"))
    if isinstance(value, Several):
        raise NoValue("there are several numbers in it")
    return value * Fraction(10) ** int(power) if power else value


def answered(text: str) -> Number | Several:
    """The value that an answer states: of its final part, of its last formula, or its last number; raises NoValue."""
    final = final_answer(text)
    readings: list[Callable[[], Number | Several]] = [lambda: value_of(final)]
    marked = _MARKED.findall(final[-20_000:])
    if marked:
        readings.append(lambda: value_of(marked[-1]))
    if not (_boxed(text) is not None and _FORMULA.search(final)):
        readings.append(lambda: last_number(final))
    for reading in readings:
        try:
            return reading()
        except NoValue:
            continue
    raise NoValue("there is no number in it")


def are_near(one: Number | Several, other: Number | Several, near: Callable[[Number, Number], bool]) -> bool:
    """Whether two values are the same within what ``near`` allows; members of sets may come in any order."""
    if not isinstance(one, Several) and not isinstance(other, Several):
        return near(one, other)
    if not isinstance(one, Several) or not isinstance(other, Several):
        return False
    if one.is_set != other.is_set or len(one.items) != len(other.items):
        return False
    left, right = one.items, other.items
    if one.is_set:
        left, right = tuple(sorted(left)), tuple(sorted(right))
    return all(near(a, b) for a, b in zip(left, right, strict=True))


def _prepared(text: str) -> str:
    plain = _DEGREES.sub("", text)
    for old, new in _REPLACED:
        plain = plain.replace(old, new)
    plain = _SPACES.sub("", plain)
    bare = _UNITS.sub("", plain)
    return bare if bare.strip() else plain


def _boxed(text: str) -> str | None:
    """What the last \\boxed{…} holds, braces balanced; None without one."""
    starts = [found.end() for found in _BOXED.finditer(text)]
    for start in reversed(starts):
        depth = 1
        for at in range(start, min(len(text), start + MAX_CHARS)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[start:at]
    return None


def _first_of(texts: Sequence[str]) -> Number | Several:
    for text in texts:
        try:
            return value_of(text)
        except NoValue:
            continue
    raise NoValue("neither side is a number")


class _Expression:
    """A recursive descent over tokens; every level of brackets is counted."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._depth = 0
        self._at = 0
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise NoValue(f"{text[at : at + 20]!r} is not read here")
            kind = found.lastgroup or ""
            self._tokens.append((kind, found.group(kind)))
            at = found.end()
        if not self._tokens:
            raise NoValue("it is empty")

    def whole(self) -> Number | Several:
        found = self._several("⟨", "⟩", is_set=True) or self._several("(", ")", is_set=False) or self._sum()
        if self._at < len(self._tokens):
            raise NoValue("something is left over")
        return found

    def _several(self, opening: str, closing: str, *, is_set: bool) -> Several | None:
        """``(1, 2)`` or ``{1, 2}``; None (and nothing read) when it is not one."""
        start = self._at
        if not self._take(opening):
            return None
        items = [self._sum()]
        while self._take(","):
            items.append(self._sum())
        if self._take(closing) and self._at == len(self._tokens) and (is_set or len(items) > 1):
            return Several(tuple(items), is_set)
        self._at = start
        if is_set:
            raise NoValue("braces are not balanced")
        return None

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self, *signs: str) -> str | None:
        kind, text = self._peek()
        if kind == "sign" and text in signs:
            self._at += 1
            return text
        return None

    def _sum(self) -> Number:
        out = self._product()
        while sign := self._take("+", "-"):
            right = self._product()
            out = _bounded(_add(out, right if sign == "+" else -right))
        return out

    def _product(self) -> Number:
        out = self._signed()
        while True:
            if sign := self._take("*", "/"):
                right = self._signed()
                out = _bounded(_multiply(out, right if sign == "*" else _inverse(right)))
            elif self._starts_factor():
                out = _bounded(_multiply(out, self._power()))
            else:
                return out

    def _starts_factor(self) -> bool:
        """Whether a factor follows without a sign, as in 3\\sqrt{5} or 2(1+1); two numbers in a row do not."""
        kind, text = self._peek()
        after_number = self._tokens[self._at - 1][0] == "number"
        return kind == "name" or (kind == "sign" and text == "(") or (kind == "number" and not after_number)

    def _signed(self) -> Number:
        if self._take("-"):
            return -self._deeper(self._signed)
        if self._take("+"):
            return self._deeper(self._signed)
        return self._power()

    def _power(self) -> Number:
        base = self._postfix()
        if not self._take("^"):
            return base
        return _bounded(_raised(base, self._deeper(self._exponent)))

    def _exponent(self) -> Number:
        return self._braced() if self._peek() == ("sign", "{") else self._signed()

    def _postfix(self) -> Number:
        out = self._atom()
        while sign := self._take("!", "%"):
            out = _bounded(_factorial(out) if sign == "!" else _multiply(out, Fraction(1, 100)))
        return out

    def _atom(self) -> Number:
        kind, text = self._peek()
        self._at += 1
        if kind == "number":
            if len(text) > _MOST_DIGITS:
                raise NoValue("a number is too long")
            return Fraction(text.replace(",", ""))
        if kind == "name":
            return self._named(text)
        if kind == "sign" and text in ("(", "[", "{"):
            out = self._deeper(self._sum)
            if not self._take({"(": ")", "[": "]", "{": "}"}[text]):
                raise NoValue("brackets are not balanced")
            return out
        raise NoValue(f"{text!r} is not expected here" if text else "something is missing at the end")

    def _named(self, name: str) -> Number:
        if name == "pi":
            return math.pi
        if name == "sqrt":
            return self._root()
        top, under = self._argument(), self._argument()
        return _bounded(_multiply(top, _inverse(under)) if name == "frac" else _binomial(top, under))

    def _root(self) -> Number:
        degree: Number = Fraction(2)
        if self._take("["):
            degree = self._deeper(self._sum)
            if not self._take("]"):
                raise NoValue("brackets are not balanced")
        return _root(self._argument(), degree)

    def _argument(self) -> Number:
        """What a command applies to: braces, brackets, or a single digit or command, as in \\sqrt2."""
        if self._peek()[1] == "{":
            return self._braced()
        return self._deeper(self._atom)

    def _braced(self) -> Number:
        self._at += 1
        out = self._deeper(self._sum)
        if not self._take("}"):
            raise NoValue("braces are not balanced")
        return out

    def _deeper(self, part: Callable[[], Number]) -> Number:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NoValue("it is nested too deep")
        out = part()
        self._depth -= 1
        return out


def _bounded(value: Number) -> Number:
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > _MOST_BITS:
            raise NoValue("the value is too large")
    elif not math.isfinite(value):
        raise NoValue("the value is not finite")
    return value


def _add(one: Number, other: Number) -> Number:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one + other
    return float(one) + float(other)


def _multiply(one: Number, other: Number) -> Number:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one * other
    return float(one) * float(other)


def _inverse(value: Number) -> Number:
    if value == 0:
        raise NoValue("it divides by zero")
    return 1 / value


def _raised(base: Number, power: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(power, Fraction) and power.denominator == 1:
        exponent = power.numerator
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent) > _MOST_BITS:
            raise NoValue("the value is too large")
        if base == 0 and exponent < 0:
            raise NoValue("it divides by zero")
        return base**exponent
    return _root(base, _inverse(power))


def _root(value: Number, degree: Number) -> Number:
    if degree == 2 and isinstance(value, Fraction) and value >= 0:
        top, under = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and under * under == value.denominator:
            return Fraction(top, under)
    if value < 0:
        raise NoValue("the root of a negative number is not read here")
    return _bounded(float(value) ** float(_inverse(degree)))


def _whole(value: Number, most: int) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= most:
        raise NoValue(f"a factorial or binomial is of a whole number up to {most:,}")
    return value.numerator


def _factorial(value: Number) -> Number:
    return Fraction(math.factorial(_whole(value, _LARGEST_FACTORIAL)))


def _binomial(top: Number, under: Number) -> Number:
    return Fraction(math.comb(_whole(top, _LARGEST_BINOMIAL), _whole(under, _LARGEST_BINOMIAL)))

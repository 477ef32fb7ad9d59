"""Hostile text in XML without its illegal characters, and in Markdown that stays one cell, one line, one fence."""

import re

from headgate.core.printable import printable

# What XML 1.0 cannot hold even as a reference (section 2.2, Char).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# ASCII punctuation that means something to CommonMark or to GitHub somewhere in a line.
_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&^=-])")
# GitHub links these in the finished text, so no escape helps; a space of no width between the characters does.
_LINKED = re.compile(r"(@|#|GH-(?=\d)|://|\bwww\.)", re.IGNORECASE)
_RUN = re.compile("`+")
_BREAK = "\u200b"


def xml_text(text: str) -> str:
    """``text`` with every character that XML forbids written out as ``\\x1b`` or ``\\ud800``."""
    return _NOT_XML.sub(lambda match: _written_out(match[0]), text)


def _written_out(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str, most: int) -> str:
    """The text as one harmless line of at most ``most`` characters; ``…`` says that something is left out."""
    line = printable(" ".join(text[: 4 * most + 200].split()))
    return line if len(line) <= most and len(text) <= 4 * most + 200 else line[: max(most - 1, 0)] + "…"


def markdown_text(text: str, most: int = 2000) -> str:
    """Prose that can neither format, nor link, nor mention anyone, nor leave its line or table cell."""
    line = _MARKS.sub(r"\\\1", one_line(text, most))
    return _LINKED.sub(lambda match: _broken(match[0]), line)


def _broken(match: str) -> str:
    return f":{_BREAK}//" if match == "://" else f"{match}{_BREAK}"


def markdown_code(text: str, most: int = 200) -> str:
    """A code span, in which nothing is linked or mentioned; as a table cell too, so ``|`` is escaped as tables ask."""
    line = one_line(text, most) or " "
    longest = max((len(run) for run in _RUN.findall(line)), default=0)
    marks = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or (line.strip() and line[0] == line[-1] == " ") else ""
    return f"{marks}{pad}{line}{pad}{marks}".replace("|", "\\|")


def markdown_block(text: str) -> str:
    """A fenced block that the text cannot close."""
    shown = printable(text, keep_lines=True)
    longest = max((len(run) for run in _RUN.findall(shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"

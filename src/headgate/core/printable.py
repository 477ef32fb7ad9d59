"""Hostile text made harmless to look at: what could steer a terminal or reorder a line is written out."""

import unicodedata

# Cf characters that scripts and emoji need (zero-width joiners); every other one can hide or reorder text.
_HARMLESS_FORMAT = {"\u200c", "\u200d"}
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def printable(text: object, *, keep_lines: bool = False) -> str:
    """``text`` with every character that could steer a terminal written out (``\\x1b``, ``\\u202e``).

    With ``keep_lines`` newlines and tabs stay (a carriage return before a newline is dropped).
    """
    raw = str(text)
    if raw.isascii() and raw.isprintable():
        return raw
    if keep_lines:
        raw = raw.replace("\r\n", "\n")
    kept = "\n\t" if keep_lines else ""
    return "".join(char if char in kept or not is_unsafe(char) else _escaped(char) for char in raw)


def is_unsafe(char: str) -> bool:
    """Whether a character can steer a terminal, hide, or reorder the text around it."""
    return unicodedata.category(char) in _UNSAFE_CATEGORIES and char not in _HARMLESS_FORMAT


def _escaped(char: str) -> str:
    code = ord(char)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

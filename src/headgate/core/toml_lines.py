"""Finds the line of every key of a TOML text, which the standard library's parser does not tell.

The text has been parsed before, so it is known to be valid TOML and only its shape is followed here.
"""

from bisect import bisect_right

Path = tuple[str | int, ...]

_BARE_END = frozenset(" \t\r\n.=]")
_VALUE_END = frozenset(",]}#\r\n")
_SPACE = frozenset(" \t\r\n")


def lines_of(text: str) -> dict[Path, int]:
    """The line (from 1) of each table, key and array element, by its path; array elements count from 0."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._newlines = [i for i, c in enumerate(text) if c == "\n"]
        self._arrays: dict[Path, int] = {}  # arrays of tables: how many elements so far

    def document(self) -> None:
        prefix: Path = ()
        while self._skip_blank():
            if self.text[self.at] == "[":
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> Path:
        is_array = self.text.startswith("[[", self.at)
        line = self._line()
        self.at += 2 if is_array else 1
        keys = self._dotted("]")
        self.at += 2 if is_array else 1
        parent = self._resolve(keys[:-1])
        path: Path = (*parent, keys[-1])
        if is_array:
            self.lines.setdefault(path, line)
            number = self._arrays.get(path, 0)
            self._arrays[path] = number + 1
            path = (*path, number)
        self.lines[path] = line
        return path

    def _resolve(self, keys: list[str]) -> Path:
        """``[a.b]`` below ``[[a]]`` means the newest element of ``a``."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
        return path

    def _pair(self, prefix: Path) -> None:
        line = self._line()
        path = prefix
        for key in self._dotted("="):
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        opening = self.text[self.at : self.at + 1]
        if opening in ('"', "'"):
            self._string()
        elif opening == "{":
            self._inline_table(path)
        elif opening == "[":
            self._array(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in _VALUE_END:
                self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._skip_blank() and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
            else:
                self._pair(path)
        self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        number = 0
        while self._skip_blank() and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.lines[(*path, number)] = self._line()
            self._value((*path, number))
            number += 1
        self.at += 1

    def _dotted(self, end: str) -> list[str]:
        keys: list[str] = []
        while self._skip_blank() and self.text[self.at] != end:
            if self.text[self.at] == ".":
                self.at += 1
            elif self.text[self.at] in "\"'":
                keys.append(self._string())
            else:
                start = self.at
                while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
                    self.at += 1
                keys.append(self.text[start : self.at])
        return keys

    def _string(self) -> str:
        """Steps over a string of any of TOML's four kinds; its content matters for keys only, which are one-line."""
        quote = self.text[self.at]
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        start = self.at
        while self.at < len(self.text) and not self.text.startswith(fence, self.at):
            self.at += 2 if self.text[self.at] == "\\" and quote == '"' else 1
        end = self.at
        self.at += len(fence)
        if len(fence) == 3:  # up to two more quotes may end the content: """he said "no"""""
            while self.at - end < 5 and self.text.startswith(quote, self.at):
                self.at += 1
        content = self.text[start:end]
        return _unescaped(content) if quote == '"' and "\\" in content else content

    def _skip_blank(self) -> bool:
        """Moves to the next sign outside white space and comments; False at the end."""
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign == "#":
                newline = self.text.find("\n", self.at)
                self.at = len(self.text) if newline < 0 else newline
            elif sign in _SPACE:
                self.at += 1
            else:
                return True
        return False

    def _line(self) -> int:
        return bisect_right(self._newlines, self.at - 1) + 1 if self.at else 1


_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def _unescaped(text: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "\\":
            out.append(text[at])
            at += 1
            continue
        sign = text[at + 1]
        digits = _HEX_DIGITS.get(sign, 0)
        out.append(chr(int(text[at + 2 : at + 2 + digits], 16)) if digits else _ESCAPES.get(sign, sign))
        at += 2 + digits
    return "".join(out)

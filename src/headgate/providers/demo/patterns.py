"""A text that matches a JSON Schema ``pattern``: the common, flat part of regular expressions, written, never run."""

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "t": "\t", "n": "\n", "r": "\r"}
_LIMIT = 2000


class UnsupportedPattern(ValueError):
    """The pattern uses look-around, back-references or another part not handled here."""


def example(pattern: str) -> str:
    """The plainest text that ``pattern`` matches; raises `UnsupportedPattern`."""
    writer = _Writer(pattern[:_LIMIT])
    text = writer.alternatives(0)
    if writer.at < len(writer.pattern):
        raise UnsupportedPattern(pattern)
    return text


class _Writer:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def _peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def alternatives(self, depth: int) -> str:
        if depth > 20:
            raise UnsupportedPattern(self.pattern)
        first = self._sequence(depth)
        while self._peek() == "|":
            self.at += 1
            self._sequence(depth)
        return first

    def _sequence(self, depth: int) -> str:
        out: list[str] = []
        size = 0
        while (char := self._peek()) and char not in "|)":
            unit = self._unit(depth) * self._times()
            size += len(unit)
            if size > _LIMIT:
                raise UnsupportedPattern(self.pattern)
            out.append(unit)
        return "".join(out)

    def _unit(self, depth: int) -> str:
        char = self._peek()
        self.at += 1
        if char in "^$":
            return ""
        if char == ".":
            return "a"
        if char == "[":
            return self._character_class()
        if char == "(":
            return self._group(depth)
        if char == "\\":
            return self._escape()
        if char in "*+?{":
            raise UnsupportedPattern(self.pattern)
        return char

    def _group(self, depth: int) -> str:
        if self.pattern.startswith("?:", self.at):
            self.at += 2
        elif self._peek() == "?":
            raise UnsupportedPattern(self.pattern)
        text = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise UnsupportedPattern(self.pattern)
        self.at += 1
        return text

    def _escape(self) -> str:
        char = self._peek()
        self.at += 1
        if char in ("b", "A", "Z", "z"):
            return ""
        if not char or char.isdigit() or char in "BpPkux":
            raise UnsupportedPattern(self.pattern)
        return _CLASSES.get(char, char)

    def _character_class(self) -> str:
        negated = self._peek() == "^"
        if negated:
            self.at += 1
        members: list[str] = []
        while self._peek() != "]" or not members:
            char = self._peek()
            if not char:
                raise UnsupportedPattern(self.pattern)
            self.at += 1
            members.append(self._escape() if char == "\\" else char)
        self.at += 1
        if not negated:
            return members[0]
        ranges = [(a, c) for a, b, c in zip(members, members[1:], members[2:], strict=False) if b == "-"]
        for char in "ax0A-_ \u00e9\u4e00":
            if char not in members and not any(low <= char <= high for low, high in ranges):
                return char
        raise UnsupportedPattern(self.pattern)

    def _times(self) -> int:
        char = self._peek()
        times = 1
        if char in ("*", "?"):
            self.at += 1
            times = 0
        elif char == "+":
            self.at += 1
        elif char == "{":
            end = self.pattern.find("}", self.at)
            least = self.pattern[self.at + 1 : end].split(",")[0] if end > 0 else ""
            if not least.isdecimal() or int(least) > _LIMIT:
                raise UnsupportedPattern(self.pattern)
            self.at = end + 1
            times = int(least)
        if char and char in "*+?{" and self._peek() == "?":
            self.at += 1
        return times

"""What differs between two versions of a prompt, field by field and message by message, bounded in time."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

Kind = Literal["changed", "added", "removed"]
Mark = Literal[" ", "-", "+", "~"]
"""In both, only before, only after, and lines left out."""

CONTEXT_LINES = 3
_WORK = 10_000_000
"""Steps that one comparison may take, about; beyond, blocks are shown as replaced whole."""
_WORD = re.compile(r"\w+\s*|\s+|[^\w\s]\s*")
_BY_NAME = ("parameters", "input")
_FIELDS = ("model", "parameters", "overridable", "input", "knowledge", "messages", "tools", "response_format")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some text of a line, and whether the other side lacks it."""

    text: str
    is_changed: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the comparison; of a ``~`` line the text says how many lines are left out."""

    mark: Mark
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The line as it stands."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field that differs: ``message 2 (user)``, ``parameters.temperature``, ``model``."""

    field: str
    kind: Kind
    lines: tuple[Line, ...]


class _Work:
    """What may still be spent on one comparison."""

    def __init__(self) -> None:
        self._left = _WORK

    def allows(self, old: Sequence[str], new: Sequence[str]) -> bool:
        """Whether SequenceMatcher may be run: it looks at each pair of equal items once per block it finds."""
        counts = Counter(new)
        cost = sum(counts[item] for item in old) * min(len(old), len(new))
        if cost > self._left:
            return False
        self._left -= cost
        return True


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What turns the content ``before`` into ``after`` (both as JSON objects); empty for the same version."""
    found: list[Difference] = []
    work = _Work()
    for field in _FIELDS:
        old, new = before.get(field), after.get(field)
        if field == "messages":
            found += _messages(old or [], new or [], work)
        elif field in _BY_NAME:
            found += _by_name(f"{field}.", old or {}, new or {}, work)
        elif field == "tools":
            found += _by_name("tool ", _named(old or []), _named(new or []), work)
        elif (difference := _difference(field, old or _ABSENT, new or _ABSENT, work)) is not None:
            found.append(difference)
    return found


def compared(before: str, after: str, work: _Work | None = None) -> list[Line]:
    """Two texts line by line, changed words marked, equal lines far from a change left out."""
    old, new, work = before.split("\n"), after.split("\n"), work or _Work()
    lines: list[Line] = []
    for tag, a, b, c, d in _steps(old, new, work):
        if tag == "equal":
            lines += [_whole(" ", text, False) for text in old[a:b]]
        else:
            lines += _replaced(old[a:b], new[c:d], work)
    return list(_with_gaps(lines))


def _messages(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], work: _Work) -> list[Difference]:
    keys = [[json.dumps(message, sort_keys=True) for message in side] for side in (old, new)]
    found: list[Difference] = []
    for tag, a, b, c, d in _steps(keys[0], keys[1], work):
        if tag == "equal":
            continue
        for index in range(max(b - a, d - c)):
            was = old[a + index] if a + index < b else None
            now = new[c + index] if c + index < d else None
            found.append(_message(was, now, (a if now is None else c) + index + 1, work))
    return found


def _message(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, number: int, work: _Work) -> Difference:
    roles = [str(side.get("role")) for side in (was, now) if side is not None]
    role = roles[-1] if roles[0] == roles[-1] else " → ".join(roles)
    texts = [None if side is None else str(side.get("content", "")) for side in (was, now)]
    return Difference(
        field=f"message {number} ({role})", kind=_kind(texts[0], texts[1]), lines=_lines(texts[0], texts[1], work)
    )


def _by_name(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any], work: _Work) -> list[Difference]:
    names = [*old, *(name for name in new if name not in old)]
    found = (_difference(f"{prefix}{name}", old.get(name, _ABSENT), new.get(name, _ABSENT), work) for name in names)
    return [difference for difference in found if difference is not None]


def _named(tools: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, tool in enumerate(tools, 1):
        inner = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        name = str(inner.get("name", number)) if isinstance(inner, Mapping) else str(number)
        named[name if name not in named else f"{name} ({number})"] = tool
    return named


_ABSENT = object()


def _difference(field: str, old: Any, new: Any, work: _Work) -> Difference | None:
    texts = [None if side is _ABSENT else _text(side) for side in (old, new)]
    if texts[0] == texts[1]:
        return None
    return Difference(field=field, kind=_kind(texts[0], texts[1]), lines=_lines(texts[0], texts[1], work))


def _kind(before: str | None, after: str | None) -> Kind:
    return "added" if before is None else "removed" if after is None else "changed"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _lines(before: str | None, after: str | None, work: _Work) -> tuple[Line, ...]:
    if before is None or after is None:
        mark: Mark = "+" if before is None else "-"
        return tuple(_whole(mark, text, False) for text in (before or after or "").split("\n"))
    return tuple(compared(before, after, work))


def _replaced(old: Sequence[str], new: Sequence[str], work: _Work) -> list[Line]:
    """A block that changed; where it has as many lines as before, each line beside its new text."""
    if len(old) != len(new):
        return [*(_whole("-", text, False) for text in old), *(_whole("+", text, False) for text in new)]
    gone: list[Line] = []
    come: list[Line] = []
    for was, now in zip(old, new, strict=True):
        pieces = _words(was, now, work)
        gone.append(Line(mark="-", pieces=pieces[0]))
        come.append(Line(mark="+", pieces=pieces[1]))
    return gone + come


def _words(was: str, now: str, work: _Work) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    old, new = _WORD.findall(was), _WORD.findall(now)
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    kept = 0
    for tag, a, b, c, d in _steps(old, new, work):
        kept += b - a if tag == "equal" else 0
        for side, words in ((sides[0], old[a:b]), (sides[1], new[c:d])):
            if words:
                side.append(Piece(text="".join(words), is_changed=tag != "equal"))
    if 2 * kept < min(len(old), len(new)):  # a new text: marking every other word would only blink
        return (Piece(text=was, is_changed=False),), (Piece(text=now, is_changed=False),)
    return tuple(sides[0]), tuple(sides[1])


def _steps(old: Sequence[str], new: Sequence[str], work: _Work) -> list[tuple[str, int, int, int, int]]:
    """SequenceMatcher's steps between two lists; what would take too long is replaced as a whole."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b = len(old) - end, len(new) - end
    steps: list[tuple[str, int, int, int, int]] = [("equal", 0, start, 0, start)] if start else []
    if (start < a or start < b) and not work.allows(old[start:a], new[start:b]):
        steps.append(("replace", start, a, start, b))
    elif start < a or start < b:
        matcher = SequenceMatcher(None, old[start:a], new[start:b], autojunk=False)
        steps += [(tag, i + start, j + start, k + start, m + start) for tag, i, j, k, m in matcher.get_opcodes()]
    if end:
        steps.append(("equal", a, len(old), b, len(new)))
    return steps


def _whole(mark: Mark, text: str, is_changed: bool) -> Line:
    return Line(mark=mark, pieces=(Piece(text=text, is_changed=is_changed),))


def _with_gaps(lines: Sequence[Line]) -> Iterator[Line]:
    """The lines without those that are equal and further than three lines from a change."""
    near = [False] * len(lines)
    for index, line in enumerate(lines):
        if line.mark != " ":
            low, high = max(0, index - CONTEXT_LINES), min(len(lines), index + CONTEXT_LINES + 1)
            near[low:high] = [True] * (high - low)
    left_out = 0
    for line, is_near in zip(lines, near, strict=True):
        if is_near:
            if left_out:
                yield _whole("~", f"{left_out} equal lines", False)
            left_out = 0
            yield line
        else:
            left_out += 1
    if left_out:
        yield _whole("~", f"{left_out} equal lines", False)

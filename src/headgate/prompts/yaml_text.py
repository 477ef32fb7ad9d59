"""YAML as prompt files use it: plain data with the place of every value; YAML 1.2 words, no anchors, no tags."""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
MOST_VALUES = 20_000
_LARGEST_INT = 1 << 63
_STR, _INT, _FLOAT = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
# The core schema of YAML 1.2: `no`, `on`, `012` and dates are not what YAML 1.1 makes of them.
_WORDS: list[tuple[str, re.Pattern[str], str]] = [
    (_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    (_INT, re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    (_FLOAT, re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"), "-+.0123456789"),
    (_FLOAT, re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"), "-+."),
    (_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), "~nN\0"),
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: line and column from 1; ``text_line``: the line of a block's first line of text."""

    line: int
    column: int
    text_line: int | None = None


@dataclass(slots=True)
class Document:
    """The values of a file and their places; faults found on the way."""

    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    faults: list[tuple[Place, str]] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """The place of the deepest part of ``path`` that is in the file."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses aliases, which could make a small file mean a huge one."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.values += 1
        if self.values > MOST_VALUES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"a file has at most {MOST_VALUES:,} keys and values", mark)
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases are not read here: write the value out", event.start_mark
            )
        return super().compose_node(parent, index)


class Dumper(yaml.SafeDumper):
    """Writes what :func:`read` reads back: quotes what YAML 1.1 or 1.2 would take for something else than text."""


for _tag, _pattern, _starts in _WORDS:
    _Loader.add_implicit_resolver(_tag, _pattern, list(_starts.replace("\0", "")) + ([""] if "\0" in _starts else []))
    Dumper.add_implicit_resolver(_tag, _pattern, list(_starts.replace("\0", "")) + ([""] if "\0" in _starts else []))


_ODD_BREAKS = re.compile("[\\x85\u2028\u2029]")


def _write_text(dumper: Dumper, text: str) -> yaml.Node:
    # PyYAML writes these line breaks raw unless they are quoted twice, and reads them back as line feeds.
    style = '"' if _ODD_BREAKS.search(text) else "|" if "\n" in text.strip("\n") else None
    return dumper.represent_scalar(_STR, text, style=style)


Dumper.add_representer(str, _write_text)


def read(text: str) -> Document:
    """The one document of a YAML text; what is wrong with it is in ``faults``."""
    document = Document()
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow
        document.faults.append((_place_of_reader(text, error), _words_of(error)))
        return document
    try:
        root = loader.get_single_node()
        if root is not None:
            document.data = _plain(root, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        document.faults.append((where, _words_of(error)))
    except yaml.YAMLError as error:
        document.faults.append((_place_of_reader(text, error), _words_of(error)))
    except RecursionError:
        document.faults.append((Place(1, 1), "values are nested too deep"))
    finally:
        loader.dispose()
    return document


def _words_of(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"a character that YAML does not allow: #x{error.character:04x}"
    problem, context = getattr(error, "problem", None), getattr(error, "context", None)
    return " ".join(part for part in (context, problem) if part) or "this is not YAML"


def _place_of_reader(text: str, error: yaml.YAMLError) -> Place:
    before = text[: getattr(error, "position", 0)]
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _plain(node: yaml.Node, path: Path, document: Document) -> Any:
    line = node.start_mark.line + 1
    place = Place(line, node.start_mark.column + 1, _text_line(node))
    document.places[path] = place
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != "tag:yaml.org,2002:seq":
            document.faults.append((place, _tag_fault(node.tag)))
        return [_plain(item, (*path, index), document) for index, item in enumerate(node.value)]
    return _scalar(node, place, document)


def _text_line(node: yaml.Node) -> int | None:
    """The file's line of a text's first line, when its lines are the file's lines."""
    if not isinstance(node, yaml.ScalarNode) or node.tag != _STR:
        return None
    if node.style == "|":
        return int(node.start_mark.line) + 2
    return (
        int(node.start_mark.line) + 1 if node.start_mark.line == node.end_mark.line and "\n" not in node.value else None
    )


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
    if node.tag != "tag:yaml.org,2002:map":
        document.faults.append((document.places[path], _tag_fault(node.tag)))
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = Place(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STR:
            document.faults.append((where, "a key is text; put it in quotes"))
            continue
        if key_node.value in found:
            document.faults.append((where, f"{key_node.value} is here twice"))
        found[key_node.value] = _plain(value_node, (*path, key_node.value), document)
        document.places[(*path, key_node.value, "\0key")] = where
    return found


def _tag_fault(tag: str) -> str:
    return f"the tag {tag.replace('tag:yaml.org,2002:', '!!')[:60]} is not read here: write plain values"


def _scalar(node: yaml.Node, place: Place, document: Document) -> Any:
    tag, text = node.tag, node.value
    if tag == _STR:
        return text
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() == "true"
    try:
        if tag == _INT:
            return _whole_number(text)
        if tag == _FLOAT:
            number = float(text)  # refuses .inf and .nan by their spelling
            if abs(number) != float("inf"):
                return number
    except ValueError:
        pass
    what = f"{text[:40]} is not a number of 64 bits" if tag in (_INT, _FLOAT) else _tag_fault(tag)
    document.faults.append((place, what))
    return None


def _whole_number(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text if base == 10 else text[2:], base)
    if abs(number) >= _LARGEST_INT:
        raise ValueError
    return number


def write(data: dict[str, Any]) -> str:
    """The YAML text of plain data, keys in their order, texts of several lines as blocks."""
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)

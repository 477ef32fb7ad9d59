"""Source texts into documents: Markdown, plain text, HTML and JSON Lines, each with headings and metadata."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from headgate.core.errors import MalformedRequest
from headgate.retrieval.model import Metadata
from headgate.retrieval.sources import kind_of

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_LINE = re.compile(r"([A-Za-z][\w-]{0,63}):[ \t]+(.*)")
_MOST_FIELDS = 50
_LONGEST_VALUE = 500
_TEXT_FIELDS = ("text", "content", "body")
_TITLE_FIELDS = ("title", "heading", "question")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text, its headings written as Markdown; a file of JSON Lines holds many."""

    text: str
    title: str = ""
    is_marked_up: bool = False  # lines that begin with # are headings
    metadata: Metadata = field(default_factory=dict)


def documents_of(path: str, text: str) -> Iterator[Document]:
    """The documents of one source; raises MalformedRequest naming path and line where a line of JSON is none."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kind = kind_of(path)
    if kind == "markdown":
        metadata, body = _front_matter(text)
        yield Document(text=body, title=str(metadata.get("title", "")), is_marked_up=True, metadata=metadata)
    elif kind == "html":
        yield _html(text)
    elif kind == "jsonl":
        yield from _json_lines(path, text)
    elif kind == "text":
        yield Document(text=text)
    else:
        raise MalformedRequest(f"{path} is no source that can be read.", code="kb_source")


def _front_matter(text: str) -> tuple[Metadata, str]:
    """Simple `name: value` lines between two lines of ---; anything else in there is not understood and left out."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    metadata: Metadata = {}
    for line in match[1].splitlines():
        found = _FRONT_LINE.fullmatch(line.rstrip())
        if found is not None and len(metadata) < _MOST_FIELDS:
            metadata[found[1]] = found[2].strip().strip("\"'")[:_LONGEST_VALUE]
    return metadata, text[match.end() :]


def _json_lines(path: str, text: str) -> Iterator[Document]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MalformedRequest(
                f"{path}:{number} is not JSON: {error}.", code="kb_source", hint="One JSON object per line."
            ) from None
        name = next((name for name in _TEXT_FIELDS if isinstance(read, dict) and isinstance(read.get(name), str)), None)
        if name is None:
            raise MalformedRequest(
                f"{path}:{number} has no text.",
                code="kb_source",
                hint=f"Each line is an object with {' or '.join(_TEXT_FIELDS)}; other plain fields become metadata.",
            )
        title_field = next((one for one in _TITLE_FIELDS if isinstance(read.get(one), str)), None)
        yield Document(
            text=read[name],
            title=read[title_field] if title_field else "",
            metadata=_plain_fields(read, without=(name,)),
        )


def _plain_fields(read: dict[str, Any], without: tuple[str, ...]) -> Metadata:
    found: Metadata = {}
    for key, value in read.items():
        if key in without or len(found) >= _MOST_FIELDS or len(key) > 64:
            continue
        if isinstance(value, str):
            found[key] = value[:_LONGEST_VALUE]
        elif isinstance(value, bool | int | float) and value == value and abs(value) < 2**63:
            found[key] = value
    return found


_SKIPPED = frozenset(("script", "style", "template", "noscript", "svg", "nav", "head"))
_BLOCKS = frozenset(
    ("p", "div", "section", "article", "li", "ul", "ol", "table", "tr", "pre", "blockquote", "dl", "dt", "dd", "main")
    + ("header", "footer", "aside", "figure", "figcaption", "form", "hr", "br", "h1", "h2", "h3", "h4", "h5", "h6")
)
_VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "source", "wbr", "area", "base", "col", "embed"))


class _Page(HTMLParser):
    """The text of a page, its headings as Markdown writes them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self.metadata: Metadata = {}
        self._hidden: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            self._note(dict(attrs))
        elif tag == "title":
            self._in_title = True
        elif tag in _SKIPPED:
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            self.parts.append("\n" if tag in ("li", "tr", "br") else "\n\n")
            if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
                self.parts.append("#" * int(tag[1]) + " ")
            elif tag == "li":
                self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif tag in _BLOCKS and tag not in _VOID:
            self.parts.append("\n\n" if tag not in ("li", "tr") else "\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))

    def _note(self, given: dict[str, str | None]) -> None:
        name, content = given.get("name"), given.get("content")
        if name and content and len(self.metadata) < _MOST_FIELDS and len(name) <= 64:
            self.metadata[name] = content[:_LONGEST_VALUE]


def _html(text: str) -> Document:
    page = _Page()
    page.feed(text)
    page.close()
    lines = [line.strip() for line in "".join(page.parts).split("\n")]
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return Document(text=body, title=" ".join(page.title.split()), is_marked_up=True, metadata={**page.metadata})

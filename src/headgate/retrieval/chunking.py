"""Documents into chunks: by heading, by paragraph, or by size with overlap. No word of a document is lost."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headgate.core.errors import MalformedRequest
from headgate.retrieval.documents import Document, documents_of
from headgate.retrieval.model import MAX_CHUNKS, Chunk, Chunker, chunk_id

SIZES = (100, 20_000)
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r"[ \t]{0,3}(```+|~~~+)")
_PARAGRAPH = (re.compile(r"\n[ \t]*\n\s*"),)
_ANY = (*_PARAGRAPH, re.compile(r"\n\s*"), re.compile(r"[.!?…]['\")\]]*\s+"), re.compile(r"\s+"))
_SPACE = (re.compile(r"\s+"),)
_LONGEST_HEADING = 300


@dataclass(frozen=True, kw_only=True)
class _Section:
    heading: str
    text: str


def check_chunker(chunker: Chunker) -> None:
    """Raises MalformedRequest for sizes that cannot be."""
    least, most = SIZES
    if not least <= chunker.size <= most:
        raise MalformedRequest(f"A chunk's size is from {least} to {most} characters, not {chunker.size}.")
    if not 0 <= chunker.overlap <= chunker.size // 2:
        raise MalformedRequest(f"The overlap is from 0 to half of the size, not {chunker.overlap}.")


def chunks_of(path: str, text: str, chunker: Chunker) -> list[Chunk]:
    """The chunks of one source in their order, each once; raises MalformedRequest."""
    found: dict[str, Chunk] = {}
    for document in documents_of(path, text):
        for section in _sections(document, chunker):
            for piece in _cut(section.text, chunker):
                made = _chunk(path, section.heading, piece, document)
                found.setdefault(made.id, made)
        if len(found) > MAX_CHUNKS:
            raise MalformedRequest(f"{path} makes more than {MAX_CHUNKS:,} chunks.", hint="Raise chunk.size.")
    return list(found.values())


def _chunk(path: str, heading: str, text: str, document: Document) -> Chunk:
    metadata = document.metadata
    identity = chunk_id(path, heading, text, metadata)
    return Chunk(id=identity, source=path, heading=heading, text=text, metadata=metadata)


def _sections(document: Document, chunker: Chunker) -> Iterator[_Section]:
    if chunker.by != "heading" or not document.is_marked_up:
        yield _Section(heading=document.title[:_LONGEST_HEADING], text=document.text)
        return
    trail: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""
    for line in document.text.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1][:3]
        match = None if fence else _HEADING.fullmatch(line)
        if match is None:
            lines.append(line)
            continue
        yield _Section(heading=_trail(document, trail), text="\n".join(lines))
        level, lines = len(match[1]), []
        trail = [(depth, name) for depth, name in trail if depth < level] + [(level, match[2])]
    yield _Section(heading=_trail(document, trail), text="\n".join(lines))


def _trail(document: Document, trail: list[tuple[int, str]]) -> str:
    names = [name for _, name in trail if name]
    if document.title and document.title not in names:
        names.insert(0, document.title)
    return " › ".join(names)[:_LONGEST_HEADING]


def _cut(text: str, chunker: Chunker) -> Iterator[str]:
    """The pieces of a text, at most ``size`` long; each begins up to ``overlap`` before the end of the one before."""
    borders = _SPACE if chunker.by == "size" else _ANY
    text = text.strip()
    start = 0
    while start < len(text):
        end = start + chunker.size
        end = len(text) if end >= len(text) else _border(text, start, end, borders, chunker.by == "paragraph")
        piece = text[start:end].strip()
        if piece:
            yield piece
        if end >= len(text):
            return
        start = _begin(text, start, end, chunker.overlap)


def _border(text: str, start: int, end: int, borders: tuple[re.Pattern[str], ...], whole_paragraphs: bool) -> int:
    """Where to end a piece: at the last paragraph, line, sentence or word that keeps it at least half full."""
    for border in borders:
        least = start + 1 if whole_paragraphs and border in _PARAGRAPH else start + (end - start) // 2
        last = None
        for match in border.finditer(text, least, end):
            last = match.end()
        if last is not None:
            return last
    return end


def _begin(text: str, start: int, end: int, overlap: int) -> int:
    """Where the next piece begins: at a word, at most ``overlap`` before the end, always after the last start."""
    if not overlap:
        return end
    space = re.compile(r"\s+").search(text, max(end - overlap, start + 1), end)
    return end if space is None else min(space.end(), end)

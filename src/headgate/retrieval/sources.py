"""A folder of files into texts: what can be read is read, what cannot is named with the reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from headgate.core.errors import MalformedRequest
from headgate.retrieval.model import MAX_DOCUMENT_BYTES, MAX_PATH_CHARS, MAX_SOURCES, MAX_TOTAL_BYTES, text_sha256

KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""Ending of a file to how it is read."""


@dataclass(frozen=True, kw_only=True)
class SourceText:
    """One file that can be read."""

    path: str  # below the folder, with slashes
    text: str
    sha256: str  # of the text in UTF-8


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """One file that is left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds."""

    texts: list[SourceText]
    skipped: list[Skipped]


def read_folder(folder: Path, include: Sequence[str] = ()) -> Found:
    """The readable files below ``folder`` in the order of their paths; ``include``: globs over paths, none: every file.

    Hidden files and folders are not looked at. Raises MalformedRequest when there is nothing to read, or too much.
    """
    texts: list[SourceText] = []
    skipped: list[Skipped] = []
    total = 0
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if include and not any(fnmatchcase(name, glob) for glob in include):
            continue
        read = _read(path, name)
        if isinstance(read, Skipped):
            skipped.append(read)
            continue
        texts.append(read)
        total += len(read.text)
        if len(texts) > MAX_SOURCES or total > MAX_TOTAL_BYTES:
            raise MalformedRequest(
                f"{folder} holds more than {MAX_SOURCES:,} files or {MAX_TOTAL_BYTES >> 20} MB of text.",
                hint="Make several knowledge bases of it.",
            )
    if not texts:
        named = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:10])
        raise MalformedRequest(
            f"{folder} holds no file that can be read as a source{f' ({named})' if named else ''}.",
            code="kb_empty",
            hint=f"Sources are text files: {', '.join(KINDS)}.",
        )
    return Found(texts=texts, skipped=skipped)


def kind_of(path: str) -> str | None:
    """How the file is read, by its ending; None: not at all."""
    return KINDS.get(Path(path).suffix.lower())


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _read(path: Path, name: str) -> SourceText | Skipped:
    if path.is_symlink() and not path.resolve().is_file():
        return Skipped(path=name, reason="a link that leads to no file")
    if not path.is_file():
        return Skipped(path=name, reason="not a file")
    if kind_of(name) is None:
        return Skipped(path=name, reason=f"its ending is none of {', '.join(KINDS)}")
    if len(name) > MAX_PATH_CHARS or not name.isprintable():
        return Skipped(path=name[:MAX_PATH_CHARS], reason="its path is too long or not printable")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        return Skipped(path=name, reason=f"cannot be read: {error.strerror or error}")
    return _text_of(raw, name)


def _text_of(raw: bytes, name: str) -> SourceText | Skipped:
    if len(raw) > MAX_DOCUMENT_BYTES:
        return Skipped(path=name, reason=f"larger than {MAX_DOCUMENT_BYTES >> 20} MB")
    if b"\0" in raw:
        return Skipped(path=name, reason="binary: it holds NUL bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Skipped(path=name, reason=f"line {line} is not UTF-8 text")
    if not text.strip():
        return Skipped(path=name, reason="empty")
    return SourceText(path=name, text=text, sha256=text_sha256(text))

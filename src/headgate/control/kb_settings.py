"""`kb/<name>.yaml`: how a knowledge base is cut and embedded, read with every fault by its line."""

from dataclasses import dataclass, field
from typing import Any

from headgate.core.errors import MalformedRequest
from headgate.core.routing import nearest_route_names, route_for
from headgate.core.settings import Settings
from headgate.core.settings_file import nearest
from headgate.prompts import yaml_text
from headgate.retrieval.chunking import check_chunker
from headgate.retrieval.model import LEXICAL, Chunker, Embedder, KbSettings

_KEYS = ("name", "description", "include", "chunk", "embedder")
_CHUNK_KEYS = ("by", "size", "overlap")
_EMBEDDER_KEYS = ("model", "dimensions")
_MOST_DIMENSIONS = 8192
_MAX_BYTES = 64 << 10
_MAX_DESCRIPTION = 1000


@dataclass(frozen=True, kw_only=True)
class KbFile:
    """What the file says; without one, the defaults."""

    description: str = ""
    include: tuple[str, ...] = ()
    settings: KbSettings = field(default_factory=KbSettings)


def read_kb_file(name: str, text: str | None, file: str, settings: Settings) -> KbFile:
    """The settings of knowledge base ``name``; raises MalformedRequest (code `kb_settings`) with all faults."""
    if text is None:
        return KbFile()
    if len(text) > _MAX_BYTES:
        raise MalformedRequest(f"{file} has more than {_MAX_BYTES >> 10} KB.", code="kb_settings")
    return _Reading(name, text, file, settings).file()


class _Reading:
    def __init__(self, name: str, text: str, file: str, settings: Settings) -> None:
        self._name, self._file, self._settings = name, file, settings
        self._document = yaml_text.read(text)
        self._faults = [(place.line, place.column, what) for place, what in self._document.faults]

    def file(self) -> KbFile:
        data = self._document.data
        if data is None and not self._faults:
            return KbFile()
        if not isinstance(data, dict):
            self._fault((), "this file is a mapping of chunk, embedder, include and description")
            data = {}
        self._known((), data, _KEYS)
        if data.get("name", self._name) != self._name:
            self._fault(("name",), f'this is the file of "{data["name"]}", not of "{self._name}"')
        description = data.get("description") or ""
        include = data.get("include") or []
        if not isinstance(description, str) or len(description) > _MAX_DESCRIPTION:
            self._fault(("description",), f"a description is text of at most {_MAX_DESCRIPTION} characters")
        if not isinstance(include, list) or not all(isinstance(glob, str) for glob in include):
            self._fault(("include",), 'include is a list of globs, such as ["*.md"]')
        chunker, embedder = self._chunker(data.get("chunk")), self._embedder(data.get("embedder"))
        if self._faults:
            found = [f"{self._file}:{line}:{column} {what}" for line, column, what in sorted(set(self._faults))]
            raise MalformedRequest("\n".join(found), code="kb_settings")
        return KbFile(
            description=description,
            include=tuple(include),
            settings=KbSettings(chunk=chunker, embedder=embedder),
        )

    def _fault(self, path: yaml_text.Path, what: str) -> None:
        place = self._document.place(path)
        self._faults.append((place.line, place.column, what))

    def _known(self, path: yaml_text.Path, data: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                close = nearest(str(key), list(known))
                meant = f"; did you mean {close}?" if close else f"; known: {', '.join(known)}"
                self._fault((*path, key, "\0key"), f'unknown key "{str(key)[:60]}"{meant}')

    def _chunker(self, data: Any) -> Chunker:
        if data is None:
            return Chunker()
        if not isinstance(data, dict):
            self._fault(("chunk",), "chunk is a mapping of by, size and overlap")
            return Chunker()
        self._known(("chunk",), data, _CHUNK_KEYS)
        by, size, overlap = data.get("by", "heading"), data.get("size", 1000), data.get("overlap", 100)
        if by not in ("heading", "paragraph", "size"):
            self._fault(("chunk", "by"), "by is heading, paragraph or size")
            by = "heading"
        if type(size) is not int or type(overlap) is not int:
            self._fault(("chunk",), "size and overlap are whole numbers of characters")
            return Chunker(by=by)
        try:
            check_chunker(Chunker(by=by, size=size, overlap=overlap))
        except MalformedRequest as error:
            self._fault(("chunk",), str(error))
        return Chunker(by=by, size=size, overlap=overlap)

    def _embedder(self, data: Any) -> Embedder:
        if data is None or data == LEXICAL:
            return Embedder()
        if isinstance(data, str):
            data = {"model": data}
        if not isinstance(data, dict):
            self._fault(("embedder",), f"embedder is {LEXICAL}, or a mapping of model and dimensions")
            return Embedder()
        self._known(("embedder",), data, _EMBEDDER_KEYS)
        model, dimensions = data.get("model", LEXICAL), data.get("dimensions")
        if not isinstance(model, str) or not 0 < len(model) <= 256 or not model.isprintable():
            self._fault(("embedder",), "model is the name of a routed model")
            return Embedder()
        if dimensions is not None and (type(dimensions) is not int or not 0 < dimensions <= _MOST_DIMENSIONS):
            self._fault(("embedder", "dimensions"), f"dimensions is a whole number up to {_MOST_DIMENSIONS}")
            dimensions = None
        if model != LEXICAL and route_for(self._settings, model) is None:
            near = nearest_route_names(self._settings, model)
            nearest_names = f" Nearest: {', '.join(near)}." if near else ""
            self._fault(("embedder",), f'no route for model "{model}".{nearest_names}')
        return Embedder(model=model, dimensions=None if model == LEXICAL else dimensions)

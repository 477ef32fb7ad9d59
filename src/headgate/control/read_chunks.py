"""What logged answers read from a knowledge base, with its texts: for scorers that look at it."""

from dataclasses import replace
from pathlib import Path

import msgspec

from headgate.control.evidence import Found
from headgate.core.errors import NotFound
from headgate.evals.output import Output, ReadChunk
from headgate.registry import kbs
from headgate.registry.database import Database
from headgate.retrieval import versions
from headgate.retrieval.versions import VersionDamaged
from headgate.store.lookup import LoggedCall


class ChunkTexts:
    """The chunks of versions by their ids; each version is read once, and one that is damaged has none."""

    def __init__(self, home: Path, registry: Database) -> None:
        self._home, self._registry = home, registry
        self._versions: dict[tuple[str, int], dict[str, ReadChunk]] = {}

    def added(self, found: Found) -> Found:
        """An answer with what it read."""
        if found.call is None or found.output is None:
            return found
        return replace(found, output=self.output(found.call, found.output))

    def output(self, call: LoggedCall, output: Output) -> Output:
        """The output of a call with what it read, best first."""
        if call.kb_name is None or call.kb_version is None:
            return output
        known = self._of(call.kb_name, call.kb_version)
        read = tuple(known.get(one) or ReadChunk(id=one) for one in call.kb_chunks or ())
        return msgspec.structs.replace(output, kb=f"{call.kb_name}@{call.kb_version}", chunks=read)

    def _of(self, name: str, number: int) -> dict[str, ReadChunk]:
        if (name, number) not in self._versions:
            try:
                sha256 = kbs.get_kb(self._registry, name).version(number).sha256
                read = versions.read_chunks(self._home, sha256)
            except (NotFound, VersionDamaged):
                read = []
            self._versions[name, number] = {
                chunk.id: ReadChunk(id=chunk.id, source=chunk.source, heading=chunk.heading, text=chunk.text)
                for chunk in read
            }
        return self._versions[name, number]

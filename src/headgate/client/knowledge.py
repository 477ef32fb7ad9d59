"""The calls about knowledge bases."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from headgate.client.wire import Wire, given


class KnowledgeCalls(Wire):
    """Push in pieces, read, search, move."""

    def kbs(self, as_of: str | None = None) -> dict[str, Any]:
        """All knowledge bases with their aliases: ``kbs``."""
        return self._json("GET", "/api/kb", query=given(as_of=as_of))

    def kb(self, name: str, version: int | str | None = None, as_of: str | None = None) -> dict[str, Any]:
        """One knowledge base with its ``versions``; with ``version`` also ``shown``: that one with its sources."""
        which = None if version is None else str(version)
        return self._json("GET", _path(name), query=given(version=which, as_of=as_of))

    def kb_difference(self, name: str, before: int | str, after: int | str) -> dict[str, Any]:
        """What differs between two versions: ``documents`` and ``chunks``."""
        return self._json("GET", f"{_path(name)}/diff", query={"from": str(before), "to": str(after)})

    def begin_kb_push(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A new push (``settings``, ``file``, ``message``, ``git_commit``, ``author``, ``dvc``): ``push_id``."""
        return self._json("POST", f"{_path(name)}/push", body=dict(fields))

    def add_kb_documents(self, push_id: str, documents: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Adds sources, pairs of path and text, to a push."""
        body = {"documents": [{"path": path, "text": text} for path, text in documents]}
        return self._json("POST", f"{_push_path(push_id)}/documents", body=body)

    def plan_kb_push(self, push_id: str) -> dict[str, Any]:
        """What a push will do and cost: ``plan``."""
        return self._json("POST", f"{_push_path(push_id)}/plan", body={})

    def run_kb_push(self, push_id: str) -> dict[str, Any]:
        """Starts the work; ask :meth:`kb_push` how far it is."""
        return self._json("POST", f"{_push_path(push_id)}/run", body={})

    def kb_push(self, push_id: str) -> dict[str, Any]:
        """Where a push stands: ``state`` (open, running, done, failed), ``embedded``, ``cost``, ``version``."""
        return self._json("GET", _push_path(push_id))

    def search_kb(
        self,
        name: str,
        query: str,
        *,
        ref: int | str | None = None,
        top_k: int = 4,
        filters: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        use: Sequence[str] = ("vectors", "keywords"),
    ) -> dict[str, Any]:
        """The chunks that fit a question, best first: ``chunks``."""
        body = {"query": query, "ref": ref, "top_k": top_k, "min_score": min_score, "use": list(use)}
        return self._json("POST", f"{_path(name)}/search", body={**body, "filter": dict(filters or {})})

    def move_kb_alias(
        self, name: str, alias: str, version: int | str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Points an alias to a version: ``move``, ``aliases``, ``pinned_elsewhere``."""
        body = {"alias": alias, "version": version, "reason": reason, "override": override}
        return self._json("POST", f"{_path(name)}/aliases", body=body)

    def remove_kb_alias(
        self, name: str, alias: str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Ends an alias."""
        body = {"alias": alias, "reason": reason, "override": override}
        return self._json("POST", f"{_path(name)}/aliases/remove", body=body)

    def rollback_kb_alias(self, name: str, alias: str = "production", *, reason: str | None = None) -> dict[str, Any]:
        """Points an alias back to the version it meant before."""
        return self._json("POST", f"{_path(name)}/rollback", body={"alias": alias, "reason": reason})

    def repin_kb(
        self, name: str, version: int | str, prompts: Sequence[str] | None = None, *, reason: str | None = None
    ) -> dict[str, Any]:
        """Makes next versions of prompts (None: all) that read another version of it: ``repinned``."""
        body = {"version": version, "prompts": None if prompts is None else list(prompts), "reason": reason}
        return self._json("POST", f"{_path(name)}/repin", body=body)

    def approve_kb(
        self, name: str, version: int | str, *, alias: str = "production", reason: str | None = None
    ) -> dict[str, Any]:
        """Says yes to a version becoming an alias, as a second person: ``approval``."""
        body = {"version": version, "alias": alias, "reason": reason}
        return self._json("POST", f"{_path(name)}/approve", body=body)

    def release_kb(
        self,
        name: str,
        version: int | str,
        step: str,
        *,
        alias: str = "production",
        reason: str | None = None,
        override: bool = False,
    ) -> dict[str, Any]:
        """A version and the prompts that read from it, together: ``steps`` with what each lacks, and ``moves``. The
        step ``plan`` changes nothing, ``prepare`` makes next versions of prompts, ``move`` moves all aliases or none.
        """
        body = {"version": version, "alias": alias, "step": step, "reason": reason, "override": override}
        return self._json("POST", f"{_path(name)}/release", body=body)

    def kb_impact(self, name: str, filters: Mapping[str, str]) -> dict[str, Any]:
        """The answers that saw a document (``document``), or any chunk of a ``version``: ``requests``."""
        return self._json("GET", f"{_path(name)}/impact", query=filters)


def _path(name: str) -> str:
    return f"/api/kb/{quote(name, safe='')}"


def _push_path(push_id: str) -> str:
    return f"/api/kb/push/{quote(push_id, safe='')}"

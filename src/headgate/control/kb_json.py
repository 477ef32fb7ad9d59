"""Knowledge bases, versions, pushes and differences as the API shows them."""

from collections.abc import Mapping
from typing import Any

from headgate.control.kb_embed import Cost
from headgate.control.kb_push import Push
from headgate.control.prompt_json import time_json
from headgate.control.rows import clean, money
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.settings import Settings
from headgate.registry.kbs import Kb, KbVersion
from headgate.retrieval.model import Chunk, Manifest

MOST_SHOWN = 200
_HEAD_CHARS = 160


def summary_json(kb: Kb, settings: Settings) -> dict[str, Any]:
    """A knowledge base in the list; ``current`` is what its bare name means now."""
    is_protected = rule_for(settings, "kb", kb.name, PRODUCTION) is not None
    current = kb.current(is_protected=is_protected)
    shown = kb.version(current[0]) if current else kb.versions[0] if kb.versions else None
    return {
        "name": kb.name,
        "description": clean(kb.description),
        "aliases": dict(kb.aliases),
        "latest": kb.latest,
        "current": None if current is None else {"number": current[0], "alias": current[1]},
        "protected": is_protected,
        "embedder": None if shown is None else clean(shown.embedder),
        "documents": None if shown is None else shown.documents,
        "chunks": None if shown is None else shown.chunks,
        "version_count": len(kb.versions),
        "updated_at": time_json(kb.versions[0].created_at_us) if kb.versions else None,
    }


def kb_json(kb: Kb, settings: Settings) -> dict[str, Any]:
    """A knowledge base with all its versions, newest first."""
    names: dict[int, list[str]] = {}
    for alias, number in kb.aliases.items():
        names.setdefault(number, []).append(alias)
    return {
        **summary_json(kb, settings),
        "versions": [{**version_json(one), "aliases": names.get(one.number, [])} for one in kb.versions],
        "as_of": None if kb.as_of_us is None else time_json(kb.as_of_us),
    }


def version_json(version: KbVersion) -> dict[str, Any]:
    """What never changes of a version."""
    return {
        "number": version.number,
        "ref": version.ref,
        "sha256": version.sha256,
        "content_sha256": version.content_sha256,
        "embedder": clean(version.embedder),
        "dimensions": version.dimensions,
        "documents": version.documents,
        "chunks": version.chunks,
        "parent": version.parent,
        "created_at": time_json(version.created_at_us),
        "message": _clean(version.message),
        "author": _clean(version.author),
        "git_commit": _clean(version.git_commit),
        "dvc": _clean(version.dvc),
        "pushed_by": clean(version.who),
    }


def push_json(push: Push) -> dict[str, Any]:
    """Where a push stands."""
    plan = push.plan
    return {
        "push_id": push.id,
        "name": push.name,
        "state": push.state,
        "sources": len(push.paths),
        "plan": None
        if plan is None
        else {
            "documents": plan.documents,
            "chunks": plan.chunks,
            "to_embed": plan.to_embed,
            "cost": cost_json(plan.cost),
            "unchanged": None if plan.unchanged is None else plan.unchanged.ref,
            "embedder": clean(push.file.settings.embedder.model),
        },
        "embedded": push.embedded,
        "cost": None if push.cost is None else cost_json(push.cost),
        "version": None if push.version is None else version_json(push.version),
        "is_new": push.is_new,
        "error": None
        if push.error is None
        else {"message": clean(str(push.error)), "code": push.error.code, "hint": push.error.hint},
    }


def cost_json(cost: Cost) -> dict[str, Any]:
    """Tokens and their price; null where unknown, with the reason."""
    usd = None if cost.usd is None else money(cost.usd)
    return {"tokens": cost.tokens, "usd": usd, "reason": cost.reason, "is_estimate": cost.is_estimate}


def difference_json(before: tuple[Manifest, list[Chunk]], after: tuple[Manifest, list[Chunk]]) -> dict[str, Any]:
    """Documents and chunks that were added, removed or changed between two versions."""
    old = {source.path: source.sha256 for source in before[0].sources}
    new = {source.path: source.sha256 for source in after[0].sources}
    old_chunks = {chunk.id: chunk for chunk in before[1]}
    new_chunks = {chunk.id: chunk for chunk in after[1]}
    return {
        "documents": {
            "added": sorted(new.keys() - old.keys()),
            "removed": sorted(old.keys() - new.keys()),
            "changed": sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
        },
        "chunks": {
            "added": _heads(new_chunks, new_chunks.keys() - old_chunks.keys()),
            "removed": _heads(old_chunks, old_chunks.keys() - new_chunks.keys()),
            "kept": len(old_chunks.keys() & new_chunks.keys()),
        },
        "settings_changed": before[0].settings != after[0].settings,
    }


def _heads(chunks: Mapping[str, Chunk], ids: "set[str]") -> dict[str, Any]:
    listed = [chunk for chunk in chunks.values() if chunk.id in ids]
    return {
        "count": len(listed),
        "first": [
            {"id": one.id, "source": one.source, "heading": one.heading, "text": clean(one.text[:_HEAD_CHARS])}
            for one in listed[:MOST_SHOWN]
        ],
    }


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)

"""Prompts, versions and moves as the API shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headgate.control.rows import clean, iso
from headgate.core.ids import utc
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.settings import Settings
from headgate.prompts.differences import Difference
from headgate.registry.aliases import Move
from headgate.registry.prompts import Prompt, PromptVersion, Pushed

MAX_LINES = 2000


def summary_json(prompt: Prompt, settings: Settings) -> dict[str, Any]:
    """A prompt in the list: everything but its versions.

    ``current`` is what a bare name means now: ``{"number", "alias"}``, or null while it means nothing.
    """
    is_protected = rule_for(settings, "prompt", prompt.name, PRODUCTION) is not None
    current = prompt.current(is_protected=is_protected)
    shown = prompt.version(current[0]) if current else prompt.versions[0] if prompt.versions else None
    return {
        "name": prompt.name,
        "description": clean(prompt.description),
        "aliases": dict(prompt.aliases),
        "latest": prompt.latest,
        "current": None if current is None else {"number": current[0], "alias": current[1]},
        "protected": is_protected,
        "model": None if shown is None else clean(shown.model),
        "version_count": len(prompt.versions),
        "updated_at": time_json(prompt.versions[0].created_at_us) if prompt.versions else None,
    }


def prompt_json(prompt: Prompt, settings: Settings) -> dict[str, Any]:
    """A prompt with all its versions, newest first; ``as_of`` is the time it is told for, null for now."""
    return {
        **summary_json(prompt, settings),
        "versions": versions_json(prompt),
        "as_of": None if prompt.as_of_us is None else time_json(prompt.as_of_us),
    }


def versions_json(prompt: Prompt) -> list[dict[str, Any]]:
    """The versions of a prompt, newest first, each with the aliases that mean it."""
    by_number: dict[int, list[str]] = {}
    for alias, number in prompt.aliases.items():
        by_number.setdefault(number, []).append(alias)
    return [
        {
            **_version_facts(version),
            "suites": list(version.suites),
            "archived": version.is_archived(prompt.as_of_us),
            "aliases": by_number.get(version.number, []),
        }
        for version in prompt.versions
    ]


def content_json(version: PromptVersion, alias: str | None) -> dict[str, Any]:
    """One version with its content; everything in it is as immutable as the ETag says."""
    return {
        "name": version.name,
        "alias": alias,
        "ref": f"{version.name}@{version.number}",
        **_version_facts(version),
        "content": msgspec.Raw(version.content_json.encode()),
    }


def move_json(move: Move) -> dict[str, Any]:
    """One move of an alias; ``to`` null: it was removed."""
    return {
        "at": time_json(move.at_us),
        "kind": move.kind,
        "name": move.name,
        "alias": move.alias,
        "from": move.from_number,
        "to": move.to_number,
        "sha256": move.sha256,
        "action": move.action,
        "who": clean(move.who),
        "reason": None if move.reason is None else clean(move.reason),
        "gate": move.gate,
        "policy": move.policy,
        "receipt_id": move.receipt_id,
    }


def pushed_json(pushed: Pushed, changes: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """What became of one file; ``changes`` names the fields that differ from the version before."""
    return {
        "name": pushed.name,
        "number": pushed.number,
        "ref": f"{pushed.name}@{pushed.number}",
        "sha256": pushed.sha256,
        "is_new": pushed.is_new,
        "archived": pushed.is_archived,
        "previous": pushed.previous_number,
        "latest": pushed.latest,
        "changes": list(changes),
        "warnings": list(warnings),
    }


def difference_json(difference: Difference) -> dict[str, Any]:
    """One field that differs, with its lines; very long ones are cut."""
    return {
        "field": clean(difference.field),
        "kind": difference.kind,
        "lines": [{"mark": line.mark, "text": clean(line.text)} for line in difference.lines[:MAX_LINES]],
        "is_cut": len(difference.lines) > MAX_LINES,
    }


def time_json(at_us: int) -> str:
    """Microseconds since 1970 as the API writes times."""
    return iso(utc(at_us).replace(tzinfo=None))


def _version_facts(version: PromptVersion) -> Mapping[str, Any]:
    """What never changes of a version."""
    return {
        "number": version.number,
        "sha256": version.sha256,
        "model": clean(version.model),
        "created_at": time_json(version.created_at_us),
        "author": None if version.author is None else clean(version.author),
        "git_commit": None if version.git_commit is None else clean(version.git_commit),
        "message": None if version.message is None else clean(version.message),
        "pushed_by": clean(version.who),
    }

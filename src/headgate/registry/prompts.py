"""Prompts in the registry: pushed as immutable, numbered versions, archived instead of removed, served by alias."""

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.core.protection import LATEST, PRODUCTION, rule_for
from headgate.core.settings_types import Settings
from headgate.registry import aliases, approvals, history
from headgate.registry.aliases import Guard, Move, Target, Wish, shown
from headgate.registry.approvals import Approval
from headgate.registry.database import Database
from headgate.registry.grounds import Evidence, evidence_for
from headgate.registry.versioned import Version, Versioned, set_archived
from headgate.snapshot import PromptEntry, PromptVersionEntry, no_prompt, spans

MAX_FILES = 500
MAX_CONTENT_BYTES = 512 << 10
MAX_SERVED_BYTES = 32 << 20
RESERVED = ("aliases", "approve", "archive", "diff", "push", "remove", "render", "rollback", "versions")
"""Last parts of a name that are addresses of the API and the pages."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_COLUMNS = """prompt, number, sha256, content, model, suites, message, author, git_commit, who, created_at_us,
              archived_at_us"""
_LIGHT = _COLUMNS.replace("content,", "'',")


@dataclass(frozen=True, kw_only=True)
class PushedPrompt:
    """One checked prompt file; ``content_json`` is the canonical text that ``sha256`` is the hash of."""

    name: str
    description: str
    suites: tuple[str, ...]
    content_json: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What became of one file of a push."""

    name: str
    number: int
    sha256: str
    is_new: bool  # False: the same content was pushed before
    is_archived: bool
    previous_number: int | None  # the newest version before this push
    latest: int | None


@dataclass(frozen=True, kw_only=True)
class PromptVersion(Version):
    """One version of a prompt."""

    content_json: str  # empty in lists
    model: str
    suites: tuple[str, ...]


class Prompt(Versioned[PromptVersion]):
    """A prompt with its versions, newest first, and its aliases: now, or as of a time."""

    BARE = PRODUCTION


def push(
    database: Database,
    files: Sequence[PushedPrompt],
    *,
    who: str,
    message: str | None = None,
    git_commit: str | None = None,
    author: str | None = None,
) -> list[Pushed]:
    """Stores all files or none; the same content of a prompt is the same version. Raises MalformedRequest."""
    with database.write() as connection:
        return push_in(connection, files, who=who, message=message, git_commit=git_commit, author=author)


def push_in(
    connection: sqlite3.Connection,
    files: Sequence[PushedPrompt],
    *,
    who: str,
    message: str | None = None,
    git_commit: str | None = None,
    author: str | None = None,
) -> list[Pushed]:
    """The same within the caller's transaction."""
    _check_push(files)
    texts = [None if text is None else history.kept_text(text) for text in (message, author, git_commit)]
    done = [_push_one(connection, file, who, *texts) for file in files]
    served = connection.execute(
        "SELECT coalesce(sum(length(content)), 0) FROM prompt_version WHERE archived_at_us IS NULL"
    ).fetchone()[0]
    if served > MAX_SERVED_BYTES:
        raise MalformedRequest(
            f"All versions together would take {served} bytes; at most {MAX_SERVED_BYTES} are served.",
            hint="Archive versions that nobody calls.",
        )
    return done


def list_prompts(database: Database, as_of_us: int | None = None) -> list[Prompt]:
    """All prompts by name, contents left out of their versions (``content_json`` is empty)."""
    with database.read() as connection:
        stands = aliases.all_standing(connection, "prompt", as_of_us)
        rows = connection.execute(f"SELECT {_LIGHT} FROM prompt_version ORDER BY prompt, number DESC").fetchall()
        described = connection.execute("SELECT name, description, created_at_us FROM prompt ORDER BY name").fetchall()
    by_name: dict[str, list[PromptVersion]] = {}
    for row in rows:
        if as_of_us is None or row[10] <= as_of_us:
            by_name.setdefault(row[0], []).append(_version(row))
    return [
        Prompt(
            name=name,
            description=description,
            aliases=stands.get(name, {}),
            versions=tuple(by_name.get(name, ())),
            as_of_us=as_of_us,
        )
        for name, description, created_at_us in described
        if as_of_us is None or created_at_us <= as_of_us
    ]


def get_prompt(database: Database, name: str, as_of_us: int | None = None) -> Prompt:
    """One prompt with its versions, contents left out; raises NotFound."""
    with database.read() as connection:
        return _prompt(connection, name, as_of_us)


def get_version(database: Database, name: str, ref: int | str, as_of_us: int | None = None) -> PromptVersion:
    """The version a number, an alias or ``latest`` means, now or as of a time; archived ones too. Raises NotFound."""
    with database.read() as connection:
        found = _resolve(_prompt(connection, name, as_of_us), ref)
        sql = f"SELECT {_COLUMNS} FROM prompt_version WHERE prompt = ? AND number = ?"
        return _version(connection.execute(sql, (name, found.number)).fetchone())


def versions(database: Database, name: str) -> tuple[PromptVersion, ...]:
    """All versions of a prompt, newest first, contents left out; raises NotFound."""
    return get_prompt(database, name).versions


def moves(database: Database, name: str, as_of_us: int | None = None, *, limit: int = 200) -> list[Move]:
    """The moves of a prompt's aliases, newest first."""
    with database.read() as connection:
        return aliases.moves(connection, "prompt", name, as_of_us, limit=limit)


def move_alias(
    database: Database, name: str, alias: str, ref: int | str, wish: Wish, guard: Guard | None
) -> Move | None:
    """Points ``alias`` to the version that ``ref`` means; None when it stands there. See :func:`aliases.move`."""
    with database.write() as connection:
        return move_in(connection, name, alias, ref, wish, guard)


def move_in(
    connection: sqlite3.Connection, name: str, alias: str, ref: int | str, wish: Wish, guard: Guard | None
) -> Move | None:
    """The same within the caller's transaction."""
    version = _resolve(_prompt(connection, name), ref)
    return aliases.move(connection, _target(version, alias), alias, wish, guard)


def remove_alias(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Ends ``alias``; raises NotFound, Forbidden."""
    with database.write() as connection:
        _prompt(connection, name)
        return aliases.remove(connection, "prompt", name, alias, wish, guard)


def rollback(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Points ``alias`` back to the version it meant before; raises NotFound, MalformedRequest (archived meanwhile)."""
    with database.write() as connection:
        prompt = _prompt(connection, name)
        number = aliases.rollback_number(connection, "prompt", name, alias)
        return aliases.rollback(connection, _target(_resolve(prompt, number), alias), alias, wish, guard)


def approve(database: Database, name: str, alias: str, ref: int | str, wish: Wish) -> Approval:
    """A second person's yes to a version becoming ``alias``; raises NotFound, Forbidden, MalformedRequest."""
    with database.write() as connection:
        version = _resolve(_prompt(connection, name), ref)
        return approvals.approve(connection, _target(version, alias), alias, wish)


def evidence(database: Database, name: str, alias: str, ref: int | str, guard: Guard) -> Evidence:
    """What there is for a version becoming ``alias`` under a rule, and what is missing."""
    with database.read() as connection:
        version = _resolve(_prompt(connection, name), ref)
        target = _target(version, alias)
        return evidence_for(connection, target, alias, guard, aliases.stands(connection, target, alias))


def archive(
    database: Database, name: str, number: int, *, who: str, reason: str | None = None, archived: bool = True
) -> PromptVersion:
    """Takes a version out of service (or back); it still explains the requests it answered.

    Raises NotFound, MalformedRequest while an alias means it.
    """
    with database.write() as connection:
        prompt = _prompt(connection, name)
        version = _resolve(prompt, number)
        if set_archived(connection, "prompt", prompt, version, who=who, reason=reason, archived=archived):
            return _resolve(_prompt(connection, name), number)
        return version


def served(database: Database, settings: Settings) -> dict[str, PromptEntry]:
    """What the snapshot carries: every version that is not archived, the aliases, and whether they are protected."""
    with database.read() as connection:
        stands = aliases.all_standing(connection, "prompt")
        rows = connection.execute(
            "SELECT prompt, number, sha256, content, archived_at_us FROM prompt_version ORDER BY prompt, number"
        ).fetchall()
    live: dict[str, dict[int, PromptVersionEntry]] = {}
    archived: dict[str, list[int]] = {}
    for name, number, content_sha256, content, archived_at_us in rows:
        found = live.setdefault(name, {})
        if archived_at_us is None:
            found[number] = PromptVersionEntry(number=number, sha256=content_sha256, content_json=content)
        else:
            archived.setdefault(name, []).append(number)
    return {
        name: PromptEntry(
            name=name,
            aliases=stands.get(name, {}),
            latest=max(found, default=None),
            protected=rule_for(settings, "prompt", name, PRODUCTION) is not None,
            versions=found,
            archived=tuple(archived.get(name, ())),
        )
        for name, found in live.items()
    }


def _check_push(files: Sequence[PushedPrompt]) -> None:
    if not 0 < len(files) <= MAX_FILES:
        raise MalformedRequest(f"{len(files)} prompts cannot be pushed at once.", hint=f"Push 1 to {MAX_FILES}.")
    seen: set[str] = set()
    for file in files:
        if file.name in seen:
            raise MalformedRequest(f'The prompt "{file.name}" is in this push twice.', hint="Push one file of it.")
        seen.add(file.name)
        check_name(file.name)
        content_bytes = len(file.content_json.encode())
        if content_bytes > MAX_CONTENT_BYTES:
            raise MalformedRequest(
                f"{file.name} has {content_bytes} bytes of content; at most {MAX_CONTENT_BYTES} are kept."
            )
        if sha256(file.content_json.encode()).hexdigest() != file.sha256:
            raise ValueError(f"the hash of {file.name} is not that of its content")


def check_name(name: str) -> None:
    """Raises MalformedRequest unless ``name`` can be the name of a prompt."""
    if len(name) > 128 or not _NAME.fullmatch(name):
        raise MalformedRequest(
            f"The prompt name {shown(name)} is not allowed.",
            hint="Use small letters, digits, _ . and -, in parts that a / sets apart; at most 128.",
        )
    last = name.rpartition("/")[2]
    if "/" in name and last in RESERVED:
        raise MalformedRequest(
            f'The prompt name {shown(name)} ends like an address of the API ("/{last}").', hint="Choose another."
        )


def _push_one(
    connection: sqlite3.Connection,
    file: PushedPrompt,
    who: str,
    message: str | None,
    author: str | None,
    git_commit: str | None,
) -> Pushed:
    now = now_us()
    connection.execute(
        "INSERT INTO prompt VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET description = excluded.description",
        (file.name, file.description, now),
    )
    prompt = _prompt(connection, file.name)
    known = next((version for version in prompt.versions if version.sha256 == file.sha256), None)
    if known is None:
        number = max((version.number for version in prompt.versions), default=0) + 1
        model = str(json.loads(file.content_json)["model"])
        suites = json.dumps(list(file.suites))
        connection.execute(
            f"INSERT INTO prompt_version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (file.name, number, file.sha256, file.content_json, model, suites, message, author, git_commit, who, now),
        )
        detail = {"version": number, "sha256": file.sha256, "author": author, "git_commit": git_commit}
        history.append(
            connection, who=who, action="prompt.push", object=f"prompt:{file.name}", reason=message, detail=detail
        )
    else:
        number = known.number
        _keep_suites(connection, known, file.suites, who)
    return Pushed(
        name=file.name,
        number=number,
        sha256=file.sha256,
        is_new=known is None,
        is_archived=known is not None and known.is_archived(),
        previous_number=prompt.latest,
        latest=number if known is None else prompt.latest,
    )


def _keep_suites(connection: sqlite3.Connection, known: PromptVersion, suites: tuple[str, ...], who: str) -> None:
    """The newest push decides which suites a version names; they are no part of its content."""
    if known.suites == suites:
        return
    connection.execute(
        "UPDATE prompt_version SET suites = ? WHERE prompt = ? AND number = ?",
        (json.dumps(list(suites)), known.name, known.number),
    )
    detail = {"version": known.number, "suites": list(suites), "before": list(known.suites)}
    history.append(connection, who=who, action="prompt.suites", object=f"prompt:{known.name}", detail=detail)


def _prompt(connection: sqlite3.Connection, name: str, as_of_us: int | None = None) -> Prompt:
    stored = history.kept_text(name[:300])
    row = connection.execute("SELECT description, created_at_us FROM prompt WHERE name = ?", (stored,)).fetchone()
    if row is None:
        raise no_prompt(name, [found[0] for found in connection.execute("SELECT name FROM prompt ORDER BY name")])
    if as_of_us is not None and row[1] > as_of_us:
        raise NotFound(f"There was no prompt {shown(name)} at that time.", code="prompt_missing")
    sql = f"""SELECT {_LIGHT} FROM prompt_version WHERE prompt = ?1 AND (?2 IS NULL OR created_at_us <= ?2)
              ORDER BY number DESC"""
    return Prompt(
        name=name,
        description=row[0],
        aliases=aliases.standing(connection, "prompt", name, as_of_us),
        versions=tuple(_version(found) for found in connection.execute(sql, (name, as_of_us))),
        as_of_us=as_of_us,
    )


def _resolve(prompt: Prompt, ref: int | str) -> PromptVersion:
    if isinstance(ref, str) and re.fullmatch(r"[0-9]{1,9}", ref):
        ref = int(ref)
    number = ref if isinstance(ref, int) else prompt.latest if ref == LATEST else prompt.aliases.get(ref)
    found = None if number is None else prompt.version(number)
    if found is not None:
        return found
    what = f"version {ref}" if isinstance(ref, int) else f"alias {shown(ref)}"
    code = "prompt_version_missing" if isinstance(ref, int) else "prompt_alias_missing"
    numbers = [version.number for version in prompt.versions]
    known = f"Aliases: {', '.join(prompt.aliases) or 'none'}; versions: {spans(numbers)}."
    raise NotFound(f"{prompt.name} has no {what}. {known}", code=code, hint=f"headgate prompt show {prompt.name}")


def _target(version: PromptVersion, alias: str) -> Target:
    if version.is_archived():
        raise MalformedRequest(
            f"{version.name}@{version.number} is archived and may not become {alias}.",
            code="prompt_version_archived",
            hint="Bring it back first.",
        )
    return Target(
        kind="prompt",
        name=version.name,
        number=version.number,
        sha256=version.sha256,
        pushed_by=version.who,
        suites=version.suites,
    )


def _version(row: Sequence[Any]) -> PromptVersion:
    return PromptVersion(
        name=row[0],
        number=row[1],
        sha256=row[2],
        content_json=row[3],
        model=row[4],
        suites=tuple(json.loads(row[5])),
        message=row[6],
        author=row[7],
        git_commit=row[8],
        who=row[9],
        created_at_us=row[10],
        archived_at_us=row[11],
    )

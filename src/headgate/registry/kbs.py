"""Knowledge bases in the registry: immutable, numbered versions of what lies below HOME/kb, served by alias."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us
from headgate.core.protection import LATEST, PRODUCTION, rule_for
from headgate.core.settings_types import Settings
from headgate.registry import aliases, approvals, history
from headgate.registry.aliases import Move, Target, Wish, shown
from headgate.registry.approvals import Approval
from headgate.registry.database import Database
from headgate.registry.grounds import Evidence, evidence_for
from headgate.registry.targets import Guard
from headgate.snapshot import KbEntry, KbVersionEntry, no_kb, no_kb_version

RESERVED = (
    *("aliases", "approve", "diff", "documents", "impact", "push", "release", "remove", "repin", "rollback"),
    *("search", "versions"),
)
"""Names that would be addresses of the API and the pages."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_COLUMNS = """kb, number, sha256, content_sha256, embedder, dimensions, embed_asks, documents, chunks, parent, message,
              author, git_commit, dvc, who, created_at_us"""


@dataclass(frozen=True, kw_only=True)
class NewKbVersion:
    """A version whose files are in their place."""

    name: str
    description: str
    sha256: str
    content_sha256: str
    embedder: str
    dimensions: int
    embed_asks: int | None
    documents: int
    chunks: int
    message: str | None = None
    author: str | None = None
    git_commit: str | None = None
    dvc: str | None = None


@dataclass(frozen=True, kw_only=True)
class KbVersion:
    """One version of a knowledge base."""

    name: str
    number: int
    sha256: str
    content_sha256: str
    embedder: str
    dimensions: int
    embed_asks: int | None
    documents: int
    chunks: int
    parent: int | None
    message: str | None
    author: str | None
    git_commit: str | None
    dvc: str | None
    who: str
    created_at_us: int

    @property
    def ref(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, kw_only=True)
class Kb:
    """A knowledge base with its versions, newest first, and its aliases: now, or as of a time."""

    name: str
    description: str
    aliases: Mapping[str, int]
    versions: tuple[KbVersion, ...]
    as_of_us: int | None = None

    @property
    def latest(self) -> int | None:
        """The newest version."""
        return self.versions[0].number if self.versions else None

    def current(self, *, is_protected: bool) -> tuple[int, str] | None:
        """The version a bare name means, and by which alias; None when it means none."""
        if PRODUCTION in self.aliases:
            return self.aliases[PRODUCTION], PRODUCTION
        return None if is_protected or self.latest is None else (self.latest, LATEST)

    def version(self, ref: int | str) -> KbVersion:
        """The version that a number, an alias or ``latest`` means; raises NotFound."""
        if isinstance(ref, str) and re.fullmatch(r"[0-9]{1,9}", ref):
            ref = int(ref)
        number = ref if isinstance(ref, int) else self.latest if ref == LATEST else self.aliases.get(ref)
        found = next((version for version in self.versions if version.number == number), None)
        if found is None:
            raise no_kb_version(self.name, ref, self.aliases, [version.number for version in self.versions])
        return found


def add_version(database: Database, new: NewKbVersion, *, who: str) -> tuple[KbVersion, bool]:
    """Stores a version and whether it is new: the same directory is the same version. Raises MalformedRequest."""
    check_name(new.name)
    texts = [
        None if text is None else history.kept_text(text) for text in (new.message, new.author, new.git_commit, new.dvc)
    ]
    now = now_us()
    with database.write() as connection:
        connection.execute(
            "INSERT INTO kb VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET description = excluded.description",
            (new.name, history.kept_text(new.description), now),
        )
        before = _kb(connection, new.name)
        known = next((version for version in before.versions if version.sha256 == new.sha256), None)
        if known is not None:
            return known, False
        number = (before.latest or 0) + 1
        facts = (new.sha256, new.content_sha256, new.embedder, new.dimensions, new.embed_asks, new.documents)
        connection.execute(
            f"INSERT INTO kb_version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (new.name, number, *facts, new.chunks, before.latest, *texts, who, now),
        )
        detail = {"version": number, "sha256": new.sha256, "documents": new.documents, "chunks": new.chunks}
        history.append(
            connection, who=who, action="kb.push", object=f"kb:{new.name}", reason=new.message, detail=detail
        )
        return _kb(connection, new.name).version(number), True


def list_kbs(database: Database, as_of_us: int | None = None) -> list[Kb]:
    """All knowledge bases by name."""
    with database.read() as connection:
        rows = connection.execute(
            "SELECT name FROM kb WHERE ?1 IS NULL OR created_at_us <= ?1 ORDER BY name", (as_of_us,)
        ).fetchall()
        return [_kb(connection, row[0], as_of_us) for row in rows]


def get_kb(database: Database, name: str, as_of_us: int | None = None) -> Kb:
    """One knowledge base with its versions; raises NotFound."""
    with database.read() as connection:
        return _kb(connection, name, as_of_us)


def moves(database: Database, name: str, as_of_us: int | None = None, *, limit: int = 200) -> list[Move]:
    """The moves of a knowledge base's aliases, newest first."""
    with database.read() as connection:
        return aliases.moves(connection, "kb", name, as_of_us, limit=limit)


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
    return aliases.move(connection, _target(_kb(connection, name).version(ref)), alias, wish, guard)


def remove_alias(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Ends ``alias``; raises NotFound, Forbidden."""
    with database.write() as connection:
        _kb(connection, name)
        return aliases.remove(connection, "kb", name, alias, wish, guard)


def rollback(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Points ``alias`` back to the version it meant before; raises NotFound."""
    with database.write() as connection:
        kb = _kb(connection, name)
        number = aliases.rollback_number(connection, "kb", name, alias)
        return aliases.rollback(connection, _target(kb.version(number)), alias, wish, guard)


def approve(database: Database, name: str, alias: str, ref: int | str, wish: Wish) -> Approval:
    """A second person's yes to a version becoming ``alias``; raises NotFound, Forbidden, MalformedRequest."""
    with database.write() as connection:
        return approvals.approve(connection, _target(_kb(connection, name).version(ref)), alias, wish)


def evidence(database: Database, name: str, alias: str, ref: int | str, guard: Guard) -> Evidence:
    """What there is for a version becoming ``alias`` under a rule, and what is missing."""
    with database.read() as connection:
        target = _target(_kb(connection, name).version(ref))
        return evidence_for(connection, target, alias, guard, aliases.stands(connection, target, alias))


def served(database: Database, settings: Settings) -> dict[str, KbEntry]:
    """What the snapshot carries: every version, the aliases, and whether they are protected."""
    return {
        kb.name: KbEntry(
            name=kb.name,
            aliases=dict(kb.aliases),
            latest=kb.latest,
            protected=rule_for(settings, "kb", kb.name, PRODUCTION) is not None,
            versions={
                version.number: KbVersionEntry(
                    number=version.number,
                    sha256=version.sha256,
                    embedder=version.embedder,
                    embed_asks=version.embed_asks,
                )
                for version in kb.versions
            },
        )
        for kb in list_kbs(database)
        if kb.versions
    }


def check_name(name: str) -> None:
    """Raises MalformedRequest unless ``name`` can be the name of a knowledge base."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise MalformedRequest(
            f"The name {shown(name)} is not allowed for a knowledge base.",
            hint="Use small letters, digits, _ . and -; at most 128.",
        )
    if name in RESERVED:
        raise MalformedRequest(f"The name {shown(name)} is an address of the API.", hint="Choose another.")


def _kb(connection: sqlite3.Connection, name: str, as_of_us: int | None = None) -> Kb:
    stored = history.kept_text(name[:300])
    row = connection.execute("SELECT description, created_at_us FROM kb WHERE name = ?", (stored,)).fetchone()
    if row is None or (as_of_us is not None and row[1] > as_of_us):
        raise no_kb(name, [found[0] for found in connection.execute("SELECT name FROM kb ORDER BY name")])
    sql = f"""SELECT {_COLUMNS} FROM kb_version WHERE kb = ?1 AND (?2 IS NULL OR created_at_us <= ?2)
              ORDER BY number DESC"""
    return Kb(
        name=name,
        description=row[0],
        aliases=aliases.standing(connection, "kb", name, as_of_us),
        versions=tuple(_version(found) for found in connection.execute(sql, (name, as_of_us))),
        as_of_us=as_of_us,
    )


def _target(version: KbVersion) -> Target:
    return Target(kind="kb", name=version.name, number=version.number, sha256=version.sha256, pushed_by=version.who)


def _version(row: Sequence[Any]) -> KbVersion:
    names = ("name", *(name.strip() for name in _COLUMNS.split(",")[1:]))
    return KbVersion(**dict(zip(names, row, strict=True)))

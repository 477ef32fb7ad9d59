"""Classic models in the registry: immutable numbered versions, the evidence about them, approvals; served by alias."""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.core.protection import LATEST, rule_for
from headgate.core.served_models import CHAMPION, ModelEntry, ModelVersionEntry, no_model
from headgate.core.settings_types import Settings
from headgate.core.signature import Signature
from headgate.registry import aliases, approvals, grounds, history
from headgate.registry.aliases import Move
from headgate.registry.approvals import Approval
from headgate.registry.database import Database
from headgate.registry.model_rows import COLUMNS, Evidence, Model, ModelVersion, evidence_of, version_of
from headgate.registry.targets import Guard, Target, Wish, shown
from headgate.registry.versioned import set_archived

RESERVED = ("aliases", "approve", "archive", "performance", "register", "rollback", "test", "uploads", "versions")
"""Names that are addresses of the API and the pages."""
MAX_NAME = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A checked bundle, ready to become a version; texts are JSON."""

    name: str
    sha256: str
    manifest: str
    signature: Signature
    size_bytes: int
    joins: Literal["exact", "close", "no"]
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Sequence[Mapping[str, Any]]
    description: str | None
    message: str | None
    author: str | None
    git_commit: str | None


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What became of a registration."""

    version: ModelVersion
    is_new: bool  # False: the same content was registered before


def check_name(name: str) -> None:
    """Raises MalformedRequest unless ``name`` can be the name of a model."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or name in RESERVED:
        raise MalformedRequest(
            f"The model name {shown(name)} is not allowed.",
            hint=f"Use small letters, digits, _ . and -, at most {MAX_NAME}; not {', '.join(RESERVED)}.",
        )


def register(
    database: Database, new: NewVersion, reports: Sequence[tuple[str, bool, Mapping[str, Any]]], *, who: str
) -> Registered:
    """Stores a version with the evidence found while it was checked; the same content is the same version."""
    check_name(new.name)
    with database.write() as connection:
        now = now_us()
        connection.execute(
            "INSERT INTO model VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING", (new.name, new.description or "", now)
        )
        if new.description is not None:
            connection.execute("UPDATE model SET description = ? WHERE name = ?", (new.description, new.name))
        model = _model(connection, new.name)
        known = next((version for version in model.versions if version.sha256 == new.sha256), None)
        number = known.number if known is not None else _insert(connection, new, model, who, now)
        for kind, passed, report in reports:
            _add_evidence(connection, new.name, number, kind, passed, report, who)
        version = _model(connection, new.name).version(number)
        assert version is not None
        return Registered(version=version, is_new=known is None)


def _insert(connection: sqlite3.Connection, new: NewVersion, model: Model, who: str, now: int) -> int:
    number = max((version.number for version in model.versions), default=0) + 1
    texts = [None if text is None else history.kept_text(text) for text in (new.message, new.author, new.git_commit)]
    connection.execute(
        f"INSERT INTO model_version ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            new.name,
            number,
            new.sha256,
            new.manifest,
            new.size_bytes,
            new.joins,
            json.dumps(dict(new.metadata)),
            json.dumps(dict(new.metrics)),
            json.dumps(list(new.lineage)),
            *texts,
            who,
            now,
        ),
    )
    detail = {"version": number, "sha256": new.sha256, "author": new.author, "git_commit": new.git_commit}
    history.append(
        connection, who=who, action="model.register", object=f"model:{new.name}", reason=new.message, detail=detail
    )
    return number


def _add_evidence(
    connection: sqlite3.Connection, name: str, number: int, kind: str, passed: bool, report: Mapping[str, Any], who: str
) -> None:
    connection.execute(
        "INSERT INTO model_evidence (model, number, kind, passed, report, who, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, number, kind, int(passed), json.dumps(dict(report)), who, now_us()),
    )


def add_evidence(
    database: Database, name: str, number: int, kind: str, passed: bool, report: Mapping[str, Any], *, who: str
) -> None:
    """Keeps what the server found of a version; raises NotFound."""
    with database.write() as connection:
        _resolve(_model(connection, name), number)
        _add_evidence(connection, name, number, kind, passed, report, who)


def evidence(database: Database, name: str, number: int) -> list[Evidence]:
    """What was found of a version, newest first."""
    with database.read() as connection:
        rows = connection.execute(
            """SELECT kind, passed, report, who, at_us FROM model_evidence WHERE model = ? AND number = ?
               ORDER BY seq DESC LIMIT 100""",
            (name, number),
        )
        return [evidence_of(row) for row in rows]


def approve(database: Database, name: str, alias: str, ref: int | str, wish: Wish) -> Approval:
    """A second person's yes to a version becoming ``alias``; raises NotFound, Forbidden."""
    with database.write() as connection:
        version = _resolve(_model(connection, name), ref)
        return approvals.approve(connection, _target(version, alias), alias, wish)


def move_evidence(database: Database, name: str, alias: str, ref: int | str, guard: Guard) -> grounds.Evidence:
    """What there is for a version becoming ``alias`` under a rule, and what is missing; raises NotFound."""
    with database.read() as connection:
        target = _target(_resolve(_model(connection, name), ref), alias)
        return grounds.evidence_for(connection, target, alias, guard, aliases.stands(connection, target, alias))


def approvals_of(database: Database, name: str) -> list[Approval]:
    """Every approval of a model's versions, newest first."""
    with database.read() as connection:
        return approvals.list_approvals(connection, "model", name)


def list_models(database: Database, as_of_us: int | None = None) -> list[Model]:
    """All models by name, with their versions and aliases; now or as of a time."""
    with database.read() as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM model ORDER BY name")]
        found = [_model(connection, name, as_of_us) for name in names]
    return [model for model in found if model.versions]


def get_model(database: Database, name: str, as_of_us: int | None = None) -> Model:
    """One model; raises NotFound."""
    with database.read() as connection:
        return _model(connection, name, as_of_us)


def get_version(database: Database, name: str, ref: int | str, as_of_us: int | None = None) -> ModelVersion:
    """The version a number, an alias or ``latest`` means; archived ones too. Raises NotFound."""
    with database.read() as connection:
        return _resolve(_model(connection, name, as_of_us), ref)


def moves(database: Database, name: str, *, limit: int = 200) -> list[Move]:
    """The moves of a model's aliases, newest first."""
    with database.read() as connection:
        return aliases.moves(connection, "model", name, limit=limit)


def move_alias(
    database: Database, name: str, alias: str, ref: int | str, wish: Wish, guard: Guard | None
) -> Move | None:
    """Points ``alias`` to the version that ``ref`` means; None when it stands there. See :func:`aliases.move`."""
    with database.write() as connection:
        version = _resolve(_model(connection, name), ref)
        return aliases.move(connection, _target(version, alias), alias, wish, guard)


def remove_alias(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Ends ``alias``; raises NotFound, Forbidden."""
    with database.write() as connection:
        _model(connection, name)
        return aliases.remove(connection, "model", name, alias, wish, guard)


def rollback_target(database: Database, name: str, alias: str) -> ModelVersion:
    """The version a rollback would go back to; raises NotFound."""
    with database.read() as connection:
        model = _model(connection, name)
        return _resolve(model, aliases.rollback_number(connection, "model", name, alias))


def rollback(database: Database, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Points ``alias`` back to the version it meant before; raises NotFound, MalformedRequest (archived meanwhile)."""
    with database.write() as connection:
        model = _model(connection, name)
        number = aliases.rollback_number(connection, "model", name, alias)
        return aliases.rollback(connection, _target(_resolve(model, number), alias), alias, wish, guard)


def archive(
    database: Database, name: str, number: int, *, who: str, reason: str | None = None, archived: bool = True
) -> ModelVersion:
    """Takes a version out of service, or back. Raises NotFound, MalformedRequest while an alias means it."""
    with database.write() as connection:
        model = _model(connection, name)
        version = _resolve(model, number)
        if set_archived(connection, "model", model, version, who=who, reason=reason, archived=archived):
            return _resolve(_model(connection, name), number)
        return version


def served(database: Database, settings: Settings) -> dict[str, ModelEntry]:
    """What the snapshot carries: every version that is not archived, the aliases, and whether they are protected."""
    found: dict[str, ModelEntry] = {}
    for model in list_models(database):
        live = {
            version.number: ModelVersionEntry(
                number=version.number,
                sha256=version.sha256,
                signature=version.signature,
                joins=version.joins != "no",
            )
            for version in model.versions
            if not version.is_archived()
        }
        found[model.name] = ModelEntry(
            name=model.name,
            aliases=model.aliases,
            latest=max(live, default=None),
            protected=rule_for(settings, "model", model.name, CHAMPION) is not None,
            versions=live,
            archived=tuple(version.number for version in model.versions if version.is_archived()),
        )
    return found


def _model(connection: sqlite3.Connection, name: str, as_of_us: int | None = None) -> Model:
    stored = history.kept_text(name[:300])
    row = connection.execute("SELECT description, created_at_us FROM model WHERE name = ?", (stored,)).fetchone()
    if row is None:
        raise no_model(name, [found[0] for found in connection.execute("SELECT name FROM model ORDER BY name")])
    sql = f"""SELECT {COLUMNS} FROM model_version WHERE model = ?1 AND (?2 IS NULL OR created_at_us <= ?2)
              ORDER BY number DESC"""
    return Model(
        name=name,
        description=row[0],
        aliases=aliases.standing(connection, "model", name, as_of_us),
        versions=tuple(version_of(found) for found in connection.execute(sql, (name, as_of_us))),
        as_of_us=as_of_us,
    )


def _resolve(model: Model, ref: int | str) -> ModelVersion:
    if isinstance(ref, str) and re.fullmatch(r"[0-9]{1,9}", ref):
        ref = int(ref)
    number = ref if isinstance(ref, int) else model.latest if ref == LATEST else model.aliases.get(ref)
    found = None if number is None else model.version(number)
    if found is not None:
        return found
    what = f"version {ref}" if isinstance(ref, int) else f"alias {shown(ref)}"
    code = "model_version_missing" if isinstance(ref, int) else "model_alias_missing"
    numbers = ", ".join(str(version.number) for version in model.versions[:20])
    known = f"Aliases: {', '.join(model.aliases) or 'none'}; versions: {numbers or 'none'}."
    raise NotFound(f"{model.name} has no {what}. {known}", code=code, hint=f"headgate model show {model.name}")


def _target(version: ModelVersion, alias: str) -> Target:
    if version.is_archived():
        raise MalformedRequest(
            f"{version.name}@{version.number} is archived and may not become {alias}.",
            code="model_version_archived",
            hint="Bring it back first.",
        )
    return Target(kind="model", name=version.name, number=version.number, sha256=version.sha256, pushed_by=version.who)

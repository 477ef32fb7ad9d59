"""Headgate keys: made, listed, rotated and revoked here; only their digests are kept."""

import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal

from headgate.core.durations import MAX_SPAN_S
from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.database import Database
from headgate.snapshot import ROLES, KeyEntry, Role

PREFIX = "hg_"
RANDOM_BYTES = 32
FORGET_AFTER_US = 90 * 86_400_000_000
Origin = Literal["created", "environment", "minted"]

_ID_SIGNS = "0123456789abcdefghjkmnpqrstvwxyz"
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_COLUMNS = "id, name, role, project, models, created_at_us, expires_at_us, revoked_at_us, digest"


def digest(plaintext: str) -> str:
    """What is kept of a key: SHA-256, hex. A key has 256 random bits, so no slower hash is needed."""
    return sha256(plaintext.encode("utf-8", "surrogateescape")).hexdigest()


def new_plaintext() -> str:
    """A new key: ``hg_`` and 43 random signs."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def create_key(
    database: Database,
    *,
    name: str,
    role: Role = "app",
    project: str = "default",
    models: Sequence[str] = (),
    expires_in_s: float | None = None,
    by: str = "local",
    reason: str | None = None,
    at_us: int | None = None,
) -> tuple[KeyEntry, str]:
    """A new key and its plaintext, which nobody can show again; raises MalformedRequest."""
    _check(name, role, project, models, expires_in_s)
    created_at_us = now_us() if at_us is None else at_us
    plaintext = new_plaintext()
    with database.write() as connection:
        entry = KeyEntry(
            id=_new_id(connection),
            name=name.strip(),
            role=role,
            project=project,
            models=tuple(models),
            created_at_us=created_at_us,
            expires_at_us=None if expires_in_s is None else created_at_us + round(expires_in_s * 1_000_000),
        )
        insert(connection, entry, digest(plaintext), by=by, reason=reason)
    return entry, plaintext


def list_keys(database: Database) -> list[KeyEntry]:
    """All keys, the oldest first, ended ones included."""
    with database.read() as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM api_key ORDER BY created_at_us, id").fetchall()
    return [_entry(row) for row in rows]


def keys_by_digest(database: Database, at_us: int | None = None) -> dict[str, KeyEntry]:
    """What the snapshot carries: the keys by digest, without those that ended more than 90 days ago."""
    oldest = (now_us() if at_us is None else at_us) - FORGET_AFTER_US
    sql = f"""SELECT {_COLUMNS} FROM api_key
              WHERE coalesce(revoked_at_us, ?1 + 1) > ?1 AND coalesce(expires_at_us, ?1 + 1) > ?1"""
    with database.read() as connection:
        return {row[8]: _entry(row) for row in connection.execute(sql, (oldest,))}


def find_key(database: Database, id_or_name: str, at_us: int | None = None) -> KeyEntry:
    """The key with this id, else the only valid one with this name; raises NotFound, MalformedRequest for several."""
    with database.read() as connection:
        return _find(connection, id_or_name, now_us() if at_us is None else at_us)


def revoke(
    database: Database, id_or_name: str, *, by: str = "local", reason: str | None = None, at_us: int | None = None
) -> KeyEntry:
    """Ends a key now. One that is revoked already stays as it is."""
    now = now_us() if at_us is None else at_us
    with database.write() as connection:
        entry = _find(connection, id_or_name, now)
        if entry.revoked_at_us is None:
            connection.execute("UPDATE api_key SET revoked_at_us = ? WHERE id = ?", (now, entry.id))
            detail = {"name": entry.name, "role": entry.role}
            history.append(
                connection,
                who=by,
                action="key.revoke",
                object=f"key:{entry.id}",
                reason=reason,
                detail=detail,
                at_us=now,
            )
        return _find(connection, entry.id, now)


def rotate(
    database: Database,
    id_or_name: str,
    *,
    overlap_s: float = 0,
    by: str = "local",
    reason: str | None = None,
    at_us: int | None = None,
) -> tuple[KeyEntry, str]:
    """A new key with the rights of the old one, which goes on for ``overlap_s`` seconds.

    The new key lives as long as the old one was meant to. Raises NotFound, MalformedRequest (revoked, bad overlap).
    """
    if not 0 <= overlap_s <= MAX_SPAN_S:
        raise MalformedRequest(f"An overlap of {overlap_s:g} s is not allowed.", hint="Write 0 or a span such as 24h.")
    now = now_us() if at_us is None else at_us
    plaintext = new_plaintext()
    with database.write() as connection:
        old = _find(connection, id_or_name, now)
        if old.revoked_at_us is not None:
            raise MalformedRequest(
                f'Key {old.id} ("{old.name}") is revoked and cannot be rotated.',
                hint=f"Create another: headgate key create --name {old.name}",
            )
        life_us = None if old.expires_at_us is None else old.expires_at_us - old.created_at_us
        new = KeyEntry(
            id=_new_id(connection),
            name=old.name,
            role=old.role,
            project=old.project,
            models=old.models,
            created_at_us=now,
            expires_at_us=None if life_us is None else now + life_us,
        )
        insert(connection, new, digest(plaintext), by=by, reason=reason, rotated_from=old.id)
        _end_rotated(connection, old, now, overlap_s)
    return new, plaintext


def insert(
    connection: sqlite3.Connection,
    entry: KeyEntry,
    key_digest: str,
    *,
    by: str,
    reason: str | None = None,
    origin: Origin = "created",
    rotated_from: str | None = None,
) -> None:
    """Stores a key and notes it in the history, within the caller's transaction."""
    connection.execute(
        """INSERT INTO api_key (id, digest, name, role, project, models, origin, rotated_from, created_at_us,
                                expires_at_us, revoked_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)""",
        (
            entry.id,
            key_digest,
            entry.name,
            entry.role,
            entry.project,
            json.dumps(list(entry.models)),
            origin,
            rotated_from,
            entry.created_at_us,
            entry.expires_at_us,
        ),
    )
    detail: dict[str, object] = {
        "name": entry.name,
        "role": entry.role,
        "project": entry.project,
        "models": list(entry.models),
        "expires_at_us": entry.expires_at_us,
        "origin": origin,
    }
    action = "key.create"
    if rotated_from is not None:
        action, detail["rotated_from"] = "key.rotate", rotated_from
    history.append(
        connection,
        who=by,
        action=action,
        object=f"key:{entry.id}",
        reason=reason,
        detail=detail,
        at_us=entry.created_at_us,
    )


def new_entry(connection: sqlite3.Connection, name: str, role: Role, at_us: int) -> KeyEntry:
    """An entry without limits, with an id that is free."""
    return KeyEntry(id=_new_id(connection), name=name, role=role, created_at_us=at_us)


def by_digest(connection: sqlite3.Connection, key_digest: str) -> KeyEntry | None:
    """The key with this digest, valid or not."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM api_key WHERE digest = ?", (key_digest,)).fetchone()
    return None if row is None else _entry(row)


def valid_admins(connection: sqlite3.Connection, at_us: int) -> list[KeyEntry]:
    """The admin keys that open at ``at_us``."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM api_key WHERE role = 'admin' ORDER BY created_at_us")
    return [entry for entry in map(_entry, rows) if entry.is_valid(at_us)]


def _end_rotated(connection: sqlite3.Connection, old: KeyEntry, now: int, overlap_s: float) -> None:
    if overlap_s == 0:
        connection.execute("UPDATE api_key SET revoked_at_us = ? WHERE id = ?", (now, old.id))
        return
    ends = now + round(overlap_s * 1_000_000)
    if old.expires_at_us is None or ends < old.expires_at_us:
        connection.execute("UPDATE api_key SET expires_at_us = ? WHERE id = ?", (ends, old.id))


def _find(connection: sqlite3.Connection, id_or_name: str, at_us: int) -> KeyEntry:
    row = connection.execute(f"SELECT {_COLUMNS} FROM api_key WHERE id = ?", (_stored(id_or_name),)).fetchone()
    if row is not None:
        return _entry(row)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM api_key WHERE name = ? ORDER BY created_at_us", (_stored(id_or_name),)
    )
    named = [_entry(row) for row in rows]
    chosen = [entry for entry in named if entry.is_valid(at_us)] or named[-1:]
    if len(chosen) > 1:
        ids = ", ".join(entry.id for entry in chosen)
        raise MalformedRequest(f"{len(chosen)} keys are named {_shown(id_or_name)}: {ids}.", hint="Name one by its id.")
    if not chosen:
        raise NotFound(f"There is no key {_shown(id_or_name)}.", hint="List them: headgate key list")
    return chosen[0]


def _check(name: str, role: str, project: str, models: Sequence[str], expires_in_s: float | None) -> None:
    if not (0 < len(name.strip()) <= 100 and name.isprintable()):
        raise MalformedRequest(f"The key name {_shown(name)} is not allowed.", hint="Use 1 to 100 printable signs.")
    if name.strip().startswith((PREFIX, "key_")):
        raise MalformedRequest(f"The key name {_shown(name)} looks like a key or an id.", hint="Choose another.")
    if role not in ROLES:
        raise MalformedRequest(f"There is no role {_shown(role)}.", hint=f"Roles: {', '.join(ROLES)}.")
    if not _PROJECT.fullmatch(project):
        raise MalformedRequest(
            f"The project name {_shown(project)} is not allowed.", hint="Use letters, digits, _ . and -, at most 64."
        )
    for glob in models:
        if not (0 < len(glob) <= 200 and glob.isprintable() and " " not in glob):
            raise MalformedRequest(f"The model glob {_shown(glob)} is not allowed.", hint="Write one such as gpt-*.")
    if len(models) > 100:
        raise MalformedRequest(f"{len(models)} model globs are too many.", hint="At most 100 are kept.")
    if expires_in_s is not None and not 0 < expires_in_s <= MAX_SPAN_S:
        raise MalformedRequest(f"An expiry in {expires_in_s:g} s is not allowed.", hint="Write a span such as 90d.")


def _new_id(connection: sqlite3.Connection) -> str:
    while True:
        key_id = "key_" + "".join(secrets.choice(_ID_SIGNS) for _ in range(8))
        if connection.execute("SELECT 1 FROM api_key WHERE id = ?", (key_id,)).fetchone() is None:
            return key_id


def _entry(row: tuple[Any, ...]) -> KeyEntry:
    return KeyEntry(
        id=row[0],
        name=row[1],
        role=row[2],
        project=row[3],
        models=tuple(json.loads(row[4])),
        created_at_us=row[5],
        expires_at_us=row[6],
        revoked_at_us=row[7],
    )


def _stored(text: str) -> str:
    return text[:200].encode("utf-8", "replace").decode("utf-8")


def _shown(text: str) -> str:
    if text.strip().startswith(PREFIX):
        return f'"{PREFIX}…"'
    return '"' + "".join(c if c.isprintable() else "?" for c in text[:60]) + '"'

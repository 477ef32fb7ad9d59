"""Who changed what, when and why: an append-only list in which every entry seals the one before."""

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from headgate.core.ids import now_us
from headgate.registry.database import Database

MAX_TEXT = 4000
MAX_DETAIL = 64 << 10
_KEY = re.compile(r"hg_[A-Za-z0-9_-]{8,}")
_COLUMNS = "seq, at_us, who, action, object, reason, detail, previous, hash"


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One change."""

    seq: int
    at_us: int
    who: str  # a key's id, or "server", "local"
    action: str  # "key.create", "key.revoke", …
    object: str  # "key:key_1a2b3c4d"
    reason: str | None
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, kw_only=True)
class HistoryCheck:
    """The result of following the chain from its start."""

    entries: int
    head: str | None  # hash of the last entry; noted elsewhere, it proves that nothing before it was rewritten
    fault: str | None  # None: unbroken


def append(
    connection: sqlite3.Connection,
    *,
    who: str,
    action: str,
    object: str,
    reason: str | None = None,
    detail: Mapping[str, object] | None = None,
    at_us: int | None = None,
) -> int:
    """Adds an entry within the transaction that makes the change; returns its number.

    Texts are cut at 4,000 signs and Headgate keys in them masked. A detail beyond 64 KiB raises ValueError.
    """
    last = connection.execute("SELECT hash FROM history ORDER BY seq DESC LIMIT 1").fetchone()
    counted = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'history'").fetchone()
    text = _clean(json.dumps(detail or {}, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    if len(text) > MAX_DETAIL:
        raise ValueError(f"history detail of {action} has {len(text)} signs; at most {MAX_DETAIL} are kept")
    row: tuple[Any, ...] = (
        (counted[0] if counted else 0) + 1,
        now_us() if at_us is None else at_us,
        kept_text(who),
        kept_text(action),
        kept_text(object),
        None if reason is None else kept_text(reason),
        text,
        last[0] if last else "",
    )
    connection.execute(f"INSERT INTO history ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _hash(row)))
    return int(row[0])


def record(
    database: Database,
    *,
    who: str,
    action: str,
    object: str,
    reason: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> int:
    """Adds an entry in a transaction of its own; returns its number."""
    with database.write() as connection:
        return append(connection, who=who, action=action, object=object, reason=reason, detail=detail)


def entries(
    database: Database,
    object: str | None = None,
    as_of_us: int | None = None,
    *,
    before_seq: int | None = None,
    limit: int = 200,
) -> list[HistoryEntry]:
    """The newest entries first, of one object (``key:key_1a2b3c4d`` or just ``key_1a2b3c4d``) up to a time."""
    where = ["seq < ?"]
    parameters: list[int | str] = [before_seq if before_seq is not None else 1 << 62]
    if object is not None:
        where.append("(object = ? OR substr(object, instr(object, ':') + 1) = ?)")
        parameters += [object, object]
    if as_of_us is not None:
        where.append("at_us <= ?")
        parameters.append(as_of_us)
    sql = f"SELECT {_COLUMNS} FROM history WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
    with database.read() as connection:
        rows = connection.execute(sql, (*parameters, max(1, min(limit, 10_000)))).fetchall()
    return [_entry(row) for row in rows]


def verify_history(database: Database) -> HistoryCheck:
    """Follows the chain: a changed, removed, inserted or reordered entry breaks it."""
    previous, expected, head = "", 1, None
    with database.read() as connection:
        for row in connection.execute(f"SELECT {_COLUMNS} FROM history ORDER BY seq"):
            fault = _fault(row, expected, previous)
            if fault is not None:
                return HistoryCheck(entries=expected - 1, head=head, fault=fault)
            previous = head = row[8]
            expected += 1
        counted = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'history'").fetchone()
    count = expected - 1
    cut = f"entries {count + 1} to {counted[0]} are missing" if counted and counted[0] != count else None
    return HistoryCheck(entries=count, head=head, fault=cut)


def _fault(row: tuple[Any, ...], expected: int, previous: str) -> str | None:
    if row[0] != expected:
        return f"entry {expected} is missing"
    if row[7] != previous:
        return f"entry {expected} does not follow entry {expected - 1}"
    return None if row[8] == _hash(row[:8]) else f"entry {expected} was changed"


def _hash(row: tuple[Any, ...]) -> str:
    return sha256(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _entry(row: tuple[Any, ...]) -> HistoryEntry:
    seq, at_us, who, action, object, reason, detail, _, found = row
    return HistoryEntry(
        seq=seq,
        at_us=at_us,
        who=who,
        action=action,
        object=object,
        reason=reason,
        detail=json.loads(detail),
        hash=found,
    )


def kept_text(text: str) -> str:
    """The text as it is kept: at most 4,000 signs, no lone surrogates, Headgate keys masked."""
    return _clean(text[:MAX_TEXT])


def _clean(text: str) -> str:
    """SQLite stores no lone surrogates, and no key belongs here."""
    return _KEY.sub("hg_…", text.encode("utf-8", "replace").decode("utf-8"))

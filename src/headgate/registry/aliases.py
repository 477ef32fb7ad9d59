"""Aliases of registry objects of every kind: where they stand, every move they made, and the rule a move must satisfy.

The functions that change something take the connection of the caller's transaction.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.grounds import Ground, ground_of_move, ground_of_removal
from headgate.registry.targets import Gate, Guard, Kind, Target, Wish, check_alias, shown

__all__ = [
    "Action",
    "Gate",
    "Guard",
    "Kind",
    "Move",
    "Target",
    "Wish",
    "all_standing",
    "check_alias",
    "move",
    "moves",
    "moves_after",
    "newest_seq",
    "remove",
    "rollback",
    "rollback_number",
    "shown",
    "standing",
    "stands",
]

Action = Literal["move", "remove", "rollback"]

MAX_ALIASES = 100
_COLUMNS = """seq, at_us, kind, object, alias, from_number, to_number, sha256, action, who, role, reason, gate, policy,
              receipt_id"""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of an alias; ``to_number`` None: it was removed."""

    seq: int
    at_us: int
    kind: Kind
    name: str
    alias: str
    from_number: int | None
    to_number: int | None
    sha256: str | None
    action: Action
    who: str
    role: str
    reason: str | None
    gate: Gate
    policy: str | None
    receipt_id: str | None


def standing(connection: sqlite3.Connection, kind: Kind, name: str, as_of_us: int | None = None) -> dict[str, int]:
    """The aliases of an object with their versions, now or as they were at a time."""
    if as_of_us is None:
        sql = "SELECT alias, number FROM alias WHERE kind = ? AND object = ? ORDER BY alias"
        return dict(connection.execute(sql, (kind, name)).fetchall())
    sql = """SELECT alias, to_number, max(seq) FROM alias_move
             WHERE kind = ? AND object = ? AND at_us <= ? GROUP BY alias ORDER BY alias"""
    rows = connection.execute(sql, (kind, name, as_of_us)).fetchall()
    return {alias: number for alias, number, _ in rows if number is not None}


def all_standing(connection: sqlite3.Connection, kind: Kind, as_of_us: int | None = None) -> dict[str, dict[str, int]]:
    """The same of every object that has aliases."""
    if as_of_us is None:
        sql = "SELECT object, alias, number, 0 FROM alias WHERE kind = ? ORDER BY object, alias"
        rows = connection.execute(sql, (kind,)).fetchall()
    else:
        sql = """SELECT object, alias, to_number, max(seq) FROM alias_move WHERE kind = ? AND at_us <= ?
                 GROUP BY object, alias ORDER BY object, alias"""
        rows = connection.execute(sql, (kind, as_of_us)).fetchall()
    found: dict[str, dict[str, int]] = {}
    for name, alias, number, _ in rows:
        if number is not None:
            found.setdefault(name, {})[alias] = number
    return found


def moves(
    connection: sqlite3.Connection,
    kind: Kind,
    name: str,
    as_of_us: int | None = None,
    *,
    alias: str | None = None,
    limit: int = 200,
) -> list[Move]:
    """The moves of an object's aliases (of one, if named) up to a time, newest first."""
    sql = f"""SELECT {_COLUMNS} FROM alias_move
              WHERE kind = ?1 AND object = ?2 AND (?3 IS NULL OR at_us <= ?3) AND (?4 IS NULL OR alias = ?4)
              ORDER BY seq DESC LIMIT ?5"""
    rows = connection.execute(sql, (kind, name, as_of_us, alias, max(1, min(limit, 10_000))))
    return [_move(row) for row in rows]


def moves_after(database: Database, seq: int, limit: int = 10_000) -> list[Move]:
    """The moves of all objects beyond one, in order: what a copy of them lacks."""
    with database.read() as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM alias_move WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
        return [_move(row) for row in rows]


def newest_seq(database: Database) -> int:
    """The number of the newest move, which is how many there are."""
    with database.read() as connection:
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM alias_move").fetchone()[0])


def move(connection: sqlite3.Connection, target: Target, alias: str, wish: Wish, guard: Guard | None) -> Move | None:
    """Points ``alias`` to a version; None when it stands there already.

    Raises MalformedRequest for a name that is no alias, Forbidden (code ``move_refused``) when ``guard`` is not
    satisfied.
    """
    check_alias(alias)
    all_of_it = standing(connection, target.kind, target.name)
    if all_of_it.get(alias) == target.number:
        return None
    if alias not in all_of_it and len(all_of_it) >= MAX_ALIASES:
        raise MalformedRequest(
            f"{target.name} has {MAX_ALIASES} aliases; that is the most.", hint="Remove one that nobody calls."
        )
    ground = ground_of_move(connection, target, alias, wish, guard, stands(connection, target, alias))
    return _store(connection, target.kind, target.name, alias, target, "move", wish, ground)


def remove(connection: sqlite3.Connection, kind: Kind, name: str, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Ends an alias; raises NotFound when there is none, Forbidden when ``guard`` covers it."""
    if alias not in standing(connection, kind, name):
        raise _no_alias(connection, kind, name, alias)
    ground = ground_of_removal(name, alias, wish, guard)
    return _store(connection, kind, name, alias, None, "remove", wish, ground)


def rollback_number(connection: sqlite3.Connection, kind: Kind, name: str, alias: str) -> int:
    """The version ``alias`` meant before: each rollback goes one step further back. Raises NotFound."""
    rows = connection.execute(
        "SELECT to_number, action FROM alias_move WHERE kind = ? AND object = ? AND alias = ? ORDER BY seq",
        (kind, name, alias),
    ).fetchall()
    if not rows:
        raise _no_alias(connection, kind, name, alias)
    stood: list[int] = []
    for number, action in rows:
        if action == "rollback":
            del stood[_last_index(stood, number) + 1 :]
        elif number is not None:
            stood.append(number)
    is_removed = rows[-1][0] is None
    if len(stood) < (1 if is_removed else 2):
        raise NotFound(
            f"{name}@{alias} has no earlier version to go back to.",
            code="no_earlier_version",
            hint=f"Move it: headgate {kind} promote {name}@NUMBER --to {alias}",
        )
    return stood[-1] if is_removed else stood[-2]


def rollback(connection: sqlite3.Connection, target: Target, alias: str, wish: Wish, guard: Guard | None) -> Move:
    """Points ``alias`` back to a version that :func:`rollback_number` named; needs no evidence, as it stood there."""
    ground = Ground(gate="ungated") if guard is None else Ground(gate="rollback", policy=guard.policy)
    return _store(connection, target.kind, target.name, alias, target, "rollback", wish, ground)


def stands(connection: sqlite3.Connection, target: Target, alias: str) -> tuple[int, str] | None:
    """The number and the content that an alias means now."""
    row = connection.execute(
        """SELECT m.to_number, m.sha256 FROM alias AS a JOIN alias_move AS m ON m.seq = a.move
           WHERE a.kind = ? AND a.object = ? AND a.alias = ?""",
        (target.kind, target.name, alias),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def _store(
    connection: sqlite3.Connection,
    kind: Kind,
    name: str,
    alias: str,
    target: Target | None,
    action: Action,
    wish: Wish,
    ground: Ground,
) -> Move:
    """One step of an alias: the move, where it stands now, and the entry of the history."""
    before = standing(connection, kind, name).get(alias)
    newest = connection.execute("SELECT at_us FROM alias_move ORDER BY seq DESC LIMIT 1").fetchone()
    # A clock that was put back must not change what was in force before.
    at_us = max(now_us(), newest[0] if newest else 0)
    number = None if target is None else target.number
    row: tuple[Any, ...] = (
        at_us,
        kind,
        name,
        alias,
        before,
        number,
        None if target is None else target.sha256,
        action,
        wish.who,
        wish.role,
        None if wish.reason is None else history.kept_text(wish.reason),
        ground.gate,
        ground.policy,
        ",".join(ground.receipts) or None,
    )
    seq = connection.execute(
        f"INSERT INTO alias_move ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
    ).lastrowid
    assert seq is not None
    if number is None:
        connection.execute("DELETE FROM alias WHERE kind = ? AND object = ? AND alias = ?", (kind, name, alias))
    else:
        connection.execute("INSERT OR REPLACE INTO alias VALUES (?, ?, ?, ?, ?)", (kind, name, alias, number, seq))
    made = _move((seq, *row))
    history.append(
        connection,
        who=wish.who,
        action=f"alias.{action}",
        object=f"{kind}:{name}",
        reason=wish.reason,
        detail=_detail(made, ground),
        at_us=at_us,
    )
    return made


def _detail(made: Move, ground: Ground) -> Mapping[str, object]:
    kept = {"alias": made.alias, "from": made.from_number, "to": made.to_number, "gate": made.gate}
    more = {
        "sha256": made.sha256,
        "policy": made.policy,
        "receipt": made.receipt_id,
        "approved_by": list(ground.approved_by) or None,
        "weaker": list(ground.weaker) or None,
    }
    return kept | {name: value for name, value in more.items() if value is not None}


def _last_index(stood: list[int], number: int) -> int:
    return len(stood) - 1 - stood[::-1].index(number) if number in stood else len(stood) - 1


def _no_alias(connection: sqlite3.Connection, kind: Kind, name: str, alias: str) -> NotFound:
    known = ", ".join(standing(connection, kind, name)) or "none"
    return NotFound(
        f"{name} has no alias {shown(alias)}. Aliases: {known}.",
        code="alias_missing",
        hint=f"List them: headgate {kind} list",
    )


def _move(row: tuple[Any, ...]) -> Move:
    names = (
        "seq", "at_us", "kind", "name", "alias", "from_number", "to_number", "sha256", "action", "who", "role",
        "reason", "gate", "policy", "receipt_id",
    )  # fmt: skip
    return Move(**dict(zip(names, row, strict=True)))

"""Approvals: a second person's yes to one content becoming what an alias means."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.errors import Forbidden, MalformedRequest
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.targets import Target, Wish, check_alias

_COLUMNS = "seq, at_us, kind, object, number, sha256, alias, who, role, reason"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """One approval; it holds for this content only."""

    seq: int
    at_us: int
    kind: str
    name: str
    number: int
    sha256: str
    alias: str
    who: str
    role: str
    reason: str | None


def approve(connection: sqlite3.Connection, target: Target, alias: str, wish: Wish) -> Approval:
    """Stores an approval of ``wish.who``; raises Forbidden for the author and for nobody in particular.

    The caller has checked the role.
    """
    check_alias(alias)
    if wish.who in ("local", target.pushed_by):
        person = "Nobody in particular (no key)" if wish.who == "local" else "The one who pushed the version"
        raise Forbidden(
            f"{person} may not approve {target.name}@{target.number}: an approval is a second person's.",
            code="approval_refused",
            hint="Someone else approves, with a key of the role approver.",
        )
    if not (wish.reason or "").strip():
        raise MalformedRequest("An approval needs a reason.", hint='Say why: --reason "…"')
    row: tuple[Any, ...] = (
        *(now_us(), target.kind, target.name, target.number, target.sha256, alias, wish.who, wish.role),
        history.kept_text(wish.reason or ""),
    )
    seq = connection.execute(
        f"INSERT INTO approval ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
    ).lastrowid
    history.append(
        connection,
        who=wish.who,
        action=f"{target.kind}.approve",
        object=f"{target.kind}:{target.name}",
        reason=wish.reason,
        detail={"version": target.number, "sha256": target.sha256, "alias": alias},
    )
    return _approval((seq, *row))


def approvers(connection: sqlite3.Connection, target: Target, alias: str, since_us: int = 0) -> list[str]:
    """Who approved this content for this alias since a time, the author and nobody in particular left out."""
    rows = connection.execute(
        """SELECT DISTINCT who FROM approval WHERE kind = ? AND object = ? AND alias = ? AND sha256 = ?
           AND at_us >= ? AND who NOT IN ('local', ?) ORDER BY who""",
        (target.kind, target.name, alias, target.sha256, since_us, target.pushed_by),
    )
    return [row[0] for row in rows]


def list_approvals(connection: sqlite3.Connection, kind: str, name: str) -> list[Approval]:
    """The approvals of an object, newest first."""
    sql = f"SELECT {_COLUMNS} FROM approval WHERE kind = ? AND object = ? ORDER BY seq DESC LIMIT 1000"
    return [_approval(row) for row in connection.execute(sql, (kind, name)).fetchall()]


def _approval(row: Sequence[Any]) -> Approval:
    names = ("seq", "at_us", "kind", "name", "number", "sha256", "alias", "who", "role", "reason")
    return Approval(**dict(zip(names, row, strict=True)))

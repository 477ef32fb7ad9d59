"""What the APIs of prompts, knowledge bases and models share: an alias is moved, ended or put back under the rule that
covers it, and a second person says yes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headgate.control.access import Principal
from headgate.control.policies import guard_for, guard_of_return
from headgate.control.prompt_json import move_json, time_json
from headgate.control.publish import name_of
from headgate.control.routes import JSONResponse
from headgate.control.state import ControlApp
from headgate.core.protection import PRODUCTION
from headgate.registry import aliases
from headgate.registry.aliases import Move
from headgate.registry.approvals import Approval
from headgate.registry.targets import Guard, Kind, Wish


class MoveAlias(msgspec.Struct, forbid_unknown_fields=True):
    """Points an alias to a version: its number, or an alias that stands there now."""

    alias: str
    version: int | str
    reason: str | None = None
    override: bool = False


class RemoveAlias(msgspec.Struct, forbid_unknown_fields=True):
    """Ends an alias."""

    alias: str
    reason: str | None = None
    override: bool = False


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """Points an alias back to the version it meant before."""

    alias: str = PRODUCTION
    reason: str | None = None


def wish_of(who: Principal, reason: str | None, *, override: bool = False) -> Wish:
    """Who wants a change, and why."""
    return Wish(who=name_of(who), role=who.role, reason=reason, override=override)


def wish_of_form(who: Principal, fields: Mapping[str, str]) -> Wish:
    """The same of a page's form."""
    return wish_of(who, fields.get("reason", "").strip() or None, override=fields.get("override") == "1")


async def change_alias(
    control: ControlApp,
    kind: Kind,
    name: str,
    alias: str,
    change: Callable[[Guard | None], Move | None],
    *,
    needs_evidence: bool = True,
) -> tuple[Move | None, dict[str, int]]:
    """Runs a change of one alias under the rule that covers it; the move (None: it stood there), and where the aliases
    of the object stand. What leads back or ends needs no evidence, so that a broken policy does not hold it up.
    """
    guard_of = guard_for if needs_evidence else guard_of_return
    guard = await control.read(guard_of, control.settings, kind, name, alias)
    registry = control.publisher.registry

    def run() -> tuple[Move | None, dict[str, int]]:
        move = change(guard)
        with registry.read() as connection:
            return move, aliases.standing(connection, kind, name)

    return await control.publisher.change(run)


def moved_json(moved: tuple[Move | None, dict[str, int]], **more: Any) -> JSONResponse:
    """`{"move": move, "aliases": {alias: number}}`; `move` is null when the alias stood there."""
    move, standing = moved
    return JSONResponse({"move": None if move is None else move_json(move), "aliases": standing, **more})


def approval_json(found: Approval) -> dict[str, Any]:
    """One approval."""
    return {
        "at": time_json(found.at_us),
        "kind": found.kind,
        "name": found.name,
        "version": found.number,
        "sha256": found.sha256,
        "alias": found.alias,
        "who": found.who,
        "role": found.role,
        "reason": found.reason,
    }

"""The API of a model's aliases: move, remove, roll back, approve. A runner is ready before an alias points to it."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.alias_moves import approval_json, change_alias, moved_json, wish_of
from headgate.control.api_models import NAME, REASON, TEXT, VERSION, object_schema
from headgate.control.model_runs import ensure_running
from headgate.control.routes import ControlRoute, JSONResponse, read_json
from headgate.control.state import ControlApp
from headgate.core.served_models import CHAMPION
from headgate.registry import models
from headgate.registry.aliases import Move
from headgate.registry.targets import Wish

Changed = tuple[Move | None, dict[str, int]]
"""The move, None when the alias stood there, and where all aliases stand now."""


class _MoveAlias(msgspec.Struct, forbid_unknown_fields=True):
    version: int | str
    alias: str = CHAMPION
    reason: str | None = None
    override: bool = False


class _RemoveAlias(msgspec.Struct, forbid_unknown_fields=True):
    alias: str
    reason: str | None = None
    override: bool = False


class _Rollback(msgspec.Struct, forbid_unknown_fields=True):
    alias: str = CHAMPION
    reason: str | None = None


class _Approve(msgspec.Struct, forbid_unknown_fields=True):
    version: int | str
    alias: str = CHAMPION
    reason: str | None = None


async def move_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"move": move, "aliases": {alias: number}}`; `move` is null when the alias stood there. Refused with 403 and the
    code `move_refused` when a `[[protect]]` covers it and neither evidence nor override lets it through, with 503 when
    the version's runner does not start: what serves now goes on serving."""
    wanted = await read_json(request, _MoveAlias)
    wish = wish_of(who, wanted.reason, override=wanted.override)
    return moved_json(await moved(control, request.path_params["name"], wanted.alias, wanted.version, wish))


async def remove_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move; the alias stops being served within a second."""
    wanted = await read_json(request, _RemoveAlias)
    wish = wish_of(who, wanted.reason, override=wanted.override)
    return moved_json(await removed(control, request.path_params["name"], wanted.alias, wish))


async def rollback(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move; `alias` is champion unless told, and goes one step further back each time."""
    wanted = await read_json(request, _Rollback)
    wish = wish_of(who, wanted.reason)
    return moved_json(await rolled_back(control, request.path_params["name"], wanted.alias, wish))


async def moved(control: ControlApp, name: str, alias: str, ref: int | str, wish: Wish) -> Changed:
    """Point an alias to a version once its runner is ready, under the rule that covers it. Raises NotFound, Forbidden,
    Unavailable."""
    registry = control.publisher.registry
    version = await control.publisher.run(lambda: models.get_version(registry, name, ref))
    if not version.is_archived():
        await ensure_running(control.home, version.sha256, f"{name}@{version.number}")
    return await change_alias(
        control,
        "model",
        name,
        alias,
        lambda guard: models.move_alias(registry, name, alias, version.number, wish, guard),
    )


async def removed(control: ControlApp, name: str, alias: str, wish: Wish) -> Changed:
    """End an alias."""
    registry = control.publisher.registry
    return await change_alias(
        control,
        "model",
        name,
        alias,
        lambda guard: models.remove_alias(registry, name, alias, wish, guard),
        needs_evidence=False,
    )


async def rolled_back(control: ControlApp, name: str, alias: str, wish: Wish) -> Changed:
    """Point an alias back to the version it meant before, once its runner is ready."""
    registry = control.publisher.registry
    version = await control.publisher.run(lambda: models.rollback_target(registry, name, alias))
    await ensure_running(control.home, version.sha256, f"{name}@{version.number}")
    return await change_alias(
        control,
        "model",
        name,
        alias,
        lambda guard: models.rollback(registry, name, alias, wish, guard),
        needs_evidence=False,
    )


async def approve(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"approval": {at, name, version, sha256, alias, who, role, reason}}`; the author's own counts for nothing and is
    refused."""
    wanted = await read_json(request, _Approve)
    wish = wish_of(who, wanted.reason)
    name, registry = request.path_params["name"], control.publisher.registry
    made = await control.publisher.run(lambda: models.approve(registry, name, wanted.alias, wanted.version, wish))
    return JSONResponse({"approval": approval_json(made)})


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/models/{name}/aliases",
        role="developer",
        handler=move_alias,
        summary="Point an alias (champion unless told) to a version whose runner is ready",
        parameters=(NAME,),
        body=object_schema(
            ["version"],
            version=VERSION,
            alias=TEXT,
            reason=REASON,
            override={"type": "boolean", "description": "Go past the rule that covers the move; needs approver."},
        ),
        errors=(400, 404, 503),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/{name}/aliases/remove",
        role="developer",
        handler=remove_alias,
        summary="End an alias of a model",
        parameters=(NAME,),
        body=object_schema(["alias"], alias=TEXT, reason=REASON, override={"type": "boolean"}),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/{name}/rollback",
        role="developer",
        handler=rollback,
        summary="Point an alias (champion unless told) back to the version it meant before",
        parameters=(NAME,),
        body=object_schema([], alias=TEXT, reason=REASON),
        errors=(400, 404, 503),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/{name}/approve",
        role="approver",
        handler=approve,
        summary="Agree, as someone other than the author, that a version becomes what an alias means",
        parameters=(NAME,),
        body=object_schema(["version"], version=VERSION, alias=TEXT, reason=REASON),
        errors=(400, 404),
    ),
)

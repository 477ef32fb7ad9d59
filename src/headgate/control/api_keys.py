"""The API of Headgate keys and of the history of changes."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.filters import moment_us, single_values, whole_number
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import clean, iso
from headgate.control.state import ControlApp
from headgate.core.ids import utc
from headgate.registry.history import HistoryEntry
from headgate.snapshot import KeyEntry, Role

_MAX_ENTRIES = 1000


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: Role = "app"
    project: str = "default"
    models: list[str] = []
    expires_s: float | None = None
    reason: str | None = None


class _Revoke(msgspec.Struct, forbid_unknown_fields=True):
    reason: str | None = None


class _Rotate(msgspec.Struct, forbid_unknown_fields=True):
    overlap_s: float = 0
    reason: str | None = None


async def list_keys(control: ControlApp, request: Request, who: Principal) -> Response:
    """All keys without their secrets."""
    single_values(request.query_params.multi_items(), [])
    return JSONResponse({"keys": [key_json(entry) for entry in await control.publisher.list_keys()]})


async def create_key(control: ControlApp, request: Request, who: Principal) -> Response:
    """A new key; its plaintext is in this answer and nowhere else."""
    wanted = await read_json(request, _Create)
    entry, plaintext = await control.publisher.create_key(
        who,
        name=wanted.name,
        role=wanted.role,
        project=wanted.project,
        models=wanted.models,
        expires_in_s=wanted.expires_s,
        reason=wanted.reason,
    )
    return JSONResponse({"key": key_json(entry), "plaintext": plaintext}, status_code=201)


async def revoke_key(control: ControlApp, request: Request, who: Principal) -> Response:
    """Ends a key now, by id or name."""
    wanted = await read_json(request, _Revoke)
    entry = await control.publisher.revoke_key(who, request.path_params["id"], wanted.reason)
    return JSONResponse({"key": key_json(entry)})


async def rotate_key(control: ControlApp, request: Request, who: Principal) -> Response:
    """A successor with the same rights; the old key goes on for the overlap."""
    wanted = await read_json(request, _Rotate)
    entry, plaintext = await control.publisher.rotate_key(
        who, request.path_params["id"], wanted.overlap_s, wanted.reason
    )
    return JSONResponse({"key": key_json(entry), "plaintext": plaintext}, status_code=201)


async def list_history(control: ControlApp, request: Request, who: Principal) -> Response:
    """Who changed what, when and why, newest first: `{"entries": […], "in_force": […]}`; with `as_of`, `in_force` lists
    where every alias (of the object, if one is named) stood at that time: `{object, alias, version}`."""
    who.require_every_project("the history tells of")
    values = single_values(request.query_params.multi_items(), ["object", "as_of", "limit", "before"])
    as_of_us = moment_us(values["as_of"], "as_of") if "as_of" in values else None
    before = whole_number(values, "before", 0, least=1, most=10**15) if "before" in values else None
    limit = whole_number(values, "limit", 200, least=1, most=_MAX_ENTRIES)
    found = await control.publisher.history(values.get("object"), as_of_us, before, limit)
    answer: dict[str, Any] = {"entries": [_entry_json(entry) for entry in found]}
    if as_of_us is not None:
        answer["in_force"] = await control.publisher.in_force(values.get("object"), as_of_us)
    return JSONResponse(answer)


def key_json(entry: KeyEntry) -> dict[str, Any]:
    """A key as the API shows it."""
    return {
        "id": entry.id,
        "name": clean(entry.name),
        "role": entry.role,
        "project": entry.project,
        "models": list(entry.models),
        "created_at": _time(entry.created_at_us),
        "expires_at": _time(entry.expires_at_us),
        "revoked_at": _time(entry.revoked_at_us),
    }


def _entry_json(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": _time(entry.at_us),
        "who": clean(entry.who),
        "action": entry.action,
        "object": clean(entry.object),
        "reason": None if entry.reason is None else clean(entry.reason),
        "detail": dict(entry.detail),
        "hash": entry.hash,
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else iso(utc(at_us).replace(tzinfo=None))


_ID = Parameter(name="id", help="Id or name of the key.", where="path")
_REASON = {"type": ["string", "null"], "description": "Kept in the history."}

ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(method="GET", path="/api/keys", role="admin", handler=list_keys, summary="All keys, without secrets"),
    ControlRoute(
        method="POST",
        path="/api/keys",
        role="admin",
        handler=create_key,
        summary="Create a key; its plaintext is shown once",
        status=201,
        body={
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 100},
                "role": {"enum": ["app", "developer", "approver", "admin"]},
                "project": {"type": "string"},
                "models": {"type": "array", "items": {"type": "string"}},
                "expires_s": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "reason": _REASON,
            },
        },
    ),
    ControlRoute(
        method="POST",
        path="/api/keys/{id}/revoke",
        role="admin",
        handler=revoke_key,
        summary="End a key now, on every worker within two seconds",
        parameters=(_ID,),
        body={"type": "object", "additionalProperties": False, "properties": {"reason": _REASON}},
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/keys/{id}/rotate",
        role="admin",
        handler=rotate_key,
        summary="A successor of a key; the old one goes on for overlap_s",
        status=201,
        parameters=(_ID,),
        body={
            "type": "object",
            "additionalProperties": False,
            "properties": {"overlap_s": {"type": "number", "minimum": 0}, "reason": _REASON},
        },
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/history",
        role="developer",
        handler=list_history,
        summary="Who changed what, when and why",
        parameters=(
            Parameter(name="object", help="Only this object, such as key:my-app."),
            Parameter(name="as_of", help="Only changes up to this time, and where every alias stood then."),
            Parameter(name="before", help="Only entries with a smaller seq.", kind="integer"),
            Parameter(name="limit", help=f"Entries at most, 1 to {_MAX_ENTRIES}; 200 unless told.", kind="integer"),
        ),
    ),
)

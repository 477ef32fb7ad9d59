"""The API of logged requests: list, tail, one, why, bodies, delete."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import details, queries
from headgate.control.access import Principal
from headgate.control.bodies import BODY_NAMES, body_json, talk_json
from headgate.control.filters import FILTERS, Filter, moment_us, request_filter, single_values, whole_number
from headgate.control.kb_search import shown_chunks
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import request_json, value_json
from headgate.control.run_copy import forget_deleted
from headgate.control.scores import scores_of_request
from headgate.control.state import ControlApp
from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.store.log import Matching

MAX_LIMIT = 1000
_MAX_WAIT_S = 30
_MAX_DELETED = 10_000
FILTER_PARAMETERS = (
    *(Parameter(name=name, help=text) for name, text in FILTERS.items()),
    Parameter(name="tag.NAME", help="Only requests whose tag NAME has this value."),
)
_ID = Parameter(name="id", help="Request id.", where="path")


def chosen_filter(
    control: ControlApp, values: dict[str, str], who: Principal, *, default_purpose: str | None = None
) -> Filter:
    """The condition of a question, kept to the project its asker may see."""
    key_ids = control.keyring.ids_of(values["key"]) if "key" in values else None
    return request_filter(values, projects=who.sees_project, key_ids=key_ids, default_purpose=default_purpose)


async def list_requests(control: ControlApp, request: Request, who: Principal) -> Response:
    """One page of requests and the totals of all that match."""
    values = single_values(request.query_params.multi_items(), [*FILTERS, "limit", "before", "after"], tags=True)
    limit = whole_number(values, "limit", 50, least=1, most=MAX_LIMIT)
    cursors = {name: request_id_of(values[name]) for name in ("before", "after") if name in values}
    if len(cursors) == 2:
        raise MalformedRequest("Both before and after are given.", hint="Give one of them.")
    chosen = chosen_filter(control, values, who)
    page = await control.read(queries.requests_page, control.log, chosen, limit=limit, **cursors)
    total = await control.read(queries.totals, control.log, chosen)
    return JSONResponse(
        {
            "requests": [request_json(row) for row in page.rows],
            "next": page.older,
            "total": value_json(total),
        }
    )


async def tail_requests(control: ControlApp, request: Request, who: Principal) -> Response:
    """Requests in the order they were stored; with `wait_s` the answer waits for the first."""
    values = single_values(request.query_params.multi_items(), [*FILTERS, "after", "limit", "wait_s"], tags=True)
    limit = whole_number(values, "limit", 200, least=1, most=MAX_LIMIT)
    wait_s = whole_number(values, "wait_s", 0, least=0, most=_MAX_WAIT_S)
    chosen = chosen_filter(control, values, who)
    if "after" not in values:
        return JSONResponse({"requests": [], "next": await control.read(queries.last_seq, control.log)})
    after = whole_number(values, "after", 0, least=0, most=10**18 - 1)
    rows, seq = await control.read(queries.stored_after, control.log, chosen, after, limit)
    if not rows and wait_s:
        await control.stored.wait(wait_s)
        rows, seq = await control.read(queries.stored_after, control.log, chosen, seq, limit)
    return JSONResponse({"requests": [request_json(row) for row in rows], "next": seq})


async def show_request(control: ControlApp, request: Request, who: Principal) -> Response:
    """One request with everything that is known of it."""
    single_values(request.query_params.multi_items(), [])
    found = await control.read(details.details_of, control, path_id(request), who.sees_project)
    bodies = {body.name: body_json(body) for body in found.readable}
    return JSONResponse(
        {
            "request": request_json(found.row),
            "attempts": value_json(found.attempts),
            "price": value_json(details.price_json(found)),
            "knowledge": value_json(await control.read(shown_chunks, control, found.row)),
            "bodies": {name: bodies.get(name) for name in BODY_NAMES} if bodies else None,
            "transcript": None if found.talk is None else talk_json(found.talk),
            "scores": await control.read(scores_of_request, control.log, path_id(request)),
        }
    )


async def explain_request(control: ControlApp, request: Request, who: Principal) -> Response:
    """Every decision behind one answer, in order."""
    single_values(request.query_params.multi_items(), [])
    found = await control.read(details.details_of, control, path_id(request), who.sees_project, with_bodies=False)
    steps = [value_json(msgspec.to_builtins(step)) for step in details.steps_of(control, found)]
    return JSONResponse({"request_id": str(found.row["request_id"]), "steps": steps})


async def send_body(control: ControlApp, request: Request, who: Principal) -> Response:
    """One body, byte for byte as captured, always as a download."""
    single_values(request.query_params.multi_items(), [])
    name, request_id = request.path_params["name"], path_id(request)
    if name not in BODY_NAMES:
        raise NotFound(f'There is no body "{name[:60]}".', hint=f"There are: {', '.join(BODY_NAMES)}.")
    found = await control.read(details.details_of, control, request_id, who.sees_project)
    body = next((body for body in found.readable if body.name == name), None)
    if body is None:
        words = "the request was sent as received" if name == "sent" and found.readable else "it was not kept"
        raise NotFound(f"Request {request_id} has no such body: {words}.", code="body_not_kept")
    suffix = {"gzip": ".gz", "deflate": ".deflate"}.get(body.encoding or "", "")
    headers = {"content-disposition": f'attachment; filename="{request_id}-{name}.txt{suffix}"'}
    return Response(body.raw, media_type="application/octet-stream", headers=headers)


_EVIDENCE = ("eval", "judge", "embedding")
"""What gates rest on: who could take an answer out could ask until one is good."""


class _DeleteFilter(msgspec.Struct, forbid_unknown_fields=True):
    project: str | None = None
    user: str | None = None
    session: str | None = None
    before: str | None = None


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str] | None = None
    filter: _DeleteFilter | None = None


async def delete_requests(control: ControlApp, request: Request, who: Principal) -> Response:
    """Takes requests out of every answer at once; every file follows within a day. Calls of evaluations are taken out
    for an admin only; `kept` counts those that a filter spared.
    """
    wanted = await read_json(request, _Delete)
    if (wanted.ids is None) == (wanted.filter is None):
        raise MalformedRequest('Give either "ids" or "filter".', hint='For example {"filter": {"user": "u-17"}}.')
    if wanted.ids is not None:
        ids = [request_id_of(text) for text in wanted.ids]
        return JSONResponse({"deleted": await delete_ids(control, ids, who)})
    chosen = wanted.filter or _DeleteFilter()
    scope = who.sees_project
    project = chosen.project if scope is None else scope
    if scope is not None and chosen.project not in (None, scope):
        return JSONResponse({"deleted": 0})
    if not any((chosen.project, chosen.user, chosen.session, chosen.before)):
        raise MalformedRequest("The filter is empty.", hint="Name a project, user, session or before.")
    before_us = None if chosen.before is None else moment_us(chosen.before, "before")
    matching = Matching(project=project, user=chosen.user, session=chosen.session, before_us=before_us)
    sparing = () if who.role == "admin" else _EVIDENCE
    kept = await control.read(control.log.count_where, matching, sparing) if sparing else 0
    deleted = await control.read(control.log.delete_where, matching, sparing=sparing)
    if deleted:
        await control.evaluate(forget_deleted, control.log, control.publisher.registry)
    detail = {name: value for name, value in msgspec.to_builtins(chosen).items() if value} | {"deleted": deleted}
    await control.publisher.record(who, "requests.delete", "log", detail)
    return JSONResponse({"deleted": deleted, "kept": kept} if kept else {"deleted": deleted})


async def delete_ids(control: ControlApp, ids: Sequence[str], who: Principal) -> int:
    """Delete these requests as far as the asker may see them; noted in the history."""
    if len(ids) > _MAX_DELETED:
        raise MalformedRequest(f"{len(ids)} ids are more than {_MAX_DELETED}.", hint="Delete in several calls.")
    allowed = await control.read(queries.visible_ids, control.log, ids, who.sees_project)
    evidence = 0 if who.role == "admin" else await control.read(queries.of_purposes, control.log, allowed, _EVIDENCE)
    if evidence:
        raise Forbidden(
            f"{evidence} of these {len(allowed)} requests were made by an evaluation. The first answer to a case "
            f"counts, so the role {who.role} may not take it out.",
            code="evidence_kept",
            hint="Ask someone with the role admin.",
        )
    deleted = await control.read(control.log.delete, allowed)
    if deleted:
        await control.evaluate(forget_deleted, control.log, control.publisher.registry)
        detail = {"deleted": deleted, "ids": allowed[:20]}
        await control.publisher.record(who, "requests.delete", "log", detail)
    return deleted


def path_id(request: Request) -> str:
    """The request id in the path; anything else names no request."""
    try:
        return request_id_of(request.path_params["id"])
    except MalformedRequest as error:
        raise NotFound(str(error), hint="List them: headgate log list.") from None


def request_id_of(text: str) -> str:
    """A request id in its usual spelling."""
    try:
        if len(text) not in (32, 36):
            raise ValueError
        return str(uuid.UUID(text))
    except ValueError:
        shown = text if len(text) <= 60 else text[:57] + "…"
        raise MalformedRequest(f'"{shown}" is no request id.', hint="One looks like 0198f2c4-….") from None


_BODY_PATH = Parameter(name="name", help="request, sent or response.", where="path")
_DELETE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "ids": {"type": "array", "maxItems": _MAX_DELETED, "items": {"type": "string", "format": "uuid"}},
        "filter": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"type": "string"} for name in ("project", "user", "session", "before")},
        },
    },
}

ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/requests",
        role="developer",
        handler=list_requests,
        summary="Requests, newest first, with totals and coverage",
        parameters=(
            *FILTER_PARAMETERS,
            Parameter(name="limit", help=f"Rows of a page, 1 to {MAX_LIMIT}; 50 unless told.", kind="integer"),
            Parameter(name="before", help="Only requests older than this id: the `next` of the page before."),
            Parameter(name="after", help="Only requests newer than this id."),
        ),
    ),
    ControlRoute(
        method="GET",
        path="/api/requests/tail",
        role="developer",
        handler=tail_requests,
        summary="Requests in the order they were stored",
        parameters=(
            *FILTER_PARAMETERS,
            Parameter(name="after", help="The `next` of the answer before; absent: from now on.", kind="integer"),
            Parameter(name="limit", help=f"Rows at most, 1 to {MAX_LIMIT}; 200 unless told.", kind="integer"),
            Parameter(name="wait_s", help=f"Wait up to so long for the first, 0 to {_MAX_WAIT_S}.", kind="integer"),
        ),
    ),
    ControlRoute(
        method="POST",
        path="/api/requests/delete",
        role="developer",
        handler=delete_requests,
        summary="Delete requests by id or by project, user, session and age",
        body=_DELETE_SCHEMA,
    ),
    ControlRoute(
        method="GET",
        path="/api/requests/{id}",
        role="developer",
        handler=show_request,
        summary="One request: row, attempts, price arithmetic, bodies, conversation",
        parameters=(_ID,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/requests/{id}/explain",
        role="developer",
        handler=explain_request,
        summary="Every decision behind one answer",
        parameters=(_ID,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/requests/{id}/body/{name}",
        role="developer",
        handler=send_body,
        summary="One body as captured",
        parameters=(_ID, _BODY_PATH),
        answers="application/octet-stream",
        errors=(400, 404),
    ),
)

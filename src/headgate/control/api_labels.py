"""The API of ground truth: labels of predictions, by request and row or by whom a row was about; and performance."""

import math
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.api_models import NAME
from headgate.control.api_requests import request_id_of
from headgate.control.filters import moment_us, single_values
from headgate.control.performance import performance
from headgate.control.prompt_json import time_json
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import clean
from headgate.control.state import ControlApp
from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.core.ids import now_us, utc
from headgate.registry import models
from headgate.store import lookup
from headgate.store.labelled import Asked

MAX_LABELS = 10_000
_MAX_BYTES = 8 << 20
_MAX_TEXT = 256
_MAX_ROW = 10**9


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    label: str | int | float | bool | None = None  # the true class, or the true number
    value: float | None = None  # the true number
    request_id: str | None = None
    row: int = 0
    model: str | None = None
    entity: str | int | None = None
    as_of: str | None = None
    source: str | None = None


class _Push(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[_Label]


async def push_labels(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"stored", "known", "waiting"}`, all or none; `waiting` name requests not in the log yet, and count once
    they are. Labels are kept, never changed: of several the one pushed last counts."""
    wanted = await read_json(request, _Push, _MAX_BYTES)
    if not 0 < len(wanted.labels) <= MAX_LABELS:
        raise MalformedRequest(
            f"{len(wanted.labels)} labels cannot be stored at once.", hint=f"Send 1 to {MAX_LABELS}."
        )
    pushed_us = now_us()
    names = {label.model for label in wanted.labels if label.model is not None}
    for name in names:
        await control.publisher.run(lambda name=name: models.get_model(control.publisher.registry, name))  # type: ignore[misc]
    rows = [_row(number, label, pushed_us + number) for number, label in enumerate(wanted.labels)]
    return JSONResponse(await control.read(_store, control, rows, who))


def _store(control: ControlApp, rows: list[dict[str, Any]], who: Principal) -> dict[str, int]:
    ids = list(dict.fromkeys(row["request_id"] for row in rows if row["request_id"] is not None))
    calls = lookup.calls_of_ids(control.log, ids)
    if not who.may("developer"):
        if len(ids) < len({row["request_id"] for row in rows}):
            raise Forbidden("An app key labels its own requests; by entity needs a key of the role developer.")
        foreign = next((one for one in ids if one not in calls or calls[one].key_id != who.key_id), None)
        if foreign is not None:
            raise NotFound(f"There is no request {foreign} that this key may label.", code="request_not_found")
    hidden = next((c for c in calls.values() if who.sees_project is not None and c.project != who.sees_project), None)
    if hidden is not None:
        raise Forbidden(f"The request {hidden.request_id} belongs to another project.")
    control.log.append("labels", rows)
    waiting = sum(1 for row in rows if row["request_id"] is not None and row["request_id"] not in calls)
    return {"stored": len(rows), "known": len(rows) - waiting, "waiting": waiting}


def _row(number: int, given: _Label, created_us: int) -> dict[str, Any]:
    where = f"labels[{number}]"
    by_request, by_entity = given.request_id is not None, given.entity is not None
    if by_request == by_entity:
        raise MalformedRequest(
            f"{where}: name either request_id (and row), or model and entity.",
            hint='For example {"request_id": "…", "row": 0, "label": "1"}.',
        )
    if by_entity and given.model is None:
        raise MalformedRequest(f"{where}: a label by entity names its model.")
    if not 0 <= given.row <= _MAX_ROW:
        raise MalformedRequest(f"{where}: row = {given.row}; rows count from 0.")
    label, value = _truth(where, given)
    return {
        "request_id": request_id_of(given.request_id) if given.request_id is not None else None,
        "row": given.row,
        "label": label,
        "value": value,
        "source": clean(given.source or "api")[:_MAX_TEXT],
        "created_at": utc(created_us).replace(tzinfo=None),
        "model": given.model if by_entity else None,
        "entity": clean(str(given.entity))[:_MAX_TEXT] if by_entity else None,
        "as_of": None if given.as_of is None else utc(moment_us(given.as_of, "as_of")).replace(tzinfo=None),
    }


def _truth(where: str, given: _Label) -> tuple[str | None, float | None]:
    """The true class as a text, and the true number; a label that is a number is both."""
    label, value = given.label, given.value
    if label is None and value is None:
        raise MalformedRequest(f"{where}: there is neither label nor value.")
    if isinstance(label, bool):
        label = int(label)
    if isinstance(label, int | float):
        value = float(label) if value is None else value
        label = str(int(label)) if float(label).is_integer() and abs(label) < 2**53 else repr(label)
    if value is not None and not math.isfinite(value):
        raise MalformedRequest(f"{where}: the value is no number.")
    if label is not None and (not label or len(label) > _MAX_TEXT):
        raise MalformedRequest(f"{where}: a label has 1 to {_MAX_TEXT} signs.")
    return (None if label is None else clean(label)), value


async def show_performance(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "since", "until", "alias", "level", "versions": [{version, task, rows, labelled, coverage, metrics,
    confusion}]}`; a metric is `{name, value, low, high, n}`, its interval at `level`."""
    values = single_values(request.query_params.multi_items(), ["window", "alias"])
    name, until_us = request.path_params["name"], now_us()
    since_us = moment_us(values.get("window", "7d"), "window")
    model = await control.publisher.run(lambda: models.get_model(control.publisher.registry, name))
    asked = Asked(
        model=name, since=_naive(since_us), until=_naive(until_us), project=who.sees_project, alias=values.get("alias")
    )
    found = await control.read(performance, control.log, model, asked)
    return JSONResponse(
        {
            "name": name,
            "since": time_json(since_us),
            "until": time_json(until_us),
            "alias": asked.alias,
            "level": 0.95,
            "versions": found,
        }
    )


def _naive(at_us: int) -> datetime:
    return utc(at_us).replace(tzinfo=None)


_TEXT = {"type": ["string", "null"]}
_LABEL_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "label": {"type": ["string", "number", "boolean", "null"], "description": "The true class."},
        "value": {"type": ["number", "null"], "description": "The true number."},
        "request_id": _TEXT,
        "row": {"type": "integer", "description": "Row inside the request, from 0."},
        "model": _TEXT,
        "entity": {"type": ["string", "integer", "null"], "description": "Whom the row was about."},
        "as_of": {"type": ["string", "null"], "description": "When it was true; when pushed, unless told."},
        "source": _TEXT,
    },
}

ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/labels",
        role="app",
        handler=push_labels,
        summary="Store ground truth of predictions, by request and row or by model and entity",
        body={
            "type": "object",
            "required": ["labels"],
            "additionalProperties": False,
            "properties": {"labels": {"type": "array", "items": _LABEL_SCHEMA}},
        },
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/models/{name}/performance",
        role="developer",
        handler=show_performance,
        summary="Realised metrics of a model by version, with label coverage and intervals",
        parameters=(
            NAME,
            Parameter(name="window", help="Since when: 7d unless told, or an ISO time."),
            Parameter(name="alias", help="Only calls by this alias."),
        ),
        errors=(400, 404),
    ),
)

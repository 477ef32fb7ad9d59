"""The API beside requests and keys: health, status, cost, SQL, the description of itself, and metrics."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate import __version__
from headgate.control import metrics, queries, status
from headgate.control.access import Principal
from headgate.control.api_requests import FILTER_PARAMETERS, chosen_filter
from headgate.control.filters import FILTERS, single_values
from headgate.control.openapi import document
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import value_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.store.sandbox import select

MAX_SQL_ROWS = 100_000
_MAX_GROUPS = 4
_SQL_TIMEOUT_S = 10.0
_SQL_MEMORY_MB = 256


async def health(control: ControlApp, request: Request, who: Principal) -> Response:
    """A real query to the log."""
    single_values(request.query_params.multi_items(), [])
    found = await control.read(status.health_of, control)
    answer = {"status": found.status, "store": found.problem or "ok", "lag_s": round(found.lag_s, 3)}
    return JSONResponse(answer, status_code=503 if found.status == "down" else 200)


async def show_status(control: ControlApp, request: Request, who: Principal) -> Response:
    """Everything `headgate status` prints; of one project, what is that project's or nobody's."""
    single_values(request.query_params.multi_items(), [])
    return JSONResponse(await control.read(status.status_of, control, who.sees_project))


async def show_metrics(control: ControlApp, request: Request, who: Principal) -> Response:
    """Prometheus text for all workers together."""
    who.require_every_project("metrics tell of")
    text = await control.read(metrics.metrics_text, control)
    return Response(text, headers={"content-type": metrics.MEDIA_TYPE})


async def cost(control: ControlApp, request: Request, who: Principal) -> Response:
    """Cost and tokens per group, with coverage."""
    values = single_values(request.query_params.multi_items(), [*FILTERS, "by"], tags=True)
    by = [name.strip() for name in values.get("by", "model").split(",") if name.strip()]
    if not 0 < len(by) <= _MAX_GROUPS or len(set(by)) != len(by):
        raise MalformedRequest(
            f"Cost is grouped by 1 to {_MAX_GROUPS} different columns.", hint=f"Known: {', '.join(queries.DIMENSIONS)}."
        )
    chosen = chosen_filter(control, values, who, default_purpose="traffic")
    rows = await control.read(queries.cost, control.log, chosen, by)
    if "key" in by:
        for row in rows:
            row["key"] = control.keyring.name_of(row["key"]) or row["key"]
    total = await control.read(queries.totals, control.log, chosen)
    total["coverage"] = queries.coverage(total)
    return JSONResponse({"by": by, "rows": value_json(rows), "total": value_json(total)})


class _Sql(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    max_rows: int = 1000


async def sql(control: ControlApp, request: Request, who: Principal) -> Response:
    """One read-only SELECT in a process of its own."""
    wanted = await read_json(request, _Sql)
    if not 1 <= wanted.max_rows <= MAX_SQL_ROWS:
        raise MalformedRequest(f"max_rows = {wanted.max_rows} is not from 1 to {MAX_SQL_ROWS}.")
    who.require_every_project("SQL sees")
    table = await control.read(
        select,
        control.log,
        wanted.query,
        timeout_s=_SQL_TIMEOUT_S,
        memory_mb=_SQL_MEMORY_MB,
        max_rows=wanted.max_rows,
    )
    return JSONResponse(
        {
            "columns": [
                {"name": name, "type": sql_type} for name, sql_type in zip(table.columns, table.types, strict=True)
            ],
            "rows": value_json(table.rows),
            "truncated": table.is_truncated,
        }
    )


async def describe(control: ControlApp, request: Request, who: Principal) -> Response:
    """The OpenAPI description."""
    return JSONResponse(document(control.routes, __version__))


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/health",
        role="app",
        handler=health,
        summary="Whether the log answers, and how far storing is behind",
    ),
    ControlRoute(
        method="GET", path="/api/status", role="developer", handler=show_status, summary="How this server is doing"
    ),
    ControlRoute(
        method="GET",
        path="/api/cost",
        role="developer",
        handler=cost,
        summary="Cost and tokens per group, with coverage; traffic unless a purpose is asked for",
        parameters=(
            *FILTER_PARAMETERS,
            Parameter(name="by", help=f"Groups, separated by commas: {', '.join(queries.DIMENSIONS)}."),
        ),
    ),
    ControlRoute(
        method="POST",
        path="/api/sql",
        role="developer",
        handler=sql,
        summary="One read-only SELECT over the views, with limits on time, memory and rows",
        body={
            "type": "object",
            "required": ["query"],
            "additionalProperties": False,
            "properties": {
                "query": {"type": "string"},
                "max_rows": {"type": "integer", "minimum": 1, "maximum": MAX_SQL_ROWS},
            },
        },
    ),
    ControlRoute(
        method="GET", path="/api/openapi.json", role="app", handler=describe, summary="This description", errors=()
    ),
    ControlRoute(
        method="GET",
        path="/metrics",
        role="developer",
        handler=show_metrics,
        summary="Prometheus metrics of all workers together",
        answers="text/plain",
        errors=(),
    ),
)

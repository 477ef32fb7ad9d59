"""Which upstream made an object: looked up for the workers, in the log and in what the spools hold beyond it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headgate.control.routes import JSONResponse, error_response
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.spool.reader import SpoolReader, spools

PATH = "/internal/objects/{object_id}"
"""On the control process's own socket only: no worker relays this path."""
_ENDPOINTS = ("openai.responses", "openai.chat", "other")
_BATCH_RECORDS = 5_000
_BATCH_BYTES = 64 << 20
_MOST_BATCHES = 20


def owner_of(control: ControlApp, object_id: str) -> str | None:
    """The upstream whose answer first had this id; None: nothing is known of it. Blocks."""
    # The spools first: a record on its way from there into the log is then seen in one or the other.
    waiting = _owner_in_spools(control, object_id)
    table = control.log.query(
        """SELECT upstream FROM exchanges
           WHERE response_id = ? AND status BETWEEN 200 AND 299 AND upstream IS NOT NULL AND list_contains(?, endpoint)
           ORDER BY started_at LIMIT 1""",
        [object_id, list(_ENDPOINTS)],
    )
    return str(table.rows[0][0]) if table.rows else waiting


def _owner_in_spools(control: ControlApp, object_id: str) -> str | None:
    _, progress = control.ingest.progress()
    spool_dir = control.ingest.spool_dir
    for spool_id in spools(spool_dir):
        stored = progress.get(spool_id)
        if stored is not None and stored.is_closed:
            continue
        reader, position = SpoolReader(spool_dir, spool_id), stored.position if stored else None
        for _ in range(_MOST_BATCHES):
            batch = reader.read(position, _BATCH_RECORDS, _BATCH_BYTES)
            for final in (entry.final for entry in batch.entries if entry.final is not None):
                is_it = final.response_id == object_id and final.endpoint in _ENDPOINTS
                if is_it and final.upstream is not None and 200 <= (final.status or 0) < 300:
                    return final.upstream
            if not batch.entries:
                break
            position = batch.position
    return None


def route(control: ControlApp) -> Route:
    """The route that workers ask."""

    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse({"upstream": await control.read(owner_of, control, request.path_params["object_id"])})
        except HeadgateError as error:
            return error_response(error)

    return Route(PATH, endpoint, methods=["GET"], include_in_schema=False)

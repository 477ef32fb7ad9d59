"""Export: the matching requests as one file, written while it is sent."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headgate.control import details, queries
from headgate.control.access import Principal
from headgate.control.api_requests import FILTER_PARAMETERS, chosen_filter
from headgate.control.filters import FILTERS, Filter, single_values, truth
from headgate.control.queries import Row
from headgate.control.routes import ControlRoute, Parameter
from headgate.control.rows import request_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us, uuid7
from headgate.store.columns import REQUEST_COLUMNS
from headgate.store.export import ExportFile

_FORMATS = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "duckdb": "application/octet-stream",
}
_ROWS_AT_ONCE = 1000
_PIECE_BYTES = 256 << 10
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


async def export(control: ControlApp, request: Request, who: Principal) -> Response:
    """All matching requests as a file."""
    values = single_values(request.query_params.multi_items(), [*FILTERS, "format", "bodies"], tags=True)
    kind = values.get("format", "jsonl")
    if kind not in _FORMATS:
        raise MalformedRequest(f'format="{kind[:40]}" is not known.', hint=f"Known: {', '.join(_FORMATS)}.")
    has_bodies = truth(values, "bodies")
    chosen = chosen_filter(control, values, who)
    headers = {"content-disposition": f'attachment; filename="headgate-requests.{kind}"'}
    if kind in ("jsonl", "csv"):
        if kind == "csv" and has_bodies:
            raise MalformedRequest("CSV holds no bodies.", hint="Ask for jsonl, parquet or duckdb.")
        # The first rows are read before the status is sent, so that a failing question is an error and no empty file.
        first = await control.read(queries.ids_page, control.log, chosen, None, _ROWS_AT_ONCE)
        lines = _lines(control, chosen, first, _json_lines(control, has_bodies) if kind == "jsonl" else _csv_lines)
        return StreamingResponse(lines, media_type=_FORMATS[kind], headers=headers)
    path = control.home.path / "tmp" / f"export-{uuid7(now_us())}.{kind}"
    try:
        await _write_file(control, chosen, path, "parquet" if kind == "parquet" else "duckdb", has_bodies)
        file = path.open("rb")
    finally:
        # Whoever has it open reads on; nothing stays behind when a client leaves.
        path.unlink(missing_ok=True)
    return StreamingResponse(_pieces(control, file), media_type=_FORMATS[kind], headers=headers)


async def _write_file(
    control: ControlApp, chosen: Filter, path: Path, kind: Literal["parquet", "duckdb"], has_bodies: bool
) -> None:
    file = await control.read(ExportFile, control.home.path, path, kind, has_bodies=has_bodies)
    try:
        before: str | None = None
        while ids := await control.read(queries.ids_page, control.log, chosen, before, _ROWS_AT_ONCE):
            await control.read(file.add, control.log, ids)
            before = ids[-1]
        await control.read(file.finish)
    finally:
        await control.read(file.close)


async def _pieces(control: ControlApp, file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await control.read(file.read, _PIECE_BYTES):
            yield piece


async def _lines(
    control: ControlApp, chosen: Filter, ids: list[str], write: Callable[[list[Row], bool], bytes]
) -> AsyncIterator[bytes]:
    is_first = True
    while True:
        rows = await control.read(queries.requests_by_id, control.log, ids)
        if rows or is_first:
            yield await control.read(write, rows, is_first)
        if len(ids) < _ROWS_AT_ONCE:
            return
        is_first = False
        ids = await control.read(queries.ids_page, control.log, chosen, ids[-1], _ROWS_AT_ONCE)


def _json_lines(control: ControlApp, has_bodies: bool) -> Callable[[list[Row], bool], bytes]:
    def write(rows: list[Row], is_first: bool) -> bytes:
        lines = []
        for row in rows:
            shown = request_json(row)
            if has_bodies:
                shown["bodies"] = details.bodies_json(control, str(row["request_id"]))
            lines.append(msgspec.json.encode(shown) + b"\n")
        return b"".join(lines)

    return write


def _csv_lines(rows: list[Row], is_first: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if is_first:
        writer.writerow(column.name for column in REQUEST_COLUMNS)
    for row in rows:
        shown = request_json(row)
        writer.writerow(_cell(shown[column.name]) for column in REQUEST_COLUMNS)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    """A value that a spreadsheet shows and does not run."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return "'" + value
    return value


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/export",
        role="developer",
        handler=export,
        summary="All matching requests as a file",
        parameters=(
            *FILTER_PARAMETERS,
            Parameter(name="format", help="jsonl, csv, parquet or duckdb; jsonl unless told."),
            Parameter(name="bodies", help="1: with bodies (not in csv)."),
        ),
        answers="application/octet-stream",
    ),
)

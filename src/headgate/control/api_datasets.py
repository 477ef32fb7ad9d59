"""The API of datasets: push, list, read, compare, and make one from logged calls."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headgate.control import log_rows
from headgate.control.access import Principal
from headgate.control.eval_json import dataset_json
from headgate.control.eval_shapes import MAX_DATASET_BYTES, FromLog, PushDataset, schema_of
from headgate.control.filters import single_values
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.registry import datasets
from headgate.registry.datasets import DatasetVersion, PushedDataset


def stored(control: ControlApp, who: Principal, name: str, data: bytes, file: str, message: str | None) -> Any:
    """Blocking: check rows and keep them as a version: its JSON with `is_new`. Raises DatasetFault."""
    from headgate.evals.dataset import read_dataset, rows_jsonl

    found = read_dataset(data.splitlines(), file, name=name)
    pushed = PushedDataset(name=name, sha256=found.sha256, rows=len(found.rows), data=rows_jsonl(found))
    version, is_new = datasets.push(
        control.publisher.registry, control.home.path, pushed, who=name_of(who), message=message
    )
    return {**dataset_json(version), "is_new": is_new}


async def push(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{name, number, sha256, is_new, rows, …}`; the same rows in any order are the same version."""
    wanted = await read_json(request, PushDataset, MAX_DATASET_BYTES)
    data = wanted.rows_jsonl.encode("utf-8", "surrogatepass")
    file = wanted.file or f"{wanted.name}.jsonl"
    return JSONResponse(await control.evaluate(stored, control, who, wanted.name, data, file, wanted.message))


async def list_datasets(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"datasets": [dataset]}`: the newest version of each."""
    found = await control.read(datasets.list_datasets, control.publisher.registry)
    return JSONResponse({"datasets": [dataset_json(one) for one in found]})


async def show(control: ControlApp, request: Request, who: Principal) -> Response:
    """The version asked for (newest), with all `versions`, newest first."""
    version = await _version(control, request)
    every = await control.read(datasets.versions, control.publisher.registry, version.name)
    return JSONResponse({**dataset_json(version), "versions": [dataset_json(one) for one in every]})


async def rows(control: ControlApp, request: Request, who: Principal) -> Response:
    """The rows of a version as JSON Lines, checked against their hash."""
    version = await _version(control, request)
    data = await control.evaluate(datasets.rows_of, control.home.path, version)
    return Response(data, media_type="application/x-ndjson", headers={"etag": f'"{version.sha256}"'})


async def difference(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{name, from, to, added: [row], removed: [row], changed: [{id, fields, before, after}], same}`."""
    values = single_values(request.query_params.multi_items(), ["from", "to"])
    if len(values) != 2:
        raise MalformedRequest("Two versions are compared: from and to.", hint="For example ?from=1&to=2")
    name, registry = request.path_params["name"], control.publisher.registry
    sides = [await control.read(datasets.get, registry, name, values[side]) for side in ("from", "to")]
    found = await control.evaluate(_difference, control, sides[0], sides[1])
    return JSONResponse({"name": name, "from": sides[0].number, "to": sides[1].number, **found})


def _difference(control: ControlApp, before: DatasetVersion, after: DatasetVersion) -> dict[str, Any]:
    from headgate.evals.dataset import as_plain, read_dataset
    from headgate.evals.dataset import difference as compared

    one, other = (
        read_dataset(datasets.rows_of(control.home.path, side).splitlines(), side.name, name=side.name)
        for side in (before, after)
    )
    found = compared(one, other)
    return {
        "added": [as_plain(row) for row in found.added],
        "removed": [as_plain(row) for row in found.removed],
        "changed": [
            {
                "id": row.id,
                "fields": list(row.fields),
                "before": as_plain(row.before),
                "after": as_plain(row.after),
            }
            for row in found.changed
        ],
        "same": found.same,
    }


async def from_log(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{rows_jsonl, rows, skipped: {reason: count}, dataset}`; `dataset` is null unless a `name` was given."""
    wanted = await read_json(request, FromLog)
    found = await control.evaluate(log_rows.rows_from_log, control, who, wanted)
    made = None
    if wanted.name is not None and found.rows:
        data = found.jsonl.encode()
        made = await control.evaluate(stored, control, who, wanted.name, data, f"{wanted.name}.jsonl", wanted.message)
    return JSONResponse({"rows_jsonl": found.jsonl, "rows": len(found.rows), "skipped": found.skipped, "dataset": made})


async def _version(control: ControlApp, request: Request) -> DatasetVersion:
    values = single_values(request.query_params.multi_items(), ["version"])
    return await control.read(
        datasets.get, control.publisher.registry, request.path_params["name"], values.get("version")
    )


_NAME = Parameter(name="name", help="Name of the dataset; may hold slashes.", where="path")
_VERSION = Parameter(name="version", help="A number, or sha256: and how the hash begins; the newest unless told.")


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/datasets",
        role="developer",
        handler=list_datasets,
        summary="All datasets, each with its newest version",
    ),
    ControlRoute(
        method="POST",
        path="/api/datasets/push",
        role="developer",
        handler=push,
        summary="Store rows as a version; the same rows are the same version",
        body=schema_of(PushDataset),
    ),
    ControlRoute(
        method="POST",
        path="/api/datasets/from-log",
        role="developer",
        handler=from_log,
        summary="Rows from logged calls of a prompt; corrections become the expected answers",
        body=schema_of(FromLog),
    ),
    ControlRoute(
        method="GET",
        path="/api/datasets/{name:path}/rows",
        role="developer",
        handler=rows,
        summary="The rows of a version as JSON Lines",
        parameters=(_NAME, _VERSION),
        answers="application/x-ndjson",
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/datasets/{name:path}/diff",
        role="developer",
        handler=difference,
        summary="Rows that were added, removed or changed between two versions",
        parameters=(
            _NAME,
            Parameter(name="from", help="Number of the version before."),
            Parameter(name="to", help="Number of the version after."),
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/datasets/{name:path}",
        role="developer",
        handler=show,
        summary="A dataset and its versions",
        parameters=(_NAME, _VERSION),
        errors=(400, 404),
    ),
)

"""The API of evaluations: suites, answers in the log, runs, their results, imports.

A *run* is the shape of `eval_json.run_json`; results travel in the neutral form, one JSON line each.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import eval_runs, scoring
from headgate.control.access import Principal
from headgate.control.api_requests import request_id_of
from headgate.control.eval_json import decision_json, run_json
from headgate.control.eval_shapes import (
    MAX_FIND_BYTES,
    MAX_FINISH_BYTES,
    MAX_IMPORT_BYTES,
    MAX_KEYS,
    MAX_SUITE_BYTES,
    Find,
    FinishRun,
    PushSuite,
    StartRun,
    schema_of,
)
from headgate.control.filters import single_values, whole_number
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_body, read_json
from headgate.control.rows import clean
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.core.ids import monotonic_s, now_us
from headgate.registry import receipts, runs, suites
from headgate.registry.runs import Run
from headgate.store import lookup

_WAIT_S = 10.0
_MAX_IDS = 100_000
_MAX_CELLS = 1000


async def push_suite(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{suite, sha256, text_sha256, warnings}`; nothing runs."""
    wanted = await read_json(request, PushSuite, MAX_SUITE_BYTES)

    def store() -> dict[str, Any]:
        from headgate.evals.suite import load_suite

        suite = load_suite(wanted.text, wanted.file)
        kept = suites.store(
            control.publisher.registry,
            name=suite.name,
            content_sha256=suite.sha256,
            text=wanted.text,
            file=wanted.file,
            prompt=suite.target.prompt,
            who=name_of(who),
        )
        return {
            "suite": kept.name,
            "sha256": kept.sha256,
            "text_sha256": kept.text_sha256,
            "warnings": list(suite.warnings),
        }

    return JSONResponse(await control.evaluate(store))


async def show_suite(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{suite, sha256, text_sha256, file, prompt, text}`, the newest text."""
    found = await control.read(suites.get, control.publisher.registry, request.path_params["name"])
    return JSONResponse(
        {
            "suite": found.name,
            "sha256": found.sha256,
            "text_sha256": found.text_sha256,
            "file": found.file,
            "prompt": found.prompt,
            "text": found.text,
        }
    )


async def find(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"found": {key: {request_id, output, prompt_sha256, run, cost_usd}}}`: the earliest readable answer of each."""
    wanted = await read_json(request, Find, MAX_FIND_BYTES)
    if len(wanted.keys) > MAX_KEYS:
        raise MalformedRequest(f"{len(wanted.keys)} keys are more than {MAX_KEYS}.", hint="Ask in parts.")
    found = await control.evaluate(_found, control, wanted.keys, who.sees_project, wanted.chunks)
    return JSONResponse({"found": found})


def _found(control: ControlApp, keys: Sequence[str], project: str | None, with_chunks: bool) -> dict[str, Any]:
    from headgate.control.cached import cached_answers
    from headgate.control.read_chunks import ChunkTexts

    texts = ChunkTexts(control.home.path, control.publisher.registry)
    return {
        key: {
            "request_id": call.request_id,
            "output": msgspec.to_builtins(texts.output(call, output) if with_chunks else output),
            "prompt_sha256": call.prompt_sha256,
            "run": call.run,
            "purpose": call.purpose,
        }
        for key, (call, output) in cached_answers(control.log, control.publisher.registry, keys, project).items()
    }


async def start_run(control: ControlApp, request: Request, who: Principal) -> Response:
    """The run, with `resumed`: whether it is an unfinished one of the same caller and contents."""
    wanted = await read_json(request, StartRun)
    run, is_resumed = await control.evaluate(eval_runs.start, control, who, wanted)
    return JSONResponse({**run_json(run), "resumed": is_resumed})


async def finish_run(control: ControlApp, request: Request, who: Principal) -> Response:
    """The run as judged from the log, with `missing` and `results` (how many); waits at most 10 s for requests that
    are not stored yet."""
    wanted = await read_json(request, FinishRun, MAX_FINISH_BYTES)
    if len(wanted.request_ids) > _MAX_IDS or len(wanted.own_scores) > _MAX_IDS:
        raise MalformedRequest(f"More than {_MAX_IDS} request ids or scores.", hint="Run in parts.")
    ids = [request_id_of(text) for text in wanted.request_ids]
    run = await control.read(runs.get, control.publisher.registry, request.path_params["run"])
    if run.kind != "eval":
        raise MalformedRequest(f"{run.id} is not a run of calls.", code="run_imported")
    waiting = await _stored(control, ids)
    done = await control.evaluate(scoring.finish, control, run, wanted.own_scores, wanted.stopped)
    await control.copy_runs()
    count = await control.read(_count, control, done)
    return JSONResponse({**run_json(done), "results": count, "not_stored": sorted(waiting)[:100]})


def _count(control: ControlApp, run: Run) -> int:
    return len(runs.results_of(control.publisher.registry, run.id))


async def _stored(control: ControlApp, ids: Sequence[str]) -> set[str]:
    """Wait until these requests are stored, at most 10 s; those that are not."""
    deadline_s = monotonic_s() + _WAIT_S
    waiting = set(ids)
    while waiting:
        for first in range(0, len(ids), MAX_KEYS):
            part = [one for one in ids[first : first + MAX_KEYS] if one in waiting]
            waiting -= await control.read(lookup.stored_ids, control.log, part)
        left_s = deadline_s - monotonic_s()
        if not waiting or left_s <= 0:
            break
        await control.stored.wait(min(left_s, 0.5))
    return waiting


async def list_runs(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"runs": [run], "next": id}`, newest first."""
    values = single_values(request.query_params.multi_items(), ["suite", "prompt", "before", "limit"])
    limit = whole_number(values, "limit", 50, least=1, most=500)
    found = await control.read(
        runs.list_runs,
        control.publisher.registry,
        suite=values.get("suite"),
        prompt=values.get("prompt"),
        before=values.get("before"),
        limit=limit,
    )
    shown = [{name: value for name, value in run_json(run).items() if name != "missing"} for run in found]
    return JSONResponse({"runs": shown, "next": found[-1].id if len(found) == limit else None})


async def show_run(control: ControlApp, request: Request, who: Principal) -> Response:
    """One run, with every `decision` a gate made about it."""
    registry = control.publisher.registry
    run = await control.read(runs.get, registry, request.path_params["run"])
    decisions = await control.read(receipts.decisions_of, registry, run.id)
    return JSONResponse({**run_json(run), "decisions": [decision_json(one) for one in decisions]})


async def run_results(control: ControlApp, request: Request, who: Principal) -> Response:
    """The results as JSON Lines in the neutral form; the same results give the same bytes."""
    registry = control.publisher.registry
    run = await control.read(runs.get, registry, request.path_params["run"])
    return Response(await control.evaluate(_lines, control, run), media_type="application/x-ndjson")


def _lines(control: ControlApp, run: Run) -> bytes:
    if run.kind == "import":
        return b"".join(line.encode() + b"\n" for line in runs.imported_lines(control.publisher.registry, run.id))
    from headgate.control.gates import results_of
    from headgate.evals.results import write_results

    return b"".join(write_results(results_of(control.publisher.registry, run)))


async def run_cells(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"cells": [{item, repeat, place, key, request_id, problem, tags, cluster, cost_usd, latency_ms, output,
    scores}], "next"}`; `output` is null where the log no longer has it or the asker may not see it."""
    values = single_values(request.query_params.multi_items(), ["after", "limit"])
    after = whole_number(values, "after", 0, least=0, most=10**9)
    limit = whole_number(values, "limit", 200, least=1, most=_MAX_CELLS)
    run = await control.read(runs.get, control.publisher.registry, request.path_params["run"])
    return JSONResponse(await control.evaluate(_cells, control, run, after, limit, who.sees_project))


def _cells(control: ControlApp, run: Run, after: int, limit: int, project: str | None) -> dict[str, Any]:
    registry = control.publisher.registry
    cells = runs.cells_of(registry, run.id, after=after, limit=limit)
    places = {(cell.item, cell.repeat) for cell in cells}
    scores: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for one in runs.results_of(registry, run.id):
        if (one.item, one.repeat) in places:
            scores.setdefault((one.item, one.repeat), []).append(
                {"scorer": one.scorer, "value": one.value, "status": one.status, "reason": one.reason}
            )
    requests = {(cell.item, cell.repeat): cell.request_id for cell in cells if cell.request_id}
    outputs = scoring.outputs_of(control.log, requests, project)
    return {
        "cells": [
            {
                "item": cell.item,
                "repeat": cell.repeat,
                "place": cell.place,
                "key": cell.key,
                "request_id": cell.request_id,
                "problem": cell.problem,
                "tags": cell.tags,
                "cluster": cell.cluster,
                "cost_usd": cell.cost_usd,
                "latency_ms": cell.latency_ms,
                "output": _output_json(outputs.get((cell.item, cell.repeat))),
                "scores": scores.get((cell.item, cell.repeat), []),
            }
            for cell in cells
        ],
        "next": cells[-1].place + 1 if len(cells) == limit else None,
    }


def _output_json(output: Any) -> Any:
    if output is None:
        return None
    found = msgspec.to_builtins(output)
    return {**found, "text": clean(found.get("text", ""))}


async def import_results(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"runs": [{run, name, systems, rows}]}`: one run of ours for each run that the rows name."""
    values = single_values(request.query_params.multi_items(), ["file"])
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-ndjson", "application/jsonl", "application/octet-stream"):
        raise MalformedRequest(f'The content type is "{kind[:60]}".', hint="Send application/x-ndjson.")
    body = await read_body(request, MAX_IMPORT_BYTES)
    made = await control.evaluate(_import, control, who, body, values.get("file", "results.jsonl"))
    await control.copy_runs()
    return JSONResponse({"runs": made})


def _import(control: ControlApp, who: Principal, body: bytes, file: str) -> list[dict[str, Any]]:
    from headgate.evals.results import Result, read_results, write_results

    by_run: dict[str, list[Result]] = {}
    for result in read_results((line for line in body.splitlines() if line.strip()), file):
        by_run.setdefault(result.run, []).append(result)
    if not by_run:
        raise MalformedRequest(f"{file} holds no results.")
    made = []
    for name, results in by_run.items():
        lines = [line.rstrip(b"\n") for line in write_results(results)]
        systems = sorted({result.system for result in results})
        now = now_us()
        run = Run(
            id=eval_runs.new_id("run"),
            kind="import",
            name=clean(name)[:200],
            system=systems[0] if len(systems) == 1 else f"{len(systems)} systems",
            judges={},
            cells=len({(one.system, one.item, one.repeat) for one in results}),
            status="complete",
            totals={"rows": len(results), "systems": systems[:1000]},
            scorers={},
            result_sha256=hashlib.sha256(b"\n".join(lines)).hexdigest(),
            who=name_of(who),
            created_at_us=now,
        )
        stored = runs.store_import(
            control.publisher.registry,
            replace(run, finished_at_us=now),
            [line.decode() for line in lines],
            len(results),
        )
        made.append({"run": stored.id, "name": name, "systems": systems, "rows": len(results)})
    return made


_RUN = Parameter(name="run", help="Id of the run.", where="path")
ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/evals/suites",
        role="developer",
        handler=push_suite,
        summary="Store the self-contained text of a suite by its content",
        body=schema_of(PushSuite),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/suites/{name}",
        role="developer",
        handler=show_suite,
        summary="The newest text of a suite, by name or hash",
        parameters=(Parameter(name="name", help="Name of the suite, or the hash of its content.", where="path"),),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/find",
        role="developer",
        handler=find,
        summary="Which cells and asks the log has an answer to",
        body=schema_of(Find),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/runs",
        role="developer",
        handler=list_runs,
        summary="Runs, newest first",
        parameters=(
            Parameter(name="suite", help="Only runs of this suite."),
            Parameter(name="prompt", help="Only runs of this prompt."),
            Parameter(name="before", help="Only runs before this one: the `next` of the page before."),
            Parameter(name="limit", help="Runs of a page, 1 to 500; 50 unless told.", kind="integer"),
        ),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/runs",
        role="developer",
        handler=start_run,
        summary="Begin a run of a suite, or go on with the unfinished one",
        body=schema_of(StartRun),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/import",
        role="developer",
        handler=import_results,
        summary="Store results in the neutral form, JSON Lines",
        parameters=(Parameter(name="file", help="Name of the file, for the texts of faults."),),
        errors=(400, 413),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/runs/{run}/finish",
        role="developer",
        handler=finish_run,
        summary="Judge a run from the log, once its requests are stored",
        parameters=(_RUN,),
        body=schema_of(FinishRun),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/runs/{run}/results",
        role="developer",
        handler=run_results,
        summary="The results of a run in the neutral form, JSON Lines",
        parameters=(_RUN,),
        answers="application/x-ndjson",
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/runs/{run}/cells",
        role="developer",
        handler=run_cells,
        summary="Cells of a run with their answers and scores",
        parameters=(
            _RUN,
            Parameter(name="after", help="From this place on: the `next` of the page before.", kind="integer"),
            Parameter(name="limit", help=f"Cells at most, 1 to {_MAX_CELLS}; 200 unless told.", kind="integer"),
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/runs/{run}",
        role="developer",
        handler=show_run,
        summary="One run with its totals, what is missing, and the decisions about it",
        parameters=(_RUN,),
        errors=(400, 404),
    ),
)

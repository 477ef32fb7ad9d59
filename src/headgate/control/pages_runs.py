"""The pages of evaluation runs: all of them, one with its report and the gates it went through, and its cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from headgate.control import run_state
from headgate.control.access import Principal
from headgate.control.filters import moment_us, single_values, whole_number
from headgate.control.html import page
from headgate.control.routes import ControlRoute
from headgate.control.run_reports import Wanted, report_of
from headgate.control.state import ControlApp
from headgate.control.words import dollars
from headgate.core.errors import MalformedRequest
from headgate.core.ids import utc
from headgate.registry import run_list, runs
from headgate.registry.run_list import ListedRun, RunFilter, RunPage
from headgate.registry.runs import Run, StoredCell, StoredResult

_HOME = "/ui/runs"
_PAGE_ROWS = 50
_PAGE_CELLS = 100
_MAX_CELLS = 500
_ANY_TIME = "all"
_RANGES = (("24h", "last 24 hours"), ("7d", "last 7 days"), ("30d", "last 30 days"), (_ANY_TIME, "any time"))
_STATES = {
    "running": "running",
    "complete": "complete",
    "partial": "partial",
    "budget": "stopped by its budget",
    "wall": "stopped by its time",
    "interrupted": "interrupted",
    "upstream": "stopped by its upstream",
}
_VERDICTS = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive", "none": "not gated"}
_FILTERS = ("suite", "prompt", "state", "verdict", "since")
_WATCH_S = 5


@dataclass(frozen=True, kw_only=True)
class ShownCell:
    """A cell with its scores by scorer."""

    cell: StoredCell
    scores: Mapping[str, StoredResult]


async def runs_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The table of runs, its filters in the address."""
    values = single_values(request.query_params.multi_items(), [*_FILTERS, "before", "after"])
    cursors = {name: values.pop(name) for name in ("before", "after") if name in values}
    if len(cursors) == 2:
        del cursors["after"]
    since = values.get("since", _ANY_TIME)
    registry, wanted = control.publisher.registry, _wanted(values)
    found: RunPage = await control.read(run_list.run_page, registry, wanted, limit=_PAGE_ROWS, **cursors)
    suites, prompts = await control.read(run_list.names, registry)
    return page(
        control,
        "runs.html",
        who,
        section="runs",
        chosen={name: values.get(name, "") for name in _FILTERS} | {"since": since},
        is_narrowed=bool(values) or bool(cursors),
        ranges=_RANGES if since in dict(_RANGES) else (*_RANGES, (since, f"since {since}")),
        states=list(_STATES.items()),
        verdicts=list(_VERDICTS.items()),
        suites=suites,
        prompts=prompts,
        rows=found.rows,
        total=found.total,
        verdict_word=_verdict_word,
        state_word=_state_word,
        spend=_spend,
        at=_at,
        older=_address(values, before=found.older),
        newer=_address(values, after=found.newer),
        newest=_address(values),
    )


def _wanted(values: Mapping[str, str]) -> RunFilter:
    for name, known in (("state", _STATES), ("verdict", _VERDICTS)):
        if name in values and values[name] not in known:
            raise MalformedRequest(f'{name}="{values[name][:60]}" is none of {", ".join(known)}.')
    prompt, _, ref = values.get("prompt", "").partition("@")
    if ref and not (ref.isascii() and ref.isdigit() and len(ref) < 10):
        raise MalformedRequest(f'prompt="{values["prompt"][:60]}" names no version.', hint="Write name, or name@8.")
    since = values.get("since", _ANY_TIME)
    return RunFilter(
        suite=values.get("suite"),
        prompt=prompt or None,
        number=int(ref) if ref else None,
        state=values.get("state"),
        verdict=values.get("verdict"),
        since_us=None if since == _ANY_TIME else moment_us(since, "since"),
    )


async def run_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """One run: what it came to, against another where there is one; while it is not finished, how far it is."""
    values = single_values(
        request.query_params.multi_items(), ["against", "decision", "system", "against_system", "watch"]
    )
    run = await control.read(runs.get, control.publisher.registry, request.path_params["run"])
    if run.finished_at_us is None:
        return await control.read(_run_page, control, who, run, values)
    # Statistics and a long template: both in the thread that may take its time.
    return await control.evaluate(_run_page, control, who, run, values)


def _run_page(control: ControlApp, who: Principal, run: Run, values: Mapping[str, str]) -> Response:
    values = dict(values)
    is_watched = values.pop("watch", None) is not None and run.finished_at_us is None
    progress = None if run.kind != "eval" or run.status == "complete" else _so_far(control, run, who)
    view, say = (None, None) if run.finished_at_us is None else _view(control, who, run, values)
    return page(
        control,
        "run.html",
        who,
        section="runs",
        run=run,
        view=view,
        say=say,
        systems=systems_of(run),
        against=None if view is None or view.report.baseline is None else view.report.baseline.run,
        progress=progress,
        watch_s=_WATCH_S if is_watched else None,
        gatings=run_state.gatings(control, run),
        opponents=run_state.opponents(control, run),
        state_word=_state_word,
        spend=_spend,
        person=lambda key_id: control.keyring.name_of(key_id) or key_id,
        at=_at,
    )


def _so_far(control: ControlApp, run: Run, who: Principal) -> run_state.SoFar:
    return run_state.so_far(control, run, who.sees_project)


def _view(control: ControlApp, who: Principal, run: Run, values: Mapping[str, str]) -> tuple[Any, Any]:
    """The report prepared for its templates, and how they put figures into words."""
    from headgate.evals.report.html_page import WORDS, view

    report = report_of(control, run.id, who.sees_project, Wanted(**{"system": _usual_system(run, values), **values}))
    refs = {} if run.kind == "import" else {run.system: _prompt_address(run.system)}
    if report.baseline is not None:
        other = runs.get(control.publisher.registry, report.baseline.run)
        refs |= {} if other.kind == "import" else {other.system: _prompt_address(other.system)}
    return view(report, has_pages=True, refs={ref: at for ref, at in refs.items() if at is not None}), WORDS


def _usual_system(run: Run, values: Mapping[str, str]) -> str | None:
    """The system that is shown of imported results that hold several; None where there is no choice to make."""
    systems = systems_of(run)
    is_told = "decision" in values or (len(systems) < 2)
    return None if is_told else systems[0]


def systems_of(run: Run) -> list[str]:
    """The systems whose results were imported together."""
    return [str(one) for one in run.totals.get("systems", [])] if run.kind == "import" else []


def _prompt_address(system: str) -> str | None:
    name, _, number = system.rpartition("@")
    return f"/ui/prompts/{name}?version={number}" if name and number.isdigit() else None


async def cells_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The cells of a run, each with the request it rests on and its scores."""
    values = single_values(request.query_params.multi_items(), ["after", "limit"])
    after = whole_number(values, "after", 0, least=0, most=10**9)
    limit = whole_number(values, "limit", _PAGE_CELLS, least=1, most=_MAX_CELLS)
    registry = control.publisher.registry
    run = await control.read(runs.get, registry, request.path_params["run"])
    cells = await control.read(runs.cells_of, registry, run.id, after=after, limit=limit)
    results = await control.read(run_list.results_of_items, registry, run, sorted({one.item for one in cells}))
    scores: dict[tuple[str, int], dict[str, StoredResult]] = {}
    for one in results:
        scores.setdefault((one.item, one.repeat), {})[one.scorer] = one
    return page(
        control,
        "run_cells.html",
        who,
        section="runs",
        run=run,
        cells=[ShownCell(cell=one, scores=scores.get((one.item, one.repeat), {})) for one in cells],
        scorers=_scorers(run, results),
        after=after,
        next=cells[-1].place + 1 if len(cells) == limit else None,
        before=max(0, after - limit) if after else None,
        step={} if limit == _PAGE_CELLS else {"limit": limit},
        money=lambda text: "unpriced" if text is None else dollars(Decimal(text)),
        verdict_of=_verdict_of,
    )


def _scorers(run: Run, results: Sequence[StoredResult]) -> list[str]:
    """The scorers as the suite lists them, then those that only the results have."""
    present = {one.scorer for one in results}
    return [*(name for name in run.scorers if name in present), *sorted(present - set(run.scorers))]


def _verdict_of(result: StoredResult) -> str:
    """A score as the table shows it: its value, or why there is none."""
    return f"{result.value:.3f}" if result.status == "ok" and result.value is not None else result.status


def _state_word(run: Run) -> tuple[str, str]:
    """The state of a run, and its colour."""
    if run.stopped is not None and run.status != "complete":
        return _STATES.get(run.stopped, run.stopped), "warn"
    return {"running": ("running", "plain"), "partial": ("partial", "warn")}.get(run.status, (run.status, "good"))


def _verdict_word(one: ListedRun) -> tuple[str, str]:
    """The newest word of a gate, and its colour."""
    if one.verdict is None:
        return "not gated", "plain"
    return _VERDICTS[one.verdict], {"pass": "good", "fail": "bad"}.get(one.verdict, "warn")


def _spend(run: Run) -> str:
    """What the calls of a run cost, judges included."""
    known = [run.totals[name] for name in ("cost_usd", "judge_cost_usd") if run.totals.get(name) is not None]
    if not known:
        return "–"
    amount = sum((Decimal(str(one)) for one in known), Decimal(0))
    unpriced = run.totals.get("unpriced") or 0
    return dollars(amount) + (f" + {unpriced:,} unpriced" if unpriced else "")


def _at(at_us: int) -> datetime:
    return utc(at_us).replace(tzinfo=None)


def _address(values: Mapping[str, str], **cursor: str | None) -> str | None:
    if cursor and not any(cursor.values()):
        return None
    query = urlencode({**values, **{name: value for name, value in cursor.items() if value}})
    return f"{_HOME}?{query}" if query else _HOME


def _route(path: str, handler: Callable[..., Any], summary: str) -> ControlRoute:
    return ControlRoute(method="GET", path=path, role="developer", handler=handler, summary=summary, is_page=True)


ROUTES: tuple[ControlRoute, ...] = (
    _route("/ui/runs", runs_page, "Evaluation runs"),
    _route("/ui/runs/{run}", run_page, "One run: its report, its gates"),
    _route("/ui/runs/{run}/cells", cells_page, "The cells of a run with their requests"),
)

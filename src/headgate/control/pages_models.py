"""The pages of classic models: all of them, and one with versions, evidence, what it was worth, and its aliases."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headgate.control import queries
from headgate.control.access import Principal
from headgate.control.api_model_gate import rule_json
from headgate.control.api_model_moves import moved, removed, rolled_back
from headgate.control.api_requests import chosen_filter
from headgate.control.filters import moment_us, single_values
from headgate.control.html import page, read_form
from headgate.control.model_gate import newest
from headgate.control.performance import performance
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.core.ids import now_us, utc
from headgate.core.protection import rule_for
from headgate.core.routing import matches
from headgate.core.runner_states import read_states
from headgate.core.served_models import CHAMPION
from headgate.registry import models, receipts
from headgate.registry.aliases import Wish
from headgate.registry.model_rows import Model, ModelVersion
from headgate.store.labelled import Asked, Calls, calls

_RANGES = (("24h", "last 24 hours"), ("7d", "last 7 days"), ("30d", "last 30 days"), ("400d", "any time"))
_USUAL_RANGE = "7d"
_SHOWN_VERSIONS = 100
_SHOWN_MOVES = 50
_SHOWN_METRICS = 12


async def models_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """All models with what they were asked lately."""
    values = single_values(request.query_params.multi_items(), ["since"])
    found = await control.publisher.run(lambda: models.list_models(control.publisher.registry))
    since = values.get("since", _USUAL_RANGE)
    chosen = chosen_filter(control, {"since": since}, who, default_purpose="traffic")
    usage, problem = await _tried(control, queries.model_usage, control.log, chosen)
    return page(
        control,
        "models.html",
        who,
        section="models",
        models=found,
        protected={one.name for one in found if rule_for(control.settings, "model", one.name, CHAMPION) is not None},
        states=read_states(control.home),
        usage=usage or {},
        problem=problem,
        since=since,
        ranges=_ranges(since),
        at=_at,
    )


async def model_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """One model: versions, evidence of one, calls, latency, realised metrics, aliases, moves."""
    values = single_values(request.query_params.multi_items(), ["since", "version"])
    name, registry = request.path_params["name"], control.publisher.registry
    model = await control.publisher.run(lambda: models.get_model(registry, name))
    moves = await control.publisher.run(lambda: models.moves(registry, name, limit=_SHOWN_MOVES))
    rule = rule_for(control.settings, "model", name, CHAMPION)
    current = model.current(is_protected=rule is not None)
    wanted = values.get("version") or str(current[0] if current else model.versions[0].number)
    shown = await control.publisher.run(lambda: models.get_version(registry, name, wanted))
    since = values.get("since", _USUAL_RANGE)
    worth, used, problem = await _worth(control, who, model, since)
    return page(
        control,
        "model.html",
        who,
        section="models",
        model=model,
        current=current,
        rule=rule,
        by_number=_by_number(model),
        versions=model.versions[:_SHOWN_VERSIONS],
        version_count=len(model.versions),
        shown=shown,
        **await _evidence(control, shown),
        states=read_states(control.home),
        worth=worth,
        used=used,
        most_metrics=_SHOWN_METRICS,
        moves=moves,
        problem=problem,
        since=since,
        ranges=_ranges(since),
        person=lambda key_id: control.keyring.name_of(key_id) or key_id,
        at=_at,
        may_override=who.may("approver")
        and any(one.kind == "model" and matches(one.name, name) for one in control.settings.protect),
    )


async def _evidence(control: ControlApp, shown: ModelVersion) -> dict[str, Any]:
    """What the server found of the version shown, and what it lacks for becoming champion."""
    name, registry = shown.name, control.publisher.registry
    found = await control.publisher.run(lambda: models.evidence(registry, name, shown.number))
    held = await control.publisher.run(lambda: receipts.list_receipts(registry, f"model:{name}"))
    agreed = await control.publisher.run(lambda: models.approvals_of(registry, name))
    needs, needs_problem = await _tried(control, rule_json, control, name, CHAMPION, shown.number)
    return {
        "parity": newest(found, "parity"),
        "replay": newest(found, "replay"),
        "gates": [one for one in found if one.kind == "gate"],
        "receipts": [one for one in held if one.sha256 == shown.sha256],
        "approvals": [one for one in agreed if one.sha256 == shown.sha256],
        "needs": needs or {"missing": []},
        "needs_problem": needs_problem,
        "now_us": now_us(),
    }


async def _worth(
    control: ControlApp, who: Principal, model: Model, since: str
) -> tuple[dict[int, Mapping[str, Any]], dict[int, Calls], str | None]:
    """Realised metrics and calls by version, in a time."""
    asked = Asked(model=model.name, since=_at(moment_us(since, "since")), until=_at(now_us()), project=who.sees_project)
    used, problem = await _tried(control, calls, control.log, asked)
    worth, other = await _tried(control, performance, control.log, model, asked)
    return {one["version"]: one for one in worth or []}, used or {}, problem or other


async def _tried(control: ControlApp, question: Any, *arguments: Any) -> tuple[Any, str | None]:
    """A question that cannot be answered now is said on the page, and the rest is shown."""
    try:
        return await control.read(question, *arguments), None
    except HeadgateError as error:
        return None, error.sentence


async def move_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias to a version."""
    fields = await read_form(control, request, who)
    name = request.path_params["name"]
    await moved(control, name, fields.get("alias", "").strip(), fields.get("version", ""), _wish(fields, who))
    return RedirectResponse(f"/ui/models/{name}", status_code=303)


async def remove_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that ends an alias."""
    fields = await read_form(control, request, who)
    name = request.path_params["name"]
    await removed(control, name, fields.get("alias", ""), _wish(fields, who))
    return RedirectResponse(f"/ui/models/{name}", status_code=303)


async def rollback_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias back to what it meant before."""
    fields = await read_form(control, request, who)
    name = request.path_params["name"]
    await rolled_back(control, name, fields.get("alias", CHAMPION), _wish(fields, who))
    return RedirectResponse(f"/ui/models/{name}", status_code=303)


async def approve_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form of a second person's yes."""
    fields = await read_form(control, request, who)
    name, registry, wish = request.path_params["name"], control.publisher.registry, _wish(fields, who)
    version = fields.get("version", "")
    await control.publisher.run(lambda: models.approve(registry, name, fields.get("alias", CHAMPION), version, wish))
    return RedirectResponse(f"/ui/models/{name}?version={int(version)}", status_code=303)


def _wish(fields: Mapping[str, str], who: Principal) -> Wish:
    reason = fields.get("reason", "").strip() or None
    return Wish(who=name_of(who), role=who.role, reason=reason, override=fields.get("override") == "1")


def _by_number(model: Model) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for alias, number in model.aliases.items():
        found.setdefault(number, []).append(alias)
    return found


def _ranges(since: str) -> tuple[tuple[str, str], ...]:
    return _RANGES if since in dict(_RANGES) else (*_RANGES, (since, f"since {since}"))


def _at(at_us: int) -> Any:
    return utc(at_us).replace(tzinfo=None)


def _form(path: str, handler: Any, summary: str, role: Any = "developer") -> ControlRoute:
    return ControlRoute(
        method="POST", path=f"/ui/models/{{name}}/{path}", role=role, handler=handler, summary=summary, is_page=True
    )


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET", path="/ui/models", role="developer", handler=models_page, summary="Classic models", is_page=True
    ),
    ControlRoute(
        method="GET",
        path="/ui/models/{name}",
        role="developer",
        handler=model_page,
        summary="One classic model",
        is_page=True,
    ),
    _form("aliases", move_page, "Move an alias"),
    _form("aliases/remove", remove_page, "Remove an alias"),
    _form("rollback", rollback_page, "Roll an alias back"),
    _form("approve", approve_page, "Approve a version", "approver"),
)

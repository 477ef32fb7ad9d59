"""The API of the gate of classic models: judge a version on a labelled dataset, and what a move would need."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.api_models import NAME
from headgate.control.eval_json import dataset_json, gated_json
from headgate.control.eval_shapes import schema_of
from headgate.control.filters import single_values
from headgate.control.model_gate import GatedModel, GateModel, gate
from headgate.control.policies import guard_for, policy_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.core.protection import LATEST
from headgate.core.served_models import CHAMPION
from headgate.registry import models

_MAX_BYTES = 1 << 20


async def judge(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{decision, grade, verdict, others, receipt, no_receipt, metrics, dataset}`: both versions are run on every row
    here; every decision is kept and counted. `metrics`: name, value, low, high, n, baseline, difference with its
    interval, wins, losses."""
    wanted = await read_json(request, GateModel, _MAX_BYTES)
    return JSONResponse(_json(await control.evaluate(gate, control, who, request.path_params["name"], wanted)))


def _json(found: GatedModel) -> dict[str, Any]:
    return {**gated_json(found.gated), "metrics": found.metrics, "dataset": dataset_json(found.dataset)}


async def show_rule(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{rule, policy, policy_sha256, grade, datasets, approvers, receipts, approved_by, missing: [{reason, hint}]}` for
    a version becoming an alias; `rule` is null, and nothing is missing, when none covers it."""
    values = single_values(request.query_params.multi_items(), ["alias", "version"])
    name, alias, ref = request.path_params["name"], values.get("alias", CHAMPION), values.get("version", LATEST)
    return JSONResponse(await control.read(rule_json, control, name, alias, ref))


def rule_json(control: ControlApp, name: str, alias: str, ref: int | str) -> dict[str, Any]:
    """Blocking: what a version needs to become ``alias``, and what of it is there. Raises NotFound."""
    registry = control.publisher.registry
    guard = guard_for(control.settings, "model", name, alias)
    if guard is None:
        models.get_version(registry, name, ref)
        return {"rule": None, "policy": None, "receipts": [], "missing": []}
    found = models.move_evidence(registry, name, alias, ref, guard)
    return {
        "rule": guard.rule.where,
        "policy": guard.policy,
        "policy_sha256": guard.policy_sha256,
        "grade": policy_of(guard.rule).grade,
        "datasets": list(guard.suites),
        "approvers": guard.approvers,
        "receipts": list(found.receipts),
        "approved_by": list(found.approved_by),
        "missing": [{"reason": reason, "hint": hint} for reason, hint in found.missing],
    }


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/models/{name}/gate",
        role="developer",
        handler=judge,
        summary="Judge a version on a labelled dataset against what an alias means; a pass brings a receipt",
        parameters=(NAME,),
        body=schema_of(GateModel),
        errors=(400, 404, 503),
    ),
    ControlRoute(
        method="GET",
        path="/api/models/{name}/rule",
        role="developer",
        handler=show_rule,
        summary="What a version of a model needs to become an alias, and what of it is there",
        parameters=(
            NAME,
            Parameter(name="alias", help="The alias; champion unless told."),
            Parameter(name="version", help="A number or an alias; the newest unless told."),
        ),
        errors=(400, 404),
    ),
)

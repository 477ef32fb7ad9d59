"""The API of the gate: judge, compare, decisions, receipts, approvals, and what a move would need."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import gates
from headgate.control.access import Principal
from headgate.control.alias_moves import approval_json, wish_of
from headgate.control.eval_json import decision_json, gated_json, receipt_json, run_json
from headgate.control.eval_shapes import Approve, Compare, Detect, Gate, Try, schema_of
from headgate.control.filters import single_values
from headgate.control.policies import guard_for, policy_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.core.protection import PRODUCTION
from headgate.registry import prompts, receipts, runs

_MAX_GATE_BYTES = 1 << 20


async def gate(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{decision, grade, verdict, others, receipt, no_receipt}`; every decision is kept and counted."""
    wanted = await read_json(request, Gate, _MAX_GATE_BYTES)
    return JSONResponse(gated_json(await control.evaluate(gates.gate, control, who, wanted)))


async def detect(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{policy, alpha, power, cases, clusters, min_items, rules: [{metric, kind, margin, smallest, power_at_margin,
    needed_items, assumed}]}`; nothing is kept."""
    from headgate.control.plans import detect as detected

    wanted = await read_json(request, Detect)
    return JSONResponse(await control.evaluate(detected, control, wanted))


async def compare(control: ControlApp, request: Request, who: Principal) -> Response:
    """The paired comparison per scorer at full precision; nothing is decided or kept."""
    wanted = await read_json(request, Compare)
    if not 0.5 <= wanted.level < 1:
        raise MalformedRequest(f"level={wanted.level} is not from 0.5 to below 1.")
    return JSONResponse(await control.evaluate(_compared, control, wanted))


def _compared(control: ControlApp, wanted: Compare) -> Any:
    from headgate.evals.compare import compare as compared

    registry = control.publisher.registry
    sides = []
    directions: dict[str, Any] = {}
    for run_id, system in ((wanted.a, wanted.a_system), (wanted.b, wanted.b_system)):
        facts = gates.facts_of(registry, runs.get(registry, run_id), system)
        directions |= {name: scorer.direction for name, scorer in facts.scorers.items()}
        sides.append(facts.results)
    return msgspec.to_builtins(compared(sides[0], sides[1], level=wanted.level, directions=directions))


async def show_decision(control: ControlApp, request: Request, who: Principal) -> Response:
    """One decision with its whole verdict."""
    found = await control.read(receipts.decision, control.publisher.registry, request.path_params["id"])
    return JSONResponse(decision_json(found))


async def list_receipts(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"receipts": [receipt]}`, newest first."""
    values = single_values(request.query_params.multi_items(), ["object"])
    found = await control.read(receipts.list_receipts, control.publisher.registry, values.get("object"))
    return JSONResponse({"receipts": [receipt_json(one) for one in found]})


async def show_receipt(control: ControlApp, request: Request, who: Principal) -> Response:
    """One receipt and everything it is bound to."""
    found = await control.read(receipts.get, control.publisher.registry, request.path_params["id"])
    return JSONResponse(receipt_json(found))


async def show_rule(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{rule, policy, policy_sha256, suites, approvers, receipts, approved_by, weaker, missing: [{reason, hint}]}`
    for a version becoming an alias; `rule` is null, and nothing is missing, when none covers it."""
    values = single_values(request.query_params.multi_items(), ["prompt", "alias", "version"])
    if "prompt" not in values:
        raise MalformedRequest("The prompt is not named.", hint="For example ?prompt=support-answer&version=8")
    return JSONResponse(
        await control.read(
            _rule, control, values["prompt"], values.get("alias", PRODUCTION), values.get("version", "latest")
        )
    )


def _rule(control: ControlApp, name: str, alias: str, version: str) -> dict[str, Any]:
    registry = control.publisher.registry
    guard = guard_for(control.settings, "prompt", name, alias)
    if guard is None:
        return {"rule": None, "policy": None, "receipts": [], "missing": []}
    found = prompts.evidence(registry, name, alias, version, guard)
    policy = policy_of(guard.rule)
    return {
        "rule": guard.rule.where,
        "policy": guard.policy,
        "policy_sha256": guard.policy_sha256,
        "grade": policy.grade,
        "suites": list(guard.suites),
        "approvers": guard.approvers,
        "receipts": list(found.receipts),
        "approved_by": list(found.approved_by),
        "weaker": list(found.weaker),
        "missing": [{"reason": reason, "hint": hint} for reason, hint in found.missing],
    }


async def approve(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"approval": {at, name, version, sha256, alias, who, reason}}`; the author's own counts for nothing and is
    refused."""
    wanted = await read_json(request, Approve)
    wish = wish_of(who, wanted.reason)
    registry, name = control.publisher.registry, request.path_params["name"]
    made = await control.publisher.run(lambda: prompts.approve(registry, name, wanted.alias, wanted.version, wish))
    return JSONResponse({"approval": approval_json(made)})


async def try_prompt(control: ControlApp, request: Request, who: Principal) -> Response:
    """The run, with `baseline_run` (what was answered then), `rows`, and `skipped` by reason."""
    from headgate.control.replay import start_try

    wanted = await read_json(request, Try)
    run, baseline, found = await control.evaluate(start_try, control, who, wanted)
    await control.copy_runs()
    more = {"baseline_run": baseline.id, "rows": len(found.rows), "skipped": found.skipped, "resumed": False}
    return JSONResponse({**run_json(run), **more})


_ID = Parameter(name="id", help="Its id.", where="path")
ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/evals/gate",
        role="developer",
        handler=gate,
        summary="Judge a run against a baseline by a policy; a pass on evidence of the log brings a receipt",
        body=schema_of(Gate),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/try",
        role="developer",
        handler=try_prompt,
        summary="Replay what one version was asked on another: begins a run with the logged answers as its baseline",
        body=schema_of(Try),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/detect",
        role="developer",
        handler=detect,
        summary="The smallest difference that a planned run could show, by each paired rule of the policy",
        body=schema_of(Detect),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/evals/compare",
        role="developer",
        handler=compare,
        summary="The paired comparison of two runs, per scorer",
        body=schema_of(Compare),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/decisions/{id}",
        role="developer",
        handler=show_decision,
        summary="One decision of a gate",
        parameters=(_ID,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/evals/rule",
        role="developer",
        handler=show_rule,
        summary="What a version needs to become an alias, and what of it is there",
        parameters=(
            Parameter(name="prompt", help="Name of the prompt."),
            Parameter(name="alias", help="The alias; production unless told."),
            Parameter(name="version", help="A number or an alias; the newest unless told."),
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/receipts",
        role="developer",
        handler=list_receipts,
        summary="Receipts, newest first",
        parameters=(Parameter(name="object", help="Only those of this object: `support-answer`."),),
    ),
    ControlRoute(
        method="GET",
        path="/api/receipts/{id}",
        role="developer",
        handler=show_receipt,
        summary="One receipt",
        parameters=(_ID,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/{name:path}/approve",
        role="approver",
        handler=approve,
        summary="A second person's yes to a version becoming an alias",
        parameters=(Parameter(name="name", help="Name of the prompt; may hold slashes.", where="path"),),
        body=schema_of(Approve),
        errors=(400, 404),
    ),
)

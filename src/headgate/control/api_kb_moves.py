"""The API of a knowledge base's aliases: move, remove, roll back, approve, repin prompts, release with them."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import kb_pins, kb_release
from headgate.control.access import Principal
from headgate.control.alias_moves import (
    MoveAlias,
    RemoveAlias,
    Rollback,
    approval_json,
    change_alias,
    moved_json,
    wish_of,
)
from headgate.control.api_kb import MAYBE, NAME, REF, TEXT, shape
from headgate.control.eval_shapes import Approve
from headgate.control.kb_release import Step
from headgate.control.prompt_json import move_json
from headgate.control.routes import ControlRoute, JSONResponse, read_json
from headgate.control.state import ControlApp
from headgate.core.protection import PRODUCTION
from headgate.registry import kbs
from headgate.registry.aliases import Move
from headgate.registry.targets import Guard


class _Repin(msgspec.Struct, forbid_unknown_fields=True):
    version: int | str
    prompts: list[str] | None = None
    reason: str | None = None


class _Release(msgspec.Struct, forbid_unknown_fields=True):
    version: int | str
    alias: str = PRODUCTION
    step: Literal["plan", "prepare", "move"] = "plan"
    reason: str | None = None
    override: bool = False


async def move_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"move", "aliases", "pinned_elsewhere": [{prompt, ref, kb}]}`: the prompts that go on reading another version.
    Refused with 403 and the code `move_refused` when a `[[protect]]` covers it and no receipt is for exactly this."""
    wanted, name = await read_json(request, MoveAlias), request.path_params["name"]
    wish, registry = wish_of(who, wanted.reason, override=wanted.override), control.publisher.registry
    return await _changed(
        control,
        name,
        wanted.alias,
        lambda guard: kbs.move_alias(registry, name, wanted.alias, wanted.version, wish, guard),
    )


async def remove_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move."""
    wanted, name = await read_json(request, RemoveAlias), request.path_params["name"]
    wish, registry = wish_of(who, wanted.reason, override=wanted.override), control.publisher.registry
    return await _changed(
        control,
        name,
        wanted.alias,
        lambda guard: kbs.remove_alias(registry, name, wanted.alias, wish, guard),
        needs_evidence=False,
    )


async def rollback(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move; `alias` is production unless told."""
    wanted, name = await read_json(request, Rollback), request.path_params["name"]
    wish, registry = wish_of(who, wanted.reason), control.publisher.registry
    return await _changed(
        control,
        name,
        wanted.alias,
        lambda guard: kbs.rollback(registry, name, wanted.alias, wish, guard),
        needs_evidence=False,
    )


async def _changed(
    control: ControlApp,
    name: str,
    alias: str,
    change: Callable[[Guard | None], Move | None],
    *,
    needs_evidence: bool = True,
) -> JSONResponse:
    moved = await change_alias(control, "kb", name, alias, change, needs_evidence=needs_evidence)
    registry = control.publisher.registry
    pins = await control.publisher.run(lambda: kb_pins.pins_of(registry, control.settings, name))
    number = moved[1].get(alias)
    elsewhere = [
        {"prompt": pin.prompt, "ref": f"{pin.prompt}@{pin.number}", "kb": f"{name}@{pin.kb_number}"}
        for pin in pins
        if number is not None and pin.kb_number != number
    ]
    return moved_json(moved, pinned_elsewhere=elsewhere)


async def approve(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"approval": {at, kind, name, version, sha256, alias, who, role, reason}}`; the author's own counts for nothing
    and is refused."""
    wanted, name = await read_json(request, Approve), request.path_params["name"]
    wish, registry = wish_of(who, wanted.reason), control.publisher.registry
    made = await control.publisher.run(lambda: kbs.approve(registry, name, wanted.alias, wanted.version, wish))
    return JSONResponse({"approval": approval_json(made)})


async def repin(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"repinned": [{prompt, before, ref, is_new, candidate}]}`: next versions of prompts that read another version of
    this knowledge base; no alias but `candidate` moves."""
    wanted = await read_json(request, _Repin)
    name, registry = request.path_params["name"], control.publisher.registry
    names = None if wanted.prompts is None else set(wanted.prompts)
    wish = wish_of(who, wanted.reason)
    done = await control.publisher.change(
        lambda: kb_pins.repin(registry, control.settings, name, wanted.version, names, wish)
    )
    return JSONResponse(
        {
            "repinned": [
                {
                    "prompt": one.prompt,
                    "before": one.before,
                    "ref": f"{one.prompt}@{one.number}",
                    "is_new": one.is_new,
                    "candidate": one.candidate,
                }
                for one in done
            ]
        }
    )


async def release(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"kb", "alias", "moves": [move], "steps": [{kind, name, before, ref, alias, policy, receipts, suites,
    missing: [{reason, hint}]}]}`. `plan` changes nothing; `prepare` makes the next versions of prompts that need
    evidence, as candidates; `move` moves the aliases of the knowledge base and of every prompt at once, or is refused
    with 403 (`move_refused`) and moves none."""
    wanted, name = await read_json(request, _Release), request.path_params["name"]
    wish, registry, settings = (
        wish_of(who, wanted.reason, override=wanted.override),
        control.publisher.registry,
        control.settings,
    )

    def steps() -> list[Step]:
        return kb_release.steps_of(registry, settings, name, wanted.version, wanted.alias)

    def prepared() -> tuple[list[Step], list[Move]]:
        kb_release.prepare(registry, settings, steps(), wish)
        return steps(), []

    def moved() -> tuple[list[Step], list[Move]]:
        found = steps()
        return found, kb_release.release(registry, found, wish)

    if wanted.step == "plan":
        found, moves = await control.publisher.run(steps), list[Move]()
    else:
        found, moves = await control.publisher.change(prepared if wanted.step == "prepare" else moved)
    ref = next((step.ref for step in found if step.kind == "kb"), None)
    return JSONResponse(
        {
            "kb": ref or f"{name}@{wanted.version}",
            "alias": wanted.alias,
            "steps": [_step_json(step) for step in found],
            "moves": [move_json(move) for move in moves],
        }
    )


def _step_json(step: Step) -> dict[str, Any]:
    evidence = step.evidence
    return {
        "kind": step.kind,
        "name": step.name,
        "before": step.before,
        "ref": step.ref,
        "alias": step.alias,
        "policy": None if step.guard is None else step.guard.policy,
        "suites": [] if evidence is None else list(kb_release.suites_to_run(step, evidence)),
        "receipts": [] if evidence is None else list(evidence.receipts),
        "missing": [] if evidence is None else [{"reason": one, "hint": hint} for one, hint in evidence.missing],
    }


_ERRORS = (400, 404)
ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/aliases",
        role="developer",
        handler=move_alias,
        summary="Point an alias to a version; a protected one under a receipt for it",
        parameters=(NAME,),
        body=shape(["alias", "version"], alias=TEXT, version=REF, reason=MAYBE, override={"type": "boolean"}),
        errors=_ERRORS,
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/aliases/remove",
        role="developer",
        handler=remove_alias,
        summary="End an alias",
        parameters=(NAME,),
        body=shape(["alias"], alias=TEXT, reason=MAYBE, override={"type": "boolean"}),
        errors=_ERRORS,
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/rollback",
        role="developer",
        handler=rollback,
        summary="Point an alias (production unless told) back to the version it meant before",
        parameters=(NAME,),
        body=shape([], alias=TEXT, reason=MAYBE),
        errors=_ERRORS,
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/approve",
        role="approver",
        handler=approve,
        summary="A second person's yes to a version becoming an alias",
        parameters=(NAME,),
        body=shape(["version"], version=REF, alias=TEXT, reason=MAYBE),
        errors=_ERRORS,
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/repin",
        role="developer",
        handler=repin,
        summary="Make next versions of prompts that read another version of this knowledge base",
        parameters=(NAME,),
        body=shape(
            ["version"],
            version=REF,
            prompts={"type": ["array", "null"], "items": TEXT, "description": "Null: all."},
            reason=MAYBE,
        ),
        errors=_ERRORS,
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/release",
        role="developer",
        handler=release,
        summary="Move a knowledge base and the prompts that read from it together, or say what that would take",
        parameters=(NAME,),
        body=shape(
            ["version"],
            version=REF,
            alias=TEXT,
            step={"enum": ["plan", "prepare", "move"], "description": "plan changes nothing."},
            reason=MAYBE,
            override={"type": "boolean"},
        ),
        errors=_ERRORS,
    ),
)

"""The forms that move a prompt's aliases, give an approval, and what a refused one shows: the words and the way out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headgate.control.access import Principal
from headgate.control.alias_moves import change_alias, wish_of_form
from headgate.control.html import page, read_form
from headgate.control.move_needs import needs_of
from headgate.control.routes import ControlRoute, Handler
from headgate.control.state import ControlApp
from headgate.core.errors import Forbidden, HeadgateError
from headgate.core.protection import PRODUCTION
from headgate.registry import prompts, run_list
from headgate.snapshot import Role


async def move_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias to a version."""
    fields = await read_form(control, request, who)
    name, alias = request.path_params["name"], fields.get("alias", "").strip()
    wish, registry, version = wish_of_form(who, fields), control.publisher.registry, fields.get("version", "")
    try:
        await change_alias(
            control,
            "prompt",
            name,
            alias,
            lambda guard: prompts.move_alias(registry, name, alias, version, wish, guard),
        )
    except Forbidden as error:
        return await _refused(control, who, error, name, alias, version)
    return _back(name)


async def remove_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that ends an alias."""
    fields = await read_form(control, request, who)
    name, alias = request.path_params["name"], fields.get("alias", "")
    wish, registry = wish_of_form(who, fields), control.publisher.registry
    try:
        await change_alias(
            control,
            "prompt",
            name,
            alias,
            lambda guard: prompts.remove_alias(registry, name, alias, wish, guard),
            needs_evidence=False,
        )
    except Forbidden as error:
        return await _refused(control, who, error, name, alias, None)
    return _back(name)


async def rollback_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias back to what it meant before."""
    fields = await read_form(control, request, who)
    name, alias = request.path_params["name"], fields.get("alias", PRODUCTION)
    wish, registry = wish_of_form(who, fields), control.publisher.registry
    await change_alias(
        control,
        "prompt",
        name,
        alias,
        lambda guard: prompts.rollback(registry, name, alias, wish, guard),
        needs_evidence=False,
    )
    return _back(name)


async def approve_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form of a second person's yes; the author's own, and nobody's in particular, are refused."""
    fields = await read_form(control, request, who)
    name, alias, version = request.path_params["name"], fields.get("alias", PRODUCTION), fields.get("version", "")
    wish, registry = wish_of_form(who, fields), control.publisher.registry
    made = await control.publisher.run(lambda: prompts.approve(registry, name, alias, version, wish))
    return _back(name, made.number)


async def _refused(
    control: ControlApp, who: Principal, error: Forbidden, name: str, alias: str, version: str | None
) -> Response:
    """The refusal in the words of the API, with everything that is missing and what the asker may do about it."""
    if error.code != "move_refused":
        raise error
    needs = None
    if version is not None:
        try:
            needs = await control.read(needs_of, control, who, name, alias, version)
        except HeadgateError:  # the refusal itself has been said; a policy that went since adds nothing
            needs = None
    counts = await control.read(run_list.counts, control.publisher.registry, name)
    return page(
        control,
        "move_refused.html",
        who,
        status_code=error.status,
        section="prompts",
        name=name,
        alias=alias,
        message=str(error),
        hint=error.hint,
        needs=needs,
        run_count=0 if needs is None else counts.get(needs.number, 0),
        version=version,
        may_override=who.may("approver") if needs is None else needs.may_override,
        person=lambda key_id: control.keyring.name_of(key_id) or key_id,
    )


def _back(name: str, number: int | None = None) -> Response:
    to = f"/ui/prompts/{name}" if number is None else f"/ui/prompts/{name}?version={number}"
    return RedirectResponse(to, status_code=303)


def _route(path: str, role: Role, handler: Handler, summary: str) -> ControlRoute:
    return ControlRoute(method="POST", path=path, role=role, handler=handler, summary=summary, is_page=True)


ROUTES: tuple[ControlRoute, ...] = (
    _route("/ui/prompts/{name:path}/aliases", "developer", move_page, "Move an alias"),
    _route("/ui/prompts/{name:path}/aliases/remove", "developer", remove_page, "Remove an alias"),
    _route("/ui/prompts/{name:path}/rollback", "developer", rollback_page, "Roll an alias back"),
    _route("/ui/prompts/{name:path}/approve", "approver", approve_page, "Approve a version becoming an alias"),
)

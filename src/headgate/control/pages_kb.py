"""The pages of knowledge bases: all of them, and one with versions, aliases, sources, differences and a search."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headgate.control import kb_pins, kb_search
from headgate.control.access import Principal
from headgate.control.alias_moves import change_alias, wish_of_form
from headgate.control.filters import single_values
from headgate.control.html import page, read_form
from headgate.control.kb_embed import key_of
from headgate.control.kb_json import difference_json
from headgate.control.policies import guard_for
from headgate.control.routes import ControlRoute
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.core.ids import utc
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.routing import matches
from headgate.registry import kbs
from headgate.registry.grounds import Evidence
from headgate.registry.kbs import Kb, KbVersion
from headgate.retrieval import versions
from headgate.retrieval.model import MAX_QUERY_CHARS
from headgate.retrieval.service import FoundChunk, Search

_SHOWN_VERSIONS = 100
_SHOWN_SOURCES = 500
_SHOWN_MOVES = 50
_TOP_K = 8


async def kbs_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """All knowledge bases."""
    single_values(request.query_params.multi_items(), [])
    found = await control.publisher.run(lambda: kbs.list_kbs(control.publisher.registry))
    protected = {kb.name for kb in found if rule_for(control.settings, "kb", kb.name, PRODUCTION) is not None}
    return page(control, "kbs.html", who, section="kb", kbs=found, protected=protected, at=_at)


async def kb_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """One knowledge base."""
    values = single_values(request.query_params.multi_items(), ["version", "from", "to", "q"])
    name, registry = request.path_params["name"], control.publisher.registry
    kb = await control.publisher.run(lambda: kbs.get_kb(registry, name))
    moves = await control.publisher.run(lambda: kbs.moves(registry, name, limit=_SHOWN_MOVES))
    pins = await control.publisher.run(lambda: kb_pins.pins_of(registry, control.settings, name))
    rule = rule_for(control.settings, "kb", name, PRODUCTION)
    current = kb.current(is_protected=rule is not None)
    shown = kb.version(values.get("version") or (current[0] if current else kb.versions[0].number))
    names: dict[int, list[str]] = {}
    for alias, number in kb.aliases.items():
        names.setdefault(number, []).append(alias)
    manifest, problem = await _manifest(control, shown)
    found, search_problem = await _found(control, shown, values.get("q", ""), key_of(request))
    return page(
        control,
        "kb.html",
        who,
        section="kb",
        kb=kb,
        current=current,
        rule=rule,
        evidence=await control.publisher.run(lambda: _evidence(control, shown)),
        by_number=names,
        versions=kb.versions[:_SHOWN_VERSIONS],
        shown=shown,
        manifest=manifest,
        sources=() if manifest is None else manifest.sources[:_SHOWN_SOURCES],
        problem=problem or search_problem,
        query=values.get("q", ""),
        found=found,
        comparison=await _comparison(control, kb, shown, values),
        moves=moves,
        pins=pins,
        person=lambda key_id: control.keyring.name_of(key_id) or key_id,
        at=_at,
        may_override=who.may("approver")
        and any(one.kind == "kb" and matches(one.name, name) for one in control.settings.protect),
    )


def _evidence(control: ControlApp, shown: KbVersion) -> Evidence | str | None:
    """Blocking: what there is for a version becoming production; None: nothing asks for any, or it is; a text: the
    rule's policy cannot be read.
    """
    registry = control.publisher.registry
    try:
        guard = guard_for(control.settings, "kb", shown.name, PRODUCTION)
    except HeadgateError as error:
        return error.sentence
    if guard is None or kbs.get_kb(registry, shown.name).aliases.get(PRODUCTION) == shown.number:
        return None
    return kbs.evidence(registry, shown.name, PRODUCTION, shown.number, guard)


async def move_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias to a version."""
    fields = await read_form(control, request, who)
    name, alias = request.path_params["name"], fields.get("alias", "").strip()
    wish, registry, version = wish_of_form(who, fields), control.publisher.registry, fields.get("version", "")
    await change_alias(
        control, "kb", name, alias, lambda guard: kbs.move_alias(registry, name, alias, version, wish, guard)
    )
    return RedirectResponse(f"/ui/kb/{name}", status_code=303)


async def rollback_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The form that points an alias back to what it meant before."""
    fields = await read_form(control, request, who)
    name, alias = request.path_params["name"], fields.get("alias", PRODUCTION)
    wish, registry = wish_of_form(who, fields), control.publisher.registry
    await change_alias(
        control,
        "kb",
        name,
        alias,
        lambda guard: kbs.rollback(registry, name, alias, wish, guard),
        needs_evidence=False,
    )
    return RedirectResponse(f"/ui/kb/{name}", status_code=303)


def _at(at_us: int) -> Any:
    return utc(at_us).replace(tzinfo=None)


async def _manifest(control: ControlApp, shown: KbVersion) -> tuple[Any, str | None]:
    try:
        return await control.read(versions.read_manifest, control.home.path, shown.sha256), None
    except HeadgateError as error:
        return None, error.sentence


async def _found(
    control: ControlApp, version: KbVersion, query: str, key: str | None
) -> tuple[list[FoundChunk], str | None]:
    """What the search box finds. A page that is looked at with a session has no key to embed a question with."""
    if not query.strip():
        return [], None
    asked = Search(version=version.sha256, query=query[:MAX_QUERY_CHARS], top_k=_TOP_K)
    may_embed = key is not None or not control.access.needs_key
    try:
        return await kb_search.search(control, version, asked, key, may_embed=may_embed), None
    except HeadgateError as error:
        return [], error.sentence


async def _comparison(
    control: ControlApp, kb: Kb, shown: KbVersion, values: Mapping[str, str]
) -> dict[str, Any] | None:
    """The versions asked for; else the one shown against its parent."""
    before, after = values.get("from"), values.get("to")
    if before is None or after is None:
        if shown.parent is None:
            return None
        before, after = str(shown.parent), str(shown.number)
    sides, home = [kb.version(before), kb.version(after)], control.home.path

    def compare() -> dict[str, Any]:
        read = [(versions.read_manifest(home, one.sha256), versions.read_chunks(home, one.sha256)) for one in sides]
        return {**difference_json(read[0], read[1]), "from": sides[0].number, "to": sides[1].number}

    try:
        return await control.read(compare)
    except HeadgateError:
        return None  # one of them is damaged; the page says so of the one it shows


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET", path="/ui/kb", role="developer", handler=kbs_page, summary="Knowledge bases", is_page=True
    ),
    ControlRoute(
        method="GET",
        path="/ui/kb/{name}",
        role="developer",
        handler=kb_page,
        summary="One knowledge base",
        is_page=True,
    ),
    ControlRoute(
        method="POST",
        path="/ui/kb/{name}/aliases",
        role="developer",
        handler=move_page,
        summary="Move an alias",
        is_page=True,
    ),
    ControlRoute(
        method="POST",
        path="/ui/kb/{name}/rollback",
        role="developer",
        handler=rollback_page,
        summary="Roll an alias back",
        is_page=True,
    ),
)

"""The API of pushes: begun with settings and origin, given sources in pieces, planned with its cost, then run.

A *push* is `{push_id, name, state: open | running | done | failed, sources, plan, embedded, cost, version, is_new,
error}`.
"""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import kb_embed, kb_push
from headgate.control.access import Principal
from headgate.control.api_kb import MAYBE, NAME, TEXT, shape
from headgate.control.kb_json import push_json
from headgate.control.kb_settings import read_kb_file
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest, NotFound
from headgate.registry import history
from headgate.retrieval.model import Origin

_MAX_PIECE_BYTES = 8 << 20


class _Begin(msgspec.Struct, forbid_unknown_fields=True):
    settings: str | None = None
    file: str = "the settings"
    message: str | None = None
    git_commit: str | None = None
    author: str | None = None
    dvc: str | None = None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    text: str


class _Documents(msgspec.Struct, forbid_unknown_fields=True):
    documents: list[_Document]


async def begin_push(control: ControlApp, request: Request, who: Principal) -> Response:
    """A new push, with what its settings say: `{"push_id", "include": [glob], …}`."""
    wanted = await read_json(request, _Begin)
    name = request.path_params["name"]
    file = read_kb_file(name, wanted.settings, wanted.file, control.settings)
    kept = {
        field: None if text is None else history.kept_text(text)
        for field, text in (("git_commit", wanted.git_commit), ("author", wanted.author), ("dvc", wanted.dvc))
    }
    push = control.pushes.begin(control.home.path, name, file, Origin(**kept), wanted.message, name_of(who))
    return JSONResponse({**push_json(push), "include": file.include, "settings": file.settings})


async def add_documents(control: ControlApp, request: Request, who: Principal) -> Response:
    """Takes sources in; as many calls as it takes, each below 8 MB."""
    push = _push(control, request, who)
    wanted = await read_json(request, _Documents, _MAX_PIECE_BYTES)
    await control.read(kb_push.add_documents, push, [(one.path, one.text) for one in wanted.documents])
    return JSONResponse(push_json(push))


async def plan_push(control: ControlApp, request: Request, who: Principal) -> Response:
    """Cuts the sources and says what the push will do and cost."""
    push = _push(control, request, who)
    if push.state == "open":
        await control.read(kb_push.make_plan, control, push)
    return JSONResponse(push_json(push))


async def run_push(control: ControlApp, request: Request, who: Principal) -> Response:
    """Starts the work of a planned push; it goes on when the caller leaves."""
    push = _push(control, request, who)
    if push.plan is None:
        raise MalformedRequest("This push has no plan yet.", hint="Ask for it first: POST …/plan")
    if push.state == "open":
        push.state, push.key = "running", kb_embed.key_of(request)
        push.task = asyncio.create_task(kb_push.run(control, push))
    return JSONResponse(push_json(push))


async def show_push(control: ControlApp, request: Request, who: Principal) -> Response:
    """Where a push stands."""
    return JSONResponse(push_json(_push(control, request, who)))


def _push(control: ControlApp, request: Request, who: Principal) -> kb_push.Push:
    push = control.pushes.get(request.path_params["id"])
    if push.who != name_of(who):
        raise NotFound("There is no such push.", code="kb_push_missing", hint="Begin it again: headgate kb push")
    return push


_PUSH = Parameter(name="id", help="Id of the push.", where="path")

ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/push",
        role="developer",
        handler=begin_push,
        summary="Begin a push: settings and origin, then documents, a plan, and the work",
        parameters=(NAME,),
        body=shape(
            [],
            settings={**MAYBE, "description": "Text of kb/<name>.yaml."},
            file=TEXT,
            message=MAYBE,
            git_commit=MAYBE,
            author=MAYBE,
            dvc=MAYBE,
        ),
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/push/{id}/documents",
        role="developer",
        handler=add_documents,
        summary="Add sources to a push",
        parameters=(_PUSH,),
        body=shape(
            ["documents"],
            documents={"type": "array", "items": shape(["path", "text"], path=TEXT, text=TEXT)},
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/push/{id}/plan",
        role="developer",
        handler=plan_push,
        summary="What the push will do: chunks, texts to embed, and about what that costs",
        parameters=(_PUSH,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/push/{id}/run",
        role="developer",
        handler=run_push,
        summary="Embed, index and store the version",
        parameters=(_PUSH,),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/kb/push/{id}",
        role="developer",
        handler=show_push,
        summary="Where a push stands",
        parameters=(_PUSH,),
        errors=(404,),
    ),
)

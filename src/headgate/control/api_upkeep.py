"""The API of proof and copies: begun by one call, asked for until they are done."""

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.backup import back_up, check_target
from headgate.control.filters import single_values
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.control.verify import verify
from headgate.core.errors import MalformedRequest

_MAX_WAIT_S = 20


class _Verify(msgspec.Struct, forbid_unknown_fields=True):
    rebuild: bool = False


async def begin_verify(control: ControlApp, request: Request, who: Principal) -> Response:
    """Begin to prove that nothing is lost; the task's answer is the proof."""
    wanted = await read_json(request, _Verify)
    who.require_every_project("a proof tells of")
    work = partial(verify, control, with_rebuild=wanted.rebuild)
    return JSONResponse(control.tasks.begin("verify", work).json(), status_code=202)


class _Backup(msgspec.Struct, forbid_unknown_fields=True):
    directory: str
    token: str


async def begin_backup(control: ControlApp, request: Request, who: Principal) -> Response:
    """Begin to copy the home into a directory that the caller has made; the task's answer says what was copied."""
    wanted = await read_json(request, _Backup)
    who.require_every_project("a copy holds")
    target = check_target(wanted.directory, wanted.token)
    return JSONResponse(control.tasks.begin("backup", partial(back_up, control, target)).json(), status_code=202)


async def show_task(control: ControlApp, request: Request, who: Principal) -> Response:
    """A task; waits for its end for up to `wait_s` seconds."""
    values = single_values(request.query_params.multi_items(), ["wait_s"])
    who.require_every_project("a task tells of")
    text = values.get("wait_s", "0")
    if not text.isdecimal() or int(text) > _MAX_WAIT_S:
        raise MalformedRequest(f"wait_s = {text[:20]} is not a whole number from 0 to {_MAX_WAIT_S}.")
    task = await control.tasks.wait(request.path_params["task"], float(text))
    return JSONResponse(task.json())


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/verify",
        role="admin",
        handler=begin_verify,
        summary="Begin to prove that nothing is lost and nothing stored twice: a task",
        status=202,
        body={
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "rebuild": {"type": "boolean", "description": "also make the log anew and compare column by column"}
            },
        },
        errors=(400, 409),
    ),
    ControlRoute(
        method="POST",
        path="/api/backup",
        role="admin",
        handler=begin_backup,
        summary="Begin to copy the home to a directory on the server's machine: a task",
        status=202,
        body={
            "type": "object",
            "required": ["directory", "token"],
            "additionalProperties": False,
            "properties": {
                "directory": {"type": "string", "description": "absolute; empty but for the token's file"},
                "token": {"type": "string", "description": "the directory holds a file .headgate-backup-<token>"},
            },
        },
        errors=(400, 409),
    ),
    ControlRoute(
        method="GET",
        path="/api/tasks/{task}",
        role="admin",
        handler=show_task,
        summary="A task that was begun: running, done or failed",
        parameters=(
            Parameter(name="task", where="path", help="its id"),
            Parameter(name="wait_s", kind="integer", help=f"wait so long for its end, up to {_MAX_WAIT_S} s"),
        ),
        errors=(400, 404),
    ),
)

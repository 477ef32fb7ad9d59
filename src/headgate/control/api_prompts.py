"""The API of prompts: push, read, compare, render, move aliases, archive.

Answers are the shapes of `prompt_json`: a *summary* (name, description, aliases, latest, current, protected, model,
version_count, updated_at), a *prompt* (a summary with `versions` and `as_of`), a *version* (number, sha256, model,
created_at, author, git_commit, message, pushed_by, suites, archived, aliases), a *move*.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import kb_embed, kb_pins, prompt_push, prompt_render
from headgate.control.access import Principal
from headgate.control.alias_moves import MoveAlias, RemoveAlias, Rollback, change_alias, moved_json, wish_of
from headgate.control.filters import moment_us, single_values, whole_number
from headgate.control.prompt_json import (
    content_json,
    difference_json,
    prompt_json,
    pushed_json,
    summary_json,
    versions_json,
)
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import value_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.prompts.differences import differences
from headgate.registry import prompts

_MAX_PUSH_BYTES = 4 << 20
_MAX_RENDER_BYTES = 4 << 20


class _File(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    text: str


class _Push(msgspec.Struct, forbid_unknown_fields=True):
    files: list[_File]
    message: str | None = None
    git_commit: str | None = None
    author: str | None = None


class _Archive(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    archived: bool = True
    reason: str | None = None


class _Render(msgspec.Struct, forbid_unknown_fields=True):
    ref: str
    variables: dict[str, Any] = {}
    endpoint: str = "openai.chat"


async def list_prompts(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"prompts": [summary]}` by name."""
    values = single_values(request.query_params.multi_items(), ["as_of"])
    as_of_us = _as_of(values)
    found = await control.publisher.run(lambda: prompts.list_prompts(control.publisher.registry, as_of_us))
    return JSONResponse({"prompts": [summary_json(prompt, control.settings) for prompt in found]})


async def push(control: ControlApp, request: Request, who: Principal) -> Response:
    """Stores all files or none: `{"pushed": [{name, number, ref, sha256, is_new, archived, previous, latest, changes,
    warnings}]}`, in the order of the files. `changes` names the fields that differ from version `previous`."""
    wanted = await read_json(request, _Push, _MAX_PUSH_BYTES)
    registry = control.publisher.registry
    known_kbs = await control.publisher.run(lambda: kb_pins.kbs_by_name(registry))
    files = [(file.file, file.text) for file in wanted.files]
    checked = await control.read(prompt_push.checked_files, files, control.settings, known_kbs)

    def store() -> list[dict[str, Any]]:
        done = prompts.push(
            registry,
            [one.pushed for one in checked],
            who=name_of(who),
            message=wanted.message,
            git_commit=wanted.git_commit,
            author=wanted.author,
        )
        return [
            pushed_json(pushed, prompt_push.changes(registry, pushed, one), one.warnings)
            for pushed, one in zip(done, checked, strict=True)
        ]

    return JSONResponse({"pushed": await control.publisher.change(store)})


async def show_prompt(control: ControlApp, request: Request, who: Principal) -> Response:
    """Without `alias` and `version` the prompt, else that version: `{name, alias, ref, number, sha256, model,
    created_at, author, git_commit, message, pushed_by, content}`, with its hash as the ETag."""
    values = single_values(request.query_params.multi_items(), ["alias", "version", "as_of"])
    name, as_of_us, registry = _name(request), _as_of(values), control.publisher.registry
    if "alias" in values and "version" in values:
        raise MalformedRequest("Both alias and version are given.", hint="Give one of them.")
    if "alias" not in values and "version" not in values:
        prompt = await control.publisher.run(lambda: prompts.get_prompt(registry, name, as_of_us))
        return JSONResponse(prompt_json(prompt, control.settings))
    alias = values.get("alias")
    ref: int | str = whole_number(values, "version", 0, least=1, most=10**9) if alias is None else alias
    version = await control.publisher.run(lambda: prompts.get_version(registry, name, ref, as_of_us))
    headers = {"etag": f'"{version.sha256}"', "cache-control": "no-cache"}
    if _is_known(request.headers.get("if-none-match"), version.sha256):
        return Response(status_code=304, headers=headers)
    response = JSONResponse(content_json(version, alias))
    response.headers.update(headers)
    return response


async def show_versions(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "versions": [version]}`, newest first."""
    values = single_values(request.query_params.multi_items(), ["as_of"])
    name, as_of_us = _name(request), _as_of(values)
    prompt = await control.publisher.run(lambda: prompts.get_prompt(control.publisher.registry, name, as_of_us))
    return JSONResponse({"name": prompt.name, "versions": versions_json(prompt)})


async def show_difference(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "from": number, "to": number, "changes": [{field, kind, lines: [{mark, text}], is_cut}]}`."""
    values = single_values(request.query_params.multi_items(), ["from", "to"])
    name, registry = _name(request), control.publisher.registry
    if len(values) != 2:
        raise MalformedRequest("Two versions are compared: from and to.", hint="For example ?from=production&to=latest")
    sides = [
        await control.publisher.run(lambda ref=values[side]: prompts.get_version(registry, name, ref))  # type: ignore[misc]
        for side in ("from", "to")
    ]
    contents = [msgspec.json.decode(version.content_json) for version in sides]
    found = await control.read(differences, contents[0], contents[1])
    return JSONResponse(
        {
            "name": name,
            "from": sides[0].number,
            "to": sides[1].number,
            "changes": [difference_json(difference) for difference in found],
        }
    )


async def move_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"move": move, "aliases": {alias: number}}`; `move` is null when the alias stood there. Refused with 403 and the
    code `move_refused` when a `[[protect]]` covers it and neither receipt nor override lets it through."""
    wanted, name, registry = await read_json(request, MoveAlias), _name(request), control.publisher.registry
    wish = wish_of(who, wanted.reason, override=wanted.override)
    return moved_json(
        await change_alias(
            control,
            "prompt",
            name,
            wanted.alias,
            lambda guard: prompts.move_alias(registry, name, wanted.alias, wanted.version, wish, guard),
        )
    )


async def remove_alias(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move; the alias stops being served within a second."""
    wanted, name, registry = await read_json(request, RemoveAlias), _name(request), control.publisher.registry
    wish = wish_of(who, wanted.reason, override=wanted.override)
    return moved_json(
        await change_alias(
            control,
            "prompt",
            name,
            wanted.alias,
            lambda guard: prompts.remove_alias(registry, name, wanted.alias, wish, guard),
            needs_evidence=False,
        )
    )


async def rollback(control: ControlApp, request: Request, who: Principal) -> Response:
    """The same answer as a move; `alias` is production unless told, and goes one step further back each time."""
    wanted, name, registry = await read_json(request, Rollback), _name(request), control.publisher.registry
    wish = wish_of(who, wanted.reason)
    return moved_json(
        await change_alias(
            control,
            "prompt",
            name,
            wanted.alias,
            lambda guard: prompts.rollback(registry, name, wanted.alias, wish, guard),
            needs_evidence=False,
        )
    )


async def archive(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "version": version}`; with `"archived": false` the version comes back."""
    wanted = await read_json(request, _Archive)
    name, registry = _name(request), control.publisher.registry

    def change() -> prompts.Prompt:
        prompts.archive(
            registry, name, wanted.version, who=name_of(who), reason=wanted.reason, archived=wanted.archived
        )
        return prompts.get_prompt(registry, name)

    prompt = await control.publisher.change(change)
    version = next(shown for shown in versions_json(prompt) if shown["number"] == wanted.version)
    return JSONResponse({"name": name, "version": version})


async def render(control: ControlApp, request: Request, who: Principal) -> Response:
    """What a call would send: `{ref, name, number, alias, sha256, endpoint, model, upstream, messages, body, tokens,
    price}`; `tokens` and `price` say what is counted and what is unknown. Nothing is sent."""
    wanted = await read_json(request, _Render, _MAX_RENDER_BYTES)
    version, alias = await control.publisher.run(
        lambda: prompt_render.find(control.publisher.registry, control.settings, wanted.ref)
    )
    key = kb_embed.key_of(request)
    knowledge = await prompt_render.found_knowledge(control, version, wanted.variables, key)
    rendered = await control.read(
        prompt_render.rendered, control, version, wanted.variables, wanted.endpoint, knowledge
    )
    return JSONResponse({"ref": f"{version.name}@{version.number}", "alias": alias, **value_json(rendered)})


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _as_of(values: Mapping[str, str]) -> int | None:
    return moment_us(values["as_of"], "as_of") if "as_of" in values else None


def _is_known(if_none_match: str | None, sha256: str) -> bool:
    """Whether the caller holds this content already (RFC 9110, weak comparison)."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return f'"{sha256}"' in tags or "*" in tags


_NAME = Parameter(name="name", help="Name of the prompt; may hold slashes.", where="path")
_AS_OF = Parameter(name="as_of", help="As it was at this time: 24h ago, or an ISO time.")
_TEXT = {"type": "string"}
_REASON = {"type": ["string", "null"], "description": "Kept in the history."}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/prompts",
        role="developer",
        handler=list_prompts,
        summary="All prompts with their aliases",
        parameters=(_AS_OF,),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/push",
        role="developer",
        handler=push,
        summary="Store prompt files as versions, all or none; the same content is the same version",
        body=_object(
            ["files"],
            files={"type": "array", "items": _object(["file", "text"], file=_TEXT, text=_TEXT)},
            message={"type": ["string", "null"]},
            git_commit={"type": ["string", "null"]},
            author={"type": ["string", "null"]},
        ),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/render",
        role="developer",
        handler=render,
        summary="What a call would send, with tokens and price; nothing is sent",
        body=_object(["ref"], ref=_TEXT, variables={"type": "object"}, endpoint=_TEXT),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/prompts/{name:path}/versions",
        role="developer",
        handler=show_versions,
        summary="The versions of a prompt, newest first",
        parameters=(_NAME, _AS_OF),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/prompts/{name:path}/diff",
        role="developer",
        handler=show_difference,
        summary="What differs between two versions, per field and message",
        parameters=(
            _NAME,
            Parameter(name="from", help="Number or alias of the version before."),
            Parameter(name="to", help="Number or alias of the version after."),
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/{name:path}/aliases",
        role="developer",
        handler=move_alias,
        summary="Point an alias to a version, on every worker within a second",
        parameters=(_NAME,),
        body=_object(
            ["alias", "version"],
            alias=_TEXT,
            version={"type": ["integer", "string"], "description": "A number, or an alias that stands there now."},
            reason=_REASON,
            override={"type": "boolean", "description": "Go past the rule that covers the move; needs approver."},
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/{name:path}/aliases/remove",
        role="developer",
        handler=remove_alias,
        summary="End an alias",
        parameters=(_NAME,),
        body=_object(["alias"], alias=_TEXT, reason=_REASON, override={"type": "boolean"}),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/{name:path}/rollback",
        role="developer",
        handler=rollback,
        summary="Point an alias (production unless told) back to the version it meant before",
        parameters=(_NAME,),
        body=_object([], alias=_TEXT, reason=_REASON),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/prompts/{name:path}/archive",
        role="developer",
        handler=archive,
        summary="Take a version out of service, or back; it still explains old requests",
        parameters=(_NAME,),
        body=_object(["version"], version={"type": "integer"}, archived={"type": "boolean"}, reason=_REASON),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/prompts/{name:path}",
        role="developer",
        handler=show_prompt,
        summary="A prompt, or one version of it with its content and its hash as ETag",
        parameters=(
            _NAME,
            Parameter(name="alias", help="The version this alias means; latest is always the newest."),
            Parameter(name="version", help="The version with this number.", kind="integer"),
            _AS_OF,
        ),
        errors=(400, 404),
    ),
)

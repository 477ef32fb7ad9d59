"""The API of classic models: upload, register, read, run again, archive. Aliases: `api_model_moves`.

A *summary* has name, description, aliases, latest, current, protected, task, version_count, updated_at; a *model* has
`versions` too; a *version* has number, ref, sha256, aliases, metrics, runner (its process) and more.
"""

import shutil
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.alias_moves import approval_json
from headgate.control.eval_json import receipt_json
from headgate.control.filters import moment_us, single_values, whole_number
from headgate.control.model_files import Staged, Uploads, place, stage
from headgate.control.model_json import details_json, evidence_json, model_json, summary_json
from headgate.control.model_runs import TOLERANCE, replay, try_again
from headgate.control.prompt_json import move_json
from headgate.control.publish import name_of
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_body, read_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.core.runner_states import read_states
from headgate.core.signature import changes_of_signature
from headgate.registry import models, receipts
from headgate.registry.model_rows import Model, ModelVersion

MAX_PIECE_BYTES = 4 << 20
_MAX_FACTS_BYTES = 256 << 10


class _Lineage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where a version comes from; the forms of `headgate model register`."""

    system: str  # git, dvc, dataset, sha256, uri
    locator: str
    rev: str | None = None
    hash: str | None = None
    size_bytes: int | None = None
    rows: int | None = None
    note: str | None = None


class _Register(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    upload: str
    metrics: dict[str, float | int | str | None] = {}
    metadata: dict[str, str | int | float | bool | None] = {}
    lineage: list[_Lineage] = []
    description: str | None = None
    message: str | None = None
    author: str | None = None
    git_commit: str | None = None
    features: list[str] = []
    classes: list[str] = []
    task: str | None = None
    predicted: str | None = None
    scores: str | None = None
    positive: str | None = None
    entity: str | None = None
    tolerance: float = TOLERANCE


class _Archive(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    archived: bool = True
    reason: str | None = None


class _Test(msgspec.Struct, forbid_unknown_fields=True):
    version: int | str


async def begin_upload(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"upload": id}`; pieces follow, then a registration names it. It is forgotten after an hour."""
    return JSONResponse({"upload": await control.read(_uploads(control).begin)})


async def add_piece(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"upload": id, "bytes": size}`; a piece has at most 4 MB and begins where the upload ends (`offset`)."""
    offset = whole_number(
        single_values(request.query_params.multi_items(), ["offset"]), "offset", 0, least=0, most=1 << 50
    )
    piece = await read_body(request, MAX_PIECE_BYTES)
    upload = request.path_params["upload"]
    size = await control.read(_uploads(control).add, upload, offset, piece)
    return JSONResponse({"upload": upload, "bytes": size})


async def register(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"version": version, "is_new", "signature_changes", "report": {rows, sample, joins, parity}}`: the bundle is
    checked, run once on its sample, and kept under its hash; the same content is the same version."""
    wanted = await read_json(request, _Register, _MAX_FACTS_BYTES)
    models.check_name(wanted.name)
    if wanted.task not in (None, "classification", "regression", "other"):
        raise MalformedRequest(f'task = "{wanted.task[:40]}"', hint="Allowed: classification, regression, other.")
    uploads = _uploads(control)
    given: dict[str, Any] = msgspec.to_builtins(wanted)
    staged: Staged | None = None
    try:
        limit_bytes = control.settings.models.max_file_mb << 20
        staged = await control.read(
            stage, control.home.path, uploads.path(wanted.upload), given, limit_bytes=limit_bytes
        )
        report = await control.read(
            replay, staged.directory, control.settings.models, tolerance=min(max(wanted.tolerance, 0.0), 1.0)
        )
        await control.read(place, staged, control.home.path)
    finally:
        uploads.remove(wanted.upload)
        if staged is not None:
            shutil.rmtree(staged.directory, ignore_errors=True)
    return JSONResponse(await _stored(control, who, wanted, staged, report))


async def _stored(
    control: ControlApp, who: Principal, wanted: _Register, staged: Staged, report: dict[str, Any]
) -> dict[str, Any]:
    registry, facts = control.publisher.registry, staged.facts
    found = {"producer": facts.producer, "ir_version": facts.ir_version, "opsets": facts.opsets, "nodes": facts.nodes}
    new = models.NewVersion(
        name=wanted.name,
        sha256=staged.manifest.sha256,
        manifest=staged.manifest.canonical().decode(),
        signature=staged.manifest.signature,
        size_bytes=staged.size_bytes,
        joins=report["joins"],
        metadata={**wanted.metadata, "onnx": found},
        metrics=wanted.metrics,
        lineage=msgspec.to_builtins(wanted.lineage),
        description=wanted.description,
        message=wanted.message,
        author=wanted.author,
        git_commit=wanted.git_commit,
    )
    reports: list[tuple[str, bool, dict[str, Any]]] = [("replay", True, {**report, "parity": None})]
    if report["parity"] is not None:
        reports.append(("parity", bool(report["parity"]["passed"]), report["parity"]))

    def store() -> tuple[models.Registered, Model]:
        done = models.register(registry, new, reports, who=name_of(who))
        return done, models.get_model(registry, wanted.name)

    done, model = await control.publisher.change(store)
    return {
        "version": details_json(done.version, model, None),
        "is_new": done.is_new,
        "signature_changes": _changes(model, done.version),
        "report": report,
    }


def _changes(model: Model, version: ModelVersion) -> list[str]:
    """What callers of the version in force would notice."""
    current = model.current(is_protected=False)
    before = None if current is None else model.version(current[0])
    if before is None or before.number == version.number:
        return []
    return changes_of_signature(before.signature, version.signature)


async def list_models(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"models": [summary]}` by name."""
    values = single_values(request.query_params.multi_items(), ["as_of"])
    as_of_us = moment_us(values["as_of"], "as_of") if "as_of" in values else None
    found = await control.publisher.run(lambda: models.list_models(control.publisher.registry, as_of_us))
    return JSONResponse({"models": [summary_json(model, control.settings) for model in found]})


async def show_model(control: ControlApp, request: Request, who: Principal) -> Response:
    """The model with its versions and moves; with `version` or `alias` that version: files, signature, metadata,
    metrics, lineage, runner, `evidence`, `approvals` and `receipts`."""
    values = single_values(request.query_params.multi_items(), ["alias", "version"])
    if len(values) == 2:
        raise MalformedRequest("Both alias and version are given.", hint="Give one of them.")
    name, registry = request.path_params["name"], control.publisher.registry
    model = await control.publisher.run(lambda: models.get_model(registry, name))
    states = read_states(control.home)
    if not values:
        moves = await control.publisher.run(lambda: models.moves(registry, name, limit=50))
        shown = model_json(model, control.settings, states)
        return JSONResponse({**shown, "moves": [move_json(move) for move in moves]})
    ref: int | str = values.get("alias") or whole_number(values, "version", 0, least=1, most=10**9)
    version = await control.publisher.run(lambda: models.get_version(registry, name, ref))
    evidence = await control.publisher.run(lambda: models.evidence(registry, name, version.number))
    approvals = await control.publisher.run(lambda: models.approvals_of(registry, name))
    held = await control.publisher.run(lambda: receipts.list_receipts(registry, f"model:{name}"))
    return JSONResponse(
        {
            **details_json(version, model, states.get(version.sha256)),
            "evidence": [evidence_json(one) for one in evidence],
            "approvals": [approval_json(one) for one in approvals if one.sha256 == version.sha256],
            "receipts": [receipt_json(one) for one in held if one.sha256 == version.sha256],
        }
    )


async def test_version(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"version": ref, "passed", "report": {rows, joins, parity}}`: the stored sample is run again in a process of its
    own and compared with the stored answer, row for row; kept as evidence. A resting runner then starts again."""
    wanted = await read_json(request, _Test)
    name, registry = request.path_params["name"], control.publisher.registry
    version = await control.publisher.run(lambda: models.get_version(registry, name, wanted.version))
    bundle = control.home.path / "models" / version.sha256
    report = await control.read(replay, bundle, control.settings.models, check=True)
    passed = bool(report["parity"] and report["parity"]["passed"])
    if passed:
        try_again(control.home, version.sha256)
    await control.publisher.run(
        lambda: models.add_evidence(registry, name, version.number, "replay", passed, report, who=name_of(who))
    )
    return JSONResponse({"version": f"{name}@{version.number}", "passed": passed, "report": report})


async def archive(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "version": version}`; with `"archived": false` the version comes back."""
    wanted = await read_json(request, _Archive)
    name, registry = request.path_params["name"], control.publisher.registry

    def change() -> tuple[ModelVersion, Model]:
        version = models.archive(
            registry, name, wanted.version, who=name_of(who), reason=wanted.reason, archived=wanted.archived
        )
        return version, models.get_model(registry, name)

    version, model = await control.publisher.change(change)
    return JSONResponse({"name": name, "version": details_json(version, model, None)})


def _uploads(control: ControlApp) -> Uploads:
    return Uploads(control.home.path, control.settings.models.max_file_mb << 20)


NAME = Parameter(name="name", help="Name of the model.", where="path")
TEXT = {"type": "string"}
REASON = {"type": ["string", "null"], "description": "Kept in the history."}
VERSION = {"type": ["integer", "string"], "description": "A number, or an alias that stands there now."}


def object_schema(required: list[str], **properties: Any) -> dict[str, Any]:
    """The JSON Schema of a request body."""
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_TEXT_OR_NONE = {"type": ["string", "null"]}
_LIST = {"type": "array", "items": TEXT}

ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/models",
        role="developer",
        handler=list_models,
        summary="All classic models with their aliases",
        parameters=(Parameter(name="as_of", help="As it was at this time: 24h ago, or an ISO time."),),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/uploads",
        role="developer",
        handler=begin_upload,
        summary="Begin the upload of a model's file or archive",
    ),
    ControlRoute(
        method="POST",
        path="/api/models/uploads/{upload}",
        role="developer",
        handler=add_piece,
        summary="Add a piece of at most 4 MB to an upload (any content type)",
        parameters=(
            Parameter(name="upload", help="Id of the upload.", where="path"),
            Parameter(name="offset", help="Where the piece begins: the bytes sent so far.", kind="integer"),
        ),
        errors=(400, 404, 413),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/register",
        role="developer",
        handler=register,
        summary="Check an uploaded ONNX model, run its sample, keep it as a version",
        body=object_schema(
            ["name", "upload"],
            name=TEXT,
            upload=TEXT,
            metrics={"type": "object", "description": "As the author measured them: recorded, no evidence."},
            metadata={"type": "object"},
            lineage={
                "type": "array",
                "items": object_schema(
                    ["system", "locator"],
                    system={"type": "string", "description": "git, dvc, dataset, sha256 or uri."},
                    locator=TEXT,
                    rev=_TEXT_OR_NONE,
                    hash=_TEXT_OR_NONE,
                    size_bytes={"type": ["integer", "null"]},
                    rows={"type": ["integer", "null"]},
                    note=_TEXT_OR_NONE,
                ),
            },
            description=_TEXT_OR_NONE,
            message=_TEXT_OR_NONE,
            author=_TEXT_OR_NONE,
            git_commit=_TEXT_OR_NONE,
            features=_LIST,
            classes=_LIST,
            task={"type": ["string", "null"], "description": "classification, regression or other."},
            predicted={"type": ["string", "null"], "description": "Output that holds the class or the number."},
            scores={"type": ["string", "null"], "description": "Output that holds a score per class."},
            positive=_TEXT_OR_NONE,
            entity={"type": ["string", "null"], "description": "Column that says whom a row is about."},
            tolerance={"type": "number"},
        ),
        errors=(400, 404, 503),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/{name}/test",
        role="developer",
        handler=test_version,
        summary="Run a version's stored sample again and compare it row for row",
        parameters=(NAME,),
        body=object_schema(["version"], version=VERSION),
        errors=(400, 404, 503),
    ),
    ControlRoute(
        method="POST",
        path="/api/models/{name}/archive",
        role="developer",
        handler=archive,
        summary="Take a version out of service, or back; it still explains old predictions",
        parameters=(NAME,),
        body=object_schema(["version"], version={"type": "integer"}, archived={"type": "boolean"}, reason=REASON),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/models/{name}",
        role="developer",
        handler=show_model,
        summary="A model, or one version of it with signature, lineage and evidence",
        parameters=(
            NAME,
            Parameter(name="alias", help="The version this alias means; latest is always the newest."),
            Parameter(name="version", help="The version with this number.", kind="integer"),
        ),
        errors=(400, 404),
    ),
)

"""The API of knowledge bases: read, compare, search, impact.

Answers are the shapes of `kb_json`: a *summary* (name, description, aliases, latest, current, protected, embedder,
documents, chunks), a *kb* (a summary with `versions`), a *version*.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import kb_embed, kb_search, queries
from headgate.control.access import Principal
from headgate.control.api_requests import chosen_filter
from headgate.control.filters import moment_us, single_values, whole_number
from headgate.control.kb_json import difference_json, kb_json, summary_json, version_json
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.rows import request_json
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.protection import PRODUCTION, rule_for
from headgate.registry import kbs
from headgate.registry.kbs import KbVersion
from headgate.retrieval import versions
from headgate.retrieval.model import MAX_TOP_K, Filter
from headgate.retrieval.service import Search

_MOST_IMPACT = 1000


class _Search(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    ref: int | str | None = None
    top_k: int = 4
    filter: Filter = {}
    min_score: float | None = None
    use: tuple[str, ...] = ("vectors", "keywords")


async def list_kbs(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"kbs": [summary]}` by name."""
    as_of_us = _as_of(single_values(request.query_params.multi_items(), ["as_of"]))
    found = await control.publisher.run(lambda: kbs.list_kbs(control.publisher.registry, as_of_us))
    return JSONResponse({"kbs": [summary_json(kb, control.settings) for kb in found]})


async def show_kb(control: ControlApp, request: Request, who: Principal) -> Response:
    """The knowledge base; with `version` also `"shown"`: that version with its manifest's sources."""
    values = single_values(request.query_params.multi_items(), ["version", "as_of"])
    kb = await _kb(control, request, _as_of(values))
    answer = kb_json(kb, control.settings)
    if "version" in values:
        version = kb.version(values["version"])
        manifest = await control.read(versions.read_manifest, control.home.path, version.sha256)
        answer["shown"] = {
            **version_json(version),
            "settings": manifest.settings,
            "sources": manifest.sources,
        }
    return JSONResponse(answer)


async def show_difference(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "from", "to", "documents": {added, removed, changed}, "chunks": {added, removed, kept}}`."""
    values = single_values(request.query_params.multi_items(), ["from", "to"])
    if len(values) != 2:
        raise MalformedRequest("Two versions are compared: from and to.", hint="For example ?from=production&to=latest")
    kb = await _kb(control, request)
    sides = [kb.version(values["from"]), kb.version(values["to"])]
    home = control.home.path

    def compare() -> dict[str, Any]:
        read = [(versions.read_manifest(home, one.sha256), versions.read_chunks(home, one.sha256)) for one in sides]
        return difference_json(read[0], read[1])

    found = await control.read(compare)
    return JSONResponse({"name": kb.name, "from": sides[0].number, "to": sides[1].number, **found})


async def search(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "version", "chunks": [{id, text, source, heading, score, metadata, vector_rank, keyword_rank,
    vector_score, keyword_score}]}`, best first. Without `ref` what the bare name means is searched."""
    wanted = await read_json(request, _Search)
    if not 0 < wanted.top_k <= MAX_TOP_K:
        raise MalformedRequest(f"top_k is from 1 to {MAX_TOP_K}, not {wanted.top_k}.")
    if not set(wanted.use) <= {"vectors", "keywords"} or not wanted.use:
        raise MalformedRequest("use lists vectors, keywords or both.")
    version = await _version(control, request, wanted.ref)
    asked = Search(
        version=version.sha256,
        query=wanted.query,
        top_k=wanted.top_k,
        filter=wanted.filter,
        min_score=wanted.min_score,
        use=wanted.use,
    )
    found = await kb_search.search(control, version, asked, kb_embed.key_of(request))
    return JSONResponse({"name": version.name, "version": version.number, "chunks": found})


async def impact(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"name", "document", "versions": [number], "requests": [row], "is_cut"}`: the answers that saw a document (or
    any chunk of the versions asked for), newest first; each row has `matched`, the chunks of the document it saw."""
    values = single_values(request.query_params.multi_items(), ["document", "version", "since", "until", "limit"])
    limit = whole_number(values, "limit", 200, least=1, most=_MOST_IMPACT)
    kb = await _kb(control, request)
    chosen_versions = [kb.version(values["version"])] if "version" in values else list(kb.versions)
    times: dict[str, str] = {name: values[name] for name in ("since", "until") if name in values}
    chosen = chosen_filter(control, times, who)
    chosen.add("kb_name = ?", kb.name)
    matched: dict[int, set[str]] = {}
    document = values.get("document")
    if document is not None:
        matched = await control.read(kb_search.chunks_of_document, control, chosen_versions, document)
        if not matched:
            raise NotFound(
                f'No version of {kb.name} has a document "{document[:200]}".',
                code="kb_document_missing",
                hint=f"Its documents: headgate kb show {kb.name}@latest",
            )
        chosen.add("list_has_any(kb_chunks, ?::VARCHAR[])", sorted(set[str]().union(*matched.values())))
    numbers = sorted(matched) if document is not None else [version.number for version in chosen_versions]
    chosen.add(f"kb_version IN ({', '.join('?' * len(numbers))})", *numbers)
    page = await control.read(queries.requests_page, control.log, chosen, limit=limit)
    rows = [
        {
            **request_json(row),
            "matched": [one for one in row["kb_chunks"] or [] if one in matched.get(row["kb_version"], ())],
        }
        for row in page.rows
    ]
    return JSONResponse(
        {
            "name": kb.name,
            "document": document,
            "versions": numbers,
            "requests": rows,
            "is_cut": page.older is not None,
        }
    )


async def _kb(control: ControlApp, request: Request, as_of_us: int | None = None) -> kbs.Kb:
    name = request.path_params["name"]
    return await control.publisher.run(lambda: kbs.get_kb(control.publisher.registry, name, as_of_us))


async def _version(control: ControlApp, request: Request, ref: int | str | None) -> KbVersion:
    kb = await _kb(control, request)
    if ref is None:
        current = kb.current(is_protected=rule_for(control.settings, "kb", kb.name, PRODUCTION) is not None)
        ref = PRODUCTION if current is None else current[0]
    return kb.version(ref)


def _as_of(values: Mapping[str, str]) -> int | None:
    return moment_us(values["as_of"], "as_of") if "as_of" in values else None


NAME = Parameter(name="name", help="Name of the knowledge base.", where="path")
_AS_OF = Parameter(name="as_of", help="As it was at this time: 24h ago, or an ISO time.")
TEXT = {"type": "string"}
MAYBE = {"type": ["string", "null"]}
REF = {"type": ["integer", "string"], "description": "A number, an alias, or latest."}


def shape(required: list[str], **properties: Any) -> dict[str, Any]:
    """JSON Schema of an object with these properties and no others."""
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/kb",
        role="developer",
        handler=list_kbs,
        summary="All knowledge bases with their aliases",
        parameters=(_AS_OF,),
    ),
    ControlRoute(
        method="GET",
        path="/api/kb/{name}",
        role="developer",
        handler=show_kb,
        summary="A knowledge base with its versions; with `version` the sources of that one",
        parameters=(NAME, Parameter(name="version", help="A number, an alias, or latest."), _AS_OF),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/kb/{name}/diff",
        role="developer",
        handler=show_difference,
        summary="Documents and chunks that differ between two versions",
        parameters=(
            NAME,
            Parameter(name="from", help="Number or alias of the version before."),
            Parameter(name="to", help="Number or alias of the version after."),
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="POST",
        path="/api/kb/{name}/search",
        role="app",
        handler=search,
        summary="The chunks that fit a question, by vectors and keywords",
        parameters=(NAME,),
        body=shape(
            ["query"],
            query=TEXT,
            ref={**REF, "type": ["integer", "string", "null"]},
            top_k={"type": "integer"},
            filter={"type": "object", "description": "Metadata field to the value, or the values, it must have."},
            min_score={"type": ["number", "null"], "description": "Least cosine."},
            use={"type": "array", "items": {"enum": ["vectors", "keywords"]}},
        ),
        errors=(400, 404),
    ),
    ControlRoute(
        method="GET",
        path="/api/kb/{name}/impact",
        role="developer",
        handler=impact,
        summary="The answers that saw a document, or any chunk of a version",
        parameters=(
            NAME,
            Parameter(name="document", help="Path of the document below the pushed folder."),
            Parameter(name="version", help="Only this version: number, alias or latest."),
            Parameter(name="since", help="Not before: 24h ago, or an ISO time."),
            Parameter(name="until", help="Before: 24h ago, or an ISO time."),
            Parameter(name="limit", help="At most so many rows (200; up to 1000).", kind="integer"),
        ),
        errors=(400, 404),
    ),
)

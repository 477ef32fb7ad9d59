"""Templates, static files and forms: what every page is made with."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from headgate.control.access import Principal
from headgate.control.routes import read_body
from headgate.control.state import ControlApp
from headgate.control.words import FILTERS
from headgate.core.errors import Forbidden, HeadgateError, MalformedRequest, NotFound

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: that would make browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_TYPES = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_MAX_FORM_BYTES = 16 << 10
_TITLES = {400: "That did not work", 401: "Sign in needed", 403: "Not allowed", 404: "Not found", 503: "Not ready"}


@dataclass(frozen=True, kw_only=True)
class StaticFile:
    """A file of the package, and the version that its address carries."""

    content: bytes
    media_type: str
    version: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Everything in the package's `static` folder, and the style of reports; read once."""
    found = {}
    # By the folder and not by the module: serving a style sheet must not bring in what makes reports.
    report = resources.files("headgate.evals") / "report" / "static" / "report.css"
    for file in (*(resources.files("headgate.control") / "static").iterdir(), report):
        ending = file.name.rpartition(".")[2]
        if ending in _TYPES:
            content = file.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            found[file.name] = StaticFile(content=content, media_type=_TYPES[ending], version=version)
    return found


def static_address(name: str) -> str:
    """The address of a static file, new whenever its content is."""
    return f"/ui/static/{name}?v={static_files()[name].version}"


@cache
def templates() -> Environment:
    """The page templates: everything escaped, a missing value is an error."""
    with (
        resources.as_file(resources.files("headgate.control") / "templates") as folder,
        resources.as_file(resources.files("headgate.evals") / "report" / "templates") as reports,
    ):
        environment = Environment(
            loader=FileSystemLoader([folder, reports]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
    environment.filters.update(FILTERS)
    environment.globals["static"] = static_address
    return environment


def page(
    control: ControlApp,
    template: str,
    who: Principal | None,
    *,
    status_code: int = 200,
    section: str = "requests",
    **values: Any,
) -> Response:
    """A page, with what every page needs: who looks at it and the token of its forms."""
    shown = None if who is None or who.via == "nobody" else who
    csrf = control.sessions.csrf_token(shown.session if shown else None)
    text = templates().get_template(template).render(who=shown, csrf=csrf, section=section, **values)
    return HTMLResponse(text.encode("utf-8", "replace"), status_code=status_code)


def error_page(control: ControlApp, error: HeadgateError, who: Principal | None) -> Response:
    """A refusal as a page."""
    return page(
        control,
        "error.html",
        who,
        status_code=error.status,
        title=_TITLES.get(error.status, "Something went wrong"),
        message=str(error),
        hint=error.hint,
    )


async def send_static(control: ControlApp, request: Request, who: Principal) -> Response:
    """A static file; its address changes with its content, so it may be kept."""
    file = static_files().get(request.path_params["name"])
    if file is None:
        raise NotFound("There is no such file.")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(file.content, media_type=file.media_type, headers=headers)


async def read_form(control: ControlApp, request: Request, who: Principal) -> dict[str, str]:
    """The fields of one of our forms; refused without this browser's token."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise MalformedRequest("This is not a form of these pages.")
    body = await read_body(request, _MAX_FORM_BYTES)
    try:
        fields = dict(parse_qsl(body.decode(), max_num_fields=20))
    except ValueError:
        raise MalformedRequest("The form cannot be read.") from None
    if not control.sessions.is_csrf_token(who.session, fields.get("csrf", "")):
        raise Forbidden(
            "The form is out of date: its token is not this session's.",
            code="csrf",
            hint="Load the page again and repeat.",
        )
    return fields

"""The control process's application: one table of routes, each behind the role it states."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headgate.control import (
    api_datasets,
    api_evals,
    api_export,
    api_gate,
    api_judges,
    api_kb,
    api_kb_moves,
    api_kb_push,
    api_keys,
    api_labels,
    api_misc,
    api_model_gate,
    api_model_moves,
    api_models,
    api_prompts,
    api_reports,
    api_requests,
    api_scores,
    api_upkeep,
    object_owners,
    pages,
    pages_kb,
    pages_models,
    pages_moves,
    pages_prompts,
    pages_runs,
)
from headgate.control.access import NOBODY, OPEN, Access, Principal
from headgate.control.html import SECURITY_HEADERS, error_page
from headgate.control.ingest import Ingest
from headgate.control.jobs import Jobs
from headgate.control.keyring import Keyring
from headgate.control.moves import MoveCopy
from headgate.control.prediction_rows import PredictionRows
from headgate.control.pricing_step import pricer
from headgate.control.publish import Publisher
from headgate.control.routes import ControlRoute, error_response
from headgate.control.run_copy import RunCopy, forget_expired
from headgate.control.session import Sessions
from headgate.control.state import ControlApp, Stored
from headgate.core.errors import HeadgateError, KeyRefused, NotFound
from headgate.core.home import Home
from headgate.core.ids import now_us
from headgate.core.settings import Settings
from headgate.pricing.catalog import Catalog
from headgate.registry.database import Database
from headgate.store.log import Log
from headgate.store.rows import RequestRow

ROUTES: tuple[ControlRoute, ...] = (
    *api_requests.ROUTES,
    *api_export.ROUTES,
    *api_keys.ROUTES,
    *api_gate.ROUTES,
    *api_prompts.ROUTES,
    *api_kb.ROUTES,
    *api_kb_moves.ROUTES,
    *api_kb_push.ROUTES,
    *api_datasets.ROUTES,
    *api_evals.ROUTES,
    *api_reports.ROUTES,
    *api_scores.ROUTES,
    *api_judges.ROUTES,
    *api_models.ROUTES,
    *api_model_moves.ROUTES,
    *api_model_gate.ROUTES,
    *api_labels.ROUTES,
    *api_misc.ROUTES,
    *api_upkeep.ROUTES,
    *pages.ROUTES,
    *pages_moves.ROUTES,
    *pages_prompts.ROUTES,
    *pages_runs.ROUTES,
    *pages_kb.ROUTES,
    *pages_models.ROUTES,
)
"""Everything that is served; a path that is not in it is 404 for everyone."""

_logger = logging.getLogger("headgate.control")


def build(
    home: Path,
    settings: Settings,
    *,
    log: Log | None = None,
    registry: Database | None = None,
    on_rows: Callable[[Sequence[RequestRow]], None] | None = None,
) -> ControlApp:
    """Open a home's log and registry and put the application on top; the caller runs ingest and closes it.

    Nothing is published: call ``publisher.publish()`` where workers run, ``publisher.load_keys()`` elsewhere.
    Raises HomeError.
    """
    opened_log = log if log is not None else Log.open(home)
    opened_registry = registry if registry is not None else Database.open(home)
    keyring, sessions, stored = Keyring(), Sessions(), Stored()
    catalog = Catalog(settings.prices)
    moves = MoveCopy(opened_log, opened_registry)
    moves.bring_up_to_date()
    finished = RunCopy(opened_log, opened_registry)
    finished.bring_up_to_date()

    def announce(rows: Sequence[RequestRow]) -> None:
        stored.announce(rows)
        if on_rows is not None:
            on_rows(rows)

    ingest = Ingest(home, opened_log, pricer(catalog), announce, PredictionRows(opened_registry))
    control = ControlApp(
        home=Home(home),
        settings=settings,
        log=opened_log,
        catalog=catalog,
        ingest=ingest,
        publisher=Publisher(home, settings, opened_registry, keyring, after_change=moves.bring_up_to_date),
        keyring=keyring,
        sessions=sessions,
        access=Access(settings.server, keyring, sessions),
        started_at_us=now_us(),
        routes=ROUTES,
        jobs=Jobs(
            home,
            opened_log,
            ingest,
            lambda: settings.log,
            after_retention=lambda: forget_expired(opened_log, opened_registry),
        ),
        runs=finished,
        stored=stored,
    )
    control.asgi = asgi(control)
    return control


def asgi(control: ControlApp) -> Starlette:
    """The application; every route behind its guard."""
    by_path: dict[str, dict[str, ControlRoute]] = {}
    for route in control.routes:
        by_path.setdefault(route.path, {})[route.method] = route
    app = Starlette(
        routes=[
            Route(path, _guarded(control, methods), methods=list(methods), include_in_schema=False)
            for path, methods in by_path.items()
        ]
        + [object_owners.route(control)],
        exception_handlers={HTTPException: _not_served(control)},
    )
    # A redirect would be built from the Host header; a path either is in the table or is not.
    app.router.redirect_slashes = False
    return app


def _guarded(control: ControlApp, methods: dict[str, ControlRoute]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        route = methods["GET" if request.method == "HEAD" else request.method]
        who: Principal | None = None
        try:
            control.access.check_origin(request)
            who = _principal(control, request, route)
            response = await route.handler(control, request, who)
        except HeadgateError as error:
            response = _refused(control, request, route, error, who)
        except Exception:  # the border of a request: one broken answer must not end the process
            _logger.exception("A defect while answering %s %s", request.method, route.path)
            response = _refused(control, request, route, _defect(), who)
        return _with_headers(response)

    return endpoint


def _defect() -> HeadgateError:
    return HeadgateError(
        "Headgate failed while answering; this is a defect of ours.",
        hint="The server's own output has the details.",
    )


def _principal(control: ControlApp, request: Request, route: ControlRoute) -> Principal:
    if route.role == OPEN:
        try:
            return control.access.principal(request) or NOBODY
        except KeyRefused:
            return NOBODY
    who = control.access.principal(request)
    control.access.require(who, route.role)
    return who or NOBODY


def _refused(
    control: ControlApp, request: Request, route: ControlRoute, error: HeadgateError, who: Principal | None
) -> Response:
    if not route.is_page:
        return error_response(error)
    if isinstance(error, KeyRefused) and error.code == "key_missing" and request.method == "GET":
        return RedirectResponse(pages.login_address(request), status_code=303)
    return error_page(control, error, who)


def _not_served(control: ControlApp) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, failure: Exception) -> Response:
        status = failure.status_code if isinstance(failure, HTTPException) else 500
        path = request.scope["path"][:200]
        if status == 405:
            error = HeadgateError(f"{request.method} is not possible on {path}.", code="method_not_allowed")
        else:
            error = NotFound(f"There is nothing at {path}.", hint="The API is described at /api/openapi.json.")
        error.status = status
        is_page = path == "/" or path.startswith("/ui")
        return _with_headers(error_page(control, error, None) if is_page else error_response(error))

    return handler


def _with_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response

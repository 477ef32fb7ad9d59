"""Which upstreams a request may go to, in order. Pure: settings in, a plan out."""

import posixpath
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote

from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.core.settings import Settings, Target, Upstream, nearest_route_names, route_for

_ACCOUNT_PATHS = ("/organization/", "/organizations/", "/projects/", "/webhook_endpoints/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The targets of one request, first to last, and when to go on to the next."""

    route: str | None  # the route's model name or glob; None: the dialect's default upstream
    targets: tuple[Target, ...]
    fallback_on: frozenset[int | str]
    max_attempts: int


def plan_for(settings: Settings, dialect: str, model: str | None) -> Plan:
    """The plan for ``model`` asked for in ``dialect``; without a model, the dialect's default upstream.

    Raises NotFound when no route matches, MalformedRequest when none of the route's targets speaks the dialect.
    """
    if model is None:
        upstream = settings.default_upstream(dialect)
        if upstream is None:
            raise NotFound(
                f"no upstream is the default for {dialect} requests without a model.",
                code="no_default_upstream",
                hint=f"Set server.default_upstream.{dialect}. {_file_of(settings)}",
            )
        return Plan(route=None, targets=(Target(upstream=upstream.name),), fallback_on=frozenset(), max_attempts=1)
    route = route_for(settings, model)
    if route is None:
        raise no_route(settings, model)
    targets = tuple(target for target in route.targets if settings.upstreams[target.upstream].speaks(dialect))
    if not targets:
        names = ", ".join(target.upstream for target in route.targets)
        raise MalformedRequest(
            f'no target of route "{route.model}" speaks {dialect}: {names}.',
            code="no_target",
            hint=f'Call model "{model}" through the other API, or add a target that speaks {dialect}.',
        )
    return Plan(
        route=route.model, targets=targets, fallback_on=frozenset(route.fallback_on), max_attempts=route.max_attempts
    )


def no_route(settings: Settings, model: str) -> NotFound:
    """The refusal of a model that no route knows."""
    routes = ", ".join(route.model for route in settings.routes) or "none"
    nearest = nearest_route_names(settings, model)
    text = f'no route for model "{model[:200]}". Routes: {routes}.'
    if nearest:
        text += f" Nearest: {', '.join(nearest)}."
    return NotFound(text, code="no_route", hint=_file_of(settings))


def _file_of(settings: Settings) -> str:
    return f"File: {settings.file}" if settings.file else "No file; write one: headgate init"


def check_path(upstream: Upstream, rest: bytes) -> None:
    """Raise Forbidden for a path that administers the account behind a stored key."""
    if upstream.auth == "caller" or upstream.kind == "demo":
        return
    plain = posixpath.normpath(unquote(rest.decode("latin-1")).lower())  # as an upstream may read it
    if not f"/{plain.lstrip('/')}/".startswith(_ACCOUNT_PATHS):
        return
    path = "/v1" + rest.decode("latin-1")
    if not any(fnmatchcase(path, glob) or fnmatchcase(rest.decode("latin-1"), glob) for glob in upstream.allow_paths):
        raise Forbidden(
            f'{path[:200]} administers the account behind upstream "{upstream.name}", whose key is stored here.',
            code="path_forbidden",
            hint=f'Allow it: [upstreams.{upstream.name}] allow_paths = ["{path[:200]}"]',
        )

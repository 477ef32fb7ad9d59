"""Finds the route of a model name."""

import difflib
import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

from headgate.core.settings_types import Route, Settings

_WILD = re.compile(r"[*?\[]")


def matches(glob: str, name: str) -> bool:
    """Whether ``name`` is ``glob``, or is matched by it (``*``, ``?``, ``[a-z]``; case matters)."""
    return name == glob or _compiled(glob).match(name) is not None


def route_for(settings: Settings, model: str) -> Route | None:
    """The first route that matches ``model``."""
    for route in settings.routes:
        if matches(route.model, model):
            return route
    return None


def nearest_route_names(settings: Settings, model: str, most: int = 3) -> list[str]:
    """Names like ``model`` that would find a route: routes' own names and the models their targets send."""
    wanted = model[:200]
    found = difflib.get_close_matches(wanted, list(_names(settings)), n=most, cutoff=0.5)
    return [name for name in found if name != model]


def _names(settings: Settings) -> Iterable[str]:
    names: dict[str, None] = {}
    for route in settings.routes:
        for name in (route.model, *(target.model for target in route.targets)):
            if name is not None and not is_glob(name) and route_for(settings, name) is not None:
                names[name] = None
    return names


def is_glob(name: str) -> bool:
    """Whether a route's model stands for many names."""
    return _WILD.search(name) is not None


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob) if is_glob(glob) else re.escape(glob) + r"\Z")

"""Whose prices a base URL has: from the host of an upstream to its id in the price list."""

import fnmatch
import tomllib
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from headgate.core.known_providers import provider_id


def provider_of(base_url: str) -> str | None:
    """The price list's id of the provider that answers at ``base_url``; None: unknown, so unpriced."""
    try:
        parts = urlsplit(base_url)
        host = (parts.hostname or "").rstrip(".")  # urlsplit lowers it
        known = provider_id(base_url)
    except ValueError:
        return None
    if known is not None:
        return known
    for pattern, path, provider in _hosts():
        if fnmatch.fnmatchcase(host, pattern) and f"{parts.path}/".startswith(path):
            return provider
    return None


@cache
def _hosts() -> tuple[tuple[str, str, str], ...]:
    text = files("headgate.pricing").joinpath("data", "hosts.toml").read_text(encoding="utf-8")
    return tuple(
        (host.partition("/")[0], f"/{host.partition('/')[2]}", provider)
        for provider, hosts in tomllib.loads(text).items()
        for host in hosts
    )

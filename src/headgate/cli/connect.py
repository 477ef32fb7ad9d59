"""Which gateway a command talks to: the one named, the one serving a home, or a stopped home's own files."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from headgate.cli.output import note
from headgate.core.addresses import is_loopback
from headgate.core.home import Home

if TYPE_CHECKING:
    from headgate.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PROBE_TIMEOUT_S = 2.0
OFFLINE_URL = "http://offline"
"""The address of a client that reads a stopped home's files."""
HOMES = (Path(".headgate"), Path(".headgate-demo"))


def home_option(command: _Command) -> _Command:
    """The option ``--home`` that every command working on stored data takes."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Work on this data directory: through its server when one runs, else on its files. "
        "Default: HEADGATE_URL; without it the server of ./.headgate, then http://127.0.0.1:4400, then the files "
        "of ./.headgate.",
    )(command)


@contextlib.contextmanager
def connect(home: Path | None, *, makes_log_anew: bool = False) -> "Iterator[Client]":
    """A client of the gateway that a command means.

    ``--home`` (or HEADGATE_HOME) means that data directory: its running server, else its files. Otherwise HEADGATE_URL
    means that address and nothing else. Otherwise: the server that runs on ./.headgate, else whatever answers at the
    default address, else the files of ./.headgate, said so on stderr. ``makes_log_anew``: see ``offline``.
    """
    place = _place(home)
    if place.url is not None:
        with _online(place.url, place.api_key) as client:
            yield client
        return
    if place.note:
        note(place.note)
    from headgate.cli.offline import offline

    with offline(place.home, makes_log_anew=makes_log_anew) as client:
        yield client


@contextlib.contextmanager
def running(home: Path | None) -> "Iterator[Client | None]":
    """A client of the running gateway that a command means; None when only files are there to be read."""
    place = _place(home)
    if place.url is None:
        yield None
        return
    with _online(place.url, place.api_key) as client:
        yield client


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where to ask: an address, or (url None) the files of a home."""

    url: str | None = None
    api_key: str | None = None
    home: Path = HOMES[0]
    note: str = ""


def _place(home: Path | None) -> _Place:
    from headgate.core.settings import client_environment, environment

    given = client_environment()
    if home is None and environment().get("HEADGATE_URL"):
        return _Place(url=given.url, api_key=given.api_key)
    named = home or given.home
    candidates = [named] if named is not None else [path for path in HOMES if path.is_dir()]
    for path in candidates:
        info = Home(path).server()
        # A directory that was only found, not named, must not decide where a key is sent.
        if info is not None and (named is not None or is_on_this_machine(info.url)):
            key = given.api_key or _admin_key(path, info.url, is_named=named is not None)
            return _Place(url=info.url, api_key=key, home=path)
    if not candidates or (named is None and _listens(given.url)):
        return _Place(url=given.url, api_key=given.api_key)
    said = f"No gateway answers at {given.url}; reading the files of {candidates[0]} instead."
    return _Place(home=candidates[0], note="" if named is not None else said)


@contextlib.contextmanager
def _online(url: str, api_key: str | None) -> "Iterator[Client]":
    from headgate.client import Client

    with Client(url, api_key=api_key) as client:
        yield client


def _admin_key(home: Path, url: str, *, is_named: bool) -> str | None:
    """An admin key for a home's own server on this machine: the minted one, else, for a home that was named, that of
    HEADGATE_ADMIN_KEY[_FILE] (commands in the server's container have it).
    """
    from headgate.core.settings import admin_key

    if not is_on_this_machine(url):
        return None
    try:
        minted = (home / "admin.key").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        minted = ""
    return minted or (admin_key() if is_named else None)


def is_on_this_machine(url: str) -> bool:
    """Whether an address is a loopback one."""
    return is_loopback(urlsplit(url).hostname or "")


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=_PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False

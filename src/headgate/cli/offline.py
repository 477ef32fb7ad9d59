"""A stopped home's files, opened through the same application that a server runs; the only module that does so."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from headgate.cli.connect import OFFLINE_URL
from headgate.cli.inprocess import InProcess, event_loop
from headgate.cli.output import note
from headgate.client import Client
from headgate.control.access import Access
from headgate.control.app import build
from headgate.control.main import drain
from headgate.control.state import ControlApp
from headgate.core.errors import ConfigurationError, HomeError
from headgate.core.home import Home
from headgate.core.settings import Server, Settings, load
from headgate.store.database import UNREADABLE, set_log_aside

WAIT_S = 5.0
"""How long to wait for a home that another command holds."""

_INGEST_LIMIT_S = 3600.0
_TRACES = ("requests.duckdb", "control.db", "spool")


@contextlib.contextmanager
def offline(path: Path, *, makes_log_anew: bool = False) -> Iterator[Client]:
    """A client of a home that no server holds: takes its lock, first stores what is in the spool, and on the way out
    takes deleted text out of the files. Whoever may read the files may do everything. ``makes_log_anew``: a log that
    cannot be opened is set aside and made from sealed files and spool. Raises HomeError.
    """
    home = Home(path)
    if not any((path / name).exists() for name in _TRACES):
        raise HomeError(
            f"There is no data directory at {path}.",
            hint="headgate serve makes one. Name another: --home DIR. A running server elsewhere: HEADGATE_URL.",
        )
    home.prepare()
    with home.locked(wait_s=WAIT_S), contextlib.ExitStack() as stack:
        control = _opened(home, makes_log_anew=makes_log_anew)
        stack.callback(control.close)
        control.publisher.load_keys()
        _let_in(control)
        drain(control, _INGEST_LIMIT_S)
        if control.ingest.problem is not None:
            note(f"Not everything in the spool could be stored: {control.ingest.problem}")
        assert control.asgi is not None
        loop = stack.enter_context(event_loop())
        loop.call_soon_threadsafe(control.stored.bind, loop)
        yield stack.enter_context(Client(OFFLINE_URL, transport=InProcess(control.asgi, loop)))
        _take_out_deleted(control)


def _opened(home: Home, *, makes_log_anew: bool) -> ControlApp:
    settings = settings_of(home)
    try:
        return build(home.path, settings)
    except HomeError as error:
        if error.code != UNREADABLE or not makes_log_anew:
            raise
        note(f"{error} It is kept as {set_log_aside(home.path).name} and made anew.")
    return build(home.path, settings)


def settings_of(home: Home) -> Settings:
    """The settings this home was last served with; else those of this directory; else nothing but a required key.

    A change of keys publishes them to the workers of the next start, so they must not be laxer than they were.
    """
    try:
        return msgspec.msgpack.decode((home.run / "settings.msgpack").read_bytes(), type=Settings)
    except (OSError, msgspec.MsgspecError):
        pass
    try:
        return load()
    except ConfigurationError:
        return Settings(server=Server(require_key=True))


def _let_in(control: ControlApp) -> None:
    """No key is asked for here; the settings that workers will get stay as they are."""
    server = replace(control.settings.server, require_key=False)
    control.access = Access(server, control.keyring, control.sessions)


def _take_out_deleted(control: ControlApp) -> None:
    if control.jobs is None:
        return
    for job in control.jobs.jobs:
        if job.name in ("tables", "deletion"):  # in that order: the copy of the tables holds text too
            job.run()

"""``headgate restart``: all workers of a running server replaced, without a refused request."""

import os
import signal
import time
from pathlib import Path

import click

from headgate.cli.connect import HOMES
from headgate.cli.output import emit_json
from headgate.cli.text import seconds
from headgate.core.errors import HeadgateError, HomeError, Unavailable
from headgate.core.home import Home, ServerInfo
from headgate.core.ids import monotonic_s

_POLL_S = 0.05


@click.command("restart")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The data directory of the server.  [default: HEADGATE_HOME, else ./.headgate, else ./.headgate-demo]",
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=120.0, show_default=True, metavar="S")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: restarts, seconds.")
def restart(home: Path | None, timeout_s: float, as_json: bool) -> None:
    """Replace all gateway workers of the server on this machine, one at a time.

    A new worker serves before an old one stops accepting. The old one answers what was begun, streams included, for up
    to server.drain_s, and asks clients on kept-alive connections to connect anew. The control process, its settings and
    the listening address stay. SIGHUP to the server does the same.

    \b
    Examples:
      headgate restart
      headgate restart --home /var/lib/headgate
    """
    served, info = _served(home)
    begin_s = monotonic_s()
    os.kill(info.pid, signal.SIGHUP)
    while True:
        now = served.server()
        if now is None or now.pid != info.pid:
            raise HomeError(f"The server of {served.path} ended during the restart.", hint="Start it: headgate serve")
        if now.restarts > info.restarts:
            break
        if monotonic_s() - begin_s > timeout_s:
            raise _NotInTime(
                f"The workers were not all replaced within {timeout_s:g} s; those that serve go on.",
                hint="The server's own output says why. An answer that is still being sent may hold one up: "
                "server.drain_s bounds that.",
            )
        time.sleep(_POLL_S)
    took_s = monotonic_s() - begin_s
    if as_json:
        emit_json({"restarts": now.restarts, "seconds": round(took_s, 3)})
    else:
        click.echo(f"All workers are replaced, in {seconds(took_s)}.")


class _NotInTime(Unavailable):
    """The server did not say in time that it is done."""


def _served(home: Path | None) -> tuple[Home, ServerInfo]:
    from headgate.core.settings import client_environment

    named = home or client_environment().home
    for path in [named] if named is not None else HOMES:
        info = Home(path).server()
        if info is not None:
            return Home(path), info
    where = named or HOMES[0]
    raise _NoServer(f"No server runs on {where}.", hint="Start one: headgate serve. Another data directory: --home DIR")


class _NoServer(HeadgateError):
    """There is nothing to restart."""

    code, status = "no_server", 404

"""The control process: `python -m headgate.control.main`, started by the supervisor, which hands it its socket."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import uvicorn

from headgate.control import samples
from headgate.control.app import build
from headgate.control.live import LiveOutput
from headgate.control.policies import check_policies
from headgate.control.state import ControlApp
from headgate.control.status import health_of
from headgate.core.bell import Bell
from headgate.core.errors import HeadgateError
from headgate.core.ids import monotonic_s
from headgate.core.parent import parent_ended
from headgate.core.settings import Settings
from headgate.core.terminal import STANDARD_OUTPUT, TerminalHandler
from headgate.core.unhurried import Unhurried
from headgate.store.database import spare_pandas

DRAIN_S = 10.0
BEAT_S = 2.0
ASK_S = 10.0
"""Between two real queries that tell whether the log answers, while it does: storing would tell sooner. One costs
milliseconds of DuckDB's threads."""
_logger = logging.getLogger("headgate.control")


class _Server(Unhurried, uvicorn.Server):
    """uvicorn without its own signal handling: it would raise the signal again when it is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM; the exit code is 2 when the home or the configuration cannot be used."""
    given = _arguments(arguments)
    logging.basicConfig(level=logging.WARNING, handlers=[TerminalHandler()], format="headgate control: %(message)s")
    try:
        settings = msgspec.msgpack.decode(given.settings.read_bytes(), type=Settings)
        with contextlib.ExitStack() as stack:
            live = None if given.live == "off" else LiveOutput(STANDARD_OUTPUT, given.live)
            if live is not None:
                stack.callback(live.close)
            control = build(given.home.absolute(), settings, on_rows=live.show if live else None)
            stack.callback(control.close)
            prepare(control, settings, _admin_key(given.admin_key_fd))
            asyncio.run(serve(control, given.fd, given.ready_fd))
    except HeadgateError as error:
        _logger.error("%s", error.sentence)
        return 2
    return 0


def prepare(control: ControlApp, settings: Settings, admin_key: str | None = None) -> None:
    """What must be true before a worker starts: the policies that protect aliases can be read, someone is admin where
    keys are needed, the demo has its samples, and a snapshot is published.
    """
    check_policies(settings)
    minted = control.publisher.ensure_admin_key(admin_key)
    if settings.source == "demo":
        registry = control.publisher.registry
        asyncio.run(control.publisher.change(lambda: samples.push_missing(control.home.path, registry, settings)))
    else:
        control.publisher.publish()
    if minted is not None and settings.server.require_key:
        _logger.warning("The first admin key is in %s", minted)


async def serve(control: ControlApp, fd: int, ready_fd: int | None) -> None:
    """Serve, store and keep house until SIGTERM or the parent's end; then store what the spools still hold."""
    loop = asyncio.get_running_loop()
    control.stored.bind(loop)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    assert control.asgi is not None and control.jobs is not None
    config = uvicorn.Config(
        control.asgi,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    listener = socket.socket(fileno=fd)
    with contextlib.closing(Bell(control.home)) as bell:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(control.ingest.run(bell))
            housework = tasks.create_task(control.jobs.run())
            serving = tasks.create_task(server.serve(sockets=[listener]))
            beating = tasks.create_task(_beat(control))
            watching = tasks.create_task(_watch_parent(stopping))
            if ready_fd is not None:
                _say_ready(ready_fd)
            await asyncio.wait({asyncio.ensure_future(stopping.wait()), serving}, return_when=asyncio.FIRST_COMPLETED)
            server.end()
            await serving
            for task in (beating, watching):
                task.cancel()
            control.jobs.stop()
            await housework
            control.ingest.stop()
    await asyncio.to_thread(drain, control)


def drain(control: ControlApp, limit_s: float = DRAIN_S) -> None:
    """Blocking: store what the spools of ended workers still hold, as far as the time allows; the rest waits there."""
    deadline_s = monotonic_s() + limit_s
    # Two empty rounds: the first closes the spools whose writers have ended.
    empty_rounds = 0
    while empty_rounds < 2 and monotonic_s() < deadline_s and not control.ingest.is_stalled:
        empty_rounds = empty_rounds + 1 if control.ingest.guarded_step() == 0 else 0
    try:
        control.log.checkpoint()
    except HeadgateError as error:
        _logger.warning("%s", error.sentence)


async def _beat(control: ControlApp) -> None:
    """Tell the workers, by the age of a file, whether what they record is being stored (`/readyz`), and see to it that
    the snapshot they start from is there."""
    path = control.home.run / "control.beat"
    problem: str | None = None
    is_ok, asked_s = False, 0.0
    while True:
        if is_ok and monotonic_s() - asked_s < ASK_S:
            is_ok = not control.ingest.is_behind
        else:
            is_ok = (await asyncio.to_thread(health_of, control)).status == "ok"
            asked_s = monotonic_s()
        if is_ok:
            with contextlib.suppress(OSError):
                path.touch(mode=0o600)
        try:
            await control.publisher.keep_published()
            problem = None
        except HeadgateError as error:
            if error.sentence != problem:  # said once, not every second
                problem = error.sentence
                _logger.error("%s", problem)
        await asyncio.sleep(BEAT_S)


async def _watch_parent(stopping: asyncio.Event) -> None:
    """Stop when the supervisor is gone: the next one needs the home for itself."""
    await parent_ended()
    stopping.set()


def _say_ready(ready_fd: int) -> None:
    with contextlib.suppress(OSError):
        os.write(ready_fd, b"\n")
        os.close(ready_fd)


def _admin_key(descriptor: int | None) -> str | None:
    """The admin key of the supervisor's environment: handed over by a pipe, which can be read once."""
    if descriptor is None:
        return None
    with open(descriptor, "rb") as pipe:
        return pipe.read().decode()


class _Given(argparse.Namespace):
    home: Path
    settings: Path
    fd: int
    ready_fd: int | None
    admin_key_fd: int | None
    live: Literal["plain", "json", "off"]


def _arguments(arguments: list[str] | None) -> _Given:
    parser = argparse.ArgumentParser(prog="headgate.control", description="Started by headgate serve.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--settings", type=Path, required=True, help="msgpack of the settings; holds no secret")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--admin-key-fd", type=int, help="the pipe that holds the admin key, when one is given")
    parser.add_argument("--live", choices=["plain", "json", "off"], default="off")
    return parser.parse_args(arguments, namespace=_Given())


if __name__ == "__main__":
    spare_pandas()
    sys.exit(main())

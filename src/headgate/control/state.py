"""The control process as a value: what every handler is given."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from starlette.types import ASGIApp

from headgate.control.access import Access
from headgate.control.ingest import Ingest
from headgate.control.jobs import Jobs
from headgate.control.kb_push import Pushes
from headgate.control.keyring import Keyring
from headgate.control.long_tasks import LongTasks
from headgate.control.publish import Publisher
from headgate.control.routes import ControlRoute
from headgate.control.run_copy import RunCopy
from headgate.control.session import Sessions
from headgate.core.errors import Unavailable
from headgate.core.home import Home
from headgate.core.settings import Settings
from headgate.pricing.catalog import Catalog
from headgate.store.log import Log
from headgate.store.rows import RequestRow

_P = ParamSpec("_P")
_T = TypeVar("_T")
_READERS = 4
_MAX_WAITING = 64


class Stored:
    """Tells the event loop that rows were stored, whichever thread stored them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake waiters on this loop."""
        self._loop = loop

    def announce(self, rows: Sequence[RequestRow]) -> None:
        """From any thread: these rows are stored."""
        if rows and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def wait(self, timeout_s: float) -> None:
        """Until something is stored, or the time is over."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(event)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()


@dataclass(kw_only=True, eq=False)
class ControlApp:
    """Everything the control process holds; ``asgi`` serves it."""

    home: Home
    settings: Settings
    log: Log
    catalog: Catalog
    ingest: Ingest
    publisher: Publisher
    keyring: Keyring
    sessions: Sessions
    access: Access
    started_at_us: int
    routes: tuple[ControlRoute, ...] = ()
    jobs: Jobs | None = None
    runs: RunCopy | None = None
    stored: Stored = field(default_factory=Stored)
    asgi: ASGIApp | None = None
    tasks: LongTasks = field(default_factory=LongTasks)
    pushes: Pushes = field(default_factory=Pushes)
    _readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_READERS, thread_name_prefix="headgate-read")
    )
    _reading: int = 0
    _evaluator: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="headgate-evaluate")
    )
    _evaluating: int = 0

    async def read(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking function off the event loop; refused when too many wait already."""
        if self._reading >= _MAX_WAITING:
            raise Unavailable("The control process is busy with other questions.", hint="Try again in a few seconds.")
        self._reading += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, lambda: function(*args, **kwargs))
        finally:
            self._reading -= 1

    async def evaluate(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run blocking work that may take long (judging a run) in its turn, beside all other questions."""
        if self._evaluating >= _MAX_WAITING:
            raise Unavailable("The control process is busy with other evaluations.", hint="Try again in a minute.")
        self._evaluating += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._evaluator, lambda: function(*args, **kwargs))
        finally:
            self._evaluating -= 1

    async def copy_runs(self) -> None:
        """Bring the log's views of runs up to date."""
        if self.runs is not None:
            await self.evaluate(self.runs.bring_up_to_date)

    def close(self) -> None:
        """Close the log and the registry; what is not yet stored waits in the spool."""
        self._evaluator.shutdown(wait=True, cancel_futures=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        self.log.close()
        self.publisher.close()

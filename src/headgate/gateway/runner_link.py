"""The worker's end of a model runner: one connection per version, many calls on it at a time."""

import asyncio
from typing import Protocol, cast

from headgate.core.errors import RequestError, Unavailable
from headgate.core.home import Home
from headgate.core.ids import monotonic_s, now_us
from headgate.core.runner_states import Wishes, read_states, socket_name
from headgate.wire.frames import BUSY, GOODBYE, HELLO, INFER, Frame, FrameError, FrameReader, Tensor, decode, encode

START_S = 20.0
_POLL_S = 0.02
_PENDING_LIMIT = 1024
_USE_NOTED_S = 5.0
_BUSY_S = 1


class RunnerBusy(RequestError):
    """More calls wait for the model than it can take."""

    code, status = "model_busy", 429


class Answered(Protocol):
    """Who waits for a runner's answer. Called from the event loop, once."""

    def model_answered(self, frame: Frame) -> None: ...

    def model_failed(self, error: RequestError, retry_after_s: int) -> None: ...


class _Connection(asyncio.Protocol):
    """One connection to one runner process."""

    def __init__(self, link: "RunnerLink") -> None:
        self._link = link
        self._reader = FrameReader()
        self.transport: asyncio.Transport
        self.pending: dict[int, Answered] = {}
        self.unheard: dict[int, bytes] = {}  # sent before the runner has said hello: may be sent again elsewhere
        self.is_accepted = self.is_leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for raw in self._reader.feed(data):
                self._take(decode(raw))
        except FrameError:
            self.transport.abort()

    def _take(self, frame: Frame) -> None:
        if frame.kind == HELLO:
            self.is_accepted = True
            self.unheard.clear()
            return
        if frame.kind == GOODBYE:
            self.is_leaving = True
            self._link.forget(self)
        else:
            waiting = self.pending.pop(frame.id, None)
            if waiting is not None:
                self._link.deliver(waiting, frame)
        if self.is_leaving and not self.pending:
            self.transport.close()

    def send(self, frame_id: int, data: bytes, waiting: Answered) -> None:
        """Send a call."""
        self.pending[frame_id] = waiting
        if not self.is_accepted:
            self.unheard[frame_id] = data
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.forget(self)
        pending, self.pending = self.pending, {}
        for frame_id, waiting in pending.items():
            if frame_id in self.unheard:
                self._link.again(self.unheard[frame_id], frame_id, waiting)
            else:
                self._link.crashed(waiting)


class RunnerLink:
    """All calls of one version."""

    def __init__(self, home: Home, wishes: Wishes, sha256: str, name: str) -> None:
        self._home, self._wishes, self._sha256, self._name = home, wishes, sha256, name
        self._address = home.socket_address(socket_name(sha256))
        self._connection: _Connection | None = None
        self._next_id = 1
        self._waiting: dict[int, tuple[bytes, Answered]] = {}  # until there is a connection
        self._dialling: asyncio.Task[None] | None = None
        self._noted_s = 0.0
        self.used_s = monotonic_s()

    # Calls.

    def call(self, tensors: list[Tensor], waiting: Answered) -> int:
        """Send a call; its answer, or why there is none, comes to ``waiting``. The number takes it back."""
        frame_id = self._next_id
        self._next_id = 1 if frame_id >= 0xFFFF_FFFF else frame_id + 1
        data = encode(frame_id, INFER, tensors)
        now_s = self.used_s = monotonic_s()
        if now_s - self._noted_s > _USE_NOTED_S:
            self._noted_s = now_s
            self._wishes.send(self._sha256)
        connection = self._connection
        if connection is not None and not connection.transport.is_closing():
            if len(connection.pending) >= _PENDING_LIMIT:
                raise self._busy()
            connection.send(frame_id, data, waiting)
        else:
            self._wait(frame_id, data, waiting)
        return frame_id

    def cancel(self, frame_id: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(frame_id, None)
        if self._connection is not None:
            self._connection.pending.pop(frame_id, None)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting and (self._connection is None or not self._connection.pending)

    def close(self) -> None:
        """Close the connection."""
        if self._dialling is not None:
            self._dialling.cancel()
        if self._connection is not None:
            self._connection.transport.close()

    # From the connection.

    def deliver(self, waiting: Answered, frame: Frame) -> None:
        """An answer has come."""
        if frame.kind == BUSY:
            waiting.model_failed(self._busy(), _BUSY_S)
        else:
            waiting.model_answered(frame)

    def forget(self, connection: _Connection) -> None:
        """Calls from now on need another connection."""
        if self._connection is connection:
            self._connection = None

    def again(self, data: bytes, frame_id: int, waiting: Answered) -> None:
        """The runner never took this call: another one may."""
        self._wait(frame_id, data, waiting)

    def crashed(self, waiting: Answered) -> None:
        """The runner ended while it had the call."""
        waiting.model_failed(
            Unavailable(
                f"the process of model {self._name} ended while it had this request.",
                code="model_crashed",
                hint="It is started again by itself; see headgate model show.",
            ),
            _BUSY_S,
        )

    # Without a connection.

    def _busy(self) -> RunnerBusy:
        return RunnerBusy(f"model {self._name} has {_PENDING_LIMIT} requests waiting.", hint="Try again in a second.")

    def _wait(self, frame_id: int, data: bytes, waiting: Answered) -> None:
        if len(self._waiting) >= _PENDING_LIMIT:
            raise self._busy()
        self._waiting[frame_id] = data, waiting
        if self._dialling is None or self._dialling.done():
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        deadline_s = monotonic_s() + START_S
        self._wishes.send(self._sha256)
        while True:
            try:
                _, connection = await asyncio.get_running_loop().create_unix_connection(
                    lambda: _Connection(self), self._address
                )
            except OSError:
                problem: tuple[RequestError, int] | None = self._fault(deadline_s)
            else:
                self._connected(connection)
                if await self._heard(connection, deadline_s):
                    return
                problem = self._fault(deadline_s)
                if problem is not None:
                    self._disconnect(connection)
            if problem is not None:
                self._fail_all(*problem)
                return
            await asyncio.sleep(_POLL_S)

    def _connected(self, connection: _Connection) -> None:
        self._connection = connection
        waiting, self._waiting = self._waiting, {}
        for frame_id, (data, one) in waiting.items():
            connection.send(frame_id, data, one)

    async def _heard(self, connection: _Connection, deadline_s: float) -> bool:
        """Until the runner says hello. The supervisor holds the socket, so connecting alone tells nothing."""
        while not connection.is_accepted:
            if connection.transport.is_closing() or self._fault(deadline_s) is not None:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _disconnect(self, connection: _Connection) -> None:
        for frame_id, waiting in connection.pending.items():
            self._waiting[frame_id] = b"", waiting
        connection.pending = {}
        self.forget(connection)
        connection.transport.abort()

    def _fault(self, deadline_s: float) -> tuple[RequestError, int] | None:
        """Why waiting is of no use, and after how many seconds it may be."""
        state = read_states(self._home).get(self._sha256)
        if state is not None and state.state in ("backoff", "quarantined"):
            wait_s = max(1, round((state.retry_at_us - now_us()) / 1e6))
            error = Unavailable(
                f"model {self._name} is not running: {state.reason}.",
                code="model_down",
                hint=f"It is tried again in {wait_s} s; see headgate model show.",
            )
            return error, wait_s
        if monotonic_s() > deadline_s:
            late = Unavailable(
                f"model {self._name} did not start within {START_S:g} s.",
                code="model_down",
                hint="See the server's output, and headgate model show.",
            )
            return late, 5
        return None

    def _fail_all(self, error: RequestError, retry_after_s: int) -> None:
        waiting, self._waiting = self._waiting, {}
        for _, one in waiting.values():
            one.model_failed(error, retry_after_s)


class RunnerLinks:
    """The links of one worker, by version; those of versions nobody calls are closed."""

    _LIMIT = 64

    def __init__(self, home: Home) -> None:
        self._home = home
        self._wishes = Wishes(home)
        self._links: dict[str, RunnerLink] = {}

    def link(self, sha256: str, name: str) -> RunnerLink:
        """The link to a version."""
        link = self._links.get(sha256)
        if link is None:
            if len(self._links) >= self._LIMIT:
                self._drop_oldest()
            link = self._links[sha256] = RunnerLink(self._home, self._wishes, sha256, name)
        return link

    def _drop_oldest(self) -> None:
        idle = [(link.used_s, sha256) for sha256, link in self._links.items() if link.is_idle]
        if idle:
            self._links.pop(min(idle)[1]).close()

    def close(self) -> None:
        """Close all."""
        for link in self._links.values():
            link.close()
        self._wishes.close()

"""What every request of one worker shares: the snapshot, the spool, the pools of connections, the deadlines."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from headgate.core.arrivals import Arrivals
from headgate.core.bell import Rope
from headgate.core.errors import ConfigurationError, DiskFull, HeadgateError, Overloaded
from headgate.core.home import Home
from headgate.core.ids import monotonic_s, now_us
from headgate.core.settings import Settings, Upstream, secret_of
from headgate.gateway.beat import Beat
from headgate.gateway.copies import Copies
from headgate.gateway.dial import DIRECT, Way, way_of
from headgate.gateway.head import SECRET_LEAST_BYTES
from headgate.gateway.held import Holding
from headgate.gateway.memo import Memo
from headgate.gateway.route import Plan, plan_for
from headgate.gateway.upstream import Origin, Pool, origin_of
from headgate.snapshot import Snapshot, SnapshotReader, snapshot_path
from headgate.spool.counters import CounterFile
from headgate.spool.record import Outcome
from headgate.spool.writer import SpoolWriter

if TYPE_CHECKING:
    from headgate.gateway.owners import Owners
    from headgate.gateway.resolve import Library
    from headgate.gateway.runner_link import RunnerLinks

_SPOOLED = ("started", "recorded", "dropped", "dropped_starts", "shed", "syncs", "sync_failures")
_REFUSED = ("refused_overloaded", "refused_disk_full")
_TOTALS = (*_SPOOLED, *_REFUSED, *(f"outcome_{outcome}" for outcome in get_args(Outcome)))
_GAUGES = ("in_flight", "open_connections", "unsynced_ms", "generation")
_PLANS_LIMIT = 4096
_HOSTS_LIMIT = 64
_TICK_S = 0.9
_BEHIND_S = 5.0
_DOWN_S = 15.0
_logger = logging.getLogger("headgate.gateway")


class Waiting(Protocol):
    """Something with a deadline on the monotonic clock (seconds); infinity: none.

    ``has_moved``: there was progress since the last sweep, so the deadline is renewed instead of kept; one flag
    costs less than a clock read for every piece of every stream.
    """

    deadline_s: float
    has_moved: bool

    def stop(self) -> None: ...

    def renew(self, now_s: float) -> None: ...

    def deadline_passed(self) -> None: ...


class UpstreamHandle:
    """One configured upstream, ready to call: its pool, and the line that carries its credential."""

    def __init__(self, upstream: Upstream, pool: Pool) -> None:
        self.upstream = upstream
        self.pool = pool
        self.host = pool.origin.host_header
        self.name_line = f"x-headgate-upstream: {upstream.name}\r\n".encode()
        self.extra = tuple(f"{name}: {value}".encode() for name, value in upstream.headers.items())
        self.can_inject_usage = upstream.usage == "inject"
        self.secrets: tuple[bytes, ...] = ()  # what was sent of them, to be removed from what is logged
        self._credential: bytes | None = None
        self._has_read = False

    @property
    def origin(self) -> Origin:
        return self.pool.origin

    def credential(self) -> bytes | None:
        """The header line with the stored secret; None when the upstream asks for none. Raises ConfigurationError."""
        if self.upstream.auth == "caller":
            return None
        if not self._has_read:
            secret = secret_of(self.upstream)
            if secret is not None:
                stored = secret.encode("latin-1", "replace")
                self.secrets = (stored,) if len(stored) >= SECRET_LEAST_BYTES else ()
                value = self.upstream.auth_value(secret)
                self._credential = f"{self.upstream.auth_header}: {value}".encode("latin-1")
            elif self.upstream.api_key_env or self.upstream.api_key_file:
                raise ConfigurationError(
                    f'upstream "{self.upstream.name}" has no key: '
                    f"{self.upstream.api_key_env or self.upstream.api_key_file} is empty.",
                    code="upstream_key_missing",
                    hint="Set it where headgate serve is started.",
                )
            self._has_read = True
        return self._credential


class Worker:
    """The shared state of one gateway worker."""

    def __init__(self, path: Path, number: int) -> None:
        self.home = Home(path)
        self.number = number
        self._reader = SnapshotReader(path)
        self.snapshot: Snapshot = self._reader.load()
        log = self.settings.log
        self.spool = SpoolWriter(path / "spool", worker=number, durability=log.durability)
        self.counters = CounterFile(self.home.run / f"worker-{number}.counters", _TOTALS + _GAUGES, resumed=_TOTALS)
        self._told = dict.fromkeys(_SPOOLED, 0)
        self._take_over(self.snapshot)
        self._pools: dict[tuple[Origin, Way], Pool] = {}
        self._handles: dict[str, UpstreamHandle] = {}
        self._plans: dict[tuple[str, str | None], Plan] = {}
        self._library: Library | None = None
        self._runners: RunnerLinks | None = None
        self._owners: Owners | None = None
        self._waiting: set[Waiting] = set()
        self.copies = Copies(self.home.run)
        self.holding = Holding(self.home.run)
        self.heads = Memo()
        self._on_sweep: list[Callable[[float], None]] = []
        self._beat = Beat(self._sweep)
        self._arrivals = Arrivals(snapshot_path(path).parent)
        self._rope = Rope(self.home)
        self._ticked_s = 0.0
        self.is_group = log.durability == "group"
        self.is_draining = False
        self.is_replaced = False  # draining, while another worker serves what is new
        self.open_connections: Callable[[], int] = lambda: 0
        self.spool.on_loss = self._publish_counters  # at once: these counts are all that is left of a dropped record

    @property
    def settings(self) -> Settings:
        return self.snapshot.settings

    # What a request asks for.

    def plan(self, dialect: str, model: str | None) -> Plan:
        """The plan for a model, remembered while the snapshot lasts."""
        key = (dialect, model)
        plan = self._plans.get(key)
        if plan is None:
            plan = plan_for(self.settings, dialect, model)
            if len(self._plans) >= _PLANS_LIMIT:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def library(self) -> "Library":
        """The compiled prompts; made when the first is called."""
        if self._library is None:
            from headgate.gateway.resolve import Library

            self._library = Library()
        return self._library

    def runners(self) -> "RunnerLinks":
        """The connections to model runners; made when the first model is called."""
        if self._runners is None:
            from headgate.gateway.runner_link import RunnerLinks

            self._runners = RunnerLinks(self.home)
        return self._runners

    def owners(self) -> "Owners":
        """Which upstream made which object; made where several upstreams speak one dialect."""
        if self._owners is None:
            from headgate.gateway.owners import Owners

            self._owners = Owners(self)
        return self._owners

    def has_several(self, dialect: str) -> bool:
        """Whether more than one upstream speaks ``dialect``, so that an object may be at one and not at another."""
        return dialect in self._several

    def handle(self, name: str) -> UpstreamHandle:
        """The upstream called ``name``."""
        handle = self._handles.get(name)
        if handle is None:
            upstream = self.settings.upstreams[name]
            if upstream.base_url.startswith("unix:"):
                socket_path = self.home.socket_address(upstream.base_url.removeprefix("unix:"))
                origin = origin_of("http://demo/v1", socket_path)
            else:
                origin = origin_of(upstream.base_url)
            handle = self._handles[name] = UpstreamHandle(upstream, self.pool(origin, way_of(upstream)))
        return handle

    def pool(self, origin: Origin, way: Way = DIRECT) -> Pool:
        """The connections to ``origin`` by ``way``. Raises ConfigurationError."""
        pool = self._pools.get((origin, way))
        if pool is None:
            tls = way.tls() if origin.is_tls else None
            pool = self._pools[origin, way] = Pool(origin, tls, way)
        return pool

    def fault_of_load(self) -> HeadgateError | None:
        """Why no more can be taken on now, counted; None: it can. A request that asks counts as being served."""
        if len(self._waiting) > self.max_in_flight:
            self.counters.add("refused_overloaded")
            return Overloaded(
                f"this worker serves {self.max_in_flight} requests already, as many as it may.",
                hint="Try again in a moment. Raise server.max_in_flight or server.workers where that happens often.",
            )
        return self.fault_of_disk()

    def fault_of_disk(self) -> HeadgateError | None:
        """Why nothing can be recorded now, counted; None: it can, or need not."""
        if self.refuses_when_full and not self.spool.writable:
            self.counters.add("refused_disk_full")
            return DiskFull(
                "the disk has no room for the record of this request, and log.on_disk_full is refuse.",
                hint="Make room on the disk; requests are served again within seconds. The upstream was not called.",
            )
        return None

    # Deadlines: one timer for all.

    def watch(self, waiting: Waiting) -> None:
        """Have ``deadline_passed`` called within a quarter second of the deadline."""
        self._waiting.add(waiting)
        if self._beat.rests:
            self._beat.stir()

    def unwatch(self, waiting: Waiting) -> None:
        """Stop watching."""
        self._waiting.discard(waiting)

    def on_sweep(self, callback: Callable[[float], None]) -> None:
        """Call ``callback`` with the monotonic time at every sweep, up to two seconds apart."""
        self._on_sweep.append(callback)

    @property
    def in_flight(self) -> int:
        """How many requests are being served."""
        return len(self._waiting)

    async def run(self) -> None:
        """Sweep deadlines, follow the snapshot, keep the spool rolling, until cancelled."""
        loop = asyncio.get_running_loop()
        descriptor = self._arrivals.fileno()
        if self._arrivals.is_open:
            loop.add_reader(descriptor, self._look_at_arrivals, loop)
        self._beat.start()
        try:
            await loop.create_future()
        finally:
            self._beat.stop()
            if descriptor >= 0:
                loop.remove_reader(descriptor)

    def _look_at_arrivals(self, loop: asyncio.AbstractEventLoop) -> None:
        self._arrivals.take_note()
        if not self._arrivals.is_open:
            loop.remove_reader(self._arrivals.fileno())
        self._reload_if_changed()

    def _sweep(self) -> bool:
        """Whether the next one must come soon."""
        now_s = monotonic_s()
        for waiting in list(self._waiting):
            if waiting.has_moved:
                waiting.has_moved = False
                waiting.renew(now_s)
            elif waiting.deadline_s < now_s:
                waiting.deadline_passed()
        for callback in self._on_sweep:
            callback(now_s)
        self._reload_if_changed()
        self._publish_counters()
        if now_s - self._ticked_s >= _TICK_S:
            self._ticked_s = now_s
            self.spool.tick()
            for pool in self._pools.values():
                pool.expire()
        is_due = self.is_draining or not self.spool.writable or not self._arrivals.is_open
        return is_due or bool(self._waiting)

    def accept_host(self, host: bytes) -> None:
        """Remember a Host header that was found to be ours."""
        if len(self.accepted_hosts) < _HOSTS_LIMIT:
            self.accepted_hosts.add(host)

    def store_state(self) -> str:
        """ok, behind or down: what the control process last said of itself."""
        try:
            age_s = now_us() / 1e6 - (self.home.run / "control.beat").stat().st_mtime
        except OSError:
            return "down"
        return "ok" if age_s < _BEHIND_S else "behind" if age_s < _DOWN_S else "down"

    def _reload_if_changed(self) -> None:
        if not self._reader.changed():
            return
        try:
            fresh = self._reader.load()
        except HeadgateError as error:
            _logger.error("snapshot not taken over, the last good one stays: %s", error.sentence)
            return
        if fresh.settings != self.settings:
            self._handles.clear()
        self._plans.clear()
        self._take_over(fresh)

    def _take_over(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.known_hosts = _known_hosts(snapshot.settings)
        self.accepted_hosts: set[bytes] = set()
        upstreams = snapshot.settings.upstreams.values()
        dialects = ("openai", "anthropic")
        self._several = frozenset(one for one in dialects if sum(upstream.speaks(one) for upstream in upstreams) > 1)
        self.max_body_bytes = snapshot.settings.server.max_body_bytes
        self.max_in_flight = snapshot.settings.server.max_in_flight
        self.refuses_when_full = snapshot.settings.log.on_disk_full == "refuse"
        self.recalls_heads = snapshot.settings.server.recall_heads
        self.capture = snapshot.settings.log.capture
        self.capture_bytes = snapshot.settings.log.capture_bytes
        self.counters.set("generation", snapshot.generation)

    def count(self, outcome: Outcome) -> None:
        """Count a request that ended."""
        self.counters.add(f"outcome_{outcome}")

    def _publish_counters(self) -> None:
        spooled = self.spool.counters
        if spooled.recorded != self._told["recorded"]:
            self._rope.pull()
        for name in _SPOOLED:
            value = getattr(spooled, name)
            self.counters.add(name, value - self._told[name])
            self._told[name] = value
        self.counters.set("unsynced_ms", round(self.spool.unsynced_s() * 1000))
        self.counters.set("in_flight", len(self._waiting))
        self.counters.set("open_connections", self.open_connections())

    def stop_waiting(self) -> None:
        """Cut what has not ended by the end of the drain; each leaves its record."""
        for waiting in list(self._waiting):
            waiting.stop()

    def close(self) -> None:
        """Close the pools and the spool: what is appended stays."""
        self._publish_counters()
        for pool in self._pools.values():
            pool.close()
        if self._runners is not None:
            self._runners.close()
        self.spool.close()
        self._arrivals.close()
        self._rope.close()
        self.counters.set("unsynced_ms", 0)


def _known_hosts(settings: Settings) -> frozenset[str]:
    """The Host names answered to, with and without a port, in lower case."""
    server = settings.server
    bound = f"[{server.host}]" if ":" in server.host else server.host
    return frozenset(("localhost", "127.0.0.1", "[::1]", bound.lower(), *(host.lower() for host in server.hosts)))

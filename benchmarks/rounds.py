"""The measurement: every phase of every round goes through all gateways before the next one begins."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import machine
from driver import STREAM_EVENTS, Driven, Load, Mock, chat_body, drive
from gateways import Gateway

GAP_MS = 5.0
_TTFB_EVENTS = 10  # short streams, so that few are open at once
_LATENCY_RATE = 40.0
_TTFB_RATE = 20.0
_WARM_UP_S = 0.3
_QUIET_WINDOW_S = 0.25
_QUIET_SHARE = 0.1  # of a core
_SETTLE_LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One kind of load, applied to one gateway at a time."""

    name: str
    body_kb: int = 1
    is_stream: bool = False
    connections: int = 32
    rate: float | None = None
    events: int = STREAM_EVENTS
    gap_ms: float = 0.0
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one phase of one round said of one gateway."""

    driven: Driven
    relay_cpu_s: float  # of the process that relays, while the load ran
    tree_cpu_s: float  # of all its processes, until what came in was stored
    foreign: float  # share of the measured core used by others while the load ran

    def per_request_us(self) -> float:
        """CPU of the relay for one request."""
        return self.relay_cpu_s / self.driven.answered * 1e6

    def per_event_us(self) -> float:
        """CPU of the relay for one event that arrived."""
        return self.relay_cpu_s / self.driven.events * 1e6

    def tree_per_request_us(self) -> float:
        """CPU of all processes for one request."""
        return self.tree_cpu_s / self.driven.answered * 1e6

    def tree_per_event_us(self) -> float:
        """CPU of all processes for one event that arrived."""
        return self.tree_cpu_s / self.driven.events * 1e6


@dataclass(kw_only=True)
class Footprint:
    """Memory in MiB and idle CPU of one gateway, before and after the load."""

    relay_idle: machine.Memory
    tree_idle_mib: float
    idle_share: float  # of a core, all processes
    relay_after: machine.Memory | None = None
    tree_after_mib: float = 0.0


@dataclass(kw_only=True)
class Results:
    """Everything measured, by gateway name."""

    rounds: int
    phases: Sequence[Phase]
    readings: dict[str, dict[str, list[Reading]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    footprints: dict[str, Footprint] = field(default_factory=dict)

    def errors(self, name: str) -> int:
        """Requests that failed, of one gateway."""
        return sum(one.driven.errors for readings in self.readings[name].values() for one in readings)

    def foreign(self, name: str) -> float:
        """The worst share of the measured core that others used in a phase of one gateway whose CPU counts."""
        counted = [phase.name for phase in self.phases if phase.rate is None]
        return max(one.foreign for phase in counted for one in self.readings[name][phase])


def rate_of(body_kb: int) -> float:
    """Requests a second that every gateway is given alike."""
    return min(1000.0, 40_000 / body_kb)


def phases(sizes_kb: Sequence[int], *, is_quick: bool) -> list[Phase]:
    """The phases of one round."""
    seconds = 1.0 if is_quick else 2.0
    return [
        *(Phase(name=f"requests {kb}", body_kb=kb, seconds=seconds) for kb in sizes_kb),
        *(Phase(name=f"rate {kb}", body_kb=kb, rate=rate_of(kb), seconds=1.5 * seconds) for kb in sizes_kb),
        Phase(name="events", is_stream=True, connections=64, gap_ms=GAP_MS, seconds=1.5 * seconds),
        Phase(name="latency", connections=16, rate=_LATENCY_RATE, seconds=1.5 * seconds),
        Phase(
            name="first byte",
            is_stream=True,
            connections=16,
            rate=_TTFB_RATE,
            events=_TTFB_EVENTS,
            gap_ms=GAP_MS,
            seconds=1.5 * seconds,
        ),
    ]


class Rounds:
    """One run over gateways that are all up already."""

    def __init__(self, cache: Path, mock: Mock, gateways: Sequence[Gateway], say: Callable[[str], None]) -> None:
        self._cache = cache
        self._mock = mock
        self._gateways = gateways
        self._say = say

    def run(self, rounds: int, steps: Sequence[Phase], *, idle_s: float) -> Results:
        """Measure; the order of the gateways moves on by one each time."""
        results = Results(rounds=rounds, phases=steps)
        for gateway in self._gateways:
            self._wake(gateway)
        for gateway in self._gateways:
            self._settle(gateway)
        self._note_idle(results, idle_s)
        turn = 0
        for number in range(1, rounds + 1):
            for phase in steps:
                self._mock.pace(events=phase.events, gap_ms=phase.gap_ms)
                for index in range(len(self._gateways)):
                    gateway = self._gateways[(index + turn) % len(self._gateways)]
                    reading = self._measure(gateway, phase)
                    results.readings[gateway.name][phase.name].append(reading)
                    self._say(f"round {number}/{rounds}, {phase.name}, {gateway.name}: {_in_short(phase, reading)}")
                turn += 1
        self._mock.pace()
        self._note_after(results)
        return results

    def _wake(self, gateway: Gateway) -> None:
        """Wait until it answers, and have it do some of everything once."""
        deadline_s = time.monotonic() + 30
        once = Phase(name="once", connections=1, seconds=5)
        while True:
            seen = self._drive(gateway, once, most=1)
            if seen.answered:
                break
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{gateway.name} does not relay: {seen.error_text}")
            time.sleep(0.2)
        for is_stream in (False, True):
            self._drive(gateway, Phase(name="warm", is_stream=is_stream, connections=8, seconds=1))

    def _measure(self, gateway: Gateway, phase: Phase) -> Reading:
        if phase.rate is None:
            self._drive(gateway, phase, seconds=_WARM_UP_S)
            self._settle(gateway)
        pids = gateway.pids
        relay = [] if gateway.relay_pid is None else [gateway.relay_pid]
        busy, wall_s = machine.core_busy_s(machine.MEASURED_CORE), time.monotonic()
        relay_s, tree_s = machine.cpu_of(relay), machine.cpu_of(pids)
        driven = self._drive(gateway, phase)
        relay_s = machine.cpu_of(relay) - relay_s
        wall_s = time.monotonic() - wall_s
        busy = machine.core_busy_s(machine.MEASURED_CORE) - busy
        self._settle(gateway)
        return Reading(
            driven=driven,
            relay_cpu_s=relay_s,
            tree_cpu_s=machine.cpu_of(pids) - tree_s,
            foreign=max(0.0, (busy - relay_s) / wall_s),
        )

    def _drive(
        self, gateway: Gateway, phase: Phase, *, seconds: float | None = None, most: int | None = None
    ) -> Driven:
        driven = drive(
            self._cache,
            Load(
                body=self._body(gateway, phase),
                port=gateway.port,
                path=gateway.path,
                headers=gateway.headers,
                connections=phase.connections,
                seconds=seconds or phase.seconds,
                rate=phase.rate,
                most=most,
            ),
        )
        gateway.sent += driven.sent
        return driven

    def _body(self, gateway: Gateway, phase: Phase) -> Path:
        name = f"body-{gateway.model.replace(':', '')}-{phase.body_kb}-{'stream' if phase.is_stream else 'whole'}.json"
        path = self._cache / name
        path.write_bytes(chat_body(gateway.model, phase.body_kb * 1024, is_stream=phase.is_stream))
        return path

    def _settle(self, gateway: Gateway) -> None:
        """Wait until what came in is stored and sealed, and all its processes are quiet."""
        deadline_s = time.monotonic() + _SETTLE_LIMIT_S
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline_s:
            before_s = machine.cpu_of(gateway.pids)
            time.sleep(_QUIET_WINDOW_S)
            spent_s = machine.cpu_of(gateway.pids) - before_s
            is_sealed = gateway.home is None or not any(gateway.home.glob("spool/*/*.done"))
            quiet = quiet + 1 if spent_s < _QUIET_SHARE * _QUIET_WINDOW_S and is_sealed else 0

    def _note_idle(self, results: Results, idle_s: float) -> None:
        running = [gateway for gateway in self._gateways if gateway.relay_pid is not None]
        before_s = {gateway.name: machine.cpu_of(gateway.pids) for gateway in running}
        time.sleep(idle_s)
        for gateway in running:
            assert gateway.relay_pid is not None
            results.footprints[gateway.name] = Footprint(
                relay_idle=machine.memory_of(gateway.relay_pid),
                tree_idle_mib=machine.shared_out_mib(gateway.pids),
                idle_share=(machine.cpu_of(gateway.pids) - before_s[gateway.name]) / idle_s,
            )

    def _note_after(self, results: Results) -> None:
        for gateway in self._gateways:
            if gateway.relay_pid is not None:
                footprint = results.footprints[gateway.name]
                footprint.relay_after = machine.memory_of(gateway.relay_pid)
                footprint.tree_after_mib = machine.shared_out_mib(gateway.pids)


def _in_short(phase: Phase, reading: Reading) -> str:
    driven = reading.driven
    trouble = f", ERRORS {driven.errors}: {driven.error_text}" if driven.errors else ""
    if phase.rate is not None:
        return f"{driven.latency_ms:.2f} ms, first byte {driven.first_byte_ms:.2f} ms{trouble}"
    if phase.is_stream:
        return f"{reading.per_event_us():.1f} us/event, {driven.events} events{trouble}"
    return f"{reading.per_request_us():.1f} us/request, {driven.per_s:.0f}/s{trouble}"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several rounds of one figure."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Median and extremes."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values))

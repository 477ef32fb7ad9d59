"""The fault harness: `make reliability` injects faults into running servers and prints what was lost and duplicated.

Each phase has an upstream that counts what it saw, clients that count what was acknowledged, and a judge that compares
both with the log. The tests run the phases with few faults; this program runs them with many.
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import quantiles

from faults.table import HEAD, Line, seconds
from faults.worker_phases import overload, power_cuts
from support.failing_disk import ERRORS, NO_COMPILER, failing_disk
from support.fault_proxy import FaultProxy
from support.judge import Judgement, judge
from support.load import CountingUpstream, Load
from support.server import RunningServer, eventually
from support.small_disk import NO_RIGHT, small_disk

VICTIMS = ("worker", "control", "worker", "tree", "worker", "control", "tree")
_DEADLINES = "timeout = {connect_s = 2, first_byte_s = 2, between_bytes_s = 1}\n"


@dataclass
class Bench:
    """One server under load in front of a counting upstream."""

    server: RunningServer
    upstream: CountingUpstream
    load: Load

    def line(self, fault: str, injected: int, recovery_s: Sequence[float], *, dropped: int = 0) -> Line:
        """Stop the load and judge."""
        self.load.stop()
        found = judge(self.server, self.load, self.upstream, dropped=dropped)
        return line_of(fault, injected, found, recovery_s, dropped=dropped)


def line_of(fault: str, injected: int, found: Judgement, recovery_s: Sequence[float], *, dropped: int = 0) -> Line:
    """A judgement as a line of the table; drops that were counted are not lost silently, and are said."""
    return Line(
        fault=fault,
        injected=injected,
        requests=found.sent,
        acknowledged=found.acknowledged,
        lost=len(found.lost) - dropped,
        duplicated=found.duplicated,
        wrong=len(found.wrong),
        recovery_s=tuple(recovery_s),
        note=f"{dropped} counted drops" if dropped else "",
    )


def bench(
    stack: ExitStack, directory: Path, *, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Bench:
    """A running server and its load, closed with ``stack``."""
    upstream = stack.enter_context(closing(CountingUpstream()))
    server = RunningServer(directory, upstream.config(), arguments=arguments, environ=environ)
    stack.enter_context(closing(server))
    server.start()
    load = Load(server.port).start()
    stack.callback(load.stop)
    return Bench(server=server, upstream=upstream, load=load)


def kills(directory: Path, count: int, seed: int) -> Line:
    """kill -9 of a worker, the control process or the whole tree, at random moments; once without DuckDB's WAL."""
    moment = random.Random(seed)
    with ExitStack() as stack:
        on = bench(stack, directory, arguments=["--workers", "2"])
        recovery_s: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
        for number, victim in enumerate(islice(cycle(VICTIMS), count)):
            on.load.await_more(5, within_s=60)
            time.sleep(moment.uniform(0, 0.1))
            recovery_s[victim].append(_kill_and_recover(on, victim, moment, delete_wal=number == 3))
        on.load.await_more(20)
        line = on.line("kill -9 of worker, control, tree", count, [*chain(*recovery_s.values())])
        note = ", ".join(f"{victim} {seconds(values)}" for victim, values in recovery_s.items() if values)
        return line.with_note(note)


def _kill_and_recover(on: Bench, victim: str, moment: random.Random, *, delete_wal: bool) -> float:
    """Seconds from the kill until the process is there again and a call that began after it was answered."""
    server = on.server
    began_s = time.monotonic()
    if victim == "tree":
        server.kill_all()
        if delete_wal:
            (server.home / "requests.duckdb.wal").unlink(missing_ok=True)
        server.start()
        on.load.await_more(on.load.clients, within_s=60)
        return time.monotonic() - began_s
    killed = server.kill(victim, moment.randrange(2) if victim == "worker" else 0)
    wanted = 2 if victim == "worker" else 1
    eventually(
        lambda: len(pids := server.pids(victim)) == wanted and killed not in pids, within_s=30, what=f"a new {victim}"
    )
    on.load.await_more(on.load.clients, within_s=60)
    return time.monotonic() - began_s


def network(directory: Path, count: int, seed: int, *, sides: Sequence[str] = ("upstream", "client")) -> Line:
    """Answers that are reset, cut short, stalled, delayed and split on their way: from the upstream, to the client."""
    with ExitStack() as stack:
        upstream = stack.enter_context(closing(CountingUpstream()))
        port, proxies = upstream.port, []
        if "upstream" in sides:
            proxies.append(stack.enter_context(closing(FaultProxy(port, seed=seed))))
            port = proxies[-1].port
        server = RunningServer(directory, upstream.config(port=port, more=_DEADLINES))
        stack.enter_context(closing(server))
        server.start()
        port = server.port
        if "client" in sides:
            proxies.append(stack.enter_context(closing(FaultProxy(port, seed=seed))))
            port = proxies[-1].port
        on = Bench(server=server, upstream=upstream, load=Load(port, patience_s=2).start())
        stack.callback(on.load.stop)
        for proxy in proxies:
            eventually(partial(_has_injected, proxy, count), within_s=count * 2 + 30, what=f"{count} faults")
        injected = sum(proxy.injected.total() for proxy in proxies)
        return on.line(f"{' and '.join(sides)}: reset, cut, stall, delay, split", injected, ())


def _has_injected(proxy: FaultProxy, count: int) -> bool:
    return proxy.injected.total() >= count


def disk_full(directory: Path, count: int, seed: int) -> Line:
    """No segment can be made: a worker starts on a full disk, its siblings go on, and there is room again."""
    with ExitStack() as stack:
        on = bench(stack, directory)
        recovery_s: list[float] = []
        for _ in range(count):
            on.load.await_more(10)
            _limit_files(on.server, 1 << 16)
            on.server.kill("worker")  # the next one inherits the limit from the supervisor: it starts without room
            on.load.await_more(30, within_s=60)
            began_s = time.monotonic()
            _limit_files(on.server, resource.RLIM_INFINITY)
            eventually(lambda: on.server.ask("/readyz")[0] == 200, within_s=10, what="logging again")
            recovery_s.append(time.monotonic() - began_s)
        on.load.await_more(10)
        on.load.stop()
        return on.line("disk full, policy serve", count, recovery_s, dropped=_dropped(on.server))


def _dropped(server: RunningServer) -> int:
    """What the workers counted as dropped; they tell it four times a second."""
    counts: list[int] = []
    while len(counts) < 3 or len({*counts[-3:]}) > 1:
        counts.append(int(server.api("/api/status")["counters"]["dropped"]))
        time.sleep(0.3)
    return counts[-1]


def _limit_files(server: RunningServer, most_bytes: int) -> None:
    assert server.process is not None
    for pid in (server.process.pid, *server.pids("worker")):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


def filesystem_full(directory: Path, count: int, seed: int) -> Line:
    """The filesystem under spool and log is full; needs the right to mount one. Recovery is until all is stored."""
    fault = "filesystem of spool and log full"
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(directory / "home", 200))
        if disk is None:
            return Line.not_run(fault, NO_RIGHT)
        on = bench(stack, directory)
        recovery_s: list[float] = []
        held_back = 0
        for _ in range(count):
            on.load.await_more(10)
            disk.fill()
            on.load.await_more(100, within_s=60)
            held_back = max(held_back, len(on.load.acknowledged) - _stored(on.server))
            disk.empty()
            wanted, began_s = len(on.load.acknowledged), time.monotonic()
            _await_stored(on.server, wanted, within_s=60)
            recovery_s.append(time.monotonic() - began_s)
        on.load.stop()
        found = on.line(fault, count, recovery_s, dropped=_dropped(on.server))
        return found.with_note(f"{found.note} up to {held_back} records waited in the spool".strip())


def log_fails(directory: Path, count: int, seed: int) -> Line:
    """Writes and syncs of the log's own files fail from a random one on: within a commit, a checkpoint, a reopening.

    DuckDB may then report a failure of a commit that was durable. Recovery is from the disk's being well again until
    what was acknowledged by then is stored.
    """
    fault, chance = "writes of the log fail (EIO, ENOSPC)", random.Random(seed)
    disk = failing_disk(directory / "disk")
    if disk is None:
        return Line.not_run(fault, NO_COMPILER)
    with ExitStack() as stack:
        on = bench(stack, directory, environ=disk.environ)
        recovery_s: list[float] = []
        failed = 0
        for _ in range(count):
            on.load.await_more(10)
            disk.break_after(chance.randrange(60), chance.choice(ERRORS))
            eventually(lambda: disk.failed, within_s=60, what="a write of the log that fails")
            time.sleep(chance.uniform(0, 1))
            failed += disk.failed
            disk.mend()
            wanted, began_s = len(on.load.acknowledged), time.monotonic()
            _await_stored(on.server, wanted, within_s=60)
            recovery_s.append(time.monotonic() - began_s)
        return on.line(fault, count, recovery_s).with_note(f"{failed} calls failed")


@dataclass(frozen=True, kw_only=True)
class ControlStop:
    """What clients and the worker felt of a stopped control process, and how fast it caught up afterwards."""

    line: Line
    stopped_s: float
    before_s: Sequence[float]  # what each call took, of those answered before it was stopped
    meanwhile_s: Sequence[float]  # and of those answered while it was
    grown_mb: float  # of the worker's resident memory
    live_rate: float  # rows a second that arrived while it was stopped
    catch_up_rate: float  # rows a second that were stored once it went on, with the load going on

    @property
    def catch_up(self) -> float:
        """How many times faster than rows arrive they are stored."""
        return self.catch_up_rate / self.live_rate

    def __str__(self) -> str:
        p50_ms, p99_ms = (
            f"{_percentile_ms(self.before_s, rank):.0f} to {_percentile_ms(self.meanwhile_s, rank):.0f} ms"
            for rank in (50, 99)
        )
        return (
            f"{self.stopped_s:.0f} s; worker grew by {self.grown_mb:.1f} MB; latency from before to meanwhile: "
            f"p50 {p50_ms}, p99 {p99_ms}; {self.catch_up_rate:,.0f} rows/s stored afterwards, "
            f"{self.catch_up:.1f} times the {self.live_rate:,.0f} that arrived"
        )


def _percentile_ms(values_s: Sequence[float], rank: int) -> float:
    return quantiles(values_s, n=100)[rank - 1] * 1000


def stopped_control(directory: Path, seconds: float) -> ControlStop:
    """Stop the control process (SIGSTOP) for so long under a load that goes on until the log has caught up."""
    with ExitStack() as stack:
        on = bench(stack, directory)
        on.load.await_more(100)  # the first calls of a new worker open connections and files
        (control,) = on.server.pids("control")
        (worker,) = on.server.pids("worker")
        began_s = time.monotonic()
        time.sleep(min(max(seconds / 4, 3), 15))
        resident, stored = _resident_bytes(worker), _stored(on.server)
        stopped_at_s = time.monotonic()
        os.kill(control, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(control, signal.SIGCONT)
        went_on_at_s, wanted = time.monotonic(), len(on.load.acknowledged)
        grown_mb = (_resident_bytes(worker) - resident) / 1e6
        while _stored(on.server) < wanted:
            assert time.monotonic() < went_on_at_s + seconds + 60, f"{wanted} rows are not stored"
            time.sleep(0.2)  # each look is a query of the log, which is busy
        recovery_s = time.monotonic() - went_on_at_s
        line = on.line("control process stopped", 1, [recovery_s])
        meanwhile_s = on.load.took_between(stopped_at_s, went_on_at_s)
        found = ControlStop(
            line=line,
            stopped_s=went_on_at_s - stopped_at_s,
            before_s=on.load.took_between(began_s, stopped_at_s),
            meanwhile_s=meanwhile_s,
            grown_mb=grown_mb,
            live_rate=len(meanwhile_s) / (went_on_at_s - stopped_at_s),
            catch_up_rate=(wanted - stored) / recovery_s,
        )
        return replace(found, line=line.with_note(str(found)))


def control_stopped(directory: Path, seconds: int, seed: int) -> Line:
    """The control process is stopped (SIGSTOP) under load; recovery is until what was acknowledged then is stored."""
    return stopped_control(directory, seconds).line


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _await_stored(server: RunningServer, count: int, *, within_s: float) -> None:
    eventually(lambda: _stored(server) >= count, within_s=within_s, what=f"{count} rows")


def _stored(server: RunningServer) -> int:
    """How many rows the log has; 0 while it does not answer."""
    status, page = server.ask("/api/requests", {"limit": 1})
    return int(page["total"]["requests"]) if status == 200 else 0


Phase = Callable[[Path, int, int], Line]
# name: (phase, faults in `make reliability` at 200 kills)
PHASES: dict[str, tuple[Phase, float]] = {
    "kills": (kills, 1.0),
    "upstream": (partial(network, sides=("upstream",)), 1.0),
    "client": (partial(network, sides=("client",)), 1.0),
    "disk": (disk_full, 0.025),
    "filesystem": (filesystem_full, 0.015),
    "log": (log_fails, 0.1),
    "control": (control_stopped, 0.15),
    "power": (power_cuts, 0.1),
    "overload": (overload, 0.05),
}
# Only when named, to see what they cost: these settings promise less than nothing lost.
LOSING: dict[str, tuple[Phase, float]] = {
    "power-interval": (partial(power_cuts, durability="interval"), 0.1),
    "power-page": (partial(power_cuts, durability="page"), 0.1),
}


def main(arguments: Sequence[str]) -> int:
    """Run the phases, print the table; 1 when anything was lost, duplicated or wrong."""
    parser = argparse.ArgumentParser(prog="make reliability")
    parser.add_argument("--kills", type=int, default=200, help="the other faults are in proportion (default 200)")
    parser.add_argument("--seed", type=int, default=None, help="for the same moments again")
    parser.add_argument("--only", choices=[*PHASES, *LOSING], action="append", help="these phases only")
    options = parser.parse_args(arguments)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}\n\n{HEAD}", flush=True)
    is_sound = True
    for name, (phase, share) in {**PHASES, **LOSING}.items():
        if name in (options.only or PHASES):
            with tempfile.TemporaryDirectory(prefix="headgate-faults-") as directory:
                line = phase(Path(directory), max(1, round(options.kills * share)), seed)
            is_sound = is_sound and line.is_sound
            print(line, flush=True)
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

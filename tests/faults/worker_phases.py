"""The phases of the fault harness that need one worker only: power cuts, and three times the load it can carry."""

import random
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from faults.table import Line
from headgate.core.settings import Log, Server, Upstream
from headgate.spool.reader import SpoolReader, spools
from headgate.spool.record import FinalRecord
from headgate.spool.writer import Durability
from support import power
from support.client import Got, read_answer, request_bytes
from support.load import CountingUpstream, Load
from support.settings import settings_for
from support.upstream import Script, ScriptedUpstream, answer
from support.worker import WorkerProcess

_PLACES = 8
_SERVICE_S = 0.1
_OVERLOAD = 3


def power_cuts(directory: Path, count: int, seed: int, durability: Durability = "group") -> Line:
    """A worker is killed at a random moment, and of its spool only what was synced is left."""
    moment = random.Random(seed)
    total: Counter[str] = Counter()
    oldest_s = 0.0
    for number in range(count):
        cut = power_cut(directory / str(number), durability, moment.uniform(0.02, 0.6))
        total.update(requests=cut.requests, acknowledged=cut.acknowledged, lost=cut.lost, duplicated=cut.duplicated)
        oldest_s = max(oldest_s, cut.oldest_lost_s)
    return Line(
        fault=f"power cut (simulated), durability {durability}",
        injected=count,
        requests=total["requests"],
        acknowledged=total["acknowledged"],
        lost=total["lost"],
        duplicated=total["duplicated"],
        wrong=0,
        note=f"oldest lost: {oldest_s:.2f} s before the cut" if total["lost"] else "",
    )


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What one power cut cost. ``oldest_lost_s``: how long before it the oldest lost answer was acknowledged."""

    requests: int
    acknowledged: int
    lost: int
    duplicated: int
    oldest_lost_s: float


def power_cut(directory: Path, durability: Durability, after_s: float) -> Cut:
    """One cut, ``after_s`` seconds into a load."""
    disk, left = directory / "disk", directory / "left"
    with closing(CountingUpstream()) as upstream:
        settings = settings_for(
            Upstream(name="main", kind="openai", base_url=upstream.base_url), log=Log(durability=durability)
        )
        worker = WorkerProcess(directory, settings, program=(str(power.PROGRAM), str(disk)))
        load = Load(worker.port).start()
        try:
            load.await_more(10)
            time.sleep(after_s)
            cut_s = time.monotonic()
            worker.kill()
        finally:
            load.stop()
    power.after_the_cut(disk, left)
    ids = Counter(final.request_id for final in finals_in(left))
    lost = {name: at_s for name, at_s in load.acknowledged_at_s.items() if load.acknowledged[name] not in ids}
    return Cut(
        requests=len(load.sent),
        acknowledged=len(load.acknowledged),
        lost=len(lost),
        duplicated=ids.total() - len(ids),
        oldest_lost_s=max((cut_s - at_s for at_s in lost.values()), default=0.0),
    )


def finals_in(spool_dir: Path) -> list[FinalRecord]:
    """The final records of every spool there."""
    found: list[FinalRecord] = []
    for spool_id in spools(spool_dir):
        reader, position = SpoolReader(spool_dir, spool_id), None
        while (batch := reader.read(position, 10_000, 64 << 20)).entries:
            position = batch.position
            found += [entry.final for entry in batch.entries if entry.final is not None]
    return found


# Overload.


class BusyUpstream(ScriptedUpstream):
    """Takes the same time for each call; knows how many it had at once."""

    def __init__(self) -> None:
        self.most = self._running = 0
        self._counting = threading.Lock()
        super().__init__(reply_with=lambda seen: [_SERVICE_S, *answer(b'{"ok":true}')])

    def _play(self, connection: socket.socket, script: Script) -> bool:
        with self._counting:
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            return super()._play(connection, script)
        finally:
            with self._counting:
                self._running -= 1


class Crowd:
    """Clients that ask as fast as they are served, and after a refusal wait as long as a served call takes."""

    def __init__(self, port: int, clients: int) -> None:
        self.answers: list[Got] = []
        self._port = port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call_on) for _ in range(clients)]

    def run(self, seconds: float) -> "Crowd":
        for thread in self._threads:
            thread.start()
        self._is_over.wait(seconds)
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)
        return self

    def _call_on(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 15) as connection:
            while not self._is_over.is_set():
                connection.sendall(request_bytes())
                got = read_answer(connection)
                self.answers.append(got)
                if got.status != 200:
                    self._is_over.wait(_SERVICE_S)

    @property
    def served(self) -> int:
        return sum(got.status == 200 for got in self.answers)


@dataclass(frozen=True, kw_only=True)
class Overload:
    """One worker at its limit, then with three times as many clients."""

    once: Crowd
    thrice: Crowd
    most_at_upstream: int
    finals: list[FinalRecord]

    @property
    def goodput(self) -> float:
        """Answers at three times the capacity, as a share of those at capacity."""
        return self.thrice.served / self.once.served

    @property
    def refused(self) -> list[Got]:
        return [got for got in (*self.once.answers, *self.thrice.answers) if got.status != 200]


def overloaded(directory: Path, seconds: float) -> Overload:
    """Run both crowds for so long each."""
    with closing(BusyUpstream()) as upstream:
        settings = settings_for(
            Upstream(name="main", kind="openai", base_url=upstream.base_url),
            server=Server(max_in_flight=_PLACES, drain_s=2),
        )
        worker = WorkerProcess(directory, settings)
        try:
            once = Crowd(worker.port, _PLACES).run(seconds)
            thrice = Crowd(worker.port, _OVERLOAD * _PLACES).run(seconds)
        finally:
            worker.stop()
        return Overload(once=once, thrice=thrice, most_at_upstream=upstream.most, finals=worker.entries()[1])


def overload(directory: Path, seconds: int, seed: int) -> Line:
    """Three times as many clients as a worker may serve at a time."""
    found = overloaded(directory, float(seconds))
    answers = [*found.once.answers, *found.thrice.answers]
    stored = Counter(final.request_id for final in found.finals)
    told = {got.header("x-headgate-request-id") for got in answers}
    return Line(
        fault="three times the load it may carry",
        injected=len(found.refused),
        requests=len(answers),
        acknowledged=found.once.served + found.thrice.served,
        lost=len(told - stored.keys()),
        duplicated=stored.total() - len(stored),
        wrong=sum(got.header("retry-after") != "1" for got in found.refused),
        note=f"goodput {found.goodput:.0%} of that at capacity",
    )

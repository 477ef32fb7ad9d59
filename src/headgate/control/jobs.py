"""The log's housekeeping, one job at a time: sealing, deletion, retention, merging."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgate.control.deletion import compact, is_pending, purge
from headgate.control.ingest import Ingest
from headgate.control.own_thread import run_in_own_thread
from headgate.control.retention import retain
from headgate.control.seal import merge_days, seal
from headgate.control.tally import merged_text
from headgate.core.ids import monotonic_s
from headgate.core.settings_types import Log as LogSettings
from headgate.store.log import Log
from headgate.store.table_copies import TableCopies
from headgate.store.tallies import merge_tallies

LEAST_PAUSE_S = 1.0
TABLES_S = 60.0
"""What only the log's file knows is at most so much older in its copy."""

_logger = logging.getLogger("headgate.jobs")


@dataclass(slots=True, kw_only=True)
class Job:
    """Something done every ``every_s`` seconds; ``problem`` says why the last time failed."""

    name: str
    every_s: float
    run: Callable[[], object]
    due_s: float = 0.0
    problem: str | None = None


class Jobs:
    """Housekeeping of one home. Jobs run in a thread, one after the other, beside ingest."""

    def __init__(
        self,
        home: Path,
        log: Log,
        ingest: Ingest,
        settings: Callable[[], LogSettings],
        *,
        after_retention: Callable[[], None] = lambda: None,
    ) -> None:
        def retention() -> None:
            retain(home, log, settings())
            after_retention()

        self._stopping = threading.Event()
        begin_s = monotonic_s()
        self.jobs = (
            Job(name="seal", every_s=5.0, run=lambda: seal(log, ingest)),
            Job(name="tables", every_s=TABLES_S, run=TableCopies(log).bring_up_to_date),
            Job(name="deletion", every_s=60.0, run=lambda: is_pending(log) and purge(home, log, ingest)),
            Job(name="retention", every_s=600.0, run=retention, due_s=begin_s + 30),
            Job(name="merge", every_s=3600.0, run=lambda: merge_days(log), due_s=begin_s + 60),
            Job(name="compact", every_s=86_400.0, run=lambda: compact(log), due_s=begin_s + 120),
            Job(name="marks", every_s=3600.0, run=lambda: prune(log), due_s=begin_s + 90),
        )

    async def run(self) -> None:
        """Run what is due until ``stop``."""
        await run_in_own_thread("headgate-jobs", self._step_until_stopped, self.stop)

    def _step_until_stopped(self) -> None:
        while not self._stopping.is_set():
            self.step()
            next_s = min(job.due_s for job in self.jobs)
            self._stopping.wait(max(LEAST_PAUSE_S, next_s - monotonic_s()))

    def stop(self) -> None:
        """Let ``run`` end after the job it is in."""
        self._stopping.set()

    def step(self) -> None:
        """Run every job that is due."""
        for job in self.jobs:
            if monotonic_s() >= job.due_s and not self._stopping.is_set():
                self._run(job)

    def _run(self, job: Job) -> None:
        try:
            job.run()
            job.problem = None
        except Exception as error:  # the border of a job: it is tried again when next due
            job.problem = f"{type(error).__name__}: {error}"
            _logger.warning("The job %s failed and will run again: %s", job.name, job.problem)
        job.due_s = monotonic_s() + job.every_s


def prune(log: Log) -> None:
    """Drop marks that later ones replace, and put one tally in the place of several of one segment."""
    log.prune_marks()
    merge_tallies(log, merged_text)

"""From spool to log: read, price, store, exactly once; a start whose writer died becomes a row of its own."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.control.own_thread import run_in_own_thread
from headgate.control.rebuild import rebuild
from headgate.control.record_rows import Priced, interrupted_row, row_of
from headgate.control.starts import OpenStart, recovered_starts
from headgate.control.tally import Tally, add_to, interrupted_tallies, tallies_of, tally_text
from headgate.core.bell import Bell
from headgate.core.errors import HeadgateError
from headgate.core.ids import now_us
from headgate.core.spans import Span
from headgate.spool.reader import Batch, Entry, Position, SpoolReader, is_writer_alive, read_bodies, spools
from headgate.spool.record import FinalRecord
from headgate.store.connection import OutcomeUnknown
from headgate.store.files import sealed_segments
from headgate.store.log import Log, Mark
from headgate.store.rows import RequestRow
from headgate.store.tallies import tallied_segments
from headgate.store.values import Bodies, Location

__all__ = ["BodiesLazy", "Ingest", "Priced", "Progress"]

BATCH_RECORDS = 2000
BATCH_BYTES = 16 << 20
POLL_S = 0.1
SMALL_BATCH, GATHER_S = 400, 0.2
"""A transaction costs some 20 to 50 ms of CPU whatever is in it (2026-11): at a trickle, batches are worth a pause."""
TRICKLES = 3
IDLE_POLL_S = 0.5
RUNG_POLL_S = 2.0
"""Where workers ring: what one recorded and did not live to ring for is found so much later."""
LONGEST_PAUSE_S = 5.0
BEHIND_S = 5.0
FREE_FLOOR_BYTES = 32 << 20
"""Below this the log is left alone: a full disk invalidates a DuckDB instance, and the spool is the better buffer."""

_WHY_ASIDE = {
    ".newer": "of a format that a newer Headgate wrote; it is left for that one",
    ".misplaced": "another segment than its name says, as a copy would be; nothing of it is stored",
}
_logger = logging.getLogger("headgate.ingest")


class BodiesLazy:
    """The bodies of one final record, read from the spool when asked for."""

    def __init__(self, spool_dir: Path, location: Location) -> None:
        self._spool_dir = spool_dir
        self._location = location

    def read(self) -> Bodies | None:
        """The captured bytes; None when they cannot be read."""
        return spooled_bodies(self._spool_dir, self._location)


Price = Callable[[FinalRecord, BodiesLazy], Priced]
Predictions = Callable[[FinalRecord], list[dict[str, Any]]]
"""The rows of the table `predictions` that a record stands for."""


def spooled_bodies(spool_dir: Path, location: Location) -> Bodies | None:
    """The bodies at ``location``; None when the segment is gone."""
    found = read_bodies(spool_dir, location.spool_id, location.segment, location.offset)
    if found is None:
        return None
    return Bodies(request=found.request, sent=found.sent or None, response=found.response)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one spool is stored, and which of its segments hold starts that have not ended."""

    position: Position | None
    is_closed: bool
    unfinished_segments: frozenset[int]


@dataclass(slots=True)
class _Spool:
    reader: SpoolReader
    position: Position | None
    starts: dict[int, OpenStart]
    sealed: set[int]  # segments still here whose rows are stored and in a file
    tallied: frozenset[int]  # of those: what was read of them is stored too
    pending: dict[int, Tally]  # read since the last mark, by segment


class Ingest:
    """The one reader of the spools of a home. ``step`` blocks; one thread at a time runs it."""

    def __init__(
        self,
        home: Path,
        log: Log,
        price: Price,
        on_rows: Callable[[Sequence[RequestRow]], None] = lambda rows: None,
        predictions: Predictions = lambda final: [],
    ) -> None:
        self.spool_dir = home / "spool"
        self.lag_s = 0.0
        self.problem: str | None = None  # why not everything is being stored, in a sentence
        self.is_stalled = False  # nothing is: a rest helps, where a spool that cannot be read must not slow the others
        self.spool_errors = 0  # times that a spool could not be read
        self.stored = 0
        self.damaged_bytes = 0
        self.passed_over: list[str] = []  # segments set aside: renamed and left in the spool
        self.set_aside = 0  # records that could only be stored bare
        self._log = log
        self._price = price
        self._predictions = predictions
        self._on_rows = on_rows
        self._lock = threading.Lock()
        self._spools: dict[str, _Spool] = {}
        self._closed: set[str] = set()
        self._generation = -1
        self._failed: dict[str, str] = {}  # spool to what was said of it
        self._stopping = threading.Event()
        self._bell: Bell | None = None
        log.spool_bodies = self._bodies_at
        rebuild(log, self._is_spooled)

    @property
    def is_behind(self) -> bool:
        """Whether what is answered is not stored soon after."""
        return self.is_stalled or self.lag_s > BEHIND_S

    def _bodies_at(self, location: Location) -> Bodies | None:
        return spooled_bodies(self.spool_dir, location)

    def _is_spooled(self, spool_id: str, segment: int) -> bool:
        try:
            found = SpoolReader(self.spool_dir, spool_id).segments()
        except OSError:
            return False
        return segment in {info.number for info in found}

    # ------------------------------------------------------------------ the loop

    async def run(self, bell: Bell | None = None) -> None:
        """Step until ``stop``. ``bell``: workers ring it when they have recorded something."""
        self._bell = bell
        await run_in_own_thread("headgate-ingest", self._step_until_stopped, self.stop)

    def _step_until_stopped(self) -> None:
        """Waits when there was nothing: ``POLL_S`` at first, longer once it is quiet or the log is in trouble; and
        after a small batch, so that the next one gathers.
        """
        pause_s = POLL_S
        while not self._stopping.is_set():
            count = self.guarded_step()
            if count >= SMALL_BATCH:
                continue
            pause_s = POLL_S if count else min(pause_s * 1.5, self._longest_pause_s())
            if count or self._bell is None:
                self._stopping.wait(GATHER_S if count else pause_s)
            else:
                self._bell.wait(pause_s)

    def _longest_pause_s(self) -> float:
        if self.is_stalled:
            return LONGEST_PAUSE_S
        return IDLE_POLL_S if self._bell is None else RUNG_POLL_S

    def stop(self) -> None:
        """Let ``run`` end after the batch it is in."""
        self._stopping.set()
        if self._bell is not None:
            self._bell.ring()

    def guarded_step(self) -> int:
        """``step``, with what went wrong kept in ``problem`` instead of raised: the spool holds what waits."""
        try:
            count = self.step()
        except OutcomeUnknown as error:
            self.problem, self.is_stalled = error.sentence, True
            _logger.warning("%s", error.sentence)
            return 0
        except Exception as error:  # the border of an ingest batch: the same batch is read again
            self.problem = f"Storing failed ({type(error).__name__}: {error}); the spool keeps what is waiting."
            self.is_stalled = True
            _logger.exception("A batch could not be stored; it is tried again.")
            self._generation = -1
            return 0
        return count

    def catch_up(self) -> None:
        """Store what the spools hold; under load, where that never ends, until ``TRICKLES`` steps found little."""
        trickles = 0
        while trickles < TRICKLES and (count := self.guarded_step()):
            is_trickle = count < SMALL_BATCH and any(
                is_writer_alive(self.spool_dir, name) for name in spools(self.spool_dir)
            )
            trickles = trickles + 1 if is_trickle else 0

    def step(self) -> int:
        """Store one bounded batch of every spool; returns how many records were read."""
        with self._lock:
            if not self._has_room():
                return 0
            if self._generation != self._log.generation:
                self._start_over()
            self.lag_s = 0.0
            failed: dict[str, str] = {}
            count = 0
            for spool_id in spools(self.spool_dir):
                count += self._guarded_spool(spool_id, failed)
            self._failed = failed
            self.is_stalled = False
            self.problem = "; ".join(failed.values()) or None
            return count

    def _guarded_spool(self, spool_id: str, failed: dict[str, str]) -> int:
        try:
            return self._step_spool(spool_id)
        except HeadgateError:
            raise  # of the log, not of this spool
        except Exception as error:  # the border of an ingest batch: one spool never holds up the others
            self.spool_errors += 1
            self._spools.pop(spool_id, None)
            text = f"The spool {spool_id} could not be stored ({type(error).__name__}: {error}); it is tried again"
            if self._failed.get(spool_id) != text:
                _logger.warning("%s.", text)
            failed[spool_id] = text
            return 0

    def _has_room(self) -> bool:
        facts = os.statvfs(self.spool_dir.parent)
        free = facts.f_bavail * facts.f_frsize
        if free >= FREE_FLOOR_BYTES:
            return True
        self.is_stalled = True
        self.problem = f"Only {free >> 20} MB are free for {self.spool_dir.parent}; storing waits. Free disk space."
        return False

    def _start_over(self) -> None:
        """Forget what memory says and believe the log: it was (re)opened."""
        generation = self._log.generation
        self._spools.clear()
        self._closed = self._log.closed_spools()
        self._generation = generation

    def _step_spool(self, spool_id: str) -> int:
        if spool_id in self._closed:
            return 0
        # Asked before reading: what a writer wrote before it was seen dead is then read before its spool is closed.
        is_alive = is_writer_alive(self.spool_dir, spool_id)
        spool = self._spools.get(spool_id) or self._open(spool_id)
        batch = spool.reader.read(spool.position, BATCH_RECORDS, BATCH_BYTES)
        self.damaged_bytes += batch.damaged_bytes
        self._note_passed_over(batch.set_aside)
        if batch.entries:
            self._store_batch(spool_id, spool, batch)
            self._note_lag(batch)
        elif not is_alive:
            self._close(spool_id, spool, batch.position)
        spool.position = batch.position
        return len(batch.entries)

    def _open(self, spool_id: str) -> _Spool:
        stored = self._log.positions().get(spool_id)
        position = None if stored is None else Position(segment=stored[0], offset=stored[1])
        reader = SpoolReader(self.spool_dir, spool_id)
        starts = {} if position is None else recovered_starts(reader, position, self._log)
        sealed = sealed_segments(self._log, spool_id)
        spool = self._spools[spool_id] = _Spool(
            reader=reader,
            position=position,
            starts=starts,
            sealed=sealed,
            tallied=frozenset(sealed & tallied_segments(self._log, spool_id)),
            pending={},
        )
        return spool

    def _note_passed_over(self, names: Sequence[str]) -> None:
        for name in names:
            _logger.warning("spool/%s is %s.", name, _WHY_ASIDE[Path(name).suffix])
            self.passed_over.append(name)

    def _note_lag(self, batch: Batch) -> None:
        finals = [entry.final for entry in batch.entries if entry.final is not None]
        if finals and len(batch.entries) >= BATCH_RECORDS // 2:
            last = finals[-1]
            self.lag_s = max(self.lag_s, (now_us() - last.started_at_us - last.latency_us) / 1e6)

    # ------------------------------------------------------------------ storing

    def _store_batch(self, spool_id: str, spool: _Spool, batch: Batch) -> None:
        for segment, tally in tallies_of(batch, spool.tallied).items():
            add_to(spool.pending, segment, tally)
        rows = []
        for entry in batch.entries:
            _follow_start(spool.starts, entry)
            if entry.final is not None and entry.segment not in spool.sealed:
                rows.append(self._row(spool_id, entry, entry.final))
            elif entry.gap is not None:
                rows += self._rows_without_end(spool_id, spool, entry.gap.sequences)
        for segment, count in Counter(row.segment for row in rows).items():
            add_to(spool.pending, segment, Tally(rows=count))
        if rows:
            self._store(rows, _mark(spool_id, batch.position), spool)

    def _rows_without_end(self, spool_id: str, spool: _Spool, dropped: Sequence[Span]) -> list[RequestRow]:
        """The rows of calls whose start is recorded and whose end was dropped: the writer counted those."""
        numbers = [number for number in spool.starts if any(first <= number <= last for first, last in dropped)]
        starts = self._unknown([spool.starts.pop(number) for number in numbers])
        return [interrupted_row(spool_id, start, is_dropped=True) for start in starts]

    def _unknown(self, starts: Sequence[OpenStart]) -> list[OpenStart]:
        """Those without a row: the end of a start may be in a sealed file that the log was rebuilt from."""
        known = self._log.known([start.record.request_id for start in starts])
        return [start for start in starts if start.record.request_id not in known]

    def _row(self, spool_id: str, entry: Entry, final: FinalRecord) -> RequestRow:
        location = Location(spool_id=spool_id, segment=entry.segment, offset=entry.offset)
        try:
            priced = self._price(final, BodiesLazy(self.spool_dir, location))
        except Exception as error:  # the border to pricing: a row without a cost is better than no row
            _logger.exception("Pricing failed for %s", final.request_id)
            priced = Priced(cost_reason=f"pricing failed ({type(error).__name__})")
        row = row_of(final, location, entry.length, priced)
        if final.prediction is not None:
            try:
                row.predictions = self._predictions(final)
            except Exception:  # the border to model outputs: the request is stored whatever its answer looks like
                _logger.exception("No predictions could be read from %s", final.request_id)
        return row

    def _store(self, rows: list[RequestRow], mark: Mark, spool: _Spool) -> None:
        tallies = {segment: tally_text(tally) for segment, tally in spool.pending.items() if not tally.is_empty}
        try:
            self._log.store(rows, mark, tallies)
        except OutcomeUnknown:
            self._generation = -1
            raise
        except (HeadgateError, ValueError, TypeError, OverflowError) as error:
            _logger.warning("A batch of %d rows was refused (%s); storing them one by one.", len(rows), error)
            rows = [self._storable(row) for row in rows]
            self._log.store(rows, mark, tallies)
        spool.pending = {}
        self.stored += len(rows)
        if not rows:
            return
        try:
            self._on_rows(rows)
        except Exception:  # the border to listeners: the rows are stored whatever a page thinks of them
            _logger.exception("A listener failed on stored rows.")

    def _storable(self, row: RequestRow) -> RequestRow:
        """``row`` when the log takes it, else what is certain of it: one poisonous record never blocks the queue."""
        if self._log.accepts(row):
            return row
        self.set_aside += 1
        bare = RequestRow(
            request_id=row.request_id,
            started_at_us=row.started_at_us,
            spool_id=row.spool_id,
            segment=row.segment,
            offset=row.offset,
            length=row.length,
            endpoint=row.endpoint,
            outcome=row.outcome,
            capture=row.capture,
            cost_reason="the record could not be stored in full",
            fold_note="the record could not be stored in full",
        )
        return bare

    def _close(self, spool_id: str, spool: _Spool, position: Position) -> None:
        """The writer is dead, everything is read: unfinished starts become rows, with the mark that ends the spool."""
        open_starts = self._unknown(list(spool.starts.values()))
        known = {start.record.sequence for start in spool.starts.values()} - {s.record.sequence for s in open_starts}
        for start in spool.starts.values():
            if start.record.sequence in known:
                number = start.record.sequence
                add_to(spool.pending, start.segment, Tally(ended=[(number, number)]))
        for segment, tally in interrupted_tallies(open_starts).items():
            add_to(spool.pending, segment, tally)
        rows = [interrupted_row(spool_id, start) for start in open_starts]
        self._store(rows, _mark(spool_id, position, is_closed=True), spool)
        self._spools.pop(spool_id, None)
        self._closed.add(spool_id)

    # ------------------------------------------------------------------ for the jobs

    @contextmanager
    def paused(self) -> Iterator[dict[str, dict[int, Tally]]]:
        """Nothing is stored meanwhile; per spool, what was read since its last mark, by segment."""
        with self._lock:
            yield {spool_id: spool.pending for spool_id, spool in self._spools.items() if spool.pending}

    def progress(self) -> tuple[int, dict[str, Progress]]:
        """The log's generation this holds for, and per spool how far it is stored (None: not begun)."""
        with self._lock:
            found = {}
            for spool_id in spools(self.spool_dir):
                spool = self._spools.get(spool_id)
                found[spool_id] = Progress(
                    position=spool.position if spool else None,
                    is_closed=spool_id in self._closed,
                    unfinished_segments=frozenset(s.segment for s in spool.starts.values()) if spool else frozenset(),
                )
            return self._generation, found


def _mark(spool_id: str, position: Position, *, is_closed: bool = False) -> Mark:
    return Mark(spool_id=spool_id, segment=position.segment, offset=position.offset, is_closed=is_closed)


def _follow_start(starts: dict[int, OpenStart], entry: Entry) -> None:
    if entry.start is not None:
        starts[entry.start.sequence] = OpenStart(record=entry.start, segment=entry.segment, offset=entry.offset)
    elif entry.final is not None:
        starts.pop(entry.final.sequence, None)

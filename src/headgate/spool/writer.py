"""Appends records to the spool: a memory copy on the event loop; what may wait for the disk is on two threads."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec

from headgate.core.errors import HomeError
from headgate.core.ids import monotonic_s, now_us, uuid7
from headgate.core.spans import spans_of, union
from headgate.spool.record import FinalRecord, StartRecord
from headgate.spool.segment import (
    FINAL,
    FRAME_BYTES,
    GAP,
    HEADER_BYTES,
    LENGTHS,
    MAX_PAYLOAD_BYTES,
    START,
    STEP_BYTES,
    Gap,
    MappedSegment,
    hold_lock,
)

Durability = Literal["page", "interval", "group"]

_SYNC_INTERVAL_S = 0.2
_CLOSE_TIMEOUT_S = 5.0
_MIN_SEGMENT_BYTES = 4096
_MAX_NAMED_SPANS = 128  # in one gap record
_GAP_BYTES = 2048  # no gap record is longer
_RESERVE_SHARE = 16  # of a segment, kept for records without bodies while the disk is full
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger("headgate.spool")


@dataclass(slots=True)
class Counters:
    """What happened to the exchanges of one writer: ``started = recorded + dropped + in_flight`` at every instant."""

    started: int = 0  # start records asked for, and final records that needed none
    recorded: int = 0
    dropped: int = 0  # final records that found no room
    dropped_bytes: int = 0  # of the payloads dropped, and of the bodies shed
    dropped_starts: int = 0  # their final records may still be recorded
    shed: int = 0  # of those recorded: without their bodies, for lack of room
    syncs: int = 0  # of records to the disk, by the durability modes
    sync_failures: int = 0

    @property
    def in_flight(self) -> int:
        """Exchanges that have started and not ended."""
        return self.started - self.recorded - self.dropped


class SpoolWriter:
    """One process's spool. All methods belong to one thread, the event loop's.

    Raises HomeError when the spool directory cannot be made; a disk without room for a first
    segment is no error: records are then dropped and counted until there is room.
    """

    def __init__(
        self,
        spool_dir: Path,
        *,
        worker: int,
        segment_bytes: int = 64 << 20,
        roll_after_s: float = 600.0,
        durability: Durability = "page",
    ) -> None:
        self.spool_id = f"{worker}-{uuid7(now_us()).replace('-', '')}"
        self.counters = Counters()
        self.on_loss: Callable[[], None] | None = None  # called after each record dropped, once it is counted
        self._worker, self._roll_after_s, self._durability = worker, roll_after_s, durability
        self._segment_bytes = max(segment_bytes, _MIN_SEGMENT_BYTES)
        self._directory = spool_dir / self.spool_id
        self._lock_fd = _create_locked(spool_dir, self._directory)
        self._sequence = 0
        self._number = 0
        self._gap = Gap()
        self._holds_records_since_s: float | None = None
        self._writable = True
        self._must_roll = False
        self._wants_spare = False
        self._failure: OSError | None = None  # of the last preparation
        self._preparing = threading.Lock()
        self._paging = threading.Lock()  # nothing is unmapped while it is paged
        self._ahead_wanted = threading.Event()
        self._settling_wanted = threading.Event()
        self._lock = threading.Lock()  # of the next five
        self._segment: MappedSegment | None = None
        self._spare: MappedSegment | None = None
        self._retired: list[MappedSegment] = []
        self._given_up: list[MappedSegment] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
        self._closed = self._is_ending = False
        self._synced_at_s = self._clean_at_s = monotonic_s()
        self._segment = self._prepare(self._segment_bytes)
        self._writable = self._segment is not None
        self._threads = (
            threading.Thread(target=self._run_ahead, name="headgate-spool-ahead", daemon=True),
            threading.Thread(target=self._settle, name="headgate-spool-settle", daemon=True),
        )
        self._ahead_wanted.set()
        for thread in self._threads:
            thread.start()

    @property
    def writable(self) -> bool:
        """False from the first record dropped or shed for lack of room until a segment could be prepared again."""
        return self._writable

    def next_sequence(self) -> int:
        """The number of the next start record, from 1."""
        self._sequence += 1
        return self._sequence

    def append_start(self, record: StartRecord) -> bool:
        """Append a start record; False: no room, counted."""
        self.counters.started += 1
        payload = _encoded(record)
        if self._append(START, (payload,), len(payload), reserve=False):
            return True
        self.counters.dropped_starts += 1
        self._note_loss(len(payload), starts=1)
        return False

    def append_final(self, record: FinalRecord, request: bytes, sent: bytes, response: Sequence[bytes]) -> bool:
        """Append a final record with its bodies; ``sent`` is empty when equal to ``request``.

        Without room for the bodies it is recorded without them (capture `metadata`); False: not even
        that had room, counted.
        """
        counters = self.counters
        if record.sequence == 0:
            counters.started += 1
        meta = _encoded(record)
        response_bytes = sum(map(len, response))
        body_bytes = len(request) + len(sent) + response_bytes
        length = LENGTHS.size + len(meta) + body_bytes
        if length <= MAX_PAYLOAD_BYTES:
            lengths = LENGTHS.pack(len(meta), len(request), len(sent), response_bytes)
            pieces = chain((lengths, meta, request, sent), response)
            if self._append(FINAL, pieces, length, reserve=body_bytes > 0):
                counters.recorded += 1
                return True
        if body_bytes > 0 and self._append_bare(record, length):
            return True
        return self._drop(record.sequence, length)

    def unsynced_s(self) -> float:
        """How old the oldest record may be that no sync has put on the disk, in seconds; 0: there is none.

        Exact to the time between two calls. In `page` durability the kernel writes records by itself as well.
        """
        now_s, segment = monotonic_s(), self._segment
        if segment is None or not segment.is_dirty:
            self._clean_at_s = now_s
            return 0.0
        return now_s - max(self._clean_at_s, self._synced_at_s)

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when everything appended so far is as durable as the setting promises.

        `page` and `interval`: at once. `group`: on the running event loop, after the next fdatasync.
        """
        if self._durability != "group" or self._closed:
            callback()
            return
        loop = asyncio.get_running_loop()
        with self._lock:
            self._waiting.append((loop, callback))
        self._settling_wanted.set()

    def tick(self) -> None:
        """Once a second: roll a segment that has held records for long enough, try again after a full disk."""
        if self._closed:
            return
        now_s = monotonic_s()
        segment = self._segment
        if segment is None or segment.is_empty:
            self._holds_records_since_s = None
        elif self._holds_records_since_s is None:
            self._holds_records_since_s = now_s
        since_s = self._holds_records_since_s
        is_old = since_s is not None and now_s - since_s >= self._roll_after_s
        if is_old or self._must_roll:
            self._wants_spare = True
            if self._spare is not None:
                self._roll(0)
        if self._failure is None:
            self._writable = True
            self._append_gap()
        if self._failure is not None or self._wants_spare:
            self._ahead_wanted.set()

    def close(self) -> None:
        """Finish the last segment and let go of the lock; records appended later are dropped and counted."""
        if self._closed:
            return
        self._append_gap()
        self._closed = True
        with self._preparing, self._lock:
            if self._segment is not None:
                self._retired.append(self._segment)
                self._segment = None
            if self._spare is not None:
                self._retired.append(self._spare)
                self._spare = None
            self._is_ending = True
        self._ahead_wanted.set()
        self._settling_wanted.set()
        for thread in self._threads:
            thread.join(_CLOSE_TIMEOUT_S / len(self._threads))
        if any(
            thread.is_alive() for thread in self._threads
        ):  # the disk does not answer; the lock goes with the process, the records are in it
            _log.warning("spool %s: the disk did not answer within %g s at close", self.spool_id, _CLOSE_TIMEOUT_S)
            return
        os.close(self._lock_fd)

    # On the event loop.

    def _append(self, kind: int, pieces: Iterable[bytes], length: int, *, reserve: bool) -> bool:
        segment = self._segment
        kept = self._segment_bytes // _RESERVE_SHARE if reserve and self._failure is not None else 0
        if segment is None or length > segment.room_bytes - kept:
            segment = self._roll(length)
            if segment is None:
                return False
        segment.append(kind, pieces, length)
        if segment.position >= segment.wake_at:
            segment.wake_at = segment.position + STEP_BYTES
            self._ahead_wanted.set()
        return True

    def _append_bare(self, record: FinalRecord, length: int) -> bool:
        if record.capture in ("full", "truncated"):
            record = msgspec.structs.replace(record, capture="metadata")
        meta = _encoded(record)
        bare_length = LENGTHS.size + len(meta)
        if not self._append(FINAL, (LENGTHS.pack(len(meta), 0, 0, 0), meta), bare_length, reserve=False):
            return False
        self.counters.recorded += 1
        self.counters.shed += 1
        self.counters.dropped_bytes += length - bare_length
        self._writable = False
        return True

    def _drop(self, sequence: int, length: int) -> bool:
        self.counters.dropped += 1
        self._note_loss(length, finals=1)
        gap = self._gap
        if sequence == 0:
            gap.dropped_direct += 1
            return False
        named = union(gap.sequences, spans_of([sequence]))
        if len(named) <= _MAX_NAMED_SPANS:
            gap.sequences = named
        return False

    def _note_loss(self, length: int, *, finals: int = 0, starts: int = 0) -> None:
        self._writable = False
        self.counters.dropped_bytes += length
        gap = self._gap
        if not gap.since_us:
            _log.error("spool %s: records are dropped and counted until there is room", self.spool_id)
            gap.since_us = now_us()
        gap.dropped += finals
        gap.dropped_starts += starts
        gap.dropped_bytes += length
        if self.on_loss is not None:
            self.on_loss()

    def _append_gap(self) -> None:
        gap, segment = self._gap, self._segment
        if not gap.since_us or segment is None:
            return
        gap.until_us = now_us()
        payload = _encode(gap)
        if len(payload) <= segment.room_bytes:
            segment.append(GAP, (payload,), len(payload))
            self._gap = Gap()

    def _roll(self, length: int) -> MappedSegment | None:
        """Go on in the next segment, with room for ``length``; None: there is none, and the old one stays."""
        if self._closed:
            return None
        needed = HEADER_BYTES + FRAME_BYTES + length
        if length and needed > self._segment_bytes:
            # Room for a gap record goes on top, which may come first.
            following = None if self._failure is not None else self._prepare(needed + _GAP_BYTES)
        else:
            following = self._take_spare()
            if following is None and self._failure is None:
                following = self._prepare(self._segment_bytes)
        if following is None:
            return None
        with self._lock:
            if self._segment is not None:
                self._retired.append(self._segment)
            self._segment = following
        self._must_roll = self._wants_spare = False
        self._holds_records_since_s = None
        self._ahead_wanted.set()
        self._settling_wanted.set()
        self._append_gap()
        return following if length <= following.room_bytes else self._roll(length)

    def _take_spare(self) -> MappedSegment | None:
        with self._lock:
            spare, self._spare = self._spare, None
        return spare

    # On both threads.

    def _prepare(self, capacity: int, *, as_spare: bool = False) -> MappedSegment | None:
        """Make a segment; one larger than usual takes the number of the spare, which is given up."""
        with self._preparing:
            if self._closed:
                return None
            if as_spare and self._spare is not None:
                return self._spare
            spare = self._take_spare()
            if spare is not None and capacity <= spare.capacity:
                return spare
            number = self._number + 1 if spare is None else spare.number
            try:
                segment = MappedSegment(
                    self._directory, number, worker=self._worker, spool_id=self.spool_id, capacity=capacity
                )
            except OSError as error:
                self._spare = spare
                if capacity <= self._segment_bytes:
                    self._note_failure(error)
                return None
            self._number = number
            with self._lock:
                if spare is not None:
                    self._given_up.append(spare)
                if as_spare:
                    self._spare = segment
            if self._failure is not None:
                _log.warning("spool %s: there is room again", self.spool_id)
                self._failure = None
            self._writable = True
            return segment

    def _note_failure(self, error: OSError) -> None:
        if self._failure is None:
            _log.error("spool %s: no new segment (%s); bodies are shed when this one is full", self.spool_id, error)
        self._failure = error

    # On the thread that runs ahead of the event loop.

    def _run_ahead(self) -> None:
        while not self._closed:
            self._ahead_wanted.wait()
            self._ahead_wanted.clear()
            self._page(lambda: self._segment)
            if self._wants_new_spare() and self._prepare(self._segment_bytes, as_spare=True) is not None:
                self._page(lambda: self._spare)

    def _page(self, choose: Callable[[], MappedSegment | None]) -> None:
        with self._paging:
            segment = choose()
            if segment is not None:
                segment.page()

    def _wants_new_spare(self) -> bool:
        segment = self._segment
        is_half_used = segment is None or segment.position >= segment.capacity // 2
        return self._spare is None and (is_half_used or self._wants_spare or self._failure is not None)

    # On the thread that puts things on the disk.

    def _settle(self) -> None:
        timeout_s = _SYNC_INTERVAL_S if self._durability == "interval" else None
        is_last = False
        while not is_last:
            self._settling_wanted.wait(timeout_s)
            self._settling_wanted.clear()
            is_last = self._is_ending
            self._make_durable()

    def _make_durable(self) -> None:
        # One look at all three: a segment that rolls after it belongs to the callbacks of the next round.
        with self._lock:
            waiting, self._waiting = self._waiting, []
            retired, self._retired = self._retired, []
            given_up, self._given_up = self._given_up, []
            segment = self._segment
        with self._paging:
            for unused in chain(given_up, retired):
                unused.unmap()
        for unused in given_up:
            unused.abandon()
        for old in retired:
            try:
                old.finish()
            except OSError as error:  # stays .open: read to its end once a later segment is in use
                self._note_sync_failure(error)
        if segment is not None and segment.is_dirty and self._is_sync_due(has_callers=bool(waiting)):
            self._synced_at_s = monotonic_s()
            try:
                segment.sync()
                self.counters.syncs += 1
            except OSError as error:
                # A later fdatasync would report success without having written what failed now.
                self._must_roll = True
                self._note_sync_failure(error)
        for loop, callback in waiting:
            try:
                loop.call_soon_threadsafe(callback)
            except RuntimeError:  # the loop has closed: nobody waits any more
                continue

    def _is_sync_due(self, *, has_callers: bool) -> bool:
        if self._durability == "interval":
            return monotonic_s() - self._synced_at_s >= _SYNC_INTERVAL_S
        return has_callers

    def _note_sync_failure(self, error: OSError) -> None:
        self.counters.sync_failures += 1
        _log.error("spool %s: records may not survive a power cut (%s)", self.spool_id, error)


def _create_locked(spool_dir: Path, directory: Path) -> int:
    # A spool appears under its name with the lock already held, so no reader takes it for a dead one.
    temporary = directory.with_name(f".new-{directory.name}")
    try:
        spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        lock_fd = hold_lock(temporary)
        temporary.rename(directory)
    except OSError as error:
        raise HomeError(
            f"Cannot create a spool in {spool_dir}: {error.strerror}.",
            hint="Make the directory writable and give it room, or choose another with --home.",
        ) from error
    return lock_fd


def _encoded(record: StartRecord | FinalRecord) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:  # half a surrogate pair in a client's text; the rest is worth keeping
        return _encode(_without_surrogates(msgspec.to_builtins(record)))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value

"""Starts that have not ended: found again from the segments that are still there."""

from dataclasses import dataclass

from headgate.spool.reader import Position, SpoolReader
from headgate.spool.record import StartRecord
from headgate.store.log import Log

_READ_RECORDS = 5000
_READ_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStart:
    """A start record and where it lies."""

    record: StartRecord
    segment: int
    offset: int


def recovered_starts(reader: SpoolReader, until: Position, log: Log) -> dict[int, OpenStart]:
    """Starts before ``until`` without an end, by sequence.

    An end may lie in a segment that is sealed and gone while its start is still here: the log knows it then.
    """
    starts: dict[int, OpenStart] = {}
    position: Position | None = None
    end = (until.segment, until.offset)
    while position is None or (position.segment, position.offset) < end:
        batch = reader.read(position, _READ_RECORDS, _READ_BYTES)
        for entry in batch.entries:
            if (entry.segment, entry.offset) >= end:
                break
            if entry.start is not None:
                starts[entry.start.sequence] = OpenStart(record=entry.start, segment=entry.segment, offset=entry.offset)
            elif entry.final is not None:
                starts.pop(entry.final.sequence, None)
        if not batch.entries:
            break
        position = batch.position
    known = log.known([start.record.request_id for start in starts.values()])
    return {sequence: start for sequence, start in starts.items() if start.record.request_id not in known}

"""What was read of a spool segment, number by number: started, ended, interrupted, dropped. Tallies add up."""

from collections.abc import Iterable, Sequence

import msgspec

from headgate.control.starts import OpenStart
from headgate.core import spans
from headgate.core.spans import Span
from headgate.spool.reader import Batch, Entry


class Tally(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Numbers are those of start records, which count from 1 in each spool."""

    started: list[Span] = []
    ended: list[Span] = []  # final records with a number
    interrupted: list[Span] = []  # no end came before the writer did end
    dropped: list[Span] = []  # final records that the writer counted instead of writing them
    direct: int = 0  # final records that needed no start
    dropped_direct: int = 0
    dropped_unnamed: int = 0  # dropped, but the gap record has no room for its number
    repeated: int = 0  # final records whose number had ended before
    rows: int = 0  # stored for all of this
    damaged_bytes: int = 0

    def add(self, other: "Tally") -> None:
        """Count what ``other`` counted too."""
        self.repeated += other.repeated + spans.size(spans.common(self.ended, other.ended))
        for name in ("started", "ended", "interrupted", "dropped"):
            setattr(self, name, spans.union(getattr(self, name), getattr(other, name)))
        for name in ("direct", "dropped_direct", "dropped_unnamed", "rows", "damaged_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read."""
        return self == Tally()


_decode = msgspec.json.Decoder(Tally).decode


def tally_text(tally: Tally) -> str:
    """As it is stored."""
    return msgspec.json.encode(tally).decode()


def tally_from(text: str) -> Tally:
    """As it was stored; raises ValueError."""
    return _decode(text)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All together."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def merged_text(texts: Sequence[str]) -> str:
    """Stored tallies of one segment as one."""
    return tally_text(merged(map(tally_from, texts)))


def add_to(tallies: dict[int, Tally], segment: int, tally: Tally) -> None:
    """Count ``tally`` for a segment."""
    tallies.setdefault(segment, Tally()).add(tally)


def tallies_of(batch: Batch, skipped: frozenset[int]) -> dict[int, Tally]:
    """By segment, what a batch holds; nothing of the segments in ``skipped``. Rows are counted by whoever stores."""
    found: dict[int, Tally] = {}
    by_segment: dict[int, list[Entry]] = {}
    for entry in batch.entries:
        by_segment.setdefault(entry.segment, []).append(entry)
    for segment, entries in by_segment.items():
        if segment not in skipped:
            add_to(found, segment, _tally_of(entries))
    if batch.damaged_bytes:
        last = batch.entries[-1].segment if batch.entries else batch.position.segment
        add_to(found, last, Tally(damaged_bytes=batch.damaged_bytes))
    return found


def _tally_of(entries: Sequence[Entry]) -> Tally:
    ends = [entry.final.sequence for entry in entries if entry.final is not None]
    numbered = [number for number in ends if number > 0]
    ended = spans.spans_of(numbered)
    gaps = [entry.gap for entry in entries if entry.gap is not None]
    named = spans.union(*(gap.sequences for gap in gaps))
    direct = sum(gap.dropped_direct for gap in gaps)
    return Tally(
        started=spans.spans_of(entry.start.sequence for entry in entries if entry.start is not None),
        ended=ended,
        dropped=named,
        direct=len(ends) - len(numbered),
        dropped_direct=direct,
        dropped_unnamed=max(0, sum(gap.dropped for gap in gaps) - direct - spans.size(named)),
        repeated=len(numbered) - spans.size(ended),
    )


def interrupted_tallies(starts: Iterable[OpenStart]) -> dict[int, Tally]:
    """By segment, starts that become rows because no end will come."""
    found: dict[int, Tally] = {}
    for start in starts:
        number = start.record.sequence
        add_to(found, start.segment, Tally(interrupted=[(number, number)], rows=1))
    return found

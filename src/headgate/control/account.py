"""The account of every spool: each call that was begun is recorded, interrupted, in flight or counted as dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headgate.control.ingest import Ingest
from headgate.control.tally import Tally, add_to, merged, tally_from
from headgate.core import spans
from headgate.core.spans import Span
from headgate.store.log import Log
from headgate.store.tallies import Segment, StoredCounts, stored_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolAccount:
    """One worker process from its start to its end. ``started`` is what the other counts must add up to."""

    spool_id: str
    is_ended: bool  # the writer is gone and everything it wrote is stored
    is_partial: bool  # a part was stored by a version that kept no account, or the log was lost since
    started: int
    recorded: int
    interrupted: int
    in_flight: int
    dropped: int
    missing: tuple[Span, ...]  # numbers of which nothing was found
    twice: int  # records of the same number
    open: tuple[Span, ...]  # numbers that have not ended
    rows: int  # stored in all, those taken out since included
    damaged_bytes: int

    @property
    def holds(self) -> bool:
        """Whether nothing is missing or there twice, and the law adds up."""
        return (
            not self.missing
            and self.twice == 0
            and self.started == self.recorded + self.interrupted + self.in_flight + self.dropped
        )


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """All spools at one moment, and the rows that the log must have for them."""

    spools: list[SpoolAccount]
    tallies: dict[Segment, Tally]
    stored: StoredCounts
    not_tallied: list[Segment] = field(default_factory=list)

    def total(self, name: str) -> int:
        """The sum of one count (a field of SpoolAccount)."""
        return sum(int(getattr(account, name)) for account in self.spools)

    @property
    def missing(self) -> int:
        """How many numbers nothing was found of."""
        return sum(spans.size(account.missing) for account in self.spools)


def accounts(log: Log, ingest: Ingest, *, with_rows: bool = False) -> Accounts:
    """Blocking: everything stored and everything read, as of one moment; nothing is stored meanwhile.

    ``with_rows`` counts the rows of the log too, which takes a scan of it.
    """
    with ingest.paused() as pending:
        return accounts_while_paused(log, pending, with_rows=with_rows)


def accounts_while_paused(log: Log, pending: Mapping[str, Mapping[int, Tally]], *, with_rows: bool) -> Accounts:
    """``accounts`` for whoever holds the ingest still."""
    stored = stored_counts(log, with_rows=with_rows)
    tallies: dict[Segment, Tally] = {}
    for spool_id, segment, text in stored.tallies:
        tallies.setdefault((spool_id, segment), Tally()).add(tally_from(text))
    partial = {spool_id for spool_id, segment in stored.sealed if (spool_id, segment) not in tallies}
    partial |= {spool_id for spool_id in stored.positions if not any(spool_id == other for other, _ in tallies)}
    not_tallied = sorted(segment for segment in stored.sealed if segment not in tallies)
    by_spool: dict[str, dict[int, Tally]] = {}
    for (spool_id, segment), tally in tallies.items():
        add_to(by_spool.setdefault(spool_id, {}), segment, tally)
    for spool_id, unstored in pending.items():
        for segment, tally in unstored.items():
            add_to(by_spool.setdefault(spool_id, {}), segment, tally)
    return Accounts(
        spools=[
            account_of(
                spool_id, list(found.values()), is_ended=spool_id in stored.closed, is_partial=spool_id in partial
            )
            for spool_id, found in sorted(by_spool.items())
        ],
        tallies=tallies,
        stored=stored,
        not_tallied=not_tallied,
    )


def account_of(spool_id: str, tallies: Sequence[Tally], *, is_ended: bool, is_partial: bool = False) -> SpoolAccount:
    """The account of one spool from the tallies of its segments."""
    total = merged(tallies)
    over = spans.union(total.ended, total.interrupted, total.dropped)
    seen = spans.union(total.started, over)
    missing = [] if is_partial else _not_found(seen, total.dropped_unnamed)
    still_open = spans.difference(seen, over)
    twice = total.repeated + spans.size(spans.common(total.ended, total.interrupted))
    twice += spans.size(spans.common(total.ended, total.dropped))
    unseen = 0 if is_partial or missing else spans.size(spans.holes(seen))
    return SpoolAccount(
        spool_id=spool_id,
        is_ended=is_ended,
        is_partial=is_partial,
        started=spans.size(seen) + unseen + spans.size(missing) + total.direct + total.dropped_direct,
        recorded=spans.size(total.ended) + total.direct,
        interrupted=spans.size(total.interrupted),
        in_flight=spans.size(still_open),
        dropped=spans.size(total.dropped) + unseen + total.dropped_direct,
        missing=tuple(missing),
        twice=twice,
        open=tuple(still_open),
        rows=total.rows,
        damaged_bytes=total.damaged_bytes,
    )


def _not_found(seen: Sequence[Span], unnamed: int) -> list[Span]:
    """The numbers that are missing; none when as many were dropped without a name: which ones is not known."""
    found = spans.holes(seen)
    return [] if spans.size(found) <= unnamed else found

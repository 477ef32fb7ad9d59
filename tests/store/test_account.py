"""The account of a spool: every number is recorded, interrupted, in flight or dropped, come what may."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.control.account import SpoolAccount, accounts
from headgate.control.seal import seal
from headgate.control.tally import merged_text
from headgate.core import spans
from headgate.spool.record import FinalRecord
from headgate.spool.segment import GAP, Gap
from headgate.store.tallies import merge_tallies
from support.stored_home import StoredHome

_NUMBERS = st.sets(st.integers(1, 40), max_size=40)


def _accounts(home: StoredHome) -> list[SpoolAccount]:
    return accounts(home.log, home.ingest).spools


def _facts(account: SpoolAccount) -> tuple[int, int, int, int, int]:
    return account.started, account.recorded, account.interrupted, account.in_flight, account.dropped


@given(_NUMBERS, _NUMBERS)
@settings(max_examples=200, deadline=None)
def test_spans_are_the_sets_they_stand_for(one: set[int], other: set[int]) -> None:
    mine, theirs = spans.spans_of(one), spans.spans_of(other)

    def numbers(found: list[spans.Span]) -> set[int]:
        listed = [number for first, last in found for number in range(first, last + 1)]
        assert len(listed) == len(set(listed)) == spans.size(found)
        return set(listed)

    assert numbers(spans.union(mine, theirs)) == one | other
    assert numbers(spans.difference(mine, theirs)) == one - other
    assert numbers(spans.common(mine, theirs)) == one & other
    assert numbers(spans.holes(mine)) == set(range(1, max(one, default=0) + 1)) - one


def test_a_call_is_in_flight_until_it_ends_and_interrupted_when_its_worker_ends_first(home: StoredHome) -> None:
    first, second = home.start(), home.start()
    home.finish(first)
    home.store_all()
    (account,) = _accounts(home)
    assert _facts(account) == (2, 1, 0, 1, 0)
    assert account.holds
    assert not account.is_ended
    home.stop_writing()
    home.store_all()
    (account,) = _accounts(home)
    assert _facts(account) == (2, 1, 1, 0, 0)
    assert account.holds
    assert account.is_ended
    assert account.rows == 2
    assert second.request_id in home.ids()


def test_the_account_is_the_same_after_any_number_of_reopenings_and_merges(home: StoredHome) -> None:
    home.segment_bytes = 8 << 10
    unfinished = [home.start() for _ in range(3)]
    for _ in range(4):
        for _ in range(30):
            home.exchange(request=b"x" * 300)
        home.store_all()
        seal(home.log, home.ingest)
        home.log.close()
        home.open()
    home.finish(unfinished[0])
    home.store_all()
    merge_tallies(home.log, merged_text)
    (account,) = _accounts(home)
    assert _facts(account) == (123, 121, 0, 2, 0)
    assert account.holds
    home.stop_writing()
    home.store_all()
    seal(home.log, home.ingest)
    assert home.segments() == []
    assert merge_tallies(home.log, merged_text) > 0
    (account,) = _accounts(home)
    assert _facts(account) == (123, 121, 2, 0, 0)
    assert account.holds
    assert account.rows == len(home.ids()) == 123


def test_dropped_ends_are_told_by_number_and_their_calls_have_rows(home: StoredHome) -> None:
    """As a worker with a full disk writes it: the start has a record, the end is counted."""
    starts = [home.start() for _ in range(4)]
    home.finish(starts[3])
    home.store_all()
    gap = Gap(dropped=3, dropped_direct=1, sequences=[(2, 3)], since_us=1)
    _append_gap(home, gap)
    home.exchange()
    home.store_all()
    (account,) = _accounts(home)
    assert _facts(account) == (6, 2, 0, 1, 3)
    assert account.holds
    rows = home.log.query("SELECT error_type, count(*) FROM requests WHERE outcome = 'interrupted' GROUP BY 1").rows
    assert rows == [("record_dropped", 2)]


def _append_gap(home: StoredHome, gap: Gap) -> None:
    import msgspec

    payload = msgspec.msgpack.encode(gap)
    segment = home.writer._segment
    assert segment is not None
    segment.append(GAP, (payload,), len(payload))


def test_a_lost_number_is_missing_and_named(home: StoredHome) -> None:
    for _ in range(3):
        home.exchange()
    home.writer.next_sequence()
    home.exchange()
    home.store_all()
    (account,) = _accounts(home)
    assert account.missing == ((4, 4),)
    assert not account.holds


def test_two_ends_of_one_call_are_noticed(home: StoredHome) -> None:
    start = home.start()
    home.finish(start)
    home.finish(start)
    home.store_all()
    (account,) = _accounts(home)
    assert account.twice == 1
    assert not account.holds


@pytest.mark.parametrize("is_numbered", [True, False])
def test_a_writer_with_a_full_disk_names_what_it_dropped(tmp_path: Path, is_numbered: bool) -> None:
    home = StoredHome(tmp_path / "home", segment_bytes=4096)
    writer = home.writer
    away = writer._directory.rename(tmp_path / "away")  # no segment can be prepared
    numbers = []
    while writer.counters.dropped < 3:
        number = writer.next_sequence() if is_numbered else 0
        record = FinalRecord(request_id="x", started_at_us=1, sequence=number, path="p" * 900)
        if not writer.append_final(record, b"", b"", []):
            numbers.append(number)
    gap = writer._gap
    assert gap.dropped == 3
    assert gap.dropped_direct == (0 if is_numbered else 3)
    assert spans.size(gap.sequences) == (3 if is_numbered else 0)
    assert all(any(first <= number <= last for first, last in gap.sequences) for number in numbers if number)
    away.rename(writer._directory)
    home.close()

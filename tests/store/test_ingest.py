"""From spool to log: once, in order, whatever a record holds and whenever its writer dies."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from headgate.control import ingest
from headgate.control.deletion import purge
from headgate.control.ingest import BodiesLazy, Ingest, Priced
from headgate.control.seal import seal
from headgate.core.bell import Bell, Rope
from headgate.core.errors import Unavailable
from headgate.core.home import Home
from headgate.core.ids import now_us
from headgate.spool.record import FinalRecord
from headgate.store.rows import RequestRow
from support.stored_home import StoredHome, flat_price


def test_an_exchange_becomes_one_row_with_its_price_and_its_bodies(home: StoredHome) -> None:
    request_id = home.exchange(request="Grüße\0".encode(), sent=b"changed", response=b"\xff\x00raw", tags={"team": "a"})
    home.store_all()
    row = next(home.log.query("SELECT * FROM requests").json_dicts())
    assert row["request_id"] == request_id
    assert (row["cost_usd"], row["input_tokens"], row["cached_input_tokens"]) == ("0.001000000000", 10, None)
    assert (row["latency_ms"], row["ttft_ms"], row["attempts"], row["tags"]) == (1.5, None, 1, '{"team":"a"}')
    assert row["started_at"].endswith("Z")
    bodies = home.log.body_of(request_id)
    assert bodies is not None
    assert (bodies.request, bodies.sent, bodies.response) == ("Grüße\0".encode(), b"changed", b"\xff\x00raw")
    assert home.log.query("SELECT upstream, attempt, latency_ms FROM attempts").rows == [("demo", 1, 1.0)]


def test_rows_come_in_the_order_stored_and_listeners_see_their_seq(home: StoredHome) -> None:
    ids = [home.exchange() for _ in range(50)]
    home.store_all()
    assert home.ids() == ids
    assert [row.seq for row in home.seen] == list(range(1, 51))
    home.log.close()
    home.open()
    home.exchange()
    home.store_all()
    assert home.seen[-1].seq == 51


def test_reading_again_from_the_start_of_the_process_stores_nothing_twice(home: StoredHome) -> None:
    for _ in range(3):
        for _ in range(20):
            home.exchange()
        home.store_all()
        home.log.close()
        home.open()
        home.store_all()
    assert len(home.ids()) == len(set(home.ids())) == 60


def test_a_start_whose_writer_died_becomes_an_interrupted_row_once(home: StoredHome) -> None:
    home.exchange()
    lost = home.start(model_requested="gpt-x", user_id="bob")
    home.store_all()
    assert len(home.ids()) == 1
    home.stop_writing()
    for _ in range(3):
        home.log.close()
        home.open()
        home.store_all()
    rows = list(home.log.query("SELECT * FROM requests WHERE outcome = 'interrupted'").json_dicts())
    assert [row["request_id"] for row in rows] == [lost.request_id]
    assert (rows[0]["model_requested"], rows[0]["user_id"], rows[0]["cost_usd"]) == ("gpt-x", "bob", None)
    assert rows[0]["capture"] == "none"
    assert home.log.body_of(lost.request_id) is None
    seal(home.log, home.ingest)
    assert not list((home.path / "spool").iterdir())


def test_a_live_writers_open_start_is_waited_for_across_a_restart(home: StoredHome) -> None:
    slow = home.start()
    home.exchange()
    home.store_all()
    home.log.close()
    home.open()
    home.store_all()
    home.finish(slow)
    home.store_all()
    home.stop_writing()
    home.store_all()
    assert len(home.ids()) == 2
    assert home.log.query("SELECT DISTINCT outcome FROM requests").rows == [("ok",)]


def test_numbers_and_texts_no_column_can_hold_do_not_stop_the_queue(home: StoredHome) -> None:
    first = home.exchange(status=10**12)
    second = home.exchange(trace_id="not a trace id", prompt_version=2**40)
    third = home.exchange(error_message="\ud7ff\0 odd")
    home.store_all()
    assert home.ids() == [first, second, third]
    assert home.ingest.set_aside == 2
    notes = home.log.query("SELECT fold_note IS NOT NULL FROM exchanges ORDER BY seq").rows
    assert notes == [(True,), (True,), (False,)]


def test_a_price_step_that_fails_leaves_the_row_unpriced_with_a_reason(home: StoredHome) -> None:
    def failing(final: FinalRecord, bodies: BodiesLazy) -> Priced:
        raise LookupError("no list")

    home.ingest = Ingest(home.path, home.log, failing)
    home.exchange()
    home.store_all()
    assert home.log.query("SELECT cost_usd, cost_source, cost_reason FROM requests").rows == [
        (None, "unpriced", "pricing failed (LookupError)")
    ]


def test_an_unbelievable_cost_and_negative_counts_are_unknown(home: StoredHome) -> None:
    def odd(final: FinalRecord, bodies: BodiesLazy) -> Priced:
        return Priced(input_tokens=-3, output_tokens=2**70, cost_usd=Decimal("1e9"), cost_source="listed")

    home.ingest = Ingest(home.path, home.log, odd)
    home.exchange()
    home.store_all()
    row = home.log.query("SELECT input_tokens, output_tokens, cost_usd, cost_reason FROM requests").rows[0]
    assert row[:3] == (None, None, None)
    assert "1.000e+9" in row[3]


def test_pricing_can_read_the_bodies_and_a_failing_listener_loses_nothing(home: StoredHome) -> None:
    read: list[bytes] = []

    def reading(final: FinalRecord, bodies: BodiesLazy) -> Priced:
        found = bodies.read()
        read.append(found.response if found else b"none")
        return Priced()

    def broken(rows: Sequence[RequestRow]) -> None:
        raise RuntimeError("page gone")

    home.ingest = Ingest(home.path, home.log, reading, broken)
    home.exchange(response=b"hello")
    home.store_all()
    assert read == [b"hello"]
    assert len(home.ids()) == 1


def test_batches_are_bounded_and_a_big_backlog_is_read_in_several(home: StoredHome) -> None:
    for _ in range(2500):
        home.exchange()
    assert home.ingest.step() <= 2000
    home.store_all()
    assert len(home.ids()) == 2500


def test_lag_is_known_while_behind_and_zero_when_not(home: StoredHome) -> None:
    for _ in range(1100):
        home.exchange(at_us=now_us() - 60_000_000)
    home.ingest.step()
    assert home.ingest.lag_s > 55
    home.store_all()
    assert home.ingest.lag_s == 0


def test_the_loop_stores_what_arrives_while_it_runs_and_ends_when_told(home: StoredHome) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(home.ingest.run())
        home.exchange()
        async with asyncio.timeout(10):
            while not home.seen:
                await asyncio.sleep(0.01)
            home.ingest.stop()
            await task

    asyncio.run(scenario())
    assert len(home.ids()) == 1


def test_the_loop_stores_at_once_what_it_is_rung_for(home: StoredHome, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("POLL_S", "RUNG_POLL_S"):
        monkeypatch.setattr(ingest, pause, 3600.0)
    place = Home(home.ingest.spool_dir.parent)
    place.prepare()

    async def scenario(bell: Bell) -> None:
        task = asyncio.create_task(home.ingest.run(bell))
        home.exchange()
        async with asyncio.timeout(20):
            while not home.seen:  # again and again: it may have been before the first look
                rope.pull()
                await asyncio.sleep(0.01)
            home.ingest.stop()
            await task

    with contextlib.closing(Bell(place)) as bell, contextlib.closing(Rope(place)) as rope:
        asyncio.run(scenario(bell))
    assert len(home.ids()) == 1


def test_two_workers_are_read_side_by_side(home: StoredHome) -> None:
    home.exchange()
    home.stop_writing()
    home.exchange()
    home.store_all()
    assert len(home.ids()) == 2
    assert len(home.log.positions()) == 2
    assert len(home.log.closed_spools()) == 1


def test_a_log_reopened_behind_ingests_back_is_noticed(home: StoredHome) -> None:
    slow = home.start()
    home.exchange()
    home.store_all()
    home.log.rewrite()
    home.finish(slow)
    home.exchange()
    home.store_all()
    assert len(home.ids()) == len(set(home.ids())) == 3
    assert flat_price is not None


def _dead_spool(home: StoredHome) -> Path:
    """A spool of its own whose writer has ended; it sorts before every other."""
    home.exchange()
    home.stop_writing()
    [directory] = (home.path / "spool").iterdir()
    return directory


def test_only_directories_are_spools(home: StoredHome) -> None:
    spool = home.path / "spool"
    spool.mkdir()
    (spool / ("0-" + "0" * 32)).write_bytes(b"junk")
    os.mkfifo(spool / ("1-" + "0" * 32))
    (spool / "0-xyz").write_text("x")
    request_id = home.exchange()
    home.store_all()
    home.stop_writing()
    home.store_all()
    seal(home.log, home.ingest)
    assert home.ids() == [request_id]
    assert home.ingest.problem is None
    assert len(home.parquet()) == 1


def test_a_spool_that_cannot_be_read_is_named_and_counted_and_the_others_go_on(home: StoredHome) -> None:
    directory = _dead_spool(home)
    (directory / "lock").unlink()
    (directory / "lock").symlink_to("lock")  # opening it is an OSError
    good = home.exchange()
    for _ in range(3):
        home.ingest.guarded_step()
    assert home.ids() == [good]
    assert home.ingest.problem is not None
    assert directory.name in home.ingest.problem
    assert home.ingest.spool_errors == 3
    home.stop_writing()
    home.ingest.guarded_step()
    home.ingest.guarded_step()
    with pytest.raises(Unavailable, match=directory.name):
        seal(home.log, home.ingest)
    assert [path.name for path in (home.path / "spool").iterdir()] == [directory.name]
    assert len(home.parquet()) == 1
    home.log.delete([good])
    assert purge(home.path, home.log, home.ingest)
    assert home.parquet() == []
    (directory / "lock").unlink()
    home.store_all()
    assert home.ingest.problem is None
    assert len(home.ids()) == 1


def test_the_loop_does_not_slow_down_for_a_spool_that_cannot_be_read(home: StoredHome) -> None:
    directory = _dead_spool(home)
    (directory / "lock").unlink()
    (directory / "lock").symlink_to("lock")
    home.ingest.guarded_step()
    assert home.ingest.problem is not None
    assert not home.ingest.is_stalled


def test_a_directory_named_like_a_segment_holds_nothing_up(home: StoredHome) -> None:
    directory = _dead_spool(home)
    for name in ("00000002.done", "00000000.done"):
        (directory / name).mkdir()
    os.mkfifo(directory / "00000003.done")
    home.store_all()
    home.ingest.step()
    assert seal(home.log, home.ingest) == 1
    assert len(home.ids()) == 1
    assert home.ingest.problem is None
    assert (directory / "00000002.done").is_dir()

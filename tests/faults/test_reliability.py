"""The fault harness in its short form; `make reliability` runs it with many faults and prints the table."""

from pathlib import Path
from statistics import median

import pytest

from faults import reliability
from faults.table import Line
from faults.worker_phases import overloaded, power_cut, power_cuts


def test_answers_broken_and_stalled_on_either_side_lose_no_record_and_are_never_taken_for_whole(tmp_path: Path) -> None:
    line = reliability.network(tmp_path, 5, 1)
    assert line.is_sound and line.injected >= 10, line


def test_in_group_durability_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    line = power_cuts(tmp_path, 1, 1)
    assert line.is_sound and line.acknowledged >= 10, line


def test_the_simulated_power_cut_takes_what_no_sync_has_put_on_the_disk(tmp_path: Path) -> None:
    cut = power_cut(tmp_path, "page", 0.02)
    assert cut.lost == cut.acknowledged >= 10  # the promise of `page` is about processes, not about power


def test_three_times_the_load_is_refused_beyond_the_limit_and_every_answer_and_refusal_is_recorded(
    tmp_path: Path,
) -> None:
    found = overloaded(tmp_path, 0.4)
    assert found.most_at_upstream == 8
    assert found.refused and {got.status for got in found.refused} == {503}
    assert {got.error["code"] for got in found.refused} == {"overloaded"}
    told = {got.header("x-headgate-request-id") for got in (*found.once.answers, *found.thrice.answers)}
    assert told == {final.request_id for final in found.finals} and len(told) == len(found.finals)


def test_a_line_with_a_loss_is_not_sound_and_the_table_shows_it() -> None:
    line = Line(
        fault="kill", injected=1, requests=1200, acknowledged=9, lost=2, duplicated=0, wrong=0, recovery_s=(0.5, 1.5)
    )
    assert not line.is_sound
    assert str(line) == "| kill | 1 | 1,200 | 9 | 2 | 0 | 0 | 1.00 (at most 1.50) |  |"


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    line = reliability.kills(tmp_path, 200, 1)
    assert line.is_sound, line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("upstream", 100), ("client", 100), ("disk", 3), ("filesystem", 2), ("log", 5)]
)
def test_the_other_faults_lose_nothing(tmp_path: Path, name: str, count: int) -> None:
    line = reliability.PHASES[name][0](tmp_path, count, 1)
    if not line.injected:
        pytest.skip(line.note)
    assert line.is_sound, line


@pytest.mark.slow
def test_forty_power_cuts_lose_nothing_in_group_durability(tmp_path: Path) -> None:
    assert power_cuts(tmp_path, 40, 1).is_sound


@pytest.mark.slow
def test_goodput_does_not_collapse_at_three_times_the_load(tmp_path: Path) -> None:
    found = overloaded(tmp_path, 10)
    print(f"goodput {found.goodput:.0%} of that at capacity")
    assert found.goodput >= 0.8


@pytest.mark.slow
def test_a_control_process_that_stands_still_for_two_minutes_is_not_felt_and_catches_up(tmp_path: Path) -> None:
    found = reliability.stopped_control(tmp_path, 120)
    print(found.line)
    assert found.line.is_sound, found.line
    # Twice and a half: the machine's other work comes and goes; a worker that waited for storing would take seconds.
    assert median(found.meanwhile_s) <= 2.5 * median(found.before_s)
    assert max(found.meanwhile_s) <= 10
    assert found.grown_mb <= 32
    assert found.catch_up >= 5

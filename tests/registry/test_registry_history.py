"""The history: append-only, chained, and any edit shows."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.registry.database import Database
from headgate.registry.history import append, entries, record, verify_history


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def fill(database: Database, count: int = 6) -> None:
    for number in range(count):
        record(
            database,
            who="key_a",
            action="x.change",
            object=f"x:{number % 2}",
            reason=f"r{number}",
            detail={"n": number},
        )


def test_entries_come_newest_first_by_object_and_time(database: Database) -> None:
    with database.write() as connection:
        for at_us, name in ((10, "a"), (20, "b"), (30, "a")):
            append(connection, who="w", action="key.create", object=f"key:{name}", at_us=at_us, detail={"t": at_us})
    assert [e.at_us for e in entries(database)] == [30, 20, 10]
    assert [e.at_us for e in entries(database, "a")] == [30, 10]
    assert [e.at_us for e in entries(database, "key:a")] == [30, 10]
    assert [e.at_us for e in entries(database, None, 20)] == [20, 10]
    assert [e.at_us for e in entries(database, before_seq=3, limit=1)] == [20]
    assert entries(database, "a")[0].detail == {"t": 30}
    assert entries(database, "none") == []


def test_an_unbroken_chain_is_told_with_its_head(database: Database) -> None:
    assert verify_history(database).fault is None
    fill(database)
    check = verify_history(database)
    assert (check.entries, check.fault) == (6, None)
    assert check.head == entries(database)[0].hash


def test_entries_can_be_neither_changed_nor_removed(database: Database) -> None:
    fill(database)
    for sql in ("UPDATE history SET who = 'b'", "DELETE FROM history WHERE seq = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), database.write() as connection:
            connection.execute(sql)
    assert verify_history(database).fault is None


def without_triggers(database: Database, sql: str) -> None:
    with database.write() as connection:
        connection.execute("DROP TRIGGER history_keeps_entries")
        connection.execute("DROP TRIGGER history_loses_nothing")
        connection.execute(sql)


EDITS: list[tuple[str, str]] = [
    ("UPDATE history SET who = 'someone else' WHERE seq = 3", "entry 3 was changed"),
    ("UPDATE history SET at_us = at_us + 1 WHERE seq = 1", "entry 1 was changed"),
    ("UPDATE history SET reason = NULL WHERE seq = 6", "entry 6 was changed"),
    ("UPDATE history SET detail = '{}' WHERE seq = 2", "entry 2 was changed"),
    ("DELETE FROM history WHERE seq = 3", "entry 3 is missing"),
    ("DELETE FROM history WHERE seq = 1", "entry 1 is missing"),
    ("DELETE FROM history WHERE seq >= 5", "entries 5 to 6 are missing"),
    ("DELETE FROM history", "entries 1 to 6 are missing"),
    ("UPDATE history SET previous = '' WHERE seq = 4", "entry 4 does not follow entry 3"),
    ("UPDATE history SET hash = lower(hex(randomblob(32))) WHERE seq = 4", "entry 4 was changed"),
]


@pytest.mark.parametrize(("sql", "fault"), EDITS)
def test_any_edit_behind_our_back_is_found(database: Database, sql: str, fault: str) -> None:
    fill(database)
    without_triggers(database, sql)
    assert verify_history(database).fault == fault


def test_a_change_that_fails_leaves_no_entry_and_no_gap(database: Database) -> None:
    fill(database, 1)
    with pytest.raises(ValueError, match="detail of x"), database.write() as connection:
        append(connection, who="w", action="fine", object="o")
        append(connection, who="w", action="x", object="o", detail={"long": "x" * 70_000})
    fill(database, 1)
    assert verify_history(database).entries == 2
    assert verify_history(database).fault is None


@pytest.mark.parametrize(
    "spoil", [str.upper, lambda text: text + "\ud800", lambda text: text * 2000, lambda text: "\x00" + text]
)
def test_hostile_texts_are_kept_bounded_and_verifiable(database: Database, spoil: Callable[[str], str]) -> None:
    text = spoil("é’☃ reason")
    record(database, who=text, action="a", object="o", reason=text, detail={"t": text[:1000], "n": None, "f": 1.5})
    (entry,) = entries(database)
    assert len(entry.who) <= 4000
    assert verify_history(database).fault is None


def test_keys_in_texts_are_masked(database: Database) -> None:
    key = "hg_C4n4ryC4n4ryC4n4ry"
    record(database, who="w", action="a", object=f"key:{key}", reason=f"it was {key}.", detail={"key": key})
    (entry,) = entries(database)
    assert (entry.object, entry.reason, entry.detail) == ("key:hg_…", "it was hg_….", {"key": "hg_…"})

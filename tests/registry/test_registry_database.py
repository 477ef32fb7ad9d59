"""The control database: private, migrated once, honest about damage."""

import sqlite3
import threading
from pathlib import Path

import pytest

from headgate.core.errors import HomeError
from headgate.registry.database import FILE_NAME, Database, migrations, statements_of
from headgate.registry.history import record
from headgate.registry.keys import create_key, list_keys


def test_a_new_database_is_private_and_strict_and_in_wal_mode(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    create_key(database, name="a")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}
    with database.read() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        strict = connection.execute(
            "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        assert {row[1] for row in strict} == {1}
    assert database.ping()
    database.close()
    assert not database.ping()


def test_a_database_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    path = tmp_path / FILE_NAME
    path.chmod(0o644)
    Database.open(tmp_path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_migrations_are_numbered_from_one_without_gaps_and_run_once(tmp_path: Path) -> None:
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))
    for _ in range(3):
        Database.open(tmp_path).close()
    database = Database.open(tmp_path)
    with database.read() as connection:
        rows = connection.execute("SELECT version, name FROM schema_migration ORDER BY version").fetchall()
    database.close()
    assert rows == [(m.version, m.name) for m in migrations()]


def test_two_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database.open(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for database in opened:
        database.close()


def test_a_script_is_split_at_statements_and_not_inside_triggers() -> None:
    for migration in migrations():
        found = list(statements_of(migration.sql))
        assert all(sqlite3.complete_statement(statement) for statement in found)
        assert sum("CREATE TRIGGER" in statement for statement in found) == migration.sql.count("CREATE TRIGGER")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    with database.write() as connection:
        connection.execute("INSERT INTO schema_migration VALUES (9999, 'of tomorrow', 0)")
    database.close()
    with pytest.raises(HomeError, match="has schema 9999; this Headgate knows up to") as raised:
        Database.open(tmp_path)
    assert "newer Headgate" in raised.value.hint


@pytest.mark.parametrize(
    "data", [b"this is no database, it is a text of some length" * 100, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(HomeError, match=r"control\.db is damaged") as raised:
        Database.open(tmp_path)
    assert "headgate backup" in raised.value.hint


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="cannot be used"):
        Database.open(tmp_path / "none")


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute("INSERT INTO schema_migration VALUES (77, 'x', 0)")
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM schema_migration WHERE version = 77").fetchone() == (0,)
    database.close()


def test_what_was_committed_survives_without_a_close(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    create_key(database, name="kept")
    copy = tmp_path / "after-a-kill"
    copy.mkdir()
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        if not path.name.endswith("-shm"):
            (copy / path.name).write_bytes(path.read_bytes())
    database.close()
    reopened = Database.open(copy)
    assert [key.name for key in list_keys(reopened)] == ["kept"]
    reopened.close()


def test_many_threads_write_through_one_database(tmp_path: Path) -> None:
    database = Database.open(tmp_path)

    def write(number: int) -> None:
        for _ in range(5):
            create_key(database, name=f"t{number}")
            list_keys(database)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list_keys(database)) == 20
    database.close()


def test_a_backup_is_a_private_whole_copy(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    create_key(database, name="a")
    target = tmp_path / "copy" / FILE_NAME
    target.parent.mkdir()
    database.backup(target)
    create_key(database, name="b")
    with pytest.raises(HomeError, match="cannot be written"):
        database.backup(target)
    database.close()
    assert target.stat().st_mode & 0o777 == 0o600
    copy = Database.open(target.parent)
    assert [key.name for key in list_keys(copy)] == ["a"]
    copy.close()


def test_a_lock_held_by_another_process_is_told(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    with database.read() as connection:
        connection.execute("SELECT 1").fetchone()
    other.execute("BEGIN IMMEDIATE")
    database._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(HomeError, match="held by another process"):
        record(database, who="a", action="b", object="c")
    other.execute("ROLLBACK")
    other.close()
    assert record(database, who="a", action="b", object="c") == 1
    database.close()

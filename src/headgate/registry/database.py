"""The control database: one SQLite file beside the log, with numbered migrations."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from headgate.core.errors import HomeError
from headgate.core.ids import now_us

FILE_NAME = "control.db"
BUSY_MS = 5000
_MIGRATION_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version       INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    applied_at_us INTEGER NOT NULL
) STRICT
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered change of the schema."""

    version: int
    name: str
    sql: str


class Database:
    """An open control database; safe to use from several threads, one at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, home: Path) -> "Database":
        """Opens HOME/control.db (created with mode 0600) and applies missing migrations; raises HomeError."""
        path = home / FILE_NAME
        try:
            _create_private(path)
            connection = _connect(path)
            try:
                _migrate(connection, path)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise _home_error(path, error) from error
        return cls(connection, path)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in the block is stored, durably, or nothing."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise _home_error(self.path, error) from error
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise _home_error(self.path, error) from error
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One unchanging view of the data for the block."""
        with self._lock:
            try:
                self._connection.execute("BEGIN")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                raise _home_error(self.path, error) from error

    def ping(self) -> bool:
        """Whether the database answers a real query."""
        try:
            with self.read() as connection:
                connection.execute("SELECT count(*) FROM schema_migration").fetchone()
        except (HomeError, sqlite3.Error):
            return False
        return True

    def backup(self, target: Path) -> None:
        """Writes a consistent copy to a new file of mode 0600 while others go on."""
        try:
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with self._lock, closing(sqlite3.connect(target)) as copy:
                self._connection.backup(copy)
        except (sqlite3.Error, OSError) as error:
            raise HomeError(f"The copy {target} cannot be written: {error}.") from error

    def close(self) -> None:
        """Closes the file; the write-ahead log is merged into it."""
        with self._lock:
            self._connection.close()


def migrations() -> tuple[Migration, ...]:
    """All migrations in the order of their numbers."""
    found = [
        Migration(version=int(file.name[:4]), name=file.name.removesuffix(".sql"), sql=file.read_text(encoding="utf-8"))
        for file in files("headgate.registry").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def statements_of(sql: str) -> Iterator[str]:
    """The statements of a script; a trigger's inner semicolons end nothing."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _create_private(path: Path) -> None:
    """SQLite gives its side files the rights of the database, so those are set before it sees the file."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        faults = connection.execute("PRAGMA quick_check(1)").fetchone()
        if faults[0] != "ok":
            raise sqlite3.DatabaseError(faults[0])
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    known = migrations()
    connection.execute("BEGIN IMMEDIATE")  # two processes that open at once migrate one after the other
    try:
        connection.execute(_MIGRATION_TABLE)
        applied = {row[0] for row in connection.execute("SELECT version FROM schema_migration")}
        newest = max(applied, default=0)
        if newest > known[-1].version:
            raise HomeError(
                f"{path} has schema {newest}; this Headgate knows up to {known[-1].version}.",
                hint="It was written by a newer Headgate: use that one, or another --home.",
            )
        for migration in known:
            if migration.version not in applied:
                for statement in statements_of(migration.sql):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_migration VALUES (?, ?, ?)", (migration.version, migration.name, now_us())
                )
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _home_error(path: Path, error: Exception) -> HomeError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return HomeError(
            f"{path} is held by another process for more than {BUSY_MS // 1000} s.", hint="Try again, or end it."
        )
    if isinstance(error, sqlite3.OperationalError | OSError):
        return HomeError(f"{path} cannot be used: {text}.", hint="Check the disk's room and the rights of the file.")
    return HomeError(
        f"{path} is damaged: {text}.",
        hint="Put back a copy (headgate backup DIR writes them), or move the file away to start with no keys.",
    )

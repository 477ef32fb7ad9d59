"""Opening the log's DuckDB file: stable storage version, migrations, lock-down, an unreadable WAL set aside."""

import os
import re
import stat
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import duckdb

from headgate.core.errors import HomeError
from headgate.core.ids import now_us

DATABASE_NAME = "requests.duckdb"
UNREADABLE = "log_unreadable"
"""The error code of a log that no process holds and that cannot be opened."""
STORAGE_VERSION = "v1.5.0"
"""Written and read by DuckDB 1.5.5 and 2.0 alike; 1.5.5's own default leaves text uncompressed (measured 2026-11)."""

Config = dict[str, str | bool | int | float | list[str]]

_HOLDER = re.compile(r"PID (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection to the log, and the WAL file that had to be set aside, if any."""

    connection: duckdb.DuckDBPyConnection
    damaged_wal: Path | None = None


def configuration(home: Path, *, memory_limit_mb: int, threads: int, purpose: str) -> Config:
    """Settings of every DuckDB instance of ours; spilled data goes below HOME/tmp."""
    return {
        "storage_compatibility_version": STORAGE_VERSION,
        "memory_limit": f"{memory_limit_mb}MB",
        "threads": threads,
        "temp_directory": str(home / "tmp" / purpose),
        "max_temp_directory_size": "4GB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
    }


def spare_pandas() -> None:
    """Have DuckDB do without pandas, in a process that is ours alone: nothing there makes or takes its frames.

    DuckDB looks for it at every parameter of a statement. Where it is installed, the first one imports it: 0.35 s of
    CPU and 52 MB; where it is not, each look searches the path again, 0.2 ms a statement (duckdb 1.5.5, 2026-11).
    """
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # what the language documents against an import


def open_database(home: Path, *, memory_limit_mb: int, threads: int = 2) -> Opened:
    """Open or create HOME/requests.duckdb; raises HomeError naming the process that holds it, or the damage."""
    path = home / DATABASE_NAME
    _make_home(home)
    damaged_wal = None
    try:
        connection = _connect(path, home, memory_limit_mb, threads)
    except duckdb.Error as error:
        _refuse_when_held(path, error)
        damaged_wal = _set_wal_aside(path)
        if damaged_wal is None:
            raise _unreadable(path, error) from error
        try:
            connection = _connect(path, home, memory_limit_mb, threads)
        except duckdb.Error as second:
            damaged_wal.rename(_wal_of(path))
            raise _unreadable(path, second) from second
    return Opened(connection=connection, damaged_wal=damaged_wal)


def _make_home(home: Path) -> None:
    try:
        for directory in (home, home / "tmp", home / "bodies"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"The data directory {home} cannot be written ({error.strerror}).",
            hint="Give its owner write permission, or choose another with --home.",
        ) from error


def _connect(path: Path, home: Path, memory_limit_mb: int, threads: int) -> duckdb.DuckDBPyConnection:
    config = configuration(home, memory_limit_mb=memory_limit_mb, threads=threads, purpose="log")
    connection = duckdb.connect(str(path), config=config)
    try:
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
        migrate(connection)
        # External access, memory and configuration are global to an instance: closed once, for every cursor.
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _set_wal_aside(path: Path) -> Path | None:
    """Rename a WAL that cannot be replayed: the file falls back to its last checkpoint, its marks with it."""
    wal = _wal_of(path)
    if not wal.exists():
        return None
    aside = path.with_name(f"{path.name}.wal-damaged-{now_us()}")
    wal.rename(aside)
    return aside


def set_log_aside(home: Path) -> Path:
    """Give a log that cannot be opened another name, so that the next opening makes it anew; returns the name."""
    path = home / DATABASE_NAME
    aside = path.with_name(f"{DATABASE_NAME}.damaged-{now_us()}")
    path.rename(aside)
    if _wal_of(path).exists():
        _wal_of(path).rename(_wal_of(aside))
    return aside


def _refuse_when_held(path: Path, error: duckdb.Error) -> None:
    text = str(error)
    if "lock on file" not in text:
        return
    holder = _HOLDER.search(text)
    who = f"process {holder.group(1)}" if holder else "another process"
    raise HomeError(
        f"{path} is held by {who}.",
        hint="Ask the running server instead (HEADGATE_URL), or stop it first.",
    ) from error


def _unreadable(path: Path, error: duckdb.Error) -> HomeError:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return HomeError(
        f"{path} cannot be opened: {first_line}",
        code=UNREADABLE,
        hint="Free disk space if it is full; else make it anew from bodies/ and spool/: headgate verify --rebuild",
    )


def migrations() -> list[tuple[int, str]]:
    """The numbered SQL files of the package, in order."""
    directory = resources.files("headgate.store") / "migrations"
    files = sorted(file.name for file in directory.iterdir() if file.name.endswith(".sql"))
    return [(int(name.split("_")[0]), (directory / name).read_text(encoding="utf-8")) for name in files]


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply what is missing, then CHECKPOINT: replaying DDL from a WAL is the known way to an unopenable file."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER, duckdb_version VARCHAR, applied_at TIMESTAMP)"
    )
    known = migrations()
    applied = {row[0] for row in connection.execute("SELECT version FROM schema_migrations").fetchall()}
    newest = max(applied, default=0)
    if newest > known[-1][0]:
        raise HomeError(
            f"{DATABASE_NAME} has schema {newest}; this Headgate knows up to {known[-1][0]}.",
            hint="It was written by a newer Headgate: use that one, or another --home.",
        )
    pending = [(version, text) for version, text in known if version not in applied]
    for version, text in pending:
        connection.execute("BEGIN")
        connection.execute(text)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, version(), make_timestamp(?))", [version, now_us()]
        )
        connection.execute("COMMIT")
    if pending:
        connection.execute("CHECKPOINT")

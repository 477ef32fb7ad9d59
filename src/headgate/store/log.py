"""The log of requests: an append-only DuckDB file with one owner, its read positions, the sealed files beside it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from headgate.core.errors import Unavailable
from headgate.core.ids import now_us, utc
from headgate.store.archive import Archive
from headgate.store.columns import SMALL_TABLES, TableName, definitions
from headgate.store.connection import RowsRefused, SharedConnection
from headgate.store.database import DATABASE_NAME, open_database
from headgate.store.files import remove_leftovers, sealed_files, sync_directory
from headgate.store.rewrite import copy_log, rewrite
from headgate.store.rows import INSERT_EXCHANGES, RequestRow, arrow_table
from headgate.store.small_tables import expire_small_tables, insert_small, oldest_id
from headgate.store.table import Table, first_row
from headgate.store.tallies import insert_tallies, note_removals
from headgate.store.values import Bodies, Location

SpoolBodies = Callable[[Location], Bodies | None]
"""Reads bodies that are still in the spool; None when the segment is gone."""

_NEXT_DELETION = """
    SELECT 1 + greatest((SELECT coalesce(max(number), 0) FROM deletions),
                        (SELECT coalesce(max(number), 0) FROM rewrites))"""
"""Deletions are numbered because the clock may step back: what is above the last rewrite's number is newer than it."""

FILTER_COLUMNS = ("project", "user", "session", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a spool was read, stored with what was read; ``is_closed`` when nothing will ever follow."""

    spool_id: str
    segment: int
    offset: int
    is_closed: bool = False


class _NotKept(Exception):
    """Ends a trial insert, which is then rolled back."""


class Log:
    """Opened once per home. Every method blocks: call it from a thread. Reads run beside the one writer."""

    def __init__(self, home: Path, *, memory_limit_mb: int) -> None:
        self.home = home
        self.bodies_directory = home / "bodies"
        self.damaged_wal: Path | None = None
        self.spool_bodies: SpoolBodies | None = None
        self.upkeep = threading.RLock()  # held by whatever changes which files count
        self._memory_limit_mb = memory_limit_mb
        self._shared = SharedConnection(self._connect)
        self.archive = Archive(home)
        self._next_seq = 1
        self._seq_generation = -1
        self._unsealed: tuple[int, int] = (-1, 0)
        self.load_state()
        remove_leftovers(self, self.bodies_directory)

    @classmethod
    def open(cls, home: Path, *, memory_limit_mb: int = 512) -> "Log":
        """Open or create the log of ``home``; raises HomeError when it is held, unwritable or unreadable."""
        return cls(home, memory_limit_mb=memory_limit_mb)

    def _connect(self) -> duckdb.DuckDBPyConnection:
        opened = open_database(self.home, memory_limit_mb=self._memory_limit_mb)
        self.damaged_wal = opened.damaged_wal or self.damaged_wal
        return opened.connection

    def load_state(self) -> None:
        """What is kept in memory: the next seq and how far bodies have expired."""
        row = self.query(
            """SELECT greatest((SELECT coalesce(max(seq), 0) FROM exchanges),
                               (SELECT coalesce(max(last_seq), 0) FROM marks)) + 1,
                      (SELECT max(before) FROM expiries WHERE what = 'bodies')"""
        ).rows[0]
        self._next_seq = row[0]
        self._seq_generation = self._shared.generation
        self._shared.bodies_before = row[1]

    @property
    def generation(self) -> int:
        """Changes whenever the file was opened again: what was read before may have been undone."""
        return self._shared.generation

    @property
    def unsealed_from(self) -> int:
        """No row below this seq is outside a sealed file: spares the search for those that are a full scan."""
        generation, seq = self._unsealed
        return seq if generation == self.generation else 0

    def note_unsealed_from(self, seq: int) -> None:
        """Raise ``unsealed_from``; segments that are sealed stay sealed while the file is not reopened."""
        self._unsealed = (self.generation, seq)

    @property
    def bodies_before(self) -> datetime | None:
        """Content of requests that started before this time is gone from every answer."""
        return self._shared.bodies_before

    # ------------------------------------------------------------------ writing

    def writing(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """One transaction of the one writer. Raises RowsRefused (nothing stored) or OutcomeUnknown (look again)."""
        return self._shared.writing()

    def store(self, rows: Sequence[RequestRow], mark: Mark, tallies: Mapping[int, str] | None = None) -> None:
        """Insert ``rows``, move ``mark`` and add each segment's tally in one transaction; gives each row its ``seq``.

        Raises RowsRefused when a value does not fit (nothing was stored), OutcomeUnknown after a failure that may
        or may not have been durable: read ``positions()`` again and continue from there.
        """
        with self._shared.write_lock:
            if self._seq_generation != self._shared.generation:
                self.load_state()
            first = self._next_seq
            for seq, row in enumerate(rows, first):
                row.seq = seq
            batch = arrow_table(rows) if rows else None
            with self.writing() as connection:
                if batch is not None:
                    connection.register("batch", batch)
                    try:
                        connection.execute(INSERT_EXCHANGES)
                    finally:
                        connection.unregister("batch")
                    insert_small(connection, "predictions", [one for row in rows for one in row.predictions])
                connection.execute(
                    "INSERT INTO marks VALUES (?, ?, ?, ?, ?, make_timestamp(?))",
                    [mark.spool_id, mark.segment, mark.offset, mark.is_closed, first + len(rows) - 1, now_us()],
                )
                insert_tallies(connection, [(mark.spool_id, *item) for item in (tallies or {}).items()])
            self._next_seq = first + len(rows)

    def accepts(self, row: RequestRow) -> bool:
        """Whether the log would take this row; nothing is stored."""
        try:
            batch = arrow_table([row])
            with self.writing() as connection:
                connection.register("batch", batch)
                try:
                    connection.execute(INSERT_EXCHANGES)
                finally:
                    connection.unregister("batch")
                insert_small(connection, "predictions", row.predictions)
                raise _NotKept
        except _NotKept:
            return True
        except (RowsRefused, ValueError, TypeError, OverflowError):
            return False

    def append(self, table: TableName, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows (by column name) into one of the small tables in one transaction."""
        with self.writing() as connection:
            insert_small(connection, table, rows)

    def replace_run(self, run: Mapping[str, object], results: Sequence[Mapping[str, object]]) -> None:
        """Put a run and its results (rows of `eval_runs` and `eval_results`) in the place of what was there of it.

        Results of requests that were deleted are left out.
        """
        with self.writing() as connection:
            for table in ("eval_results", "eval_runs"):
                connection.execute(f"DELETE FROM {table} WHERE run = ?", [run["run"]])
            insert_small(connection, "eval_results", results)
            insert_small(connection, "eval_runs", [run])
            connection.execute(
                "DELETE FROM eval_results WHERE run = ? AND request_id IN (SELECT request_id FROM deletions)",
                [run["run"]],
            )

    def checkpoint(self) -> None:
        """Bring everything committed into the file. Before a spool segment or a replaced file is unlinked: this."""
        self._shared.checkpoint()

    def prune_marks(self) -> None:
        """Drop marks that a later mark of the same spool replaces."""
        with self.writing() as connection:
            connection.execute(
                """DELETE FROM marks WHERE NOT is_closed AND (segment, "offset") <
                   (SELECT max((later.segment, later."offset")) FROM marks AS later
                    WHERE later.spool_id = marks.spool_id)"""
            )

    # ------------------------------------------------------------------ reading

    def positions(self) -> dict[str, tuple[int, int]]:
        """Per spool, the (segment, offset) up to which its records are stored."""
        table = self.query('SELECT spool_id, max((segment, "offset")) FROM marks GROUP BY spool_id')
        return {spool_id: (position[0], position[1]) for spool_id, position in table.rows}

    def is_new(self) -> bool:
        """Whether nothing was ever stored in it."""
        row = self.query(
            """SELECT EXISTS (FROM exchanges) OR EXISTS (FROM marks) OR EXISTS (FROM file_changes)
               OR EXISTS (FROM deletions)"""
        ).rows[0]
        return not row[0]

    def free_share(self) -> tuple[float, int]:
        """Which part of the file's blocks holds nothing that counts, and how many blocks there are."""
        total, free = self.query(
            "SELECT total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = 'requests'"
        ).rows[0]
        return (free / total if total else 0.0), total

    def closed_spools(self) -> set[str]:
        """Spools whose last record is stored and whose unfinished starts are rows."""
        return {row[0] for row in self.query("SELECT DISTINCT spool_id FROM marks WHERE is_closed").rows}

    def known(self, request_ids: Sequence[str]) -> set[str]:
        """Those of ``request_ids`` that were ever stored, taken out since or not."""
        if not request_ids:
            return set()
        wanted = "SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id)"
        table = self.query(
            f"""SELECT request_id FROM exchanges WHERE request_id IN ({wanted})
                UNION SELECT request_id FROM deletions WHERE request_id IN ({wanted})""",
            [list(request_ids), list(request_ids)],
        )
        return {str(row[0]) for row in table.rows}

    def never_stored(self, request_ids: Sequence[str]) -> set[str]:
        """Those of ``request_ids`` that have no row and were not taken out by `log delete` or by age."""
        if not request_ids:
            return set()
        table = self.query(
            """SELECT id FROM (SELECT unnest(?::VARCHAR[]) AS id)
               WHERE TRY_CAST(id AS UUID) NOT IN (SELECT request_id FROM exchanges WHERE request_id IS NOT NULL)
                 AND TRY_CAST(id AS UUID) NOT IN (SELECT request_id FROM deletions)""",
            [list(request_ids)],
            timeout_s=60.0,
        )
        expired = self.query("SELECT max(before) FROM expiries WHERE what = 'rows'").rows[0][0]
        oldest = "" if expired is None else oldest_id(expired)
        return {row[0] for row in table.rows if row[0] >= oldest}

    def query(
        self, sql: str, params: Sequence[object] = (), *, timeout_s: float = 10.0, max_rows: int | None = None
    ) -> Table:
        """Run one statement of ours on a cursor of its own; the text is never a user's. Thread-safe, blocking."""
        return self._shared.query(sql, params, timeout_s=timeout_s, max_rows=max_rows)

    def ping(self) -> bool:
        """Whether a real query is answered."""
        return self.query("SELECT count(*) FROM marks WHERE segment < 0", timeout_s=5.0).rows == [(0,)]

    def cursor(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A read cursor to stream Arrow from; hold it briefly."""
        return self._shared.reading(10.0)

    def body_of(self, request_id: str) -> Bodies | None:
        """The bodies of a stored request: from its sealed file, else from the spool. None when none were kept."""
        table = self.query(
            """SELECT spool_id, segment, "offset", length, started_at FROM exchanges
               WHERE request_id = TRY_CAST(? AS UUID) AND capture IN ('full', 'truncated')""",
            [request_id],
        )
        if not table.rows:
            return None
        spool_id, segment, offset, length, started_at = table.rows[0]
        if length == 0 or (self.bodies_before is not None and started_at < self.bodies_before):
            return None
        location = Location(spool_id=spool_id, segment=segment, offset=offset)
        bodies = self.spool_bodies(location) if self.spool_bodies else None
        return bodies or self._sealed_bodies(request_id, started_at)

    def _sealed_bodies(self, request_id: str, started_at: datetime) -> Bodies | None:
        paths = [
            self.bodies_directory / file.path
            for file in sealed_files(self)
            if file.has_bodies and file.min_started_at <= started_at <= file.max_started_at
        ]
        return self.archive.bodies_of(paths, request_id)

    # ------------------------------------------------------------------ forgetting

    def delete(self, request_ids: Sequence[str]) -> int:
        """Take these requests out of every answer at once; their files follow (``control/deletion.py``)."""
        if not request_ids:
            return 0
        return self._delete(
            "request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))", [list(request_ids)]
        )

    def delete_where(
        self,
        *,
        project: str | None = None,
        user: str | None = None,
        session: str | None = None,
        before_us: int | None = None,
    ) -> int:
        """Take out the requests that match everything given; nothing given matches nothing."""
        wanted: list[tuple[str, object]] = [
            ("project = ?", project),
            ("user_id = ?", user),
            ("session_id = ?", session),
        ]
        if before_us is not None:
            wanted.append(("started_at < ?", utc(before_us).replace(tzinfo=None)))
        given = [(text, value) for text, value in wanted if value is not None]
        if not given:
            return 0
        return self._delete(" AND ".join(text for text, _ in given), [value for _, value in given])

    def _delete(self, condition: str, params: list[Any]) -> int:
        with self.writing() as connection:
            row = first_row(
                connection,
                f"""INSERT INTO deletions
                    SELECT request_id, started_at, spool_id, segment, make_timestamp({now_us()}), ({_NEXT_DELETION})
                    FROM exchanges WHERE {condition}""",
                params,
            )
            note_removals(connection, condition, params)
            for table in ("predictions", "labels", "scores", "eval_results"):
                connection.execute(f"DELETE FROM {table} WHERE request_id IN (SELECT request_id FROM deletions)")
            connection.execute(f"DELETE FROM exchanges WHERE {condition}", params)
        self.checkpoint()
        return int(row[0]) if row else 0

    def expire(self, what: Literal["bodies", "rows"], before: datetime) -> None:
        """Everything of requests that started before is out of every answer from now on; never goes back."""
        with self.writing() as connection:
            connection.execute("INSERT INTO expiries VALUES (?, ?, make_timestamp(?))", [what, before, now_us()])
            if what == "rows":
                note_removals(connection, "started_at < ?", [before])
                connection.execute("DELETE FROM exchanges WHERE started_at < ?", [before])
            expire_small_tables(connection, what, before)
        self.checkpoint()
        self.load_state()

    def rewrite(self) -> None:
        """Copy the live rows into a fresh file and swap it in, so that no removed text is left in the old one."""
        rewrite(self._shared, self.home, self.bodies_before)
        self.load_state()

    def replace_by(self, fresh: Path, *, keep_as: Path | None = None) -> None:
        """Put the closed log file ``fresh`` in this one's place, which is kept where a name is given."""
        with self._shared.exclusive():
            current = self.home / DATABASE_NAME
            wal = current.with_name(current.name + ".wal")
            if keep_as is not None:
                current.rename(keep_as)
                if wal.exists():
                    wal.rename(keep_as.with_name(keep_as.name + ".wal"))
            elif wal.exists():
                raise Unavailable("The log could not be closed cleanly.", hint="Try again.")
            fresh.rename(current)
            sync_directory(self.home)
        self.load_state()

    def copy_to(self, target: Path) -> None:
        """Write a copy as of one moment to a new file, beside running ingest; raises OSError, Unavailable."""
        try:
            copy_log(self._shared, self.home, target, self.bodies_before)
        except duckdb.Error as error:
            raise Unavailable(f"The log could not be copied to {target}: {error}") from error

    def close(self) -> None:
        """Close the file; its WAL is merged into it."""
        self._shared.close()
        self.archive.close()


def create_table_text(table: TableName) -> str:
    """The CREATE TABLE of a small table, for exports that start empty."""
    return f"CREATE TABLE {table} ({definitions(SMALL_TABLES[table])})"

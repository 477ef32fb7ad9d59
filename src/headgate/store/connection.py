"""One DuckDB instance shared by one writer and a few readers, reopened when it turns out to be broken."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import duckdb

from headgate.core.errors import HeadgateError, QueryRefused, Unavailable
from headgate.core.ids import monotonic_s
from headgate.store.table import Table

MAX_READERS = 4
_REOPEN_WAIT_S = 30.0


class OutcomeUnknown(HeadgateError):
    """A write may or may not be stored: the log was reopened; read its positions again and go on from there."""

    code = "outcome_unknown"


class RowsRefused(HeadgateError):
    """A row did not fit the log; nothing of its batch was stored."""

    code = "rows_refused"


class SharedConnection:
    """A writer under a lock, readers on their own cursors, and an exclusive state to swap the file in."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._connect = connect
        self._connection = connect()
        self.write_lock = threading.RLock()
        self._gate = threading.Condition()
        self._readers: set[duckdb.DuckDBPyConnection] = set()
        self._is_exclusive = False
        self._is_closed = False
        self.generation = 0
        self.bodies_before: datetime | None = None

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction. Raises RowsRefused when nothing was stored, OutcomeUnknown after a reopening."""
        with self.write_lock:
            is_committing = False
            try:
                self._connection.execute("BEGIN")
                yield self._connection
                is_committing = True
                self._connection.execute("COMMIT")
            except duckdb.Error as error:
                if not is_committing and _is_about_data(error) and self._rolled_back():
                    raise RowsRefused(f"The log refused a batch: {_first_line(error)}") from error
                # DuckDB may raise after a COMMIT that is durable (a full disk, both 1.5 and 2.0): never assume either.
                self.reopen()
                raise OutcomeUnknown(f"The log was reopened after: {_first_line(error)}") from error
            except BaseException:
                self._rolled_back()
                raise

    def _rolled_back(self) -> bool:
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error:
            return False
        return True

    def checkpoint(self) -> None:
        """Bring everything committed into the file; raises OutcomeUnknown when that failed and the log was reopened."""
        with self.write_lock:
            for is_last in (False, True):
                try:
                    self._connection.execute("CHECKPOINT")
                    return
                except duckdb.TransactionException as error:
                    # A reader's snapshot is in the way: let the readers finish, then once more, alone.
                    if is_last:
                        raise Unavailable(f"The log could not be checkpointed: {_first_line(error)}") from error
                    self._stop_readers(wait_s=0.5)
                    self._release_readers()
                except duckdb.Error as error:
                    self.reopen()
                    raise OutcomeUnknown(f"The log was reopened after: {_first_line(error)}") from error

    @contextmanager
    def reading(self, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for one query; raises Unavailable when too many others run for ``wait_s``."""
        with self._gate:
            if not self._gate.wait_for(self._has_room, timeout=wait_s) or self._is_closed:
                raise Unavailable(f"The log is busy with {len(self._readers)} other queries.", hint="Try again soon.")
            cursor = self._connection.cursor()
            self._readers.add(cursor)
        try:
            if self.bodies_before is not None:
                cursor.execute("SET VARIABLE bodies_before = ?::TIMESTAMP", [self.bodies_before])
            yield cursor
        finally:
            with self._gate:
                self._readers.discard(cursor)
                cursor.close()
                self._gate.notify_all()

    def _has_room(self) -> bool:
        return self._is_closed or (not self._is_exclusive and len(self._readers) < MAX_READERS)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No reader and no writer; the connection is closed inside and opened again after."""
        with self.write_lock:
            self._stop_readers(wait_s=2.0)
            try:
                self._connection.close()
                try:
                    yield
                finally:
                    self._connection = self._connect()
                    self.generation += 1
            finally:
                self._release_readers()

    def _stop_readers(self, wait_s: float) -> None:
        """Let no reader in, give those inside ``wait_s``, then interrupt them."""
        with self._gate:
            self._is_exclusive = True
            if self._gate.wait_for(lambda: not self._readers, timeout=wait_s):
                return
        deadline = monotonic_s() + _REOPEN_WAIT_S
        while monotonic_s() < deadline:
            with self._gate:
                for cursor in self._readers:
                    _interrupt(cursor)
                if self._gate.wait_for(lambda: not self._readers, timeout=0.1):
                    return

    def _release_readers(self) -> None:
        with self._gate:
            self._is_exclusive = False
            self._gate.notify_all()

    def reopen(self, generation: int | None = None) -> None:
        """Close everything and open the file again, unless that happened since ``generation``."""
        with self.write_lock:
            if generation is None or generation == self.generation:
                with self.exclusive():
                    pass

    def query(self, sql: str, params: Sequence[object], *, timeout_s: float, max_rows: int | None) -> Table:
        """Run one statement on a cursor of its own; raises QueryRefused on a bad text or when the time is over."""
        generation = self.generation
        try:
            return self._query(sql, params, timeout_s, max_rows)
        except (duckdb.FatalException, duckdb.ConnectionException, duckdb.InternalException):
            self.reopen(generation)
            return self._query(sql, params, timeout_s, max_rows)

    def _query(self, sql: str, params: Sequence[object], timeout_s: float, max_rows: int | None) -> Table:
        with self.reading(timeout_s) as cursor:
            timer = threading.Timer(timeout_s, _interrupt, [cursor])
            timer.daemon = True
            timer.start()
            try:
                return fetch(cursor.execute(sql, list(params)), max_rows)
            except duckdb.InterruptException as error:
                raise QueryRefused(
                    f"The query was stopped after {timeout_s:g} s.",
                    code="query_timeout",
                    hint="Narrow it to a shorter time range.",
                ) from error
            except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
                raise QueryRefused(f"The query failed: {_first_line(error)}", code="query_failed") from error
            finally:
                timer.cancel()

    def close(self) -> None:
        """Checkpoint and close; a closed connection answers no more."""
        with self.write_lock:
            if self._is_closed:
                return
            self._stop_readers(wait_s=1.0)
            self._is_closed = True
            try:
                self._connection.close()
            finally:
                self._release_readers()


def fetch(cursor: duckdb.DuckDBPyConnection, max_rows: int | None) -> Table:
    """All rows of an executed statement, or the first ``max_rows`` and whether there were more."""
    description: list[Any] = cursor.description or []
    rows = cursor.fetchall() if max_rows is None else cursor.fetchmany(max_rows + 1)
    is_truncated = max_rows is not None and len(rows) > max_rows
    return Table(
        columns=tuple(column[0] for column in description),
        types=tuple(str(column[1]) for column in description),
        rows=rows[:max_rows] if is_truncated else rows,
        is_truncated=is_truncated,
    )


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # closed in the meantime
        cursor.interrupt()


def _is_about_data(error: duckdb.Error) -> bool:
    return isinstance(error, duckdb.DataError | duckdb.ProgrammingError | duckdb.IntegrityError)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

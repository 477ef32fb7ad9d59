"""Runs of suites in the registry: what was to be asked, what was found in the log, and how it was scored."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headgate.core.errors import NotFound
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.targets import shown

Kind = Literal["eval", "log", "import"]
Status = Literal["running", "partial", "complete"]

COLUMNS = """id, kind, name, system, suite, suite_sha256, text_sha256, prompt, number, prompt_sha256, kb, kb_sha256,
              dataset, dataset_number, dataset_sha256, judges, baseline_run, cells, status, stopped, totals, scorers,
              result_sha256, who, created_at_us, finished_at_us"""
CELL_COLUMNS = """item, repeat, place, key, request_id, output_sha256, cost_usd, latency_ms, tags, cluster, problem"""
_JSON = ("judges", "totals", "scorers")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. ``judges``, ``totals`` and ``scorers`` are JSON values that the control process reads and writes."""

    id: str
    kind: Kind
    name: str
    system: str
    suite: str | None = None
    suite_sha256: str | None = None
    text_sha256: str | None = None
    prompt: str | None = None
    number: int | None = None
    prompt_sha256: str | None = None
    kb: str | None = None
    kb_sha256: str | None = None
    dataset: str | None = None
    dataset_number: int | None = None
    dataset_sha256: str | None = None
    judges: Mapping[str, Any]
    baseline_run: str | None = None
    cells: int
    status: Status = "running"
    stopped: str | None = None
    totals: Mapping[str, Any]
    scorers: Mapping[str, Any]
    result_sha256: str | None = None
    who: str
    created_at_us: int
    finished_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCell:
    """One cell as judged; ``problem`` says why it has no answer that counts."""

    item: str
    repeat: int
    place: int
    key: str
    request_id: str | None = None
    output_sha256: str | None = None
    cost_usd: str | None = None
    latency_ms: float | None = None
    tags: Mapping[str, str]
    cluster: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """One score of one cell."""

    item: str
    repeat: int
    system: str
    scorer: str
    value: float | None
    status: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What a run came to; everything before it is replaced."""

    status: Status
    stopped: str | None
    totals: Mapping[str, Any]
    scorers: Mapping[str, Any]
    result_sha256: str
    cells: Sequence[StoredCell]
    results: Sequence[StoredResult]


def create(database: Database, run: Run, cells: Sequence[StoredCell] = ()) -> None:
    """Stores a new run, with cells where they are known from the start."""
    with database.write() as connection:
        _insert(connection, run)
        _insert_cells(connection, run.id, cells)


def replace_unfinished(database: Database, old: str, run: Run) -> None:
    """Puts another run in the place of one that was begun and holds nothing."""
    with database.write() as connection:
        connection.execute("DELETE FROM eval_run WHERE id = ? AND finished_at_us IS NULL", (old,))
        _insert(connection, run)


def unfinished(database: Database, wanted: Run) -> Run | None:
    """A run of the same person, contents and baseline that is not complete, the newest."""
    sql = f"""SELECT {COLUMNS} FROM eval_run WHERE kind = 'eval' AND status <> 'complete' AND who = ?
              AND text_sha256 = ? AND prompt = ? AND prompt_sha256 = ? AND kb_sha256 IS ? AND dataset_sha256 = ?
              AND judges = ? AND baseline_run IS ? ORDER BY created_at_us DESC LIMIT 1"""
    values = (
        *(wanted.who, wanted.text_sha256, wanted.prompt, wanted.prompt_sha256, wanted.kb_sha256),
        *(wanted.dataset_sha256, _text(wanted.judges), wanted.baseline_run),
    )
    with database.read() as connection:
        row = connection.execute(sql, values).fetchone()
        return None if row is None else run_of_row(row)


def get(database: Database, run_id: str) -> Run:
    """One run; raises NotFound."""
    with database.read() as connection:
        row = connection.execute(f"SELECT {COLUMNS} FROM eval_run WHERE id = ?", (run_id[:100],)).fetchone()
    if row is None:
        raise NotFound(f"There is no run {shown(run_id)}.", code="run_missing", hint="List them: GET /api/evals/runs.")
    return run_of_row(row)


def list_runs(
    database: Database,
    *,
    suite: str | None = None,
    prompt: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs, newest first; ids sort by time."""
    sql = f"""SELECT {COLUMNS} FROM eval_run WHERE (?1 IS NULL OR suite = ?1) AND (?2 IS NULL OR prompt = ?2)
              AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4"""
    with database.read() as connection:
        rows = connection.execute(sql, (suite, prompt, before, max(1, min(limit, 1000)))).fetchall()
    return [run_of_row(row) for row in rows]


def finish(database: Database, run: Run, found: Finish) -> Run:
    """Stores what a run came to, in one transaction; returns the run as it is now."""
    with database.write() as connection:
        connection.execute("DELETE FROM eval_result WHERE run = ?", (run.id,))
        connection.execute("DELETE FROM eval_cell WHERE run = ?", (run.id,))
        _insert_cells(connection, run.id, found.cells)
        _insert_results(connection, run.id, found.results)
        newest = connection.execute("SELECT coalesce(max(finished_at_us), 0) FROM eval_run").fetchone()[0]
        finished = max(now_us(), newest + 1)  # distinct and rising: the log's copy goes by it
        connection.execute(
            """UPDATE eval_run SET status = ?, stopped = ?, totals = ?, scorers = ?, result_sha256 = ?,
               finished_at_us = ? WHERE id = ?""",
            (
                *(found.status, found.stopped, _text(found.totals), _text(found.scorers), found.result_sha256),
                *(finished, run.id),
            ),
        )
        history.append(
            connection,
            who=run.who,
            action="eval.finish",
            object=f"run:{run.id}",
            detail={
                "system": run.system,
                "suite": run.suite,
                "status": found.status,
                "results": len(found.results),
                "result_sha256": found.result_sha256,
            },
        )
        row = connection.execute(f"SELECT {COLUMNS} FROM eval_run WHERE id = ?", (run.id,)).fetchone()
    return run_of_row(row)


def store_import(database: Database, run: Run, lines: Iterable[str], results: int) -> Run:
    """Keeps imported results line by line, as read; returns the run with the time it counts as finished."""
    with database.write() as connection:
        newest = connection.execute("SELECT coalesce(max(finished_at_us), 0) FROM eval_run").fetchone()[0]
        run = replace(run, finished_at_us=max(now_us(), newest + 1))
        _insert(connection, run)
        connection.executemany(
            "INSERT INTO imported_result VALUES (?, ?, ?)", ((run.id, seq, line) for seq, line in enumerate(lines))
        )
        history.append(
            connection,
            who=run.who,
            action="eval.import",
            object=f"run:{run.id}",
            detail={"name": run.name, "results": results, "result_sha256": run.result_sha256},
        )
    return run


def imported_lines(database: Database, run_id: str) -> list[str]:
    """The lines of an imported run, in their order."""
    with database.read() as connection:
        rows = connection.execute("SELECT line FROM imported_result WHERE run = ? ORDER BY seq", (run_id,)).fetchall()
    return [row[0] for row in rows]


def cells_of(database: Database, run_id: str, *, after: int = 0, limit: int | None = None) -> list[StoredCell]:
    """Cells of a run in the order of the run, from a place on."""
    sql = f"""SELECT {CELL_COLUMNS} FROM eval_cell WHERE run = ? AND place >= ?
              ORDER BY place, item, repeat LIMIT ?"""
    with database.read() as connection:
        rows = connection.execute(sql, (run_id, after, -1 if limit is None else limit)).fetchall()
    return [cell_of_row(row) for row in rows]


def results_of(database: Database, run_id: str) -> list[StoredResult]:
    """The scores of a run, by item, repeat and scorer."""
    sql = """SELECT item, repeat, system, scorer, value, status, reason FROM eval_result WHERE run = ?
             ORDER BY system, item, repeat, scorer"""
    with database.read() as connection:
        rows = connection.execute(sql, (run_id,)).fetchall()
    return [
        StoredResult(
            item=row[0], repeat=row[1], system=row[2], scorer=row[3], value=row[4], status=row[5], reason=row[6]
        )
        for row in rows
    ]


def finished_after(database: Database, at_us: int, limit: int = 100) -> list[Run]:
    """Runs finished after a time, in that order: what a copy of them lacks."""
    sql = f"SELECT {COLUMNS} FROM eval_run WHERE finished_at_us > ? ORDER BY finished_at_us LIMIT ?"
    with database.read() as connection:
        return [run_of_row(row) for row in connection.execute(sql, (at_us, limit)).fetchall()]


def newest_finish_us(database: Database) -> int:
    """When the run that was finished last was finished; 0 when none was."""
    with database.read() as connection:
        return int(connection.execute("SELECT coalesce(max(finished_at_us), 0) FROM eval_run").fetchone()[0])


def forget(database: Database, deleted: Sequence[str], content_before: str | None) -> int:
    """Takes the results of deleted requests out, and the words about requests older than an id (ids sort by time).

    Receipts and decisions stay: they hold numbers and hashes. Returns how many cells were touched.
    """
    touched = 0
    with database.write() as connection:
        for request_id in deleted:
            cells = connection.execute(
                "SELECT run, item, repeat FROM eval_cell WHERE request_id = ?", (request_id,)
            ).fetchall()
            for cell in cells:
                connection.execute("DELETE FROM eval_result WHERE run = ? AND item = ? AND repeat = ?", cell)
                connection.execute(
                    """UPDATE eval_cell SET request_id = NULL, output_sha256 = NULL, problem = 'the request was deleted'
                       WHERE run = ? AND item = ? AND repeat = ?""",
                    cell,
                )
            touched += len(cells)
        if content_before is not None:
            touched += connection.execute(
                """UPDATE eval_result SET reason = NULL WHERE reason IS NOT NULL AND EXISTS (
                   SELECT 1 FROM eval_cell AS c WHERE c.run = eval_result.run AND c.item = eval_result.item
                   AND c.repeat = eval_result.repeat AND c.request_id < ?)""",
                (content_before,),
            ).rowcount
    return touched


def last_totals(connection: sqlite3.Connection, suite: str) -> Mapping[str, Any] | None:
    """What the newest complete run of a suite took."""
    row = connection.execute(
        "SELECT totals FROM eval_run WHERE suite = ? AND status = 'complete' ORDER BY id DESC LIMIT 1", (suite,)
    ).fetchone()
    found: Mapping[str, Any] | None = None if row is None else json.loads(row[0])
    return found


def _insert(connection: sqlite3.Connection, run: Run) -> None:
    names = [name.strip() for name in COLUMNS.split(",")]
    values = [_text(getattr(run, name)) if name in _JSON else getattr(run, name) for name in names]
    marks = ", ".join("?" for _ in names)
    connection.execute(f"INSERT INTO eval_run ({COLUMNS}) VALUES ({marks})", values)


def _insert_cells(connection: sqlite3.Connection, run_id: str, cells: Sequence[StoredCell]) -> None:
    connection.executemany(
        "INSERT INTO eval_cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(run_id, cell.item, cell.repeat, cell.place, cell.key, cell.request_id, cell.output_sha256),
                *(cell.cost_usd, cell.latency_ms, _text(cell.tags), cell.cluster, cell.problem),
            )
            for cell in cells
        ),
    )


def _insert_results(connection: sqlite3.Connection, run_id: str, results: Sequence[StoredResult]) -> None:
    connection.executemany("INSERT INTO eval_result VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _rows(run_id, results))


def _rows(run_id: str, results: Sequence[StoredResult]) -> Iterator[tuple[Any, ...]]:
    for one in results:
        reason = None if one.reason is None else history.kept_text(one.reason)
        yield (run_id, one.item, one.repeat, one.system, one.scorer, one.value, one.status, reason)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def run_of_row(row: Sequence[Any]) -> Run:
    """A row of :data:`COLUMNS` as a run."""
    names = [name.strip() for name in COLUMNS.split(",")]
    values = dict(zip(names, row, strict=True))
    return Run(**{name: json.loads(value) if name in _JSON else value for name, value in values.items()})


def cell_of_row(row: Sequence[Any]) -> StoredCell:
    """A row of :data:`CELL_COLUMNS` as a cell."""
    values = dict(zip((name.strip() for name in CELL_COLUMNS.split(",")), row, strict=True))
    return StoredCell(**{**values, "tags": json.loads(values["tags"])})

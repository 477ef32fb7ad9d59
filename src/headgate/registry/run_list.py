"""Runs as pages show them: filtered, paged both ways, with the newest word of a gate, and what rests on a request."""

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.registry.database import Database
from headgate.registry.runs import CELL_COLUMNS, COLUMNS, Run, StoredCell, StoredResult, cell_of_row, run_of_row

# One look may be judged by two policies, which share its time: the worse word counts.
_WORD = """(SELECT CASE WHEN sum(d.verdict = 'fail') > 0 THEN 'fail' WHEN sum(d.verdict = 'inconclusive') > 0
                        THEN 'inconclusive' WHEN count(*) > 0 THEN 'pass' END FROM gate_decision AS d
            WHERE d.candidate_run = r.id
              AND d.at_us = (SELECT max(at_us) FROM gate_decision WHERE candidate_run = r.id))"""
_GRADE = """(SELECT c.grade FROM receipt AS c JOIN gate_decision AS d ON d.id = c.decision WHERE d.candidate_run = r.id
             ORDER BY c.issued_at_us DESC LIMIT 1)"""
_MOST_NAMES = 200


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs are meant; None: all. ``state`` is a status or why a run stopped, ``verdict`` none: never gated."""

    suite: str | None = None
    prompt: str | None = None
    number: int | None = None
    state: str | None = None
    verdict: str | None = None
    since_us: int | None = None


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run with the newest word of a gate on it, and the grade of its newest receipt; None: there is none."""

    run: Run
    verdict: str | None
    grade: str | None


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """Some runs, newest first, how many match in all, and the ids to go on from."""

    rows: list[ListedRun]
    total: int
    older: str | None
    newer: str | None


def run_page(
    database: Database, wanted: RunFilter, *, limit: int, before: str | None = None, after: str | None = None
) -> RunPage:
    """One page of runs by id, which sorts by time; ``after`` pages towards the newest."""
    where, values = _where(wanted)
    columns = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(","))
    beyond, cursor = ("r.id > ?", after) if after is not None else ("r.id < ?", before)
    paged = "" if cursor is None else f" AND {beyond}"
    order = "ASC" if after is not None else "DESC"
    sql = f"""SELECT {columns}, {_WORD}, {_GRADE} FROM eval_run AS r WHERE {where}{paged}
              ORDER BY r.id {order} LIMIT ?"""
    with database.read() as connection:
        total = int(connection.execute(f"SELECT count(*) FROM eval_run AS r WHERE {where}", values).fetchone()[0])
        found = connection.execute(sql, (*values, *([] if cursor is None else [cursor]), limit + 1)).fetchall()
    has_more = len(found) > limit
    rows = [ListedRun(run=run_of_row(row[:-2]), verdict=row[-2], grade=row[-1]) for row in found[:limit]]
    rows.sort(key=lambda one: one.run.id, reverse=True)
    is_older = has_more if after is None else True
    is_newer = before is not None if after is None else has_more
    return RunPage(
        rows=rows,
        total=total,
        older=rows[-1].run.id if rows and is_older else None,
        newer=rows[0].run.id if rows and is_newer else None,
    )


def _where(wanted: RunFilter) -> tuple[str, list[object]]:
    clauses, values = ["true"], list[object]()
    for clause, value in (
        ("r.suite = ?", wanted.suite),
        ("r.prompt = ?", wanted.prompt),
        ("r.number = ?", wanted.number),
        ("r.created_at_us >= ?", wanted.since_us),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if wanted.state is not None:
        clauses.append("(r.status = ? OR r.stopped = ?)")
        values += [wanted.state, wanted.state]
    if wanted.verdict == "none":
        clauses.append("NOT EXISTS (SELECT 1 FROM gate_decision AS d WHERE d.candidate_run = r.id)")
    elif wanted.verdict is not None:
        clauses.append(f"{_WORD} = ?")
        values.append(wanted.verdict)
    return " AND ".join(clauses), values


def names(database: Database) -> tuple[list[str], list[str]]:
    """The suites and the prompts that have runs, for a form to offer."""
    with database.read() as connection:
        suites, prompts = (
            connection.execute(
                f"SELECT DISTINCT {column} FROM eval_run WHERE {column} IS NOT NULL ORDER BY 1 LIMIT ?", (_MOST_NAMES,)
            ).fetchall()
            for column in ("suite", "prompt")
        )
    return [row[0] for row in suites], [row[0] for row in prompts]


def counts(database: Database, prompt: str) -> dict[int, int]:
    """How many runs each version of a prompt has."""
    sql = "SELECT number, count(*) FROM eval_run WHERE prompt = ? AND number IS NOT NULL GROUP BY number"
    with database.read() as connection:
        return dict(connection.execute(sql, (prompt,)).fetchall())


def comparable(database: Database, run: Run, limit: int = 30) -> list[Run]:
    """Other finished runs of the same suite on the same rows with the same judges, newest first."""
    if run.suite_sha256 is None or run.dataset_sha256 is None:
        return []
    sql = f"""SELECT {COLUMNS} FROM eval_run WHERE id <> ? AND suite_sha256 = ? AND dataset_sha256 = ?
              AND judges = (SELECT judges FROM eval_run WHERE id = ?) AND finished_at_us IS NOT NULL
              ORDER BY id DESC LIMIT ?"""
    with database.read() as connection:
        rows = connection.execute(sql, (run.id, run.suite_sha256, run.dataset_sha256, run.id, limit)).fetchall()
    return [run_of_row(row) for row in rows]


def newest_of_content(database: Database, run: Run, prompt_sha256: str) -> Run | None:
    """The newest complete run of another content of the prompt that can be compared with ``run``."""
    sql = f"""SELECT {COLUMNS} FROM eval_run WHERE id <> ? AND prompt = ? AND prompt_sha256 = ? AND suite_sha256 = ?
              AND dataset_sha256 = ? AND judges = (SELECT judges FROM eval_run WHERE id = ?) AND status = 'complete'
              ORDER BY id DESC LIMIT 1"""
    values = (run.id, run.prompt, prompt_sha256, run.suite_sha256, run.dataset_sha256, run.id)
    with database.read() as connection:
        row = connection.execute(sql, values).fetchone()
    return None if row is None else run_of_row(row)


def results_of_items(database: Database, run: Run, items: Sequence[str]) -> list[StoredResult]:
    """The scores of some cases of a run."""
    marks = ", ".join("?" for _ in items)
    sql = f"""SELECT item, repeat, system, scorer, value, status, reason FROM eval_result
              WHERE run = ? AND system = ? AND item IN ({marks}) ORDER BY item, repeat, scorer"""
    names = ("item", "repeat", "system", "scorer", "value", "status", "reason")
    with database.read() as connection:
        rows = connection.execute(sql, (run.id, run.system, *items)).fetchall()
    return [StoredResult(**dict(zip(names, row, strict=True))) for row in rows]


def cells_of_request(database: Database, request_id: str, limit: int = 20) -> list[tuple[Run, StoredCell]]:
    """The cells that rest on a request, in the newest runs first: what the log had an answer to is used again."""
    columns = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(","))
    cells = ", ".join(f"c.{name.strip()}" for name in CELL_COLUMNS.split(","))
    sql = f"""SELECT {columns}, {cells} FROM eval_cell AS c JOIN eval_run AS r ON r.id = c.run
              WHERE c.request_id = ? ORDER BY r.id DESC, c.place LIMIT ?"""
    split = len(COLUMNS.split(","))
    with database.read() as connection:
        rows = connection.execute(sql, (request_id, limit)).fetchall()
    return [(run_of_row(row[:split]), cell_of_row(row[split:])) for row in rows]


def cells_of_key(database: Database, run_id: str, key: str, limit: int = 20) -> list[StoredCell]:
    """The cells of a run that ask the same: those of one key."""
    sql = f"SELECT {CELL_COLUMNS} FROM eval_cell WHERE run = ? AND key = ? ORDER BY place LIMIT ?"
    with database.read() as connection:
        return [cell_of_row(row) for row in connection.execute(sql, (run_id, key, limit)).fetchall()]

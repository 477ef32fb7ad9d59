"""``headgate sql``: one read-only SELECT over the log."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import Column, emit_json, listing, note, write_csv
from headgate.cli.text import MISSING, json_text, printable

MAX_ROWS = 1_000


@click.command("sql")
@click.argument("query")
@click.option(
    "--format",
    "as_format",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the rows.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--max-rows", type=click.IntRange(1, 100_000), default=MAX_ROWS, show_default=True, help="At most so many."
)
@home_option
def sql(
    query: str, as_format: Literal["table", "csv", "json"], as_json: bool, max_rows: int, home: Path | None
) -> None:
    """Run one read-only SELECT (DuckDB's SQL) over the log.

    Views: requests, attempts, scores, labels, predictions, eval_runs, eval_results, alias_moves. No files, no
    settings, no writing; time, memory and rows are limited. QUERY - reads it from stdin.

    \b
    Examples:
      headgate sql "SELECT model, count(*), sum(cost_usd) FROM requests GROUP BY 1 ORDER BY 3 DESC"
      headgate sql "SELECT outcome, median(latency_ms) FROM requests GROUP BY ALL" --format csv
      headgate sql - --json < question.sql
    """
    text = sys.stdin.read() if query == "-" else query
    with connect(home) as client:
        answer = client.sql(text, max_rows=max_rows)
    columns: list[dict[str, Any]] = answer.get("columns") or []
    rows: list[list[Any]] = answer.get("rows") or []
    titles = [str(column.get("name")) for column in columns]
    if as_json or as_format == "json":
        emit_json(answer)
    elif as_format == "csv":
        write_csv(titles, rows)
    else:
        listing(_table_columns(columns), [{"row": row} for row in rows], empty="No rows.")
    if answer.get("truncated"):
        note(f"Only the first {len(rows):,} rows are shown. More: --max-rows, or a narrower question.")


def _table_columns(columns: Sequence[dict[str, Any]]) -> list[Column]:
    return [
        Column(
            title=printable(column.get("name")),
            name=printable(column.get("name")),
            pick=_picker(at),
            show=_shower(at),
            least=10,
            right=_is_number(str(column.get("type", ""))),
        )
        for at, column in enumerate(columns)
    ]


def _picker(at: int) -> Any:
    return lambda row: row["row"][at]


def _shower(at: int) -> Any:
    return lambda row: _cell(row["row"][at])


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    return json_text(value, indent=None) if isinstance(value, dict | list) else printable(value)


def _is_number(sql_type: str) -> bool:
    plain = sql_type.upper()
    return plain.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or plain.endswith("INT") or plain.endswith("INTEGER")

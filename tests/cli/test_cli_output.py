"""Tables that fit, pipes that carry stored values."""

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from headgate.cli.output import Column, column, listing, table
from headgate.cli.requests import request_columns
from headgate.pricing.reasons import NOT_SENT

ROW: dict[str, Any] = {
    "started_at": "2026-11-23T08:24:47.123456Z",
    "request_id": "019ab6c2-7f31-7000-8000-000000000000",
    "model": "[bold]gpt[/bold]\x1b[2J",
    "prompt_name": "support-answer",
    "prompt_version": 7,
    "endpoint": "openai.chat",
    "input_tokens": 412,
    "output_tokens": 38,
    "usage_source": "provider",
    "cost_usd": "0.000143",
    "latency_ms": 812.4,
    "status": 200,
    "outcome": "ok",
    "attempts": 1,
}


def rendered(columns: tuple[Column, ...], rows: list[Mapping[str, Any]], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    console.print(table(columns, rows, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 140, 250])
def test_a_table_fits_its_terminal(width: int) -> None:
    lines = rendered(request_columns(), [ROW, {**ROW, "model": "m" * 300}], width)
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= width


def test_narrow_terminals_lose_the_least_important_columns_first() -> None:
    wide, narrow = (rendered(request_columns(), [ROW], width)[0] for width in (160, 95))
    assert "Endpoint" in wide and "Prompt" in wide
    assert "Endpoint" not in narrow and "Tokens" in narrow and "Outcome" in narrow


def test_hostile_names_are_printed_literally() -> None:
    line = rendered(request_columns(), [ROW], 200)[1]
    assert "[bold]gpt[/bold]\\x1b[2J" in line


def test_a_table_says_people_what_the_row_means() -> None:
    line = rendered(request_columns(), [ROW], 200)[1]
    assert "support-answer@7" in line and "412→38" in line and "$0.000143" in line
    refused = {**ROW, "cost_usd": None, "cost_reason": NOT_SENT, "outcome": "refused", "status": 404}
    unpriced = {**ROW, "cost_usd": None}
    assert "unpriced" not in rendered(request_columns(), [refused], 200)[1]
    assert "refused 404" in rendered(request_columns(), [refused], 200)[1]
    assert "unpriced" in rendered(request_columns(), [unpriced], 200)[1]


def test_a_pipe_gets_stored_values_below_the_names_of_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    listing(request_columns(), [ROW, {}], empty="none")
    header, first, second = capsys.readouterr().out.splitlines()
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert cells["started_at"] == ROW["started_at"] and cells["request_id"] == ROW["request_id"]
    assert (cells["input_tokens"], cells["output_tokens"], cells["cost_usd"]) == ("412", "38", "0.000143")
    assert second.replace("\t", "") == ""


def test_a_pipe_cell_holds_no_tab_or_line_break(capsys: pytest.CaptureFixture[str]) -> None:
    listing([column("Name", "name"), column("Tags", "tags")], [{"name": "a\tb\nc", "tags": {"k": "v\n"}}], empty="none")
    assert capsys.readouterr().out == 'name\ttags\na\\tb\\nc\t{"k": "v\\n"}\n'

"""The report on a terminal: verdict, metrics, slices and regressions in tables; on a pipe the same as plain text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headgate.core.printable import printable
from headgate.evals.report.escape import one_line
from headgate.evals.report.figures import (
    SHOWN_HASH,
    UNKNOWN,
    because,
    figure,
    headline,
    interval,
    many,
    metric_word,
    money,
    regressions,
    scored_word,
    signed,
    tone,
    worst_slices,
)
from headgate.evals.report.model import Metric, Report, System

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {"good": "green", "bad": "red", "warn": "yellow", "plain": ""}
_WORST = 8
_REGRESSIONS = 5
_Rows = list[tuple[tuple[str, ...], str]]
_Table = tuple[str, tuple[str, ...], _Rows]
"""Title, heads, and rows with the outcome that colours their last cell."""


def terminal(report: Report) -> "RenderableType":
    """What a rich console prints; text from outside steers nothing, markup in it is text."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    verdict = None if report.decision is None else report.decision.verdict
    shown: list[RenderableType] = [Text(_title(report), style=f"bold {_STYLES[tone(verdict)]}".strip())]
    shown += [Text(line) for line in _lead(report)]
    for title, heads, rows in _tables(report):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
        for index, head in enumerate(heads):
            is_last = index == len(heads) - 1
            table.add_column(Text(head), justify="left" if index == 0 or is_last else "right", overflow="fold")
        for cells, outcome in rows:
            last = Text(cells[-1], style=_STYLES[tone(outcome)])
            table.add_row(*(Text(cell) for cell in cells[:-1]), last)
        shown += [Text(""), Text(title, style="bold"), table] if title else [Text(""), table]
    shown += [Text(line, style="dim") for line in ["", *_foot(report)]]
    return Group(*shown)


def plain(report: Report) -> str:
    """The same for a pipe: lines without colour, cells set apart by tabs."""
    lines = [_title(report), *_lead(report)]
    for title, heads, rows in _tables(report):
        lines += ["", *([title] if title else []), "\t".join(heads), *("\t".join(cells) for cells, _ in rows)]
    return "\n".join([*lines, "", *_foot(report)]) + "\n"


def _title(report: Report) -> str:
    grade = "" if report.decision is None else f" Grade {printable(report.decision.grade)}."
    return f"{headline(report)}{grade} {printable(report.suite)}"


def _lead(report: Report) -> Iterator[str]:
    against = "" if report.baseline is None else f" against {_system(report.baseline)}"
    yield f"{_system(report.candidate)}{against}, {many(report.candidate.items, 'case')}"
    if report.wins + report.ties + report.losses + report.mixed:
        yield f"{report.wins} better, {report.ties} equal, {report.losses} worse, {report.mixed} mixed"
    if report.decision is not None:
        yield from (f"· {one_line(reason, 400)}" for reason in because(report.decision))
        if report.decision.verdict == "inconclusive" and report.decision.needed_items is not None:
            yield f"· About {many(report.decision.needed_items, 'more case')} would probably decide it."


def _system(system: System) -> str:
    status = "" if system.status in ("complete", "imported") else f" ({printable(system.status)})"
    return f"{printable(system.ref)}{status}"


def _tables(report: Report) -> Iterator[_Table]:
    if report.metrics:
        heads = ("metric", "baseline", "candidate", "difference", "interval", "n", "verdict")
        yield "", heads, [(_metric_cells(metric), metric.outcome) for metric in report.metrics]
    slices = worst_slices(report, _WORST)
    if slices:
        rows: _Rows = [
            (
                (
                    one_line(tag, 40),
                    one_line(scorer, 40),
                    signed(number.value, unit),
                    interval(number, unit, is_signed=True),
                    f"{number.n:,}",
                    "worse" if is_alarm else "",
                ),
                "worse" if is_alarm else "",
            )
            for tag, scorer, number, unit, is_alarm in slices
        ]
        yield "Worst slices", ("slice", "metric", "difference", "interval", "n", ""), rows
    lost = _regression_rows(report)
    if lost:
        yield "Biggest regressions", ("case", "scores", "reason"), lost


def _metric_cells(metric: Metric) -> tuple[str, ...]:
    difference, number = metric.difference, metric.difference or metric.candidate
    without = metric.unscored + metric.errors
    return (
        one_line(metric.scorer, 60),
        UNKNOWN if metric.baseline is None else figure(metric.baseline.value, metric.unit),
        figure(metric.candidate.value, metric.unit),
        UNKNOWN if difference is None else signed(difference.value, metric.unit),
        interval(number, metric.unit, is_signed=difference is not None),
        f"{number.n:,}" + ("" if number.clusters is None else f" in {number.clusters:,}"),
        metric_word(metric) + (f", {without:,} without a score" if without else ""),
    )


def _regression_rows(report: Report) -> _Rows:
    units = {metric.scorer: metric.unit for metric in report.metrics}
    rows: _Rows = []
    for case in regressions(report, _REGRESSIONS):
        lost = [score for score in case.scores if score.outcome == "loss"]
        scores = ", ".join(
            f"{one_line(score.scorer, 40)} {scored_word(score.baseline, units.get(score.scorer, ''))} → "
            f"{scored_word(score.candidate, units.get(score.scorer, ''))}"
            for score in lost[:4]
        )
        reasons = [score.candidate.reason for score in lost if score.candidate is not None and score.candidate.reason]
        rows.append(((one_line(case.item, 40), scores, one_line(reasons[0], 160) if reasons else ""), ""))
    return rows


def _foot(report: Report) -> Sequence[str]:
    spent = f"spent {money(report.candidate.total_cost_usd)}, judges {money(report.candidate.judge_cost_usd)}"
    hashes = ", ".join(f"{one_line(one.name, 40)} {one_line(one.value, 80)[:SHOWN_HASH]}" for one in report.hashes)
    warnings = () if report.decision is None else report.decision.warnings
    notes = [one_line(note, 400) for note in (*report.notes, *warnings)]
    receipt = (
        ""
        if report.decision is None or report.decision.receipt is None
        else f", receipt {printable(report.decision.receipt)}"
    )
    return [*notes, f"run {printable(report.candidate.run)}, {spent}{receipt}", *([hashes] if hashes else [])]

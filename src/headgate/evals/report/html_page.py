"""The report as one HTML file that asks nothing of any server, and the view that `/ui/runs` shares with it."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from headgate.evals.report import figures
from headgate.evals.report.model import Case, Metric, Number, Report, Slice, Unit
from headgate.evals.report.plots import Axis, Scatter, Tick, Whisker, difference_axis, scatter
from headgate.evals.report.sides import Sides, side_by_side

if TYPE_CHECKING:
    from jinja2 import Environment

_OPEN_CASES = 3
_MOST_LISTED = 500
_MOST_DIFF_CHARS = 12_000
_SECTIONS = (
    ("loss", "Worse"),
    ("mixed", "Better and worse"),
    ("win", "Better"),
    ("tie", "Equal"),
    (None, "Not compared"),
)


@dataclass(frozen=True, kw_only=True)
class Share:
    """A piece of a bar, in per cent."""

    outcome: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A metric with the bar of its wins, ties and losses."""

    metric: Metric
    shares: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """A slice, or all cases, with its place in the plot."""

    title: str
    number: Number
    unit: Unit
    whisker: Whisker | None
    is_alarm: bool
    is_whole: bool


@dataclass(frozen=True, kw_only=True)
class Forest:
    """The differences of one scorer, slice by slice, on one axis."""

    scorer: str
    direction: str
    zero: float
    ticks: tuple[Tick, ...]
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True, kw_only=True)
class ShownCase:
    """A case with both answers beside each other (None: one of them is not here)."""

    case: Case
    sides: Sides | None
    is_open: bool


@dataclass(frozen=True, kw_only=True)
class CaseSection:
    """The cases of one outcome: those with outputs, and the rest as a list."""

    outcome: str | None
    title: str
    count: int
    shown: tuple[ShownCase, ...]
    listed: tuple[Case, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class View:
    """A report prepared for the templates; ``has_pages``: requests and runs are links, and so are ``refs``."""

    report: Report
    metrics: tuple[MetricRow, ...]
    units: dict[str, Unit]
    quiet: frozenset[str]  # scorers that are shown only: they win and lose no case
    forests: tuple[Forest, ...]
    scatter: Scatter | None
    sections: tuple[CaseSection, ...]
    has_pages: bool
    refs: Mapping[str, str]  # what was judged, to its page


def html(report: Report) -> str:
    """The whole file. Its policy forbids every request and every script; all text from outside is escaped."""
    style = "\n".join((_folder() / "static" / name).read_text(encoding="utf-8") for name in ("page.css", "report.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = _environment().get_template("report.html")
    text = template.render(view=view(report), style=_Safe(style), style_hash=digest)
    return text.encode("utf-8", "replace").decode()


class _Safe(str):
    """Our own style sheet, which goes in as it is."""

    def __html__(self) -> str:
        return str(self)


def view(report: Report, *, has_pages: bool = False, refs: Mapping[str, str] | None = None) -> View:
    """What the templates are given."""
    units = {metric.scorer: metric.unit for metric in report.metrics}
    main = next((one for one in report.metrics if one.scorer == report.main_scorer), None)
    return View(
        report=report,
        metrics=tuple(MetricRow(metric=one, shares=_shares(one)) for one in report.metrics),
        units=units,
        quiet=frozenset(one.scorer for one in report.metrics if one.role == "info" and not one.must_pass),
        forests=tuple(_forests(report)),
        scatter=scatter(report.points, "" if main is None else main.unit),
        sections=tuple(_sections(report)),
        has_pages=has_pages,
        refs=refs or {},
    )


def template_folder() -> Path:
    """Where `report_parts.html` is, for the pages that show reports too."""
    return _folder() / "templates"


def style_sheet() -> bytes:
    """The styles of the report's parts, without those of a whole page."""
    return (_folder() / "static" / "report.css").read_bytes()


WORDS: SimpleNamespace = SimpleNamespace(
    **{name: getattr(figures, name) for name in (
        "basis", "because", "figure", "headline", "interval", "level", "many", "metric_word", "missing_answer", "money",
        "rule_word", "scored_word", "signed", "tone",
    )}
)  # fmt: skip
"""What the templates know as ``say``: how figures are put into words."""


@cache
def _folder() -> Path:
    return Path(str(resources.files("headgate.evals.report")))


@cache
def _environment() -> "Environment":
    # Only who writes HTML waits for the templates' import.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["say"] = WORDS
    return environment


def _shares(metric: Metric) -> tuple[Share, ...]:
    whole = metric.wins + metric.ties + metric.losses
    made: list[Share] = []
    x = 0.0
    for outcome, count in (("win", metric.wins), ("tie", metric.ties), ("loss", metric.losses)):
        if count:
            width = 100 * count / whole
            made.append(Share(outcome=outcome, count=count, x=round(x, 3), width=round(width, 3)))
            x += width
    return tuple(made)


def _forests(report: Report) -> Iterator[Forest]:
    """One plot for each scorer with slices, all cases in its first row."""
    by_scorer: dict[str, list[Slice]] = {}
    for one in report.slices:
        by_scorer.setdefault(one.scorer, []).append(one)
    metrics = {metric.scorer: metric for metric in report.metrics}
    for scorer, slices in by_scorer.items():
        metric = metrics.get(scorer)
        whole = None if metric is None else metric.difference
        axis = difference_axis([*(one.difference for one in slices), *([whole] if whole is not None else [])])
        rows = [_forest_row(one, axis) for one in slices]
        if metric is not None and whole is not None:
            first = ForestRow(
                title="all cases", number=whole, unit=metric.unit, whisker=axis.whisker(whole), is_alarm=False,
                is_whole=True,
            )  # fmt: skip
            rows.insert(0, first)
        yield Forest(
            scorer=scorer,
            direction=slices[0].direction,
            zero=axis.at(0.0),
            ticks=axis.ticks(slices[0].unit, is_signed=True),
            rows=tuple(rows),
        )


def _forest_row(one: Slice, axis: Axis) -> ForestRow:
    return ForestRow(
        title=f"{one.by.removeprefix('tags.')} = {one.value}",
        number=one.difference,
        unit=one.unit,
        whisker=axis.whisker(one.difference),
        is_alarm=one.is_alarm,
        is_whole=False,
    )


def _sections(report: Report) -> Iterator[CaseSection]:
    opened = 0
    titles = _SECTIONS if report.baseline is not None or report.losses else ((None, "Cases"), *_SECTIONS[:-1])
    for outcome, title in titles:
        cases = [case for case in report.cases if case.outcome == outcome]
        if not cases:
            continue
        shown = []
        for case in cases:
            if case.has_outputs:
                is_open = opened < _OPEN_CASES and (outcome == "loss" or case.is_new_failure)
                opened += is_open
                shown.append(ShownCase(case=case, sides=_sides(case), is_open=is_open))
        listed = [case for case in cases if not case.has_outputs]
        yield CaseSection(
            outcome=outcome,
            title=title,
            count=len(cases),
            shown=tuple(shown),
            listed=tuple(listed[:_MOST_LISTED]),
            left_out=max(0, len(listed) - _MOST_LISTED),
        )


def _sides(case: Case) -> Sides | None:
    texts = [
        answer.text for answer in (case.baseline, case.candidate) if answer is not None and answer.text is not None
    ]
    if len(texts) != 2:
        return None
    before, after = (text.text[:_MOST_DIFF_CHARS] for text in texts)
    return side_by_side(before, after)

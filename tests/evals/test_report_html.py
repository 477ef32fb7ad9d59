"""The HTML report: one file that asks nothing of anyone, verdict first, everything from outside only text."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from headgate.evals.report import build, html, junit, markdown, plain
from headgate.evals.report.html_page import view
from headgate.evals.report.model import Number, Point
from headgate.evals.report.plots import scatter
from support.pages import HOSTILE
from support.reports import ITEMS, sample, side

ORDER = ("The gate failed.", "Better, equal, worse", "Rules of the policy", "Slices", "Cost against quality", "Cases")
VOID = {"meta", "br", "img", "input", "link"}


class _Reader(HTMLParser):
    """Collects text, tags and attributes, and sees to it that every tag is closed by its own."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags, self.attributes, self.open = "", list[str](), list[tuple[str, str]](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def hostile() -> str:
    texts = [f"{HOSTILE} \u202e{number}</pre></div>" for number in range(ITEMS)]
    sides = [side(f"{HOSTILE}@{number}", {HOSTILE: [0.25 * number] * ITEMS}, texts) for number in (2, 1)]
    report = build(
        *sides, suite=HOSTILE, description=HOSTILE, dataset=HOSTILE, hashes={HOSTILE: HOSTILE}, notes=[HOSTILE],
        inputs={f"case-{number:02}": (HOSTILE, HOSTILE) for number in range(ITEMS)},
    )  # fmt: skip
    return html(report)


def test_the_verdict_comes_first_and_the_rest_in_order() -> None:
    text = read(html(sample())).text
    places = [text.index(words) for words in ORDER]
    assert places == sorted(places)
    assert "faithful lost 0.112" in text[: places[1]]


@pytest.mark.parametrize("kind", ["fail", "pass", None, "hostile"])
def test_a_report_loads_nothing_and_runs_nothing(kind: str | None) -> None:
    page = hostile() if kind == "hostile" else html(sample(kind))
    reader = read(page)
    assert not {"script", "img", "link", "iframe", "object", "form", "a", "base"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.startswith("on") and name not in ("src", "href", "style", "action", "background"), (name, value)
    (policy,) = [value for _, value in reader.attributes if value.startswith("default-src")]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert "url(" not in page and "@import" not in page


def test_hostile_text_is_shown_as_it_is() -> None:
    text = read(hostile()).text
    assert text.count(HOSTILE) > 3 * ITEMS
    assert "49" not in re.findall(r"onerror=alert\(2\)>(\d+)", text)


def test_both_answers_stand_beside_each_other_with_the_changed_words_marked() -> None:
    page = html(sample())
    pair = re.search(r'<div class="pair changed">(.*?)</div></div>', page, re.S)
    assert pair is not None
    assert re.search(r'class="before">.*class="word">Hello', pair[1], re.S)
    assert re.search(r'class="after">.*class="word">Good day', pair[1], re.S)
    assert page.count('<details class="case" open>') == 3


def test_slices_have_a_forest_plot_that_says_which_side_is_better() -> None:
    (better, faithful) = view(sample()).forests
    assert [row.title for row in faithful.rows] == ["all cases", "lang = de", "lang = en"]
    for row in (*better.rows, *faithful.rows):
        assert row.whisker is not None and row.whisker.low <= row.whisker.middle <= row.whisker.high
    text = read(html(sample())).text
    assert text.count("← worse") == 2 and text.count("better →") == 2


def test_where_no_case_differs_no_interval_pretends_to_know_the_truth() -> None:
    values: dict[str, Sequence[float | None]] = {"faithful": [0.5] * ITEMS}
    report = build(side("s@2", values), side("s@1", values), suite="s")
    (metric,) = report.metrics
    assert metric.difference is not None and metric.outcome == "unclear"
    assert (metric.difference.value, metric.difference.low, metric.difference.method) == (0.0, None, "no case differs")
    assert {(one.difference.low, one.difference.method) for one in report.slices} == {(None, "no case differs")}


def test_wide_intervals_of_slices_do_not_squeeze_the_plane_of_cost_and_quality() -> None:
    def at(value: float, reach: float) -> Number:
        return Number(value=value, low=value - reach, high=value + reach)

    points = [
        Point(label="s@2", side="candidate", slice=None, cost_usd=at(0.2, 0.01), quality=at(0.5, 0.1)),
        Point(label="s@2", side="candidate", slice="a", cost_usd=at(0.2, 9.0), quality=at(0.5, 9.0)),
    ]
    plane = scatter(points, "")
    assert plane is not None
    whole = next(mark for mark in plane.marks if not mark.is_slice)
    assert whole.x.high - whole.x.low > 90 and whole.y.low - whole.y.high > 90


def test_links_are_made_only_where_there_are_pages() -> None:
    shown = view(sample(), has_pages=True, refs={"support-answer@8": "/ui/prompts/support-answer?version=8"})
    assert shown.has_pages and not view(sample()).has_pages
    assert "/ui/" not in html(sample())


def test_every_rendering_keeps_hostile_text_harmless() -> None:
    one = side("s@1", {"faithful": [0.5] * ITEMS}, [HOSTILE + "\x1b[31m\x00"] * ITEMS)
    other = replace(one, facts=replace(one.facts, system=HOSTILE))
    report = build(one, other, suite=HOSTILE, notes=[HOSTILE + "\x1b[2J"])
    assert b"<script>" not in junit(report) and b"\x1b" not in junit(report)
    assert "\x1b" not in plain(report)
    assert not re.search(r"(?<!\\)<(script|img)", re.sub(r"```+.*?```+|`[^`]*`", "", markdown(report), flags=re.S))

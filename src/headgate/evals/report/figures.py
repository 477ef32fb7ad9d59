"""Figures as people read them: units, signs, intervals, what a figure rests on. Unknown is said, never shown as 0."""

from decimal import Decimal

from headgate.evals.report.model import Answer, Case, Decision, Metric, Number, Report, Scored, Unit

UNKNOWN = "–"
MINUS = "−"
SHOWN_HASH = 12
_RULE_WORDS = {"not_applicable": "not applicable"}
_METRIC_WORDS = {**_RULE_WORDS, "unclear": "no clear difference", "unknown": "not compared"}
_VERDICT_SENTENCES = {
    "pass": "The gate passed.",
    "fail": "The gate failed.",
    "inconclusive": "Not enough evidence to decide.",
}


def figure(value: float | None, unit: Unit = "") -> str:
    """A value with its unit."""
    if value is None:
        return UNKNOWN
    sign = MINUS if value < 0 else ""
    return sign + _size(abs(value), unit)


def signed(value: float | None, unit: Unit = "") -> str:
    """A difference, its sign always shown."""
    if value is None:
        return UNKNOWN
    text = _size(abs(value), unit)
    if not any(char in "123456789" for char in text):
        return text
    return (MINUS if value < 0 else "+") + text


def _size(size: float, unit: Unit) -> str:
    if unit == "ms":
        return f"{size / 1000:.2f} s" if size >= 10_000 else f"{size:,.0f} ms" if size >= 10 else f"{size:.2f} ms"
    if unit == "usd":
        return _dollars(size)
    if unit == "count":
        return f"{size:,.1f}"
    return f"{size:.3f}" if size < 1000 else f"{size:,.1f}"


def _dollars(size: float) -> str:
    if size == 0:
        return "$0"
    if size >= 1:
        return f"${size:,.2f}"
    places = min(12, 2 - Decimal(repr(size)).adjusted())
    return f"${size:.{places}f}"


def money(value: Decimal | None) -> str:
    """An amount that was spent; unknown is unpriced."""
    return "unpriced" if value is None else _dollars(float(value))


def interval(number: Number | None, unit: Unit = "", *, is_signed: bool = False) -> str:
    """``[−0.031, +0.012]``; an open end is ``∞``, no interval ``–``."""
    if number is None or (number.low is None and number.high is None):
        return UNKNOWN
    show = signed if is_signed else figure
    low = f"{MINUS}∞" if number.low is None else show(number.low, unit)
    high = "∞" if number.high is None else show(number.high, unit)
    return f"[{low}, {high}]"


def level(number: Number | None) -> str:
    """The level of an interval: ``95 %``."""
    return UNKNOWN if number is None or number.level is None else f"{100 * number.level:g} %"


def basis(number: Number | None) -> str:
    """What a figure rests on: ``120 cases in 14 clusters, paired t``."""
    if number is None:
        return UNKNOWN
    clusters = "" if number.clusters is None else f" in {many(number.clusters, 'cluster')}"
    parts = [f"{many(number.n, 'case')}{clusters}", number.method, "" if number.value is not None else number.reason]
    return ", ".join(part for part in parts if part)


def many(value: int, noun: str) -> str:
    """``1 case``, ``1,234 cases``."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def metric_word(metric: Metric) -> str:
    """The verdict on one scorer."""
    return _METRIC_WORDS.get(metric.outcome, metric.outcome)


def rule_word(outcome: str) -> str:
    """The outcome of a rule."""
    return _RULE_WORDS.get(outcome, outcome)


def tone(outcome: str | None) -> str:
    """Which of the four colours an outcome has."""
    if outcome in ("pass", "win", "better"):
        return "good"
    if outcome in ("fail", "loss", "worse", "error"):
        return "bad"
    return "warn" if outcome in ("inconclusive", "mixed", "unscored") else "plain"


def headline(report: Report) -> str:
    """What the report comes to, in a few words."""
    if report.decision is not None:
        return _VERDICT_SENTENCES[report.decision.verdict]
    if report.candidate.status not in ("complete", "imported"):
        return f"This run is {report.candidate.status}."
    return "Compared, not gated." if report.baseline is not None else "Measured, not compared."


def because(decision: Decision) -> list[str]:
    """The sentences of the rules that decided, the gravest first."""
    for outcome in ("fail", "inconclusive"):
        found = [rule.sentence for rule in decision.rules if rule.outcome == outcome]
        if found:
            return found
    return []


def scored_word(scored: Scored | None, unit: Unit = "") -> str:
    """One scorer's word on one side of a case."""
    if scored is None:
        return UNKNOWN
    return figure(scored.value, unit) if scored.status == "ok" else scored.status


def missing_answer(answer: Answer | None) -> str:
    """Why an answer cannot be shown."""
    return "no answer is known" if answer is None else answer.reason or "its text is not kept"


def regressions(report: Report, most: int) -> list[Case]:
    """The cases that lost most; new must-pass failures lead."""
    return [case for case in report.cases if case.outcome == "loss" or case.is_new_failure][:most]


def worst_slices(report: Report, most: int) -> list[tuple[str, str, Number, Unit, bool]]:
    """The slices that are worst for the candidate: ``(tag, scorer, difference, unit, is it an alarm)``."""
    known = [one for one in report.slices if one.difference.value is not None]
    ranked = sorted(known, key=lambda one: (not one.is_alarm, _badness(one.difference.value, one.direction)))
    return [
        (f"{one.by.removeprefix('tags.')} = {one.value}", one.scorer, one.difference, one.unit, one.is_alarm)
        for one in ranked[:most]
    ]


def _badness(value: float | None, direction: str) -> float:
    change = value or 0.0
    return change if direction == "higher" else -change

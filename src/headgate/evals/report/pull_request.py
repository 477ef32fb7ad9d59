"""The report as a comment on a pull request: GitHub's Markdown, verdict first, at most 65,536 bytes."""

from collections.abc import Sequence

from headgate.evals.report.escape import markdown_block, markdown_code, markdown_text
from headgate.evals.report.figures import (
    SHOWN_HASH,
    UNKNOWN,
    because,
    figure,
    headline,
    interval,
    level,
    many,
    metric_word,
    missing_answer,
    money,
    regressions,
    rule_word,
    scored_word,
    signed,
    worst_slices,
)
from headgate.evals.report.model import Answer, Case, Metric, Report, System

MOST_BYTES = 65_536
"""GitHub refuses a longer comment; it counts characters, of which there are never more than bytes."""
MARKER = "<!-- headgate gate: {} -->"
"""The first line, by which a later comment finds the one it replaces."""
_SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}
_ROWS = 40
_SLICES = 8
_REGRESSIONS = 5
_REASONS = 10
_OUTPUT_CHARS = 2000
_LINE_CHARS = 300
_LEFT_OUT = "\n_What would not fit into a comment is left out here; the full report has it._\n"


def markdown(report: Report, link: str | None = None) -> str:
    """The comment; ``link`` is where the full report can be read. What does not fit is left out with a note."""
    parts = [_head(report, link), _metrics(report), _rules(report), _slices(report)]
    parts += [_regression(report, case) for case in regressions(report, _REGRESSIONS)]
    parts += [_notes(report), _basis(report)]
    return _fitted([part for part in parts if part])


def _fitted(parts: Sequence[str]) -> str:
    room = MOST_BYTES - len(_LEFT_OUT.encode())
    kept: list[str] = []
    is_whole = True
    for part in parts:
        size = len(part.encode())
        if size <= room:
            kept.append(part)
            room -= size
        else:
            is_whole = False
    return "".join(kept) + ("" if is_whole else _LEFT_OUT)


def _head(report: Report, link: str | None) -> str:
    decision, baseline = report.decision, report.baseline
    sign = "" if decision is None else _SIGNS[decision.verdict] + " "
    suite = markdown_code(report.suite, 100)
    lines = [MARKER.format(_marker_name(report.suite)), f"### {sign}{headline(report)} {suite}", ""]
    against = "" if baseline is None else f" against {_system(baseline)}"
    lines.append(f"{_system(report.candidate)}{against}, {_size(report)}.")
    if decision is not None:
        receipt = "no receipt" if decision.receipt is None else f"receipt {markdown_code(decision.receipt, 60)}"
        policy = (
            f"Policy {markdown_code(decision.policy, 60)}, grade **{markdown_text(decision.grade, 4)}**, {receipt}."
        )
        lines += ["", policy]
        reasons = because(decision)
        lines += [""] * bool(reasons) + [f"- {markdown_text(reason, _LINE_CHARS)}" for reason in reasons[:_REASONS]]
        if decision.verdict == "inconclusive" and decision.needed_items is not None:
            lines.append(f"- About {many(decision.needed_items, 'more case')} would probably decide it.")
    if link is not None:
        lines += ["", f"[The full report](<{_address(link)}>)"]
    return "\n".join(lines) + "\n"


def _marker_name(suite: str) -> str:
    """The suite's name without anything that could end the comment it stands in."""
    return "".join(char if char.isalnum() or char in "._/" else "-" for char in suite)[:120].strip("-") or "suite"


def _address(link: str) -> str:
    return "".join(char for char in link if char.isprintable() and char not in "<>\\ ")[:2000]


def _system(system: System) -> str:
    status = "" if system.status in ("complete", "imported") else f" ({markdown_text(system.status, 40)})"
    return f"{markdown_code(system.ref, 120)}{status}"


def _size(report: Report) -> str:
    compared = report.wins + report.ties + report.losses + report.mixed
    counts = "" if not compared else f": {report.wins} better, {report.ties} equal, {report.losses} worse"
    mixed = f", {report.mixed} mixed" if report.mixed else ""
    return f"{many(report.candidate.items, 'case')}{counts}{mixed}"


def _metrics(report: Report) -> str:
    if not report.metrics:
        return ""
    title = "production" if report.decision is not None and report.decision.alias == "production" else "baseline"
    lines = [
        "",
        f"| metric | {title} | candidate | difference | {_level_title(report)} | n | verdict |",
        "| --- | ---: | ---: | ---: | :---: | ---: | --- |",
        *(_metric_row(metric) for metric in report.metrics[:_ROWS]),
    ]
    if len(report.metrics) > _ROWS:
        lines += ["", f"{len(report.metrics) - _ROWS} more metrics are in the full report."]
    return "\n".join(lines) + "\n"


def _level_title(report: Report) -> str:
    levels = [level(one.difference or one.candidate) for one in report.metrics]
    return next((text for text in levels if text != UNKNOWN), "interval")


def _metric_row(metric: Metric) -> str:
    difference = metric.difference
    if difference is None:
        change, span = UNKNOWN, interval(metric.candidate, metric.unit)
    else:
        change = signed(difference.value, metric.unit)
        span = interval(difference, metric.unit, is_signed=True)
    number = difference or metric.candidate
    n = f"{number.n:,}" + ("" if number.clusters is None else f" in {number.clusters:,}")
    baseline = UNKNOWN if metric.baseline is None else figure(metric.baseline.value, metric.unit)
    word = metric_word(metric)
    bold = f"**{word}**" if metric.outcome in ("fail", "inconclusive", "worse") else word
    unscored = f", {metric.unscored + metric.errors} without a score" if metric.unscored + metric.errors else ""
    candidate = figure(metric.candidate.value, metric.unit)
    name = markdown_code(metric.scorer, 80)
    return f"| {name} | {baseline} | {candidate} | {change} | {span} | {n} | {bold}{unscored} |"


def _rules(report: Report) -> str:
    if report.decision is None or not report.decision.rules:
        return ""
    lines = ["", f"<details><summary>{many(len(report.decision.rules), 'rule')} of the policy</summary>", ""]
    lines += ["| rule | metric | outcome | why |", "| --- | --- | --- | --- |"]
    for rule in report.decision.rules[:_ROWS]:
        cells = (markdown_code(rule.rule, 60), markdown_code(rule.metric, 80), rule_word(rule.outcome))
        lines.append(f"| {' | '.join(cells)} | {markdown_text(rule.sentence, _LINE_CHARS)} |")
    return "\n".join([*lines, "", "</details>"]) + "\n"


def _slices(report: Report) -> str:
    rows = worst_slices(report, _SLICES)
    if not rows:
        return ""
    lines = ["", "**Worst slices**", "", "| slice | metric | difference | interval | n | |"]
    lines.append("| --- | --- | ---: | :---: | ---: | --- |")
    for tag, scorer, number, unit, is_alarm in rows:
        cells = (markdown_code(tag, 80), markdown_code(scorer, 80), signed(number.value, unit))
        span = interval(number, unit, is_signed=True)
        lines.append(f"| {' | '.join(cells)} | {span} | {number.n:,} | {'**worse**' if is_alarm else ''} |")
    return "\n".join(lines) + "\n"


def _regression(report: Report, case: Case) -> str:
    units = {metric.scorer: metric.unit for metric in report.metrics}
    moved = [score for score in case.scores if score.outcome == "loss"]
    words = ", ".join(
        f"{markdown_code(score.scorer, 60)} {scored_word(score.baseline, units.get(score.scorer, ''))} → "
        f"{scored_word(score.candidate, units.get(score.scorer, ''))}"
        for score in moved[:6]
    )
    reasons = [score.candidate.reason for score in moved if score.candidate is not None and score.candidate.reason]
    lines = ["", f"<details><summary>Worse: <code>{_summary(case.item)}</code></summary>", "", words or "see below", ""]
    lines += [f"> {markdown_text(reason, _LINE_CHARS)}" for reason in reasons[:1]]
    for title, answer in (("baseline", case.baseline), ("candidate", case.candidate)):
        lines += ["", f"{title}:", "", _block(answer)]
    return "\n".join([*lines, "", "</details>"]) + "\n"


def _summary(item: str) -> str:
    """An item's id inside HTML inside Markdown, where only entities are safe."""
    safe = item if item.isprintable() else ascii(item)
    return "".join(char if char.isalnum() or char in "._/-" else f"&#{ord(char)};" for char in safe[:80])


def _block(answer: Answer | None) -> str:
    if answer is None or answer.text is None:
        return f"_{markdown_text(missing_answer(answer))}_"
    text = answer.text.text[:_OUTPUT_CHARS]
    more = answer.text.chars - len(text)
    calls = "".join(f"\n[tool call] {call.text[:_LINE_CHARS]}" for call in answer.tool_calls[:5])
    return markdown_block(f"{text}{f'… {more:,} more characters' if more else ''}{calls}")


def _notes(report: Report) -> str:
    warnings = () if report.decision is None else report.decision.warnings
    lines = [f"- {markdown_text(note, _LINE_CHARS)}" for note in (*report.notes, *warnings)[:20]]
    return "\n".join(["", "**To know**", "", *lines]) + "\n" if lines else ""


def _basis(report: Report) -> str:
    spent = f"Spent {money(report.candidate.total_cost_usd)}, judges {money(report.candidate.judge_cost_usd)}."
    hashes = ", ".join(
        f"{markdown_text(one.name, 60)} {markdown_code(one.value[:SHOWN_HASH])}" for one in report.hashes
    )
    run = f"Run {markdown_code(report.candidate.run, 80)}."
    return f"\n<sub>{run} {spent}{f' Bound to: {hashes}.' if hashes else ''}</sub>\n"

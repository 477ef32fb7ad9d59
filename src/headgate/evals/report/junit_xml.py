"""The report as JUnit XML: a suite for the gate and one for each scorer, a testcase for each rule and each case."""

from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from headgate.evals.report.escape import xml_text
from headgate.evals.report.figures import figure, headline, interval
from headgate.evals.report.model import Case, CaseScore, Metric, Report, Scored
from headgate.evals.verdict import RuleOutcome

_MAX_TEXT = 4000


def junit(report: Report) -> bytes:
    """UTF-8 XML that JUnit readers take: fail → failure, error → error, unscored and not applicable → skipped.

    An inconclusive rule is a failure of type ``inconclusive``, because the gate does not open. A case fails under
    scorers that say pass or fail; other scores are figures, and their testcases pass.
    """
    root = Xml.Element("testsuites", name=xml_text(f"headgate {report.suite}"))
    if report.decision is not None:
        root.append(_suite(report, "gate", [_rule_case(report, rule) for rule in report.decision.rules]))
    for metric in report.metrics:
        cases = [_score_case(report, metric, case, score) for case, score in _scores(report, metric)]
        root.append(_suite(report, metric.scorer, cases, _metric_properties(metric)))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    Xml.indent(root)
    written: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _scores(report: Report, metric: Metric) -> Iterator[tuple[Case, CaseScore]]:
    for case in report.cases:
        for score in case.scores:
            if score.scorer == metric.scorer and score.candidate is not None:
                yield case, score


def _suite(
    report: Report, name: str, cases: list[Xml.Element], properties: dict[str, str] | None = None
) -> Xml.Element:
    suite = Xml.Element(
        "testsuite",
        name=xml_text(name),
        tests=str(len(cases)),
        failures=str(_with(cases, "failure")),
        errors=str(_with(cases, "error")),
        skipped=str(_with(cases, "skipped")),
        time=f"{sum(float(case.get('time', '0')) for case in cases):.3f}",
        timestamp=(report.candidate.started_at or "1970-01-01T00:00:00")[:19],
    )
    held = Xml.SubElement(suite, "properties")
    for key, value in {**_properties(report), **(properties or {})}.items():
        Xml.SubElement(held, "property", name=xml_text(key), value=xml_text(value))
    suite.extend(cases)
    return suite


def _with(cases: list[Xml.Element], tag: str) -> int:
    return sum(case.find(tag) is not None for case in cases)


def _properties(report: Report) -> dict[str, str]:
    known = {"suite": report.suite, "run": report.candidate.run, "candidate": report.candidate.ref}
    if report.baseline is not None:
        known |= {"baseline": report.baseline.ref, "baseline run": report.baseline.run}
    if report.decision is not None:
        known |= {"verdict": report.decision.verdict, "grade": report.decision.grade, "says": headline(report)}
    return known | {one.name: one.value for one in report.hashes}


def _metric_properties(metric: Metric) -> dict[str, str]:
    found = {"n": str(metric.candidate.n), "method": metric.candidate.method}
    for name, number in (
        ("mean", metric.candidate),
        ("baseline mean", metric.baseline),
        ("difference", metric.difference),
    ):
        if number is not None and number.value is not None:
            found[name] = repr(number.value)
            if number.low is not None or number.high is not None:
                found[f"{name} interval"] = f"{number.low!r} to {number.high!r}"
    return found


def _testcase(classname: str, name: str, seconds: float = 0.0) -> Xml.Element:
    return Xml.Element("testcase", classname=xml_text(classname), name=xml_text(name), time=f"{seconds:.3f}")


def _rule_case(report: Report, rule: RuleOutcome) -> Xml.Element:
    case = _testcase(f"{report.suite}.gate", f"{rule.rule}: {rule.metric}")
    if rule.outcome in ("fail", "inconclusive"):
        failure = Xml.SubElement(case, "failure", message=xml_text(rule.sentence), type=rule.outcome)
        failure.text = xml_text(_rule_basis(rule))
    elif rule.outcome == "not_applicable":
        Xml.SubElement(case, "skipped", message=xml_text(rule.sentence))
    else:
        Xml.SubElement(case, "system-out").text = xml_text(f"{rule.sentence}\n{_rule_basis(rule)}")
    return case


def _rule_basis(rule: RuleOutcome) -> str:
    parts = {
        "observed": rule.observed,
        "bound": rule.bound,
        "limit": rule.limit,
        "n": rule.n,
        "clusters": rule.clusters,
        "method": rule.method or None,
        "needed items": rule.needed_items,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def _score_case(report: Report, metric: Metric, case: Case, score: CaseScore) -> Xml.Element:
    shown = score.candidate
    assert shown is not None  # `_scores` leaves out cases without one
    latency_ms = None if case.candidate is None else case.candidate.latency_ms
    made = _testcase(f"{report.suite}.{metric.scorer}", case.item, (latency_ms or 0.0) / 1000)
    reason = xml_text((shown.reason or "no reason was given")[:_MAX_TEXT])
    if shown.status == "error":
        Xml.SubElement(made, "error", message=reason, type="error").text = _details(metric, case, score)
    elif shown.status == "unscored":
        Xml.SubElement(made, "skipped", message=f"unscored: {reason}")
    elif shown.is_failed:
        Xml.SubElement(made, "failure", message=reason, type="fail").text = _details(metric, case, score)
    else:
        Xml.SubElement(made, "system-out").text = f"{_values(metric, shown, score)}\n{reason}"
    return made


def _values(metric: Metric, shown: Scored, score: CaseScore) -> str:
    baseline = "" if score.baseline is None else f", baseline {figure(score.baseline.value, metric.unit)}"
    outcome = "" if score.outcome is None else f", {score.outcome}"
    return f"value {figure(shown.value, metric.unit)}{baseline}{outcome}"


def _details(metric: Metric, case: Case, score: CaseScore) -> str:
    shown = score.candidate
    parts = [] if shown is None else [_values(metric, shown, score)]
    parts.append(f"scorer mean {figure(metric.candidate.value, metric.unit)} {interval(metric.candidate, metric.unit)}")
    for title, answer in (("answer", case.candidate), ("baseline's answer", case.baseline)):
        if answer is not None and answer.text is not None:
            parts.append(f"{title}: {answer.text.text[:_MAX_TEXT]}")
    return xml_text("\n".join(parts))

"""The gate passes what a bound proves, fails what a bound disproves, and says so when it cannot tell."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from headgate.evals.compare import compare
from headgate.evals.facts import CaseFacts, RunFacts, ScorerFacts
from headgate.evals.faults import EvaluationFault, PolicyFault
from headgate.evals.gate import judge_gate
from headgate.evals.policy import load_policy, shipped_policy
from headgate.evals.results import Result
from headgate.evals.verdict import RuleOutcome, Verdict

MARGIN = load_policy("grade: B\nprimary:\n  - {metric: quality, non_inferior: {margin: 0.05}}\n", "own.yaml")


def side(system: str, values: list[float | None], *, must: list[float] | None = None, **more: object) -> RunFacts:
    rows = [
        Result(
            run=f"run-{system}",
            item=f"item-{at}",
            system=system,
            scorer="quality",
            value=value,
            status="unscored" if value is None else "ok",
            output_sha256=f"{system}-{at}",
            **more,  # type: ignore[arg-type]
        )
        for at, value in enumerate(values)
    ]
    scorers = {"quality": ScorerFacts(id="quality")}
    if must is not None:
        scorers["valid"] = ScorerFacts(id="valid", must_pass=True)
        rows += [
            Result(run=f"run-{system}", item=f"item-{at}", system=system, scorer="valid", value=value, status="ok")
            for at, value in enumerate(must)
        ]
    return RunFacts(run=f"run-{system}", system=system, results=rows, scorers=scorers)


def only(verdict: Verdict, rule: str) -> RuleOutcome:
    (found,) = [one for one in verdict.rules if one.rule == rule]
    return found


def noisy(seed: int, n: int, shift: float, spread: float = 0.1) -> tuple[list[float | None], list[float | None]]:
    random = np.random.default_rng(seed)
    base = random.uniform(0.3, 0.7, n)
    return list(base + shift + random.normal(0, spread, n)), list(base)


def test_a_version_that_is_as_good_passes_with_enough_cases() -> None:
    better, base = noisy(1, 300, 0.0)
    verdict = judge_gate(MARGIN, side("p@2", better), side("p@1", base))
    assert verdict.verdict == "pass", verdict.rules
    assert only(verdict, "primary").bound is not None


def test_a_worse_version_fails() -> None:
    worse, base = noisy(2, 300, -0.1)
    assert judge_gate(MARGIN, side("p@2", worse), side("p@1", base)).verdict == "fail"


def test_too_few_noisy_cases_are_inconclusive_and_the_gate_says_how_many_more() -> None:
    values, base = noisy(3, 20, 0.0, spread=0.3)
    verdict = judge_gate(MARGIN, side("p@2", values), side("p@1", base))
    assert verdict.verdict == "inconclusive"
    needed = only(verdict, "primary").needed_items
    assert needed is not None and needed > 20


def test_identical_outputs_pass_although_nothing_varies() -> None:
    values: list[float | None] = [0.5] * 40
    one, other = side("p@1", values), side("p@1", values)
    assert judge_gate(MARGIN, one, other).verdict == "pass"


def test_constant_scores_of_different_outputs_do_not_pass_on_a_handful_of_cases() -> None:
    values: list[float | None] = [1.0] * 8
    assert judge_gate(MARGIN, side("p@2", values), side("p@1", values)).verdict == "inconclusive"


def test_one_failed_must_pass_check_fails_whatever_the_rest_says() -> None:
    values: list[float | None] = [0.9 + at / 1000 for at in range(20)]
    must = [1.0] * 19 + [0.0]
    policy = shipped_policy("starter")
    verdict = judge_gate(policy, side("p@2", values, must=must), None)
    assert verdict.verdict == "fail"
    assert "item-19" in only(verdict, "absolute").sentence


def test_a_first_promotion_is_judged_by_absolute_rules_alone() -> None:
    values: list[float | None] = [0.9 + at / 1000 for at in range(20)]
    verdict = judge_gate(shipped_policy("starter"), side("p@1", values, must=[1.0] * 20), None)
    assert verdict.verdict == "pass"
    assert only(verdict, "primary").outcome == "not_applicable"


def test_unscored_cases_are_never_zeros_and_too_many_of_them_are_inconclusive() -> None:
    values: list[float | None] = [0.9] * 12 + [None] * 8
    verdict = judge_gate(shipped_policy("starter"), side("p@2", values), side("p@1", [0.9] * 20))
    assert verdict.comparison is not None and verdict.comparison.scorers[0].n == 12
    unscored = next(rule for rule in verdict.rules if rule.metric == "unscored")
    assert unscored.outcome == "inconclusive"
    assert unscored.observed == pytest.approx(0.4)


def with_more(facts: RunFacts, extra: int) -> RunFacts:
    """The same side with easy scorers that give every case a value."""
    rows = [*facts.results]
    scorers = dict(facts.scorers)
    for number in range(extra):
        scorers[f"easy-{number}"] = ScorerFacts(id=f"easy-{number}", role="guard")
        rows += [
            Result(run=facts.run, item=row.item, system=facts.system, scorer=f"easy-{number}", value=1.0, status="ok")
            for row in facts.results
        ]
    return replace(facts, results=rows, scorers=scorers)


def test_easy_scorers_do_not_hide_that_the_one_which_decides_has_no_value() -> None:
    values: list[float | None] = [0.9] * 12 + [None] * 8
    both = with_more(side("p@2", values), 40), with_more(side("p@1", [0.9] * 20), 40)
    verdict = judge_gate(shipped_policy("starter"), *both)
    unscored = next(rule for rule in verdict.rules if rule.metric == "unscored")
    assert unscored.outcome == "inconclusive"
    assert unscored.observed == pytest.approx(0.4)
    assert unscored.sentence.startswith("40.0% of the scores of quality have no score")


def test_scores_that_production_lacks_count_as_much() -> None:
    values: list[float | None] = [0.9] * 12 + [None] * 8
    verdict = judge_gate(shipped_policy("starter"), side("p@2", [0.9] * 20), side("p@1", values))
    assert next(rule for rule in verdict.rules if rule.metric == "unscored").outcome == "inconclusive"


def test_a_score_that_needs_a_baseline_is_not_missing_where_there_is_none() -> None:
    facts = side("p@1", [0.9] * 20)
    pair = ScorerFacts(id="better", equal_at=0.0)
    verdict = judge_gate(shipped_policy("starter"), replace(facts, scorers={**facts.scorers, "better": pair}), None)
    assert next(rule for rule in verdict.rules if rule.metric == "unscored").outcome == "pass"


def labelled(answers: str, expected: int | None) -> RunFacts:
    """A side of one-letter answers."""
    facts = side("p@2", [1.0] * len(answers))
    rows = [msgspec.structs.replace(row, output_sha256=to) for row, to in zip(facts.results, answers, strict=True)]
    return replace(facts, results=rows, cases=CaseFacts(distinct_expected=expected))


@pytest.mark.parametrize(
    ("answers", "expected", "outcome"),
    [
        ("abc" * 20, 3, "pass"),  # a classifier of three labels
        ("ab" * 30, 3, "pass"),  # the third label was never right
        ("a" * 60, 3, "fail"),  # one answer for everything
        ("a" * 60, 2, "fail"),
        ("a" * 60, 1, "not_applicable"),
        ("abc" * 20, None, "fail"),  # free text, as far as is known
        ("abc" * 20, 60, "fail"),  # every case has an answer of its own
        ("abcdefgh" * 5, 12, "pass"),
    ],
)
def test_as_many_answers_must_differ_as_there_are_to_choose_from(
    answers: str, expected: int | None, outcome: str
) -> None:
    verdict = judge_gate(shipped_policy("standard"), labelled(answers, expected), None)
    assert next(rule for rule in verdict.rules if rule.metric == "distinct_outputs").outcome == outcome


def test_cases_in_the_prompt_s_own_text_are_a_warning_and_no_refusal() -> None:
    facts = replace(side("p@1", [0.9] * 20), cases=CaseFacts(in_prompt=("item-3", "item-4")))
    verdict = judge_gate(shipped_policy("starter"), facts, None)
    rule = next(rule for rule in verdict.rules if rule.metric == "cases_in_prompt")
    assert (verdict.verdict, rule.rule, rule.observed, rule.n) == ("pass", "quality_of_run", 2, 20)
    assert verdict.warnings == (rule.sentence,)
    assert "2 of 20 cases stand in the prompt's own text (item-3, item-4)" in rule.sentence


def test_one_text_for_every_case_fails() -> None:
    facts = side("p@2", [0.9] * 20)
    same = [Result(**{**{n: getattr(r, n) for n in r.__struct_fields__}, "output_sha256": "x"}) for r in facts.results]
    facts = RunFacts(run="r", system="p@2", results=same, scorers=facts.scorers)
    assert judge_gate(shipped_policy("starter"), facts, side("p@1", [0.9] * 20)).verdict == "fail"


def test_one_cluster_is_inconclusive_and_never_counts_as_certainty() -> None:
    values, base = noisy(4, 100, 0.2)
    verdict = judge_gate(MARGIN, side("p@2", values, cluster="one"), side("p@1", base, cluster="one"))
    assert verdict.verdict == "inconclusive"


def test_a_client_s_own_scores_lower_the_grade() -> None:
    facts = side("p@2", [0.5] * 10)
    facts = RunFacts(
        run="r", system="p@2", results=facts.results, scorers={"quality": ScorerFacts(id="quality", source="client")}
    )
    assert judge_gate(MARGIN, facts, None).grade == "C"


def test_sides_of_several_systems_are_refused() -> None:
    one, other = side("p@1", [0.5]), side("p@2", [0.5])
    with pytest.raises(EvaluationFault, match="2 systems"):
        compare([*one.results, *other.results], one.results)


@pytest.mark.parametrize("name", ["starter", "standard", "strict"])
def test_the_shipped_policies_are_read(name: str) -> None:
    assert shipped_policy(name).name == name
    assert len({shipped_policy(one).sha256 for one in ("starter", "standard", "strict")}) == 3


def test_a_policy_s_faults_are_told_by_line_with_the_nearest_key() -> None:
    text = "grade: B\nprimary:\n  - {metric: a, non_inferior: {margn: 1}}\nalpha: 2\n"
    with pytest.raises(PolicyFault) as refused:
        load_policy(text, "own.yaml")
    assert 'own.yaml:3 unknown key "margn"; nearest: margin' in str(refused.value)
    assert "own.yaml:4 alpha is above 0 and at most 0.5" in str(refused.value)

"""The suite that ``headgate eval init`` writes: it is sound and has a primary scorer that every case can answer."""

import pytest

from headgate.cli.eval_init import suite_text
from headgate.evals.suite import load_suite


@pytest.mark.parametrize(
    ("expected", "is_judged", "primary", "judges"),
    [
        ([True, True], True, "contains", 0),
        ([True, False], True, "judge.rubric", 1),
        ([False], True, "judge.rubric", 1),
        ([True, False], False, "finish_reason", 0),
        ([False], False, "finish_reason", 0),
    ],
)
def test_the_suite_is_sound_and_compares_what_all_its_cases_have(
    expected: list[bool], is_judged: bool, primary: str, judges: int
) -> None:
    suite = load_suite(suite_text("answers-de", "shop", expected, is_judged=is_judged), "a.yaml", folder=None)
    assert (suite.name, suite.target.prompt, suite.dataset.name) == ("answers-de", "shop", "answers-de")
    assert [scorer.type for scorer in suite.scorers if scorer.role == "primary"] == [primary]
    assert [scorer.type for scorer in suite.scorers if scorer.must_pass] == ["answered"]
    assert len(suite.judges) == judges and not suite.warnings

"""Power, many tests at once, repeats as attempts, swaps, ratios and calibration, against tables and oracles."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from headgate.stats.calibration import calibration, fit_temperature
from headgate.stats.multiplicity import benjamini_hochberg, bonferroni, holm
from headgate.stats.power import bound_power, needed_for_bound, needed_n, smallest_difference
from headgate.stats.ratios import quantile_upper, ratio_of_means
from headgate.stats.repeats import pass_at_k, pass_hat_k
from headgate.stats.swaps import Choice, net_verdict, position_effect, swap_class, swap_consistency, swap_counts
from support.later import Later

metrics = Later("sklearn.metrics")
multitest = Later("statsmodels.stats.multitest")
optimize = Later("scipy.optimize")
oracle = Later("scipy.stats")
their_power = Later("statsmodels.stats.power")

# Benjamini and Hochberg (1995), the 15 p-values of their example.
BH_1995 = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
           0.7590, 1.0]  # fmt: skip


def test_three_points_need_about_a_thousand_questions() -> None:
    assert needed_n(0.03, 1 / 9) == pytest.approx(968.998, abs=1e-3)
    assert math.ceil(needed_n(0.03, 1 / 9)) == 969


def test_the_claude_pair_could_show_two_and_a_half_points() -> None:
    assert smallest_difference(1.0) == pytest.approx(2.8016, abs=5e-5)
    assert smallest_difference(0.9138) == pytest.approx(2.560, abs=5e-4)
    assert needed_n(1.0, 0.9138**2 * 805) == pytest.approx(5276, abs=3)


def test_repeats_cut_only_the_part_within_items() -> None:
    once = needed_n(0.05, 0.1, within_a=0.2, within_b=0.2)
    thrice = needed_n(0.05, 0.1, within_a=0.2, within_b=0.2, repeats_a=3, repeats_b=3)
    assert thrice / once == pytest.approx((0.1 + 0.4 / 3) / 0.5, rel=1e-12)


@pytest.mark.parametrize(("distance", "sd", "n"), [(0.05, 0.3, 60), (0.05, 0.3, 250), (0.1, 0.3, 20), (0.02, 0.2, 480)])
def test_the_power_of_a_bound_is_that_of_statsmodels(distance: float, sd: float, n: int) -> None:
    theirs = their_power.TTestPower().power(distance / sd, n, 0.05, alternative="larger")
    assert bound_power(distance, sd, n, 0.05) == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize(("distance", "sd"), [(0.05, 0.3), (0.1, 0.25), (0.3, 0.2)])
def test_the_needed_cases_are_the_fewest_with_that_power(distance: float, sd: float) -> None:
    n = needed_for_bound(distance, sd)
    assert n is not None
    assert bound_power(distance, sd, n, 0.05) >= 0.8 > bound_power(distance, sd, n - 1, 0.05)
    theirs = their_power.TTestPower().solve_power(distance / sd, None, 0.05, 0.8, alternative="larger")
    assert n == math.ceil(theirs)


@pytest.mark.parametrize("skew", [0.0, -2.0, -5.0])
def test_a_plan_for_the_gates_own_bound_asks_for_more_the_longer_the_tail_of_losses(skew: float) -> None:
    plain, found = needed_for_bound(0.05, 0.2), needed_for_bound(0.05, 0.2, skew=skew)
    assert plain is not None and found is not None and found > plain
    assert bound_power(0.05, 0.2, found, 0.05, skew) >= 0.8
    assert needed_for_bound(0.05, 0.2, skew=3.0) in (plain, plain + 1)  # a tail of gains costs nothing


def test_what_cannot_be_shown_needs_no_number() -> None:
    assert needed_for_bound(0.0, 0.3) is None
    assert needed_for_bound(1e-7, 0.5) is None
    assert needed_for_bound(0.1, 0.0) == 2
    assert (bound_power(0.1, 0.0, 5, 0.05), bound_power(0.0, 0.0, 5, 0.05), bound_power(1, 1, 1, 0.05)) == (1, 0, 0)


def test_the_fifteen_p_values_of_1995_give_three_three_and_four_rejections() -> None:
    for adjust, count in ((bonferroni, 3), (holm, 3), (benjamini_hochberg, 4)):
        assert sum(p <= 0.05 for p in adjust(BH_1995)) == count
    assert benjamini_hochberg(BH_1995)[3] == pytest.approx(0.035625, abs=1e-12)


def test_slices_of_alpaca_eval_are_corrected_as_published() -> None:
    raw = [0.0094, 0.5945, 0.0120, 0.0522, 0.1293]
    assert holm(raw) == pytest.approx([0.0470, 0.5945, 0.0479, 0.1565, 0.2586], abs=2e-4)
    assert holm([0.0352, 0.9, 0.8, 0.7, 0.6])[0] == pytest.approx(0.1758, abs=3e-4)


@settings(max_examples=25)
@given(p_values=some.lists(some.floats(0, 1), min_size=1, max_size=30))
def test_corrections_are_those_of_statsmodels(p_values: list[float]) -> None:
    for adjust, name in ((bonferroni, "bonferroni"), (holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert adjust(p_values) == pytest.approx(multitest.multipletests(p_values, method=name)[1], abs=1e-9)


def test_attempts_are_counted_without_replacement() -> None:
    assert pass_at_k(10, 3, 5) == pytest.approx(0.916667, abs=1e-6)
    assert pass_hat_k(10, 7, 3) == pytest.approx(0.291667, abs=1e-6)
    assert pass_at_k(4, 4, 5) is None and pass_hat_k(4, 4, 5) is None
    assert pass_at_k(4, 0, 2) == 0 and pass_hat_k(4, 4, 4) == 1


def test_every_pair_of_answers_has_its_swap_class() -> None:
    assert swap_class("first", "second") == "consistent" == swap_class("second", "first")
    assert swap_class("tie", "tie") == "consistent_tie"
    assert swap_class("first", "first") == "both_first"
    assert swap_class("second", "second") == "both_second"
    assert swap_class("tie", "first") == "tie_mixed" == swap_class("second", "tie")
    assert swap_class(None, "first") == "unparsable" == swap_class("tie", None)
    seen: list[tuple[Choice | None, Choice | None]] = [("first", "second")] * 7
    counts = swap_counts([*seen, ("first", "first"), ("first", "first"), (None, "tie")])
    assert sum(counts.values()) == 10
    assert swap_consistency(counts) == pytest.approx(0.7)
    assert swap_consistency(swap_counts([])) is None


def test_o1_mini_on_judgebench_is_as_consistent_as_published() -> None:
    answers: dict[str, tuple[Choice, Choice]] = {
        "consistent": ("first", "second"),
        "consistent_tie": ("tie", "tie"),
        "both_first": ("first", "first"),
        "both_second": ("second", "second"),
        "tie_mixed": ("first", "tie"),
    }
    published = {"consistent": 235, "consistent_tie": 5, "both_first": 58, "both_second": 18, "tie_mixed": 34}
    pairs: list[tuple[Choice | None, Choice | None]] = [
        answers[name] for name, count in published.items() for _ in range(count)
    ]
    counts = swap_counts(pairs)
    assert counts == {**published, "unparsable": 0}
    # 110 of 350 change their verdict: all but the 240 that are the same in both orders.
    assert 1 - (swap_consistency(counts) or 0) == pytest.approx(110 / 350)


def test_claude_3_haiku_on_judgebench_agrees_with_itself_in_half_of_the_pairs() -> None:
    kinds: list[tuple[Choice | None, Choice | None]] = [
        ("second", "first"), ("tie", "tie"), ("first", "first"), ("second", "second"), ("tie", "second"), (None, "tie"),
    ]  # fmt: skip
    published = (81, 54, 37, 7, 78, 13)
    counts = swap_counts([pair for pair, count in zip(kinds, published, strict=True) for _ in range(count)])
    assert tuple(counts.values()) == published
    assert swap_consistency(counts) == pytest.approx(135 / 270, abs=1e-12)


def test_both_orders_together_are_one_observation() -> None:
    assert net_verdict("first", "second") == 1
    assert net_verdict("second", "first") == -1
    assert net_verdict("first", "first") == 0 == net_verdict("tie", "tie")
    assert net_verdict("first", "tie") == 0.5
    assert net_verdict("first", None) is None


def test_the_position_effect_is_the_difference_of_separate_samples() -> None:
    first, second = np.array([0.0, 0.1, 0.0, 0.2]), np.array([0.3, 0.1, 0.4])
    effect, se = position_effect(first, second)
    assert effect == pytest.approx(first.mean() - second.mean())
    assert se == pytest.approx(math.hypot(oracle.sem(first), oracle.sem(second)))
    assert position_effect(np.array([1.0]), second)[1] is None


def test_the_ratio_of_means_covers_the_truth_as_often_as_it_says() -> None:
    chance, rounds, covered = np.random.default_rng(8), 600, 0
    for _ in range(rounds):
        size = chance.lognormal(0, 0.6, 80)
        a, b = 1.2 * size * chance.lognormal(0, 0.2, 80), size * chance.lognormal(0, 0.2, 80)
        found = ratio_of_means(a, b)
        assert found is not None
        bounds = found.bounds(0.05)
        assert bounds is not None
        covered += bounds[1] >= 1.2
    assert 0.92 <= covered / rounds <= 0.98


def test_a_ratio_to_nothing_is_no_ratio_and_equal_sides_have_an_exact_one() -> None:
    assert ratio_of_means(np.array([1.0, 2.0]), np.zeros(2)) is None
    same = ratio_of_means(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert same is not None and same.ratio == 1
    assert same.bounds(0.05) == (1, 1)
    alone = ratio_of_means(np.array([1.0]), np.array([2.0]))
    assert alone is not None and alone.bounds(0.05) is None


def test_the_upper_bound_of_a_quantile_is_an_order_statistic_that_covers() -> None:
    values = np.arange(1.0, 201.0)
    found = quantile_upper(values, 0.95, 0.05)
    assert found.value == 190
    # Binomial(200, .95): P(at most 194 below) = .938, P(at most 195) = .974.
    rank = next(r for r in range(1, 202) if oracle.binom.cdf(r - 1, 200, 0.95) >= 0.95)
    assert found.upper == values[rank - 1]
    assert quantile_upper(np.arange(20.0), 0.95, 0.05).upper is None


@given(
    cases=some.lists(some.tuples(some.floats(0.001, 0.999), some.booleans()), min_size=2, max_size=60),
)
def test_calibration_figures_are_those_of_scikit_learn(cases: list[tuple[float, bool]]) -> None:
    chances, happened = np.array([p for p, _ in cases]), np.array([float(y) for _, y in cases])
    found = calibration(chances, happened)
    assert found.nll == pytest.approx(metrics.log_loss(happened, chances, labels=[0, 1]), rel=1e-9)
    assert found.brier == pytest.approx(metrics.brier_score_loss(happened, chances, pos_label=1), rel=1e-9, abs=1e-12)
    assert 0 <= found.ece <= 1


def test_the_calibration_error_of_a_boaster_is_how_much_he_boasts() -> None:
    happened = np.array([1.0] * 6 + [0.0] * 4)
    assert calibration(np.full(10, 0.95), happened).ece == pytest.approx(0.35)
    assert calibration(np.array([0.0, 1.0]), np.array([1.0, 0.0])).nll == pytest.approx(-math.log(1e-15), abs=1e-3)


def test_the_temperature_is_where_scipy_finds_the_least_loss() -> None:
    chance = np.random.default_rng(4)
    margins = chance.normal(0, 8, 350)
    happened = (chance.random(350) < 1 / (1 + np.exp(-0.15 * margins))).astype(float)

    def loss(log_t: float) -> float:
        return float(np.mean(np.logaddexp(0, np.where(happened == 1, -1, 1) * np.exp(log_t) * margins)))

    theirs = optimize.minimize_scalar(loss, bounds=(-6, 3), method="bounded", options={"xatol": 1e-12})
    assert fit_temperature(margins, happened) == pytest.approx(math.exp(theirs.x), rel=1e-5)


def test_a_judge_that_is_always_right_gets_a_bounded_temperature() -> None:
    assert fit_temperature(np.array([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.0])) <= 1e6

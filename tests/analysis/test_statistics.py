"""Scores and intervals against enumerations."""

import itertools
import math

import numpy as np
import pytest

from deepcrl.analysis.statistics import (
    Estimate,
    critical_depth,
    estimate,
    improvement,
    interquartile_mean,
    probability_of_improvement,
    reaches,
    score,
)


def test_a_score_is_the_mean_of_the_last_five_trained_evaluations():
    rows = [{"gradient_steps": 10 * i, "eval/time_at_goal": float(i**2)} for i in range(8)]
    assert score(rows) == np.mean([9, 16, 25, 36, 49])
    assert score(rows[:3]) == np.mean([1, 4])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1.0, 2.0, 100.0], 103 / 3), ([100.0, 1.0, 2.0, 3.0], 2.5), ([9.0, 0.0, 1.0, 2.0, 3.0], 2.0)],
)
def test_the_interquartile_mean_leaves_out_whole_quarters(scores, expected):
    assert interquartile_mean(scores) == pytest.approx(expected)
    columns = np.stack([scores, np.asarray(scores) + 1.0], axis=1)
    np.testing.assert_allclose(interquartile_mean(columns, axis=0), [expected, expected + 1.0])


@pytest.mark.parametrize("statistic", [np.mean, interquartile_mean])
def test_the_interval_is_that_of_all_resamples(statistic):
    scores = [1.0, 2.0, 4.0, 8.0, 16.0]
    resamples = [statistic(draw) for draw in itertools.product(scores, repeat=5)]
    found = estimate(scores, statistic)
    assert found.value == pytest.approx(statistic(scores))
    # Of a discrete distribution, from ten thousand draws: the quantiles of slightly smaller and larger shares bound it.
    assert np.quantile(resamples, 0.022) <= found.low <= np.quantile(resamples, 0.028)
    assert np.quantile(resamples, 0.972) <= found.high <= np.quantile(resamples, 0.978)
    assert str(Estimate(1.0, 0.5, 2.0)) == "1.00 [0.50, 2.00]"


def test_evaluations_without_the_metric_or_with_no_number_do_not_count():
    """A cell of a maze that no goal was in, and what was not finite when its row was written."""
    values = [100.0, 1.0, None, 3.0, "none", 5.0, 7.0]
    rows = [{"gradient_steps": k} | ({} if value == "none" else {"m": value}) for k, value in enumerate(values)]
    assert score(rows, "m") == np.mean([1.0, 3.0, 5.0, 7.0])
    assert math.isnan(score(rows[:1], "m"))
    assert reaches(rows, 4.0, "m") == rows[5]
    assert reaches(rows, 8.0, "m") is None


def test_one_seed_has_no_interval():
    assert estimate([3.0], np.mean) == Estimate(3.0, None, None)
    assert str(Estimate(3.0, None, None)) == "3.00"


def test_the_probability_of_improvement_counts_pairs():
    assert probability_of_improvement([1.0, 5.0], [0.0, 5.0, 6.0]) == pytest.approx((1 + 1 + 0.5) / 6)
    assert probability_of_improvement([2.0], [1.0]) == 1.0
    assert probability_of_improvement([1.0, 2.0], [1.0, 2.0]) == 0.5


def test_the_critical_depth_is_where_the_mean_jumps():
    sure = {4: [0.0, 1.0], 8: [1.0, 2.0], 16: [10.0, 12.0], 32: [11.0, 13.0]}
    assert critical_depth(sure) == Estimate(16.0, 16.0, 16.0)
    assert critical_depth({4: [0.0], 8: [3.0], 16: [4.0]}) == Estimate(8.0, None, None)


def test_the_critical_depths_interval_is_that_of_all_resamples():
    """Two seeds a depth: of the 64 resamples, those that jump at 16 are counted out."""
    scores = {4: [0.0, 4.0], 8: [4.0, 6.0], 16: [6.0, 12.0]}
    draws = [list(itertools.product(some, repeat=2)) for some in scores.values()]
    jumps = [np.argmax(np.diff([np.mean(d) for d in draw])) for draw in itertools.product(*draws)]
    assert 0.025 < np.mean(jumps) < 0.975
    assert critical_depth(scores)[1:] == (8.0, 16.0)
    rare = {4: [0.0, 0.0], 8: [6.0, 6.0], 16: [6.0, 6.0 + 5.9]}
    assert critical_depth(rare) == Estimate(8.0, 8.0, 8.0)


def test_the_interval_of_an_improvement_is_that_of_all_resamples():
    ours, theirs = [1.0, 4.0, 6.0], [2.0, 3.0, 4.0]
    found = improvement(ours, theirs)
    assert found.value == pytest.approx((0 + 2.5 + 3) / 9)
    resamples = [
        probability_of_improvement(a, b)
        for a in itertools.product(ours, repeat=3)
        for b in itertools.product(theirs, repeat=3)
    ]
    assert found.low == pytest.approx(np.quantile(resamples, 0.025), abs=0.06)
    assert found.high == pytest.approx(np.quantile(resamples, 0.975), abs=0.06)
    assert improvement([1.0], [2.0, 3.0]) == Estimate(0.0, None, None)


def test_a_score_is_reached_at_the_first_evaluation_that_has_it_after_training_began():
    rows = [{"gradient_steps": 10 * i, "env_steps": i, "eval/time_at_goal": v} for i, v in enumerate((9, 1, 5, 4, 8))]
    assert [(row or {}).get("env_steps") for row in (reaches(rows, level) for level in (1, 4.5, 5.5, 9))] == [
        1,
        2,
        4,
        None,
    ]


def test_a_depth_with_one_seed_leaves_no_interval():
    assert critical_depth({4: [0.0], 8: [1.0, 1.0], 16: [1.0, 1.0]}) == Estimate(8.0, None, None)

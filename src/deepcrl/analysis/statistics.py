"""Scores of runs and statistics over seeds: mean, interquartile mean, 95% bootstrap intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

LAST = 5
"""Number of last evaluations whose mean is a run's score (paper, Table 1)."""
RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A statistic over seeds and its 95% percentile bootstrap interval; None for a single seed."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


def score(rows: Sequence[Mapping[str, Any]], metric: str = "eval/time_at_goal") -> float:
    """A run's score: the mean of its last five evaluations, without the untrained policy's.

    If not every evaluation has the metric, such as one for a single maze cell, the last five that have it; NaN if none
    has.
    """
    last = last_values(rows, metric)
    return float(np.mean(last)) if last else math.nan


def last_values(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """What `score` is the mean of."""
    return [row[metric] for row in rows if row["gradient_steps"] > 0 and _has(row, metric)][-LAST:]


def interquartile_mean(scores: Sequence[float] | np.ndarray, axis: int = -1) -> Any:
    """Mean without the lowest and the highest quarter, each rounded down to whole seeds (Agarwal et al., 2021)."""
    ordered = np.moveaxis(np.sort(scores, axis=axis), axis, -1)
    seeds = ordered.shape[-1]
    cut = seeds // 4
    return np.mean(ordered[..., cut : seeds - cut], axis=-1)


def estimate(scores: Sequence[float], statistic: Callable[..., Any]) -> Estimate:
    """A statistic of the seeds' scores, and its bootstrap interval from seeds resampled with replacement.

    Args:
        statistic: a function of scores and the keyword `axis` along which they lie, such as `numpy.mean`.
    """
    value = float(statistic(scores, axis=-1))
    if len(scores) < 2:
        return Estimate(value, None, None)
    draws = np.random.default_rng(0).choice(np.asarray(scores), size=(RESAMPLES, len(scores)))
    low, high = np.quantile(statistic(draws, axis=-1), [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def probability_of_improvement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Probability that a run of `ours` scores higher than one of `theirs`: the share of all pairs in which it does,
    ties counted half (Agarwal et al., 2021; the Mann-Whitney U over the number of pairs)."""
    difference = np.asarray(ours)[:, None] - np.asarray(theirs)[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """`probability_of_improvement` with its bootstrap interval, from seeds resampled on both sides."""
    value = probability_of_improvement(ours, theirs)
    if min(len(ours), len(theirs)) < 2:
        return Estimate(value, None, None)
    rng = np.random.default_rng(0)
    a, b = (rng.choice(np.asarray(scores), size=(RESAMPLES, len(scores))) for scores in (ours, theirs))
    difference = a[:, :, None] - b[:, None, :]
    draws = np.mean((difference > 0) + 0.5 * (difference == 0), axis=(1, 2))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def critical_depth(scores: Mapping[int, Sequence[float]]) -> Estimate:
    """The depth at which the mean score jumps (paper, Figure 5): the one that gains most over the next smaller one.

    The interval comes from resampling the seeds of every depth.

    Args:
        scores: the seeds' scores by depth, for two depths or more.
    """
    depths = sorted(scores)
    rng = np.random.default_rng(0)

    def jump(means: np.ndarray) -> np.ndarray:
        return np.asarray(depths[1:])[np.argmax(np.diff(means, axis=0), axis=0)]

    value = float(jump(np.array([np.mean(scores[depth]) for depth in depths])))
    if min(map(len, scores.values())) < 2:
        return Estimate(value, None, None)
    draws = np.stack([rng.choice(np.asarray(scores[d]), size=(RESAMPLES, len(scores[d]))).mean(axis=1) for d in depths])
    low, high = np.quantile(jump(draws), [0.025, 0.975], method="nearest")
    return Estimate(value, float(low), float(high))


def reaches(
    rows: Sequence[Mapping[str, Any]], level: float, metric: str = "eval/time_at_goal"
) -> Mapping[str, Any] | None:
    """The first evaluation after training began with a score of `level` or more, or None (paper, Tables 2 and 6): its
    "env_steps" and "wall_s" say when that was."""
    trained = (row for row in rows if row["gradient_steps"] > 0 and _has(row, metric))
    return next((row for row in trained if row[metric] >= level), None)


def _has(row: Mapping[str, Any], metric: str) -> bool:
    """Whether a row has a finite value of a metric; others are null in rows read from a file."""
    return row.get(metric) is not None and math.isfinite(row[metric])


def rank_correlation(x: Float[np.ndarray, " K"], y: Float[np.ndarray, " K"]) -> float:
    """Spearman's rank correlation, with the mean rank for ties; NaN where `x` or `y` is constant."""
    x, y = _ranks(x), _ranks(y)
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt(np.sum(x**2) * np.sum(y**2))
    return float(np.sum(x * y) / size) if size > 0.0 else float("nan")


def _ranks(x: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[place]

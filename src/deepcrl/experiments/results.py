"""What an experiment's runs have shown so far: scores by cell, beside the paper's numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepcrl.analysis.statistics import (
    Estimate,
    critical_depth,
    estimate,
    interquartile_mean,
    probability_of_improvement,
    score,
)
from deepcrl.experiments import runs
from deepcrl.experiments.record import Cell, Experiment, Published, cells
from deepcrl.logging import rows


class Result(NamedTuple):
    """One cell's runs."""

    cell: Cell
    states: Mapping[int, runs.State]
    rows: Mapping[int, Sequence[Mapping[str, Any]]]
    """Evaluations by seed, of runs that are done."""
    scores: Mapping[int, float]
    mean: Estimate | None
    """None while no run is done."""
    interquartile: Estimate | None
    published: Published | None
    """The paper's number for these labels, whatever the scale."""


def results(experiment: Experiment, scale: str, out: Path) -> list[Result]:
    """One for each cell, in the grid's order. Raises ConfigError as `cells` does."""
    return [_result(experiment, cell, out) for cell in cells(experiment, scale)]


def _result(experiment: Experiment, cell: Cell, out: Path) -> Result:
    states = runs.states(cell, out)
    found = {seed: rows.read(folder) for seed, folder in runs.folders(cell, out).items() if states[seed] == "done"}
    scores = {seed: value_of(experiment.metric, some) for seed, some in found.items()}
    values = list(scores.values())
    return Result(
        cell,
        states,
        found,
        scores,
        estimate(values, np.mean) if values else None,
        estimate(values, interquartile_mean) if values else None,
        next((number for number in experiment.published if number.at == cell.labels), None),
    )


def value_of(metric: str, some: Sequence[Mapping[str, Any]]) -> float:
    """A run's value: what a clock says at its end, or the mean of its last five evaluations (paper, Table 1)."""
    return float(some[-1][metric]) if metric == "wall_s" else score([dict(row) for row in some], metric)


def state_words(found: Sequence[Result]) -> str:
    """ "not run", "done", or how many runs of how many are."""
    states = [state for result in found for state in result.states.values()]
    done, begun = states.count("done"), states.count("partly")
    if done == len(states):
        return "done"
    if not done and not begun:
        return "not run"
    return f"{done} of {len(states)} runs done" + (f", {begun} interrupted" if begun else "")


def depth_words(experiment: Experiment, found: Sequence[Result]) -> list[str]:
    """For every line of a plot over depth: where the score jumps, and whether the deepest beats the shallowest."""
    if experiment.x != "depth" or experiment.metric == "wall_s":
        return []
    lines: dict[str, dict[int, list[float]]] = {}
    for result in found:
        if result.scores and "depth" in result.cell.labels:
            rest = ", ".join(label for axis, label in result.cell.labels.items() if axis != "depth")
            lines.setdefault(rest, {})[int(result.cell.labels["depth"])] = list(result.scores.values())
    words = []
    for name, scores in lines.items():
        if len(scores) < 2:
            continue
        least, most = min(scores), max(scores)
        better = probability_of_improvement(scores[most], scores[least])
        words.append(
            f"{name + ': ' if name else ''}{_jump_words(scores)}; a run of depth {most} scores higher than one of "
            f"depth {least} with probability {better:.2f}."
        )
    return words


def _jump_words(scores: Mapping[int, Sequence[float]]) -> str:
    means = [np.mean(scores[depth]) for depth in sorted(scores)]
    if np.max(np.diff(means)) <= 0.0:
        return "the mean grows at no depth"
    jump = critical_depth(scores)
    inside = "" if jump.low is None else f" [{jump.low:.0f}, {jump.high:.0f}]"
    return f"the mean gains most at depth {jump.value:.0f}{inside}"

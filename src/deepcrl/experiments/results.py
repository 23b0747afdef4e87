"""Results of an experiment's finished runs: scores by cell, beside the paper's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepcrl.algorithms import learners
from deepcrl.analysis.statistics import (
    Estimate,
    estimate,
    improvement,
    interquartile_mean,
    reaches,
    score,
)
from deepcrl.experiments import runs
from deepcrl.experiments.record import Cell, Experiment, Published, cells
from deepcrl.logging import rows
from deepcrl.report.comparison import jump_sentences, level_words
from deepcrl.report.text import MISSING, steps

CELL = "eval/success_any/"
"""Prefix of the metrics for single goal cells."""
MOST_GOALS = 12
"""Most goal columns that a table may have."""
SCORE, CLOCK = "eval/time_at_goal", "wall_s"
"""The paper's score, and the metric of experiments that ask for seconds."""


AGREES, AGAINST, OPEN, ONE_SEED = "agrees", "goes against it", "cannot be told", "one seed cannot tell"
VERDICTS = {"agree": (AGREES,), "against": (AGAINST,), "open": (OPEN, ONE_SEED)}
"""One word for each kind of verdict on a claim, and the beginnings of the sentences that state it on a page."""
Numbers = Sequence[Sequence[Mapping[str, float]]]
"""For each result and each of its runs, the numbers that analyses have found."""


class Result(NamedTuple):
    """One cell's runs."""

    cell: Cell
    states: Mapping[int, runs.State]
    rows: Mapping[int, Sequence[Mapping[str, Any]]]
    """Evaluations by seed, finished runs only."""
    scores: Mapping[int, float]
    mean: Estimate | None
    """None while no run is done."""
    interquartile: Estimate | None
    published: Published | None
    """The paper's number for these labels, whatever the scale."""
    metric: str
    """The experiment's metric, or the same metric of one of the learners."""


def results(experiment: Experiment, scale: str, out: Path) -> list[Result]:
    """One result per cell, in the grid's order; where a collector has learners, one per network, with an additional
    label "network". Raises ConfigError as `cells` does."""
    return [
        _result(experiment, cell if len(labels) == len(cell.labels) else replace(cell, labels=labels), metric, out)
        for cell in cells(experiment, scale)
        for labels, metric in _networks(experiment, cell)
    ]


def _networks(experiment: Experiment, cell: Cell) -> list[tuple[dict[str, str], str]]:
    labels, metric = dict(cell.labels), experiment.metric
    if not cell.config.learners:
        return [(labels, metric)]
    names = [_short(words) for words in cell.config.learners]
    found = [(labels | {"network": "the collector"}, metric)]
    for index, name in enumerate(names, 1):
        # Learners whose short names are equal are told apart by their number.
        label = name if names.count(name) == 1 else f"{name} (learner {index})"
        found.append((labels | {"network": label}, metric.replace("eval/", f"eval/{learners.metric_prefix(index)}")))
    return found


def _short(words: str) -> str:
    """A learner's changes without the groups of their fields: "network.depth=4" as "depth=4"."""
    paths = (word.partition("=") for word in words.split())
    return " ".join(f"{path.rpartition('.')[2]}={value}" for path, _, value in paths)


def _result(experiment: Experiment, cell: Cell, metric: str, out: Path) -> Result:
    states = runs.states(cell, out)
    found = {seed: rows.read(folder) for seed, folder in runs.folders(cell, out).items() if states[seed] == "done"}
    scores = {seed: value_of(metric, some) for seed, some in found.items()}
    values = list(scores.values())
    return Result(
        cell,
        states,
        found,
        scores,
        estimate(values, np.mean) if values else None,
        estimate(values, interquartile_mean) if values else None,
        next((number for number in experiment.published if number.at == cell.labels), None),
        metric,
    )


def value_of(metric: str, some: Sequence[Mapping[str, Any]]) -> float:
    """A run's value of a metric: wall time at its end, or the mean of its last five evaluations (paper, Table 1)."""
    return float(some[-1][metric]) if metric == CLOCK else score(some, metric)


def state_words(found: Sequence[Result]) -> str:
    """State of the runs in words: "not run", "done", or the numbers of done, interrupted and failed runs."""
    by_run = {result.cell.runs[seed]: state for result in found for seed, state in result.states.items()}
    states = list(by_run.values())
    done, begun, failed = (states.count(state) for state in ("done", "partly", "failed"))
    if done == len(states):
        return "done"
    if not done and not begun and not failed:
        return "not run"
    rest = {"interrupted": begun, "failed": failed}
    return f"{done} of {len(states)} runs done" + "".join(f", {n} {word}" for word, n in rest.items() if n)


def failures(found: Sequence[Result], out: Path) -> list[str]:
    """Every failed run with its problem, in one line each."""
    folders = {
        folder: None
        for result in found
        for seed, folder in runs.folders(result.cell, out).items()
        if result.states[seed] == "failed"
    }
    return [f"{folder.name}: {runs.problem(folder)}" for folder in folders]


def claim_words(experiment: Experiment, found: Sequence[Result], numbers: Numbers = ()) -> list[str]:
    """A sentence for each of the paper's claims and each combination of the other labels: whether our runs agree.

    Args:
        numbers: for each result and each of its runs, the numbers of its analyses; read for claims with `Claim.of`.
    """
    words = []
    sign = -1.0 if experiment.metric == CLOCK else 1.0
    for claim in experiment.claims:
        if claim.of:
            values = {
                result.cell.name(): [one[claim.of] for one in own if claim.of in one]
                for result, own in zip(found, numbers, strict=False)
            }
        else:
            values = {result.cell.name(): [sign * score for score in result.scores.values()] for result in found}
        groups: dict[str, dict[str, Result]] = {}
        for result in found:
            rest = {axis: label for axis, label in result.cell.labels.items() if axis != claim.axis}
            if (
                values.get(result.cell.name())
                and claim.axis in result.cell.labels
                and claim.where.items() <= rest.items()
            ):
                groups.setdefault(", ".join(rest.values()), {})[result.cell.labels[claim.axis]] = result
        for rest, by_label in groups.items():
            if claim.better not in by_label or claim.worse not in by_label:
                continue
            ours, theirs = (values[by_label[label].cell.name()] for label in (claim.better, claim.worse))
            where = f", {rest}" if rest else ""
            of = f", in {claim.of.replace('_', ' ')}" if claim.of else ""
            said = f"{claim.axis} {claim.better} above {claim.axis} {claim.worse}{where}{of}"
            words.append(f"{said}: {_verdict(improvement(ours, theirs))}")
    return words


def _verdict(chance: Estimate) -> str:
    if chance.low is None or chance.high is None:
        return f"{ONE_SEED} (it is {'so' if chance.value > 0.5 else 'not so'} there)."
    verdict = AGREES if chance.low > 0.5 else AGAINST if chance.high < 0.5 else OPEN
    return f"{verdict}; a run of the first is above one of the second with probability {chance}."


def goal_tables(found: Sequence[Result]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Column names and rows by evaluation environment, with a column for every maze cell that holds a goal: the share
    of episodes that reach it (last five evaluations, mean over seeds), how many seeds came to reach it in half of the
    episodes, and after how many env steps (median).

    Environments without goal cells, or with more than `MOST_GOALS`, are left out.
    """
    groups: dict[str, list[Result]] = {}
    for result in found:
        config = result.cell.config
        groups.setdefault(config.evaluation.env or config.env.name, []).append(result)
    tables = {}
    for env, own in groups.items():
        keys = {key for result in own for some in result.rows.values() for row in some for key in row}
        goals = {key.removeprefix(CELL) for key in keys if key.startswith(CELL)}
        if 0 < len(goals) <= MOST_GOALS:
            ordered = sorted(goals, key=lambda goal: [int(number) for number in goal.split(",")])
            columns = [*found[0].cell.labels, *(f"({goal})" for goal in ordered)]
            lines = [[*result.cell.labels.values(), *(_goal_words(result, goal) for goal in ordered)] for result in own]
            tables[env] = columns, lines
    return tables


def level_table(levels: Sequence[float], found: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: when each score was first reached, as median env steps and wall time of the seeds that
    reached it, and how many did."""
    columns = [*found[0].cell.labels, *(f"{level:g}" for level in levels)]
    return columns, [
        [*result.cell.labels.values(), *(_level_words(result, level) for level in levels)] for result in found
    ]


def pass_table(experiment: Experiment, found: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: when runs first reached the mean final score of the label in `experiment.passes`, with all
    other labels the same (Table 6); a dash where that score is 0 or not known yet."""
    assert experiment.passes is not None
    axis, label = experiment.passes
    scores: dict[tuple[str, ...], float] = {}
    for result in found:
        if result.cell.labels[axis] == label and result.rows:
            scores[_others(result, axis)] = float(np.mean([score(some, SCORE) for some in result.rows.values()]))
    lines = []
    for result in found:
        level = scores.get(_others(result, axis), 0.0)
        words = [f"{level:.2f}", _level_words(result, level)] if level > 0.0 else [MISSING, MISSING]
        if result.cell.labels[axis] != label:
            lines.append([*result.cell.labels.values(), *words])
    return [*found[0].cell.labels, f"final score of {label}", "passed"], lines


def _others(result: Result, axis: str) -> tuple[str, ...]:
    return tuple(label for name, label in result.cell.labels.items() if name != axis)


def _level_words(result: Result, level: float) -> str:
    # Levels are scores also where the experiment's metric is wall time.
    return level_words(list(result.rows.values()), level, SCORE if result.metric == CLOCK else result.metric)


def _goal_words(result: Result, goal: str) -> str:
    has_goals = result.metric.endswith("time_at_goal")  # wall time, the metric of some experiments, is not by goal
    name = f"{result.metric.replace('time_at_goal', 'success_any')}/{goal}" if has_goals else f"{CELL}{goal}"
    seeds = [[row for row in some if name in row] for some in result.rows.values()]
    seeds = [some for some in seeds if some]
    if not seeds:
        return MISSING
    share = np.mean([score(some, name) for some in seeds])
    when = [row["env_steps"] for row in (reaches(some, 0.5, name) for some in seeds) if row]
    after = f" after {steps(float(np.median(when)))}" if when else ""
    return f"{share:.0%} ({len(when)} of {len(seeds)}{after})"


def depth_words(experiment: Experiment, found: Sequence[Result]) -> list[str]:
    """A sentence for every line of a plot over depth: where the score jumps."""
    if experiment.x != "depth" or experiment.metric == CLOCK:
        return []
    lines: dict[str, dict[int, list[float]]] = {}
    for result in found:
        if result.scores and "depth" in result.cell.labels:
            rest = ", ".join(label for axis, label in result.cell.labels.items() if axis != "depth")
            lines.setdefault(rest, {})[int(result.cell.labels["depth"])] = list(result.scores.values())
    return jump_sentences(lines)

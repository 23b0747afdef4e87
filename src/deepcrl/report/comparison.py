"""Compare runs: group them by the settings in which they differ, with statistics over each group's seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepcrl.analysis.statistics import critical_depth, estimate, improvement, interquartile_mean, reaches, score
from deepcrl.config import ConfigError, flatten, near_matches
from deepcrl.folder import diverged, load_config
from deepcrl.logging import rows
from deepcrl.report.text import MISSING, duration, steps
from deepcrl.seeds import run_dirs

METRIC = "eval/time_at_goal"
DEPTH = "network.depth"
Rows = Sequence[Mapping[str, Any]]


class Group(NamedTuple):
    """Runs that differ in nothing but their seeds."""

    settings: Mapping[str, Any]
    """Settings in which the groups differ, by dotted path; None where the group's algorithm lacks the setting."""
    runs: Mapping[int, Rows]
    """Evaluations, by seed."""

    def scores(self, metric: str = METRIC) -> list[float]:
        """Score of each run: the mean of its last five evaluations."""
        return [score(some, metric) for some in self.runs.values()]


class Comparison(NamedTuple):
    """Groups sorted by their settings, and the reason for every run that is left out."""

    groups: Sequence[Group]
    left_out: Sequence[str]


def compare(folders: Iterable[str | Path]) -> Comparison:
    """Group runs by the settings in which they differ.

    Args:
        folders: run folders, or folders of several seeds (`deepcrl train --seeds`). Runs that have diverged, or have
            not been evaluated since training began, are left out.

    Raises:
        ConfigError: when a folder is neither, no run is left, or two runs have all settings and the seed in common.
    """
    flat: dict[Path, dict[str, Any]] = {}
    evaluations: dict[Path, Rows] = {}
    left_out = []
    for run_dir in dict.fromkeys(run for folder in folders for run in _runs(Path(folder))):
        settings, some = flatten(load_config(run_dir)), rows.read(run_dir)
        if problem := diverged(run_dir):
            left_out.append(problem)
        elif not any(row["gradient_steps"] > 0 for row in some):
            left_out.append(f"{str(run_dir)!r} has not been evaluated since training began")
        else:
            flat[run_dir], evaluations[run_dir] = settings, some
    if not flat:
        raise ConfigError("; ".join(left_out) or "no runs to compare")
    paths = dict.fromkeys(path for settings in flat.values() for path in settings if path != "seed")
    # A setting that only some algorithms have is compared among their runs; the algorithm's name separates the others.
    differing = [path for path in paths if len({repr(own[path]) for own in flat.values() if path in own}) > 1]
    folder_of: dict[tuple[str, ...], dict[int, Path]] = {}
    for run_dir, settings in flat.items():
        seeds = folder_of.setdefault(tuple(repr(settings.get(path)) for path in differing), {})
        other = seeds.setdefault(settings["seed"], run_dir)
        if other != run_dir:
            raise ConfigError(
                f"{str(other)!r} and {str(run_dir)!r} are the same run: all settings and seed {settings['seed']}"
            )
    groups = [
        Group(
            {path: flat[next(iter(seeds.values()))].get(path) for path in differing},
            {seed: evaluations[seeds[seed]] for seed in sorted(seeds)},
        )
        for seeds in folder_of.values()
    ]
    return Comparison(sorted(groups, key=lambda group: [_order(value) for value in group.settings.values()]), left_out)


def table(
    groups: Sequence[Group], metric: str = METRIC, levels: Sequence[float] = ()
) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: settings, number of seeds, env steps, mean and interquartile mean score with 95% bootstrap
    intervals, the probability that a run scores above one of the first group, and when each level was first reached.

    Raises:
        ConfigError: when a run lacks the metric.
    """
    seeds = [some for group in groups for some in group.runs.values()]
    if any(math.isnan(score(some, metric)) for some in seeds):
        known = sorted(set.intersection(*({name for row in some[1:] for name in row} for some in seeds)))
        raise ConfigError(f"metric = {metric!r} is not in all of these runs; {near_matches(metric, known)}")
    names = _short(groups[0].settings)
    columns = [*names, "seeds", "env steps", "mean", "interquartile mean"]
    columns += ["above the first"] if len(groups) > 1 else []
    columns += [f"first at {level:g}" for level in levels]
    first = groups[0].scores(metric)
    lines = []
    for group in groups:
        scores = group.scores(metric)
        line = [*map(_word, group.settings.values()), str(len(scores)), _env_steps(group)]
        line += [str(estimate(scores, np.mean)), str(estimate(scores, interquartile_mean))]
        if len(groups) > 1:
            line.append(MISSING if group is groups[0] else str(improvement(scores, first)))
        lines.append([*line, *(level_words(list(group.runs.values()), level, metric) for level in levels)])
    return columns, lines


def depths(groups: Sequence[Group], metric: str = METRIC) -> list[str]:
    """A sentence on the critical depth for each combination of the other settings that has two depths or more."""
    by_rest: dict[str, dict[int, list[float]]] = {}
    for group in groups:
        if DEPTH in group.settings:
            rest = {path: value for path, value in group.settings.items() if path != DEPTH}
            words = ", ".join(f"{name} {_word(value)}" for name, value in zip(_short(rest), rest.values(), strict=True))
            by_rest.setdefault(words, {})[group.settings[DEPTH]] = group.scores(metric)
    return jump_sentences(by_rest)


def jump_sentences(lines: Mapping[str, Mapping[int, Sequence[float]]]) -> list[str]:
    """A sentence on the critical depth for each named line (scores by depth) that has two depths or more."""
    return [f"{name + ': ' if name else ''}{jump_words(line)}." for name, line in lines.items() if len(line) > 1]


def jump_words(scores: Mapping[int, Sequence[float]]) -> str:
    """The critical depth in words, from the seeds' scores by depth, for two depths or more."""
    means = [np.mean(scores[depth]) for depth in sorted(scores)]
    if np.max(np.diff(means)) <= 0.0:
        return "the mean grows at no depth"
    jump = critical_depth(scores)
    inside = "" if jump.low is None else f" [{jump.low:.0f}, {jump.high:.0f}]"
    return f"the mean gains most at depth {jump.value:.0f}{inside}"


def level_words(seeds: Sequence[Rows], level: float, metric: str) -> str:
    """When runs first reached a level, in words: median env steps and wall time of those that did, and how many did."""
    when = [row for row in (reaches(some, level, metric) for some in seeds) if row]
    if not when:
        return MISSING
    after, wall = (float(np.median([row[name] for row in when])) for name in ("env_steps", "wall_s"))
    return f"{steps(after)}, {duration(wall)} ({len(when)} of {len(seeds)})"


def _runs(folder: Path) -> list[Path]:
    """Run folders at a path: itself, or those of its seeds; none for a lock file, which `runs/*` matches too."""
    if folder.suffix == ".lock" and folder.is_file():
        return []
    return [folder] if (folder / "config.json").exists() or not any(folder.glob("seed-*")) else run_dirs(folder)


def _order(value: Any) -> tuple[bool, float, str]:
    """Sort key: numbers by size, before words."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, "" if number else str(value))


def _short(settings: Iterable[str]) -> list[str]:
    """Last part of every dotted path, or the whole path where several share their last part."""
    paths = list(settings)
    last = [path.rpartition(".")[2] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]


def _word(value: Any) -> str:
    if isinstance(value, tuple | list):
        value = " ".join(map(str, value)) or None
    return f"{value:g}" if isinstance(value, float) else MISSING if value is None else str(value)


def _env_steps(group: Group) -> str:
    ends = sorted({some[-1]["env_steps"] for some in group.runs.values()})
    return steps(ends[0]) if len(ends) == 1 else f"{steps(ends[0])} to {steps(ends[-1])}"

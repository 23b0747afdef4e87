"""Experiments as data: a question, the runs that answer it, what is drawn of them, and what the paper found."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deepcrl.algorithms import DEFAULT_ALGORITHM
from deepcrl.config import Config, ConfigError, config_id, near_matches, override
from deepcrl.presets import preset

Changes = Mapping[str, Any]
"""Changes to a configuration: dotted path to value."""
SCALES = ("paper", "laptop", "smoke")


@dataclass(frozen=True)
class Axis:
    """One axis of a grid of configurations."""

    name: str
    values: Mapping[str, Changes]
    """Label to the changes that it stands for; one label may change several fields."""


def along(name: str, path: str, *values: Any) -> Axis:
    """An axis of a single field."""
    return Axis(name, {str(value): {path: value} for value in values})


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about two labels of one axis: runs of `better` score higher than runs of `worse`. It is
    tested at every scale that has both."""

    axis: str
    better: str
    worse: str
    where: Mapping[str, str] = field(default_factory=dict)
    """Labels on other axes that the claim is restricted to; empty: no restriction."""
    of: str = ""
    """Name of the number that is higher, of those that the experiment's analyses find in each run; empty: the score."""


@dataclass(frozen=True)
class Scale:
    """The runs of an experiment at one size."""

    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    base: Changes = field(default_factory=dict)
    """Changes for every run; "env.name" and "agent.algorithm" select the preset that the others are applied to."""
    leave_out: Callable[[Mapping[str, str]], bool] | None = None
    """Whether a combination of labels (label by axis) is skipped."""
    levels: tuple[float, ...] = ()
    """Scores for which the page reports when they were first reached."""


@dataclass(frozen=True)
class Published:
    """A number of the paper."""

    at: Mapping[str, str]
    """Label by axis, as in the scale "paper"."""
    value: float
    error: float | None = None
    """Standard error, where the paper gives one."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One figure or table; compared and hashed by identity."""

    name: str
    source: str
    """Where it is in the paper."""
    question: str
    finding: str
    """The paper's answer."""
    scales: Mapping[str, Scale]
    x: str
    """The axis that is drawn along the abscissa."""
    metric: str = "eval/time_at_goal"
    claims: tuple[Claim, ...] = ()
    """The paper's answer as comparisons of labels."""
    passes: tuple[str, str] | None = None
    """(axis, label): the page reports when runs of the axis' other labels passed the final score of this one."""
    passed_after: Mapping[str, float | None] = field(default_factory=dict)
    """The paper's hours by task until its deep network had passed that final score; None: never."""
    published: tuple[Published, ...] = ()
    analyses: tuple[str, ...] = ()
    """Analyses to run on each run, keys of `report.findings.FINDINGS`."""
    note: str = ""
    """What is uncertain about the paper's runs or numbers, and how ours differ."""


@dataclass(frozen=True)
class Cell:
    """One configuration of an experiment and its seeds."""

    labels: Mapping[str, str]
    """Label by axis."""
    config: Config
    """Configuration with the first of the seeds."""
    seeds: tuple[int, ...]

    def name(self) -> str:
        """The labels in words."""
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items())

    @functools.cached_property
    def runs(self) -> dict[int, str]:
        """Name of the run folder by seed: environment, algorithm and the configuration's id. Equal configurations share
        a folder, also between experiments."""
        configs = {seed: override(self.config, {"seed": seed}) for seed in self.seeds}
        stem = f"{self.config.env.name}-{self.config.agent.algorithm}".replace(":", "_").replace("/", "_")
        return {seed: f"{stem}-{config_id(config)}" for seed, config in configs.items()}


def scale_of(experiment: Experiment, scale: str) -> Scale:
    """The experiment's scale of that name. Raises ConfigError when there is none."""
    if scale not in experiment.scales:
        raise ConfigError(f"scale = {scale!r} of {experiment.name}: {near_matches(scale, experiment.scales)}")
    return experiment.scales[scale]


def cells(experiment: Experiment, scale: str) -> list[Cell]:
    """Every configuration of an experiment at one scale, the last axis varying fastest; cached.

    Raises:
        ConfigError: for an unknown scale, or changes that make no valid configuration.
    """
    return list(_cells(experiment, scale))


@functools.cache
def _cells(experiment: Experiment, scale: str) -> list[Cell]:
    size, found = scale_of(experiment, scale), []
    for combination in itertools.product(*(axis.values.items() for axis in size.axes)):
        labels = {axis.name: label for axis, (label, _) in zip(size.axes, combination, strict=True)}
        if size.leave_out and size.leave_out(labels):
            continue
        changes = dict(size.base)
        for _, own in combination:
            changes |= own
        env, algorithm = changes.pop("env.name"), changes.pop("agent.algorithm", DEFAULT_ALGORITHM)
        start = preset(env, "paper" if scale == "paper" else "laptop", algorithm)
        config = _canonical(override(start, {**changes, "seed": size.seeds[0]}))
        found.append(Cell(labels, config, size.seeds))
    return found


def select(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Cells, and seeds of them, that match the words AXIS=LABEL and seed=NUMBER; words for one axis are alternatives.

    Raises:
        ConfigError: for a word that fits none of the cells.
    """
    known = {axis: list(dict.fromkeys(cell.labels[axis] for cell in cells)) for axis in cells[0].labels}
    known["seed"] = list(dict.fromkeys(str(seed) for cell in cells for seed in cell.seeds))
    wanted: dict[str, list[str]] = {}
    for word in only:
        axis, _, label = word.partition("=")
        if axis not in known:
            raise ConfigError(f"only = {word!r}: {near_matches(axis, known)}")
        if label not in known[axis]:
            raise ConfigError(f"only = {word!r}: {axis} is one of {', '.join(map(repr, known[axis]))}")
        wanted.setdefault(axis, []).append(label)
    seeds = wanted.pop("seed", None)
    found = [cell for cell in cells if all(cell.labels[axis] in labels for axis, labels in wanted.items())]
    if seeds is None:
        return found
    return [replace(cell, seeds=tuple(seed for seed in cell.seeds if str(seed) in seeds)) for cell in found]


def _canonical(config: Config) -> Config:
    """Write equal depths of actor and critic as the common depth, so that equal runs have one id and are shared."""
    network = config.network
    if network.actor_depth is None or network.actor_depth != network.critic_depth:
        return config
    shared = {"network.depth": network.actor_depth, "network.actor_depth": None, "network.critic_depth": None}
    return override(config, shared)

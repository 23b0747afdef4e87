"""What a run folder says: configuration, machine, rows, and the numbers derived from them."""

import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from deepcrl.analysis.statistics import last_values
from deepcrl.config import Config, ConfigError, flatten
from deepcrl.folder import load_config, load_machine
from deepcrl.logging import rows as rows_lib
from deepcrl.presets import preset
from deepcrl.report.text import finite

Row = dict[str, Any]


class Record(NamedTuple):
    """Content of a run folder."""

    run_dir: Path
    config: Config
    machine: dict[str, Any] | None
    rows: list[Row]

    @property
    def env_steps(self) -> int:
        return self.rows[-1]["env_steps"] if self.rows else 0

    @property
    def finished(self) -> bool:
        return self.env_steps >= self.config.train.total_env_steps

    @property
    def trained(self) -> list[Row]:
        """Rows after the first gradient step."""
        return [row for row in self.rows if row.get("gradient_steps", 0) > 0]

    @property
    def untrained(self) -> Row | None:
        first = self.rows[0] if self.rows else None
        return first if first and first.get("gradient_steps", 0) == 0 else None

    @property
    def diverged(self) -> list[str]:
        """Training metrics that are not finite in the last row."""
        return rows_lib.broken(self.rows[-1]) if self.rows else []


class Score(NamedTuple):
    """Summary of one evaluation metric; None where there is no finite value."""

    untrained: float | None
    last: float | None
    mean: float | None
    """Of the last `LAST` evaluations that have it: the run's score."""
    averaged: int
    """Number of values in `mean`."""
    best: float | None
    best_at: int | None
    """Env steps at the best evaluation, the latest of equal ones."""


def read(run_dir: Path) -> Record:
    """Read a run folder. Raises ConfigError when it holds no run."""
    config = load_config(run_dir)
    return Record(run_dir, config, load_machine(run_dir) or None, rows_lib.read(run_dir))


def score(record: Record, key: str, higher_is_better: bool) -> Score:
    """Summarise a metric over the evaluations after training began, with the untrained policy's value beside it."""
    trained = record.trained
    tail = last_values(trained, key)
    candidates = [(row[key], row["env_steps"]) for row in trained if finite(row.get(key))]
    sign = 1 if higher_is_better else -1
    best, best_at = max(candidates, key=lambda pair: (sign * pair[0], pair[1]), default=(None, None))
    first = record.untrained.get(key) if record.untrained else None
    last = trained[-1].get(key) if trained else None
    return Score(
        untrained=first if finite(first) else None,
        last=last if finite(last) else None,
        mean=statistics.fmean(tail) if tail else None,
        averaged=len(tail),
        best=best,
        best_at=best_at,
    )


def column(record: Record, key: str) -> list[tuple[int, float | None]]:
    """(env steps, value) of every row that has the key; None where the value was not finite."""
    return [(row["env_steps"], row[key] if finite(row[key]) else None) for row in record.rows if key in row]


def seconds(record: Record) -> dict[str, float]:
    """Wall-clock seconds per phase over the whole run, largest first; "other" is what no phase accounts for."""
    totals: dict[str, float] = {}
    for row in record.rows:
        for key, value in row.items():
            if key.startswith("time/") and finite(value):
                name = key.removeprefix("time/").removesuffix("_s")
                totals[name] = totals.get(name, 0.0) + value
    wall = record.rows[-1].get("wall_s") if record.rows else None
    if finite(wall):
        totals["other"] = max(0.0, wall - sum(totals.values()))
    return dict(sorted(totals.items(), key=lambda item: (item[0] == "other", -item[1])))


def rates(record: Record) -> dict[str, float | None]:
    """Median steps per second over the intervals between evaluations in which nothing was compiled."""
    pairs = [(a, b) for a, b in pairwise(record.rows) if not b.get("time/compile_s")]

    def median(count_key: str, seconds_of) -> float | None:
        found = [(b[count_key] - a[count_key]) / seconds_of(a, b) for a, b in pairs if seconds_of(a, b) > 0]
        return statistics.median(found) if found else None

    collecting = {"env steps per second of collecting": median("env_steps", lambda a, b: b.get("time/collect_s") or 0)}
    return {
        # With overlap most collections run during updates, and `collect_s` is only the wait for them: it gives no rate.
        **({} if record.config.train.overlap else collecting),
        "gradient steps per second of updating": median("gradient_steps", lambda a, b: b.get("time/update_s") or 0),
        "env steps per second over all": median("env_steps", lambda a, b: (b["wall_s"] or 0) - (a["wall_s"] or 0)),
    }


def preset_values(config: Config) -> dict[str, Any] | None:
    """The environment's preset for the run's algorithm as dotted paths; None for an environment that has none here."""
    try:
        return flatten(preset(config.env.name, algorithm=config.agent.algorithm))
    except ConfigError:
        return None

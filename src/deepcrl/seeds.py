"""One configuration with several seeds: one run folder each, in one process, and a joint summary.

OUT/seed-0, OUT/seed-1, ...   run folders like any other; each can be resumed, rendered and reported by itself
OUT/summary.json              the scores, their mean and interquartile mean with 95% bootstrap intervals
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepcrl.analysis.statistics import Estimate, estimate, interquartile_mean, score
from deepcrl.config import Config, ConfigError
from deepcrl.logging import rows
from deepcrl.program import build
from deepcrl.train import Result, load_config, resume, start

SUMMARY = "summary.json"
METRICS = ("eval/time_at_goal", "eval/success_any", "eval/final_distance")


def train_seeds(config: Config, seeds: Sequence[int], out: str | Path) -> list[Result]:
    """Train one run for each seed, one after another, and write the summary of all.

    Seeds whose folder is already there are not trained again: a finished one is taken as it is, an interrupted one is
    resumed. After an interruption the seeds that are left are not begun.

    Raises:
        ConfigError: before anything is compiled, when a seed is given twice, the configuration cannot be run, or a
            folder holds a run of another configuration.
    """
    results = []
    for result in train_each(config, seeds, Path(out)):
        results.append(result)
        if not result.finished:
            break
    summarise(Path(out))
    return results


def train_each(config: Config, seeds: Sequence[int], out: Path) -> Iterator[Result]:
    """The runs of `train_seeds`, each as soon as it ends; all share one compiled program. Raises as it does."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds = {' '.join(map(str, seeds)) or 'none'} must be one or more different numbers")
    runs = {out / f"seed-{seed}": dataclasses.replace(config, seed=seed) for seed in seeds}
    program = build(config)
    for run_dir, own in runs.items():
        if run_dir.exists() and load_config(run_dir) != own:
            raise ConfigError(f"out = {str(out)!r}: {run_dir.name} holds a run of another configuration")
    for run_dir, own in runs.items():
        mine = program._replace(config=own)
        yield resume(run_dir, mine) if run_dir.exists() else start(mine, run_dir)


def summarise(out: Path) -> dict[str, Any]:
    """Write and return OUT/summary.json over the runs in a folder that have been evaluated after training began."""
    found = {run.name: rows.read(run) for run in sorted(out.glob("seed-*"))}
    trained = {name: some for name, some in found.items() if any(row["gradient_steps"] > 0 for row in some)}
    summary: dict[str, Any] = {
        "seeds": [int(name.removeprefix("seed-")) for name in trained],
        "env_steps": [some[-1]["env_steps"] for some in trained.values()],
        "wall_s": [some[-1]["wall_s"] for some in trained.values()],
    }
    for metric in METRICS if trained else ():
        scores = [score(some, metric) for some in trained.values()]
        summary[metric] = {
            "scores": scores,
            "mean": estimate(scores, np.mean)._asdict(),
            "interquartile_mean": estimate(scores, interquartile_mean)._asdict(),
        }
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def text(summary: dict[str, Any]) -> str:
    """The summary as lines for the terminal."""
    seeds = " ".join(map(str, summary["seeds"]))
    lines = [f"seeds {seeds}: each run's score is its last five evaluations' mean; [95% bootstrap intervals]"]
    for metric in METRICS:
        if metric in summary:
            mean, iqm = (Estimate(**summary[metric][name]) for name in ("mean", "interquartile_mean"))
            lines.append(f"{metric:20} mean {mean}   interquartile mean {iqm}")
    return "\n".join(lines)

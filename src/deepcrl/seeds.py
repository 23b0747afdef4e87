"""One configuration with several seeds: one run folder each, in one process, and a joint summary.

OUT/seed-0, OUT/seed-1, ...   run folders like any other; each can be resumed, rendered and reported by itself
OUT/report.html               all of them on one page, written by the command line
OUT/summary.json              the scores, their mean and interquartile mean with 95% bootstrap intervals
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepcrl.analysis.statistics import Estimate, estimate, interquartile_mean, score
from deepcrl.config import Config, ConfigError
from deepcrl.files import replace_file
from deepcrl.folder import Standing, begun, diverged, load_config, stand
from deepcrl.lock import held
from deepcrl.logging import rows
from deepcrl.plan import check_seed
from deepcrl.program import Program, build, reseed, stack
from deepcrl.train import Result, Stop, run, stop_on_signal

SUMMARY = "summary.json"
METRICS = ("eval/time_at_goal", "eval/success_any", "eval/final_distance")


def train_seeds(config: Config, seeds: Sequence[int], out: str | Path, *, together: bool | None = None) -> list[Result]:
    """Train one run for each seed and write the summary of all.

    Runs that exist are not repeated: a finished one is taken as it is, an interrupted one is resumed. After an
    interruption the remaining seeds are not started.

    Args:
        together: True: all at once, as one vectorised program, which needs an environment that runs on the device.
            False: one after another, with less memory and exactly the numbers of single runs. None: True where
            possible.

    Raises:
        ConfigError: before anything is compiled, when a seed is given twice or out of range, the configuration cannot
            be run, `out` is the folder of a single run, a seed folder in it (also of seeds that are not in `seeds`)
            holds a run of another configuration, or another process is training one of `seeds`.
        FloatingPointError: after all others have been trained, when a run has diverged, now or before.
    """
    out = Path(out)
    with stop_on_signal() as stop:
        programs = check(config, seeds, out)
        if together is None:
            together = next(iter(programs.values())).env.on_device
        if together:
            build(config, seeds)
        with ExitStack() as locks:
            for run_dir in programs:
                locks.enter_context(held(run_dir))
            left = {run_dir: program for run_dir, program in programs.items() if not diverged(run_dir)}
            results = (train_at_once if together else _one_by_one)(left, stop)
    summarise(out)
    if problems := [problem for run_dir in programs if (problem := diverged(run_dir))]:
        raise FloatingPointError("; ".join(problems))
    return [results[run_dir] for run_dir in programs if run_dir in results]


def check(config: Config, seeds: Sequence[int], out: Path) -> dict[Path, Program]:
    """Check the arguments and return a program for each seed's folder; all share the compiled functions. Raises as
    `train_seeds` does."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds = {' '.join(map(str, seeds)) or 'none'} must be one or more different numbers")
    for seed in seeds:
        check_seed(seed, "seeds")
    if (out / "config.json").exists():
        raise ConfigError(f"out = {str(out)!r} is the folder of a single run; several seeds need another one")
    program = build(config)
    programs = {out / f"seed-{seed}": reseed(program, seed) for seed in seeds}
    # Folders of other seeds are checked too, since the summary is of all that are there.
    for run_dir in filter(begun, _seed_folders(out)):
        found = load_config(run_dir)
        if found != replace(config, seed=found.seed):
            raise ConfigError(f"out = {str(out)!r}: {run_dir.name} holds a run of another configuration")
    return programs


def _one_by_one(programs: Mapping[Path, Program], stop: Stop) -> dict[Path, Result]:
    results = {}
    for run_dir, program in programs.items():
        results[run_dir] = run(program, [run_dir], partial(stand, program, run_dir), stop)[0]
        if stop.requested and not results[run_dir].finished:
            break
    return results


def train_at_once(programs: Mapping[Path, Program], stop: Stop) -> dict[Path, Result]:
    """Train several seeds of one configuration as one vectorised program; more than one need an environment that runs
    on the device. Programs and results are by run folder.

    Runs at the same collection are trained at once; this is all of them, unless one was stopped alone. After a signal
    the others are not started, and have no result.
    """
    if len(programs) > 1:
        print(f"preparing {len(programs)} runs", flush=True)
    points = {run_dir: stand(program, run_dir) for run_dir, program in programs.items()}
    groups = defaultdict(list)
    for run_dir, standing in points.items():
        groups[standing.collections].append(run_dir)
    results = {}
    for collections, run_dirs in sorted(groups.items()):
        program = programs[run_dirs[0]]
        if len(run_dirs) > 1:
            program = build(program.config, [programs[run_dir].config.seed for run_dir in run_dirs])
        states, _, seconds = zip(*(points.pop(run_dir) for run_dir in run_dirs), strict=True)
        start = [Standing(stack(states), collections, max(seconds))].pop  # leaves no reference: a replay is large
        del states
        results |= dict(zip(run_dirs, run(program, run_dirs, start, stop), strict=True))
        if stop.requested and not all(results[run_dir].finished for run_dir in run_dirs):
            break
    return results


def run_dirs(out: Path) -> list[Path]:
    """Run folders in a folder of several seeds, sorted by seed. Raises ConfigError when there are none."""
    found = _seed_folders(out)
    if not found:
        raise ConfigError(f"{str(out)!r} holds no runs of several seeds: no seed-N in it")
    return found


def _seed_folders(out: Path) -> list[Path]:
    found = {int(match[1]): path for path in out.glob("seed-*") if (match := re.fullmatch(r"seed-([0-9]+)", path.name))}
    return [found[seed] for seed in sorted(found)]


def summarise(out: Path) -> dict[str, Any]:
    """Write OUT/summary.json and return its content, over the runs in the folder that have been evaluated after
    training began and have not diverged."""
    found = {folder.name: rows.read(folder) for folder in run_dirs(out) if not diverged(folder)}
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
    replace_file(out / SUMMARY, json.dumps(summary, indent=2) + "\n")
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

"""The process that trains one cell's remaining runs: `python -m deepcrl.experiments.worker JOB SLOT WORKERS`."""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import jax

from deepcrl.checkpoint import CheckpointError
from deepcrl.config import ConfigError, from_dict, to_dict
from deepcrl.experiments.record import Cell
from deepcrl.experiments.runs import Job, state_of
from deepcrl.lock import held
from deepcrl.program import Program, build, reseed
from deepcrl.seeds import train_at_once
from deepcrl.train import Stop, raise_if_diverged, stop_on_signal

INTERRUPTED = 3
"""Exit code of a worker that a signal ended with a checkpoint."""


def train(job: Job) -> bool:
    """Train a job's seeds with one compilation. Returns False when a signal has ended one early.

    Seeds are trained one after another, with exactly the numbers of single runs; or all at once where `at_once` holds,
    as one small network leaves most of a GPU idle, with the same numbers up to float32 rounding. A folder belongs to
    one process at a time: a second one waits until the first has ended.

    Raises:
        ConfigError: after the others have been trained, when a seed has failed.
    """
    program, problems = build(job.cell.config), []
    all_of_them = {folder: reseed(program, seed) for seed, folder in job.folders.items()}
    groups = [all_of_them] if at_once(program, len(all_of_them)) else _apart(all_of_them)
    with stop_on_signal() as stop:  # shared by all groups: a signal at the end of one must keep the next from starting
        while groups:
            if stop.requested:
                return False
            group = groups.pop(0)
            try:
                with ExitStack() as locks:
                    for folder in group:
                        locks.enter_context(held(folder, wait=True))
                    if not _train(group, stop):
                        return False
            except (ConfigError, CheckpointError, FloatingPointError) as error:
                if len(group) > 1:  # a failed seed must not hold back the others
                    groups = _apart(group)
                    continue
                (folder,) = group
                print(f"failed: {folder.name}: {error}", flush=True)
                problems.append(f"seed {group[folder].config.seed}: {error}")
    if problems:
        raise ConfigError("; ".join(problems))
    return True


def at_once(program: Program, number: int) -> bool:
    """Whether `number` seeds of a program are trained as one: on a GPU, if the environment runs there too."""
    return number > 1 and program.env.on_device and jax.default_backend() != "cpu"


def _apart(group: Mapping[Path, Program]) -> list[Mapping[Path, Program]]:
    return [{folder: program} for folder, program in group.items()]


def _train(group: Mapping[Path, Program], stop: Stop) -> bool:
    """Train runs to their end. Returns False when a signal has ended one early."""
    left = {folder: program for folder, program in group.items() if state_of(folder, program.config) != "done"}
    if not left:
        return True
    results = train_at_once(left, stop)
    unfinished = [folder for folder in left if folder not in results or not results[folder].finished]
    if stop.requested and unfinished:
        return False  # other problems are reported when the job is continued
    for folder in unfinished:
        raise_if_diverged(results[folder])
    return True


def pin(core: int, share: int) -> None:
    """Pin this process to its share of the cores, before JAX counts them; no effect where the system cannot pin."""
    if share > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(cores[core % share :: share]) or set(cores))


def write(job: Job) -> str:
    """A job as JSON, for another process."""
    return json.dumps(
        {
            "labels": dict(job.cell.labels),
            "config": to_dict(job.cell.config),
            "folders": {str(seed): str(folder) for seed, folder in job.folders.items()},
        }
    )


def parse(text: str) -> Job:
    """Inverse of `write`."""
    data = json.loads(text)
    found = {int(seed): Path(folder) for seed, folder in data["folders"].items()}
    return Job(Cell(data["labels"], from_dict(data["config"]), tuple(found)), found)


def main() -> int:
    """Run a worker that ends when its caller does. Arguments: the job as JSON, its core, the number of workers."""

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)  # the run saves itself

    pin(int(sys.argv[2]), int(sys.argv[3]))
    threading.Thread(target=watch, daemon=True).start()
    return 0 if train(parse(sys.argv[1])) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

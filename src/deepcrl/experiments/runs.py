"""Run folders of experiments, the state of every run, and training of one cell's remaining runs."""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import jax

from deepcrl import checkpoint
from deepcrl.checkpoint import CheckpointError
from deepcrl.config import Config, ConfigError, config_id, from_dict, to_dict
from deepcrl.experiments.record import Cell
from deepcrl.folder import begun, diverged, load_config
from deepcrl.lock import held
from deepcrl.logging import rows
from deepcrl.nn.encoder import actor_depth, critic_depth
from deepcrl.plan import plan
from deepcrl.program import Program, build, reseed
from deepcrl.seeds import train_at_once
from deepcrl.train import Stop, raise_if_diverged, stop_on_signal

INTERRUPTED = 3
"""Exit code of a worker that a signal ended with a checkpoint."""
State = Literal["not run", "partly", "done", "failed"]


class Job(NamedTuple):
    """A cell and its runs that are left to train."""

    cell: Cell
    folders: Mapping[int, Path]
    """Run folder by seed, of the seeds that are not done."""


def state_of(run_dir: Path, config: Config) -> State:
    """State of a run; "failed" where `problem` says why it cannot go on.

    Raises:
        ConfigError: when its folder holds a run of another configuration.
    """
    if not begun(run_dir):
        return "not run"
    if problem(run_dir):
        return "failed"
    if config_id(load_config(run_dir)) != config_id(config):
        raise ConfigError(f"{str(run_dir)!r} holds a run of another configuration")
    found = rows.read(run_dir)
    if not found:
        return "not run"
    the_plan, saved = plan(config), checkpoint.steps(run_dir / "checkpoints")
    # The last row is written before the last checkpoint. A run that `archive.unpack` has made has no checkpoints.
    ended = found[-1]["env_steps"] == the_plan.total_env_steps and (not saved or saved[-1] == the_plan.num_collections)
    return "done" if ended else "partly"


def problem(run_dir: Path) -> str:
    """Why a run that has begun cannot go on (unreadable files, or training has diverged); empty if it can."""
    if not begun(run_dir):
        return ""
    try:
        load_config(run_dir)
        return diverged(run_dir)
    except ConfigError as error:
        return str(error)


def folders(cell: Cell, out: Path) -> dict[int, Path]:
    """Every seed's run folder."""
    return {seed: out / "runs" / name for seed, name in cell.runs.items()}


def states(cell: Cell, out: Path) -> dict[int, State]:
    """State of every seed's run."""
    return {seed: state_of(folder, replace(cell.config, seed=seed)) for seed, folder in folders(cell, out).items()}


def jobs(cells: list[Cell], out: Path) -> list[Job]:
    """Jobs that are left to train; a run that several cells share is in the first one's job."""
    found, taken = [], set()
    for cell in cells:
        own = folders(cell, out)
        left = {seed: own[seed] for seed, state in states(cell, out).items() if state != "done"}
        left = {seed: folder for seed, folder in left.items() if folder not in taken}
        taken |= set(left.values())
        if left:
            found.append(Job(cell, left))
    return found


def largest_first(work: Sequence[Job]) -> list[Job]:
    """Jobs by decreasing work, so that no worker is left with a long job at the end."""
    return sorted(work, key=lambda job: len(job.folders) * work_of(job.cell.config), reverse=True)


def work_of(config: Config) -> int:
    """Work of a run: updates times layers, of the actor and two critic encoders."""
    return plan(config).total_updates * (actor_depth(config.network) + 2 * critic_depth(config.network))


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

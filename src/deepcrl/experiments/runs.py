"""Where the runs of experiments lie, how far each is, and training one cell's runs to their end."""

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
from deepcrl.train import Stop, sound, stop_on_signal

INTERRUPTED = 3
"""Exit code of a worker that a signal ended with a checkpoint."""
State = Literal["not run", "partly", "done", "failed"]


class Job(NamedTuple):
    """A cell with what is left of it to train."""

    cell: Cell
    folders: Mapping[int, Path]
    """Run folder by seed, of the seeds that are not done."""


def state_of(run_dir: Path, config: Config) -> State:
    """How far a run is; "failed" where `problem` says why it cannot go on.

    Raises:
        ConfigError: when its folder holds another configuration's.
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
    # The last row is written before the last agent is saved. A run that was laid out from its numbers has no agent.
    ended = found[-1]["env_steps"] == the_plan.total_env_steps and (not saved or saved[-1] == the_plan.num_collections)
    return "done" if ended else "partly"


def problem(run_dir: Path) -> str:
    """Why a run that was begun cannot go on: its files cannot be read, or training has diverged. Empty: it can."""
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
    """How far every seed is."""
    return {seed: state_of(folder, replace(cell.config, seed=seed)) for seed, folder in folders(cell, out).items()}


def jobs(cells: list[Cell], out: Path) -> list[Job]:
    """What is left to train; a run that several cells share is in the first one's job."""
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
    """In an order that leaves no worker alone with a long job at the end."""
    return sorted(work, key=lambda job: len(job.folders) * work_of(job.cell.config), reverse=True)


def work_of(config: Config) -> int:
    """How much there is to do in a run: updates times layers."""
    return plan(config).total_updates * (actor_depth(config.network) + 2 * critic_depth(config.network))


def train(job: Job) -> bool:
    """Train a job's seeds with one compilation. False when a signal has ended one early.

    They follow each other, with the very numbers of runs alone. On a GPU, most of which one small network leaves idle,
    they are trained at once, with those numbers to what float32 loses. A folder belongs to one process at a time: a
    second one waits until the first has ended.

    Raises:
        ConfigError: after the others have been trained, when a seed has failed.
    """
    program, problems = build(job.cell.config), []
    all_of_them = {folder: reseed(program, seed) for seed, folder in job.folders.items()}
    groups = [all_of_them] if at_once(program, len(all_of_them)) else _apart(all_of_them)
    with stop_on_signal() as stop:  # one for all: a signal that meets the end of a run must keep the next from starting
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
                if len(group) > 1:  # what is wrong with one must not keep the others back
                    groups = _apart(group)
                    continue
                (folder,) = group
                print(f"failed: {folder.name}: {error}", flush=True)
                problems.append(f"seed {group[folder].config.seed}: {error}")
    if problems:
        raise ConfigError("; ".join(problems))
    return True


def at_once(program: Program, number: int) -> bool:
    """Whether so many seeds of a program are trained as one: on a GPU, where the environment is on it as well."""
    return number > 1 and program.env.on_device and jax.default_backend() != "cpu"


def _apart(group: Mapping[Path, Program]) -> list[Mapping[Path, Program]]:
    return [{folder: program} for folder, program in group.items()]


def _train(group: Mapping[Path, Program], stop: Stop) -> bool:
    """Train runs to their end. False when a signal has ended one early."""
    left = {folder: program for folder, program in group.items() if state_of(folder, program.config) != "done"}
    if not left:
        return True
    results = train_at_once(left, stop)
    unfinished = [folder for folder in left if folder not in results or not results[folder].finished]
    if stop.requested and unfinished:
        return False  # whatever else is wrong is said when it goes on
    for folder in unfinished:
        sound(results[folder])
    return True


def pin(core: int, share: int) -> None:
    """Keep this process to its share of the cores, before JAX counts them. Where the system cannot, it has all."""
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
    """A worker: the job in its first argument; core and number of workers follow. Ends when its caller does."""

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)  # the run saves itself

    pin(int(sys.argv[2]), int(sys.argv[3]))
    threading.Thread(target=watch, daemon=True).start()
    return 0 if train(parse(sys.argv[1])) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

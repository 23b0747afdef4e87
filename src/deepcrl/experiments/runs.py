"""Where the runs of experiments lie, how far each is, and training one cell's runs to their end."""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from deepcrl.config import Config, ConfigError, config_id, from_dict, to_dict
from deepcrl.experiments.record import Cell
from deepcrl.logging import rows
from deepcrl.nn.encoder import actor_depth, critic_depth
from deepcrl.plan import plan
from deepcrl.program import build, init_state, reseed
from deepcrl.train import create_run_dir, load_config, restore, run

INTERRUPTED = 3
"""Exit code of a worker that a signal ended with a checkpoint."""
State = Literal["not run", "partly", "done"]


class Job(NamedTuple):
    """A cell with what is left of it to train."""

    cell: Cell
    folders: Mapping[int, Path]
    """Run folder by seed, of the seeds that are not done."""


def state_of(run_dir: Path, config: Config) -> State:
    """How far a run is. Raises ConfigError when its folder holds another configuration's."""
    if not _begun(run_dir):
        return "not run"
    if config_id(load_config(run_dir)) != config_id(config):
        raise ConfigError(f"{str(run_dir)!r} holds a run of another configuration")
    found = rows.read(run_dir)
    if not found:
        return "not run"
    return "done" if found[-1]["env_steps"] == plan(config).total_env_steps else "partly"


def _begun(run_dir: Path) -> bool:
    """Whether there is a run; a process killed before it wrote its configuration leaves an empty folder."""
    return run_dir.exists() and not (run_dir.is_dir() and not any(run_dir.iterdir()))


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
    """Train a job's seeds one after another, with one compilation. False when a signal has ended one early.

    A folder belongs to one process at a time: a second one waits until the first has ended.
    """
    program = build(job.cell.config)
    for seed, folder in job.folders.items():
        own = reseed(program, seed)
        with held(folder):
            if state_of(folder, own.config) == "done":
                continue
            if _begun(folder):
                start = restore(own, folder)
            else:
                create_run_dir(own, folder)
                start = init_state(own), 0, 0.0
            if not run(own, [folder], *start)[0].finished:
                return False
    return True


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Alone with a run folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that trains {folder.name}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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

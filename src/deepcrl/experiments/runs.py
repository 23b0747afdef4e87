"""Run folders of experiments, the state of every run, and the jobs that are left to train."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from deepcrl import checkpoint
from deepcrl.config import Config, ConfigError, config_id
from deepcrl.experiments.record import Cell
from deepcrl.folder import begun, diverged, load_config
from deepcrl.logging import rows
from deepcrl.nn.encoder import actor_depth, critic_depth
from deepcrl.plan import plan

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

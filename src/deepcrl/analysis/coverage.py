"""Which cells of a maze a run has visited, and when: how far its exploration has come."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from deepcrl import checkpoint
from deepcrl.config import ConfigError
from deepcrl.envs.layouts import walls
from deepcrl.folder import load_config
from deepcrl.program import build, check_unchanged, init_replay
from deepcrl.replay.buffer import Replay, valid_times


class Coverage(NamedTuple):
    """First visits to the free cells of the maze that a run was trained in."""

    layout: tuple[str, ...]
    first_visit: Float[np.ndarray, "rows columns"]
    """Env steps of the whole run, over all environments, before the first visit; infinite without one, NaN in walls."""
    env_steps: Int[np.ndarray, "K"]
    """Env steps from 0 to the end, one hundredth of the run apart."""
    share: Float[np.ndarray, "K"]
    """Share of the free cells visited until then."""
    first_step: int
    """First env step that the replay still holds; above 0, earlier visits are unknown."""


def coverage(run_dir: str | Path) -> Coverage:
    """Coverage of a run's maze, from the replay in its newest checkpoint.

    Raises:
        ConfigError: when the folder holds no run, or another configuration than the checkpoint's, or its environment
            is no maze.
        CheckpointError: when no checkpoint can be used.
    """
    run_dir = Path(run_dir)
    config = load_config(run_dir)
    program, folder = build(config), run_dir / "checkpoints"
    scene, spec = program.env.scene, program.env.spec
    if scene.layout is None:
        raise ConfigError(f"{config.env.name} has no cells that could be counted")
    newest = checkpoint.newest(folder)
    replay, info = checkpoint.restore(folder, newest, jax.eval_shape(lambda: init_replay(program)), part="replay")
    check_unchanged(config, info, run_dir, newest)
    states, first = stored_states(replay)
    return of_positions(spec.achieved_goal(states)[..., :2], first, scene.layout, scene.cell_size)


def stored_states(replay: Replay) -> tuple[Float[np.ndarray, "T N S"], int]:
    """States that a replay still holds, oldest first, and the time of the first, in steps of each environment."""
    first, end = map(int, valid_times(replay))
    column = np.asarray(replay.columns["state"])
    return column[np.arange(first, end) % len(column)], first


def of_positions(
    position: Float[np.ndarray, "T N 2"], first_time: int, layout: tuple[str, ...], cell_size: float
) -> Coverage:
    """Coverage by the positions of N environments at T steps, from step `first_time` of each environment on."""
    length, num_envs = position.shape[:2]
    cell = np.round(position / cell_size).astype(int)
    rows, columns = len(layout), max(map(len, layout))
    cell = np.clip(cell, 0, [rows - 1, columns - 1])
    steps = np.broadcast_to((first_time + np.arange(length))[:, None] * num_envs, (length, num_envs))
    first_visit = np.full((rows, columns), np.inf)
    np.minimum.at(first_visit, (cell[..., 0], cell[..., 1]), steps)
    free = ~walls(layout)
    first_visit[~free] = np.nan
    when = np.linspace(0, (first_time + length) * num_envs, 101).round().astype(int)
    visits = first_visit[free]
    share = np.array([np.mean(visits <= step) for step in when])
    return Coverage(layout, first_visit, when, share, first_time * num_envs)

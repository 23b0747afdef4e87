"""What every residual block of a run's networks adds, and how it is being changed (paper, Figure 17)."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deepcrl import agent as agent_lib
from deepcrl.algorithms.base import TrunkView
from deepcrl.analysis.visits import visits
from deepcrl.config import ConfigError
from deepcrl.nn import blocks

NUM_ENVS = 16


class BlockNorms(NamedTuple):
    """Of one network, for each of its blocks."""

    added: Float[np.ndarray, " blocks"]
    """Root mean square over features of what the block adds, mean over states."""
    stream: Float[np.ndarray, " blocks+1"]
    """Root mean square of what leaves the stem, and of what leaves each block."""
    gradient: Float[np.ndarray, " blocks"]
    """L2 norm of the mean of the block's last gradients, about ten: Adam's first moment."""


def block_norms(
    run_dir: str | Path, *, which: agent_lib.Which | int = "latest", steps: int = 100, seed: int = 0
) -> dict[str, BlockNorms]:
    """The networks of a run's agent, by name, at a checkpoint, on the states of fresh episodes.

    Args:
        which: "latest", "best", or the checkpoint of a number of collections; `checkpoint.keep` says how many stay.
        steps: env steps that the agent does in each of 16 environments; all of their states are used.
        seed: of those.

    Raises:
        ConfigError: when the folder holds no run, the algorithm shows no trunks, or `steps` is below 1.
        CheckpointError: when no checkpoint can be used.
    """

    @jax.jit
    def measure(view: TrunkView) -> tuple[Array, Array, Array]:
        return (
            blocks.block_norms(view.trunk, view.inputs),
            blocks.stream_norms(view.trunk, view.inputs),
            blocks.gradient_norms(view.gradient),
        )

    views = trunk_views(run_dir, which, steps, seed)
    return {name: BlockNorms(*map(np.asarray, measure(view))) for name, view in views.items()}


def trunk_views(run_dir: str | Path, which: agent_lib.Which | int, steps: int, seed: int) -> dict[str, TrunkView]:
    """A run's trunks on the states of fresh episodes: of all steps in 16 environments. Raises as `block_norms` does."""
    agent = agent_lib.load_agent(run_dir, which)
    if agent.trunks is None:
        raise ConfigError(f"agent.algorithm = {agent.config.agent.algorithm!r} shows no trunks to look into")
    return agent.trunks(*map(jnp.asarray, visits(agent, NUM_ENVS, steps, seed).rows()))


def text(norms: dict[str, BlockNorms]) -> str:
    """The norms as one table for each network."""
    lines = []
    for name, (added, stream, gradient) in norms.items():
        lines += [f"{name}, {len(added)} blocks; leaves the stem: {stream[0]:.3g}", "block     adds   leaves  gradient"]
        rows = zip(added, stream[1:], gradient, strict=True)
        lines += [f"{index:5} {add:8.3g} {leaves:8.3g}  {grad:8.3g}" for index, (add, leaves, grad) in enumerate(rows)]
    return "\n".join(lines)

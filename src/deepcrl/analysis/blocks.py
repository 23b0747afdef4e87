"""Size of what every residual block of a run's networks adds, and of its gradients (paper, Figure 17)."""

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
    """Norms in one network, block by block."""

    added: Float[np.ndarray, " blocks"]
    """Root mean square over features of what the block adds, mean over states."""
    stream: Float[np.ndarray, " blocks+1"]
    """Root mean square of what leaves the stem, and of what leaves each block."""
    gradient: Float[np.ndarray, " blocks"]
    """L2 norm of Adam's first moment of the block's parameters, a mean over about the last ten gradients."""


def block_norms(
    run_dir: str | Path, *, which: agent_lib.Which | int = "latest", steps: int = 100, seed: int = 0
) -> dict[str, BlockNorms]:
    """Block norms of the networks of a run's agent, by name, at a checkpoint, on the states of fresh episodes.

    Args:
        which: "latest", "best", or a checkpoint by its number of collections; `checkpoint.keep` says how many are kept.
        steps: env steps of the agent in each of 16 environments; all of their states are used.
        seed: seed of those episodes.

    Raises:
        ConfigError: when the folder holds no run, the algorithm exposes no trunks, or `steps` is below 1.
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
    """Trunks of a run's agent, with inputs from `steps` env steps in each of 16 environments. Raises as `block_norms`
    does."""
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

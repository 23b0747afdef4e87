"""How much of a deep network is in use: effective rank of its features and dormant units, block by block."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from deepcrl import agent as agent_lib
from deepcrl.analysis.blocks import trunk_views
from deepcrl.nn import blocks

DORMANT = 0.025
"""A unit is dormant when its mean absolute activation is at most this part of its layer's mean (Sokar et al., 2023)."""


class Units(NamedTuple):
    """Effective ranks and dormant units of one network."""

    rank: Float[np.ndarray, " blocks+1"]
    """Effective rank of what leaves the stem, and of what leaves each block; at most the width."""
    dormant: Float[np.ndarray, " blocks"]
    """Share of dormant units in each block, over all of its layers."""
    width: int


def units(
    run_dir: str | Path, *, which: agent_lib.Which | int = "latest", steps: int = 100, seed: int = 0
) -> dict[str, Units]:
    """Units of the networks of a run's agent, by name, on the states of fresh episodes.

    Args:
        steps: env steps of the agent in each of 16 environments; all of their states are used.

    Raises:
        ConfigError: when the folder holds no run, the algorithm exposes no trunks, or `steps` is below 1.
        CheckpointError: when no checkpoint can be used.
    """
    found = {}
    for name, view in trunk_views(run_dir, which, steps, seed).items():
        rank, dormant = jax.jit(blocks.usage, static_argnums=2)(view.trunk, view.inputs, DORMANT)
        found[name] = Units(np.asarray(rank), np.asarray(dormant), view.trunk.stack.units.dense.kernel.shape[-1])
    return found

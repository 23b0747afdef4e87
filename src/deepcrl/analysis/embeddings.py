"""Spread of the state-action embeddings along an episode (paper, Figure 10)."""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deepcrl import agent as agent_lib
from deepcrl.analysis.visits import visits
from deepcrl.config import ConfigError

NEAR = 0.25
"""Last share of an episode's steps to its goal that counts as near the goal."""


class Embeddings(NamedTuple):
    """phi(s, a) of every step of one episode, from its start until it reaches its goal."""

    embedding: Float[np.ndarray, "T R"]
    plane: Float[np.ndarray, "T 2"]
    """First two principal components of `embedding`."""
    explained: Float[np.ndarray, "2"]
    """Share of the variance that each of the two explains."""
    distance: Float[np.ndarray, "T"]
    """Metres to the goal."""

    @property
    def spread_near_goal(self) -> float:
        """Mean pairwise distance of the embeddings of the last quarter of the steps, divided by that of all steps.

        About 0.25 for embeddings evenly spaced on a straight line; more means that they spread further near the goal.
        """
        last = max(2, round(NEAR * len(self.embedding)))
        return _mean_distance(self.embedding[-last:]) / _mean_distance(self.embedding)


def embeddings(
    run_dir: str | Path, *, which: agent_lib.Which | int = "latest", episodes: int = 64, seed: int = 0
) -> Embeddings:
    """Embeddings along the episode that takes longest to reach its goal, of those among `episodes` fresh ones that do.

    Actions are those of the run's evaluations (`evaluation.mode`).

    Raises:
        ConfigError: when the folder holds no run, the algorithm has no embeddings, they are all equal or of size 1, or
            no episode reaches its goal after 8 steps or more.
        CheckpointError: when no checkpoint can be used.
    """
    agent = agent_lib.load_agent(run_dir, which)
    seen = visits(agent, episodes, agent.env.spec.episode_length, seed, agent.config.evaluation.mode)
    at_goal = seen.success & seen.first
    arrival = np.where(at_goal.any(axis=0), at_goal.argmax(axis=0), -1)
    longest = int(arrival.argmax())
    steps = int(arrival[longest]) + 1
    if steps < 8:
        raise ConfigError(f"none of {episodes} episodes of {str(run_dir)!r} takes 8 steps or more and reaches its goal")
    own = agent.embed_state_action(*map(jnp.asarray, (seen.state[:steps, longest], seen.action[:steps, longest])))
    if own.shape[1] < 2 or not np.ptp(own, axis=0).any():
        raise ConfigError(f"the embeddings of {str(run_dir)!r} span no plane: {own.shape[1]} numbers, or all alike")
    plane, explained = principal_plane(own)
    return Embeddings(own, plane, explained, seen.distance[:steps, longest])


def principal_plane(x: Float[np.ndarray, "T R"]) -> tuple[Float[np.ndarray, "T 2"], Float[np.ndarray, "2"]]:
    """The rows' first two principal components, and the share of the variance that each explains.

    Signs are such that the entry of largest magnitude is positive.
    """
    centred = x - x.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    plane = left[:, :2] * size[:2]
    plane *= np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])
    return plane, size[:2] ** 2 / np.sum(size**2)


def _mean_distance(x: np.ndarray) -> float:
    """Mean distance over all pairs of different rows."""
    distance = np.linalg.norm(x[:, None] - x[None, :], axis=-1)
    return float(distance.sum() / (len(x) * (len(x) - 1)))

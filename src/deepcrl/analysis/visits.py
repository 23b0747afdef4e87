"""Full states that an agent visits in fresh episodes; evaluations keep only the achieved goals."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from deepcrl.agent import LoadedAgent
from deepcrl.config import ConfigError


class Visits(NamedTuple):
    """T steps of N environments: what the agent saw, and what it did there."""

    state: Float[np.ndarray, "T N S"]
    action: Float[np.ndarray, "T N A"]
    goal: Float[np.ndarray, "T N G"]
    achieved: Float[np.ndarray, "T N G"]
    distance: Float[np.ndarray, "T N"]
    """Metres to the goal."""
    success: Bool[np.ndarray, "T N"]
    first: Bool[np.ndarray, "T N"]
    """Whether the step belongs to an environment's first episode."""

    def rows(self) -> tuple[Float[np.ndarray, "R S"], Float[np.ndarray, "R A"], Float[np.ndarray, "R G"]]:
        """States, actions and goals of all steps in all environments, step after step."""
        state, action, goal = (column.reshape(-1, column.shape[-1]) for column in self[:3])
        return state, action, goal


def visits(
    agent: LoadedAgent,
    num_envs: int,
    steps: int,
    seed: int,
    mode: str = "mean",
    goal: Float[np.ndarray, "G"] | None = None,
) -> Visits:
    """Let an agent act in its evaluation environment; a `goal`, where given, is that of the first episodes.

    Raises:
        ConfigError: when `steps` is below 1.
    """
    if steps < 1:
        raise ConfigError(f"steps = {steps} must be at least 1")
    env = agent.env.compiled()
    options = None if goal is None else {"goal": goal}
    now, rows, first = env.reset(jax.random.key(seed), num_envs, options), [], np.ones(num_envs, bool)
    for index in range(steps):
        action = agent.act(now.state, now.goal, mode=mode, seed=(seed * 1_000_003 + index) % 2**32)
        state = np.array(now.state)  # a copy: engines on the host may overwrite their arrays
        row = (state, action, now.goal, env.spec.achieved_goal(state), now.distance, now.success, first)
        rows.append(tuple(np.array(column) for column in row))
        now = env.step(now, action)
        first = first & ~np.asarray(now.terminated | now.truncated)
    return Visits(*(np.stack(column) for column in zip(*rows, strict=True)))

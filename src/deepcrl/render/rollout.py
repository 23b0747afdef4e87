"""Records episodes with the simulator positions that drawing needs, which evaluations do not keep."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from deepcrl.agent import LoadedAgent
from deepcrl.analysis import choose
from deepcrl.config import ConfigError
from deepcrl.envs.protocol import Env
from deepcrl.evaluate import Episodes

POOL = 4
"""Episodes played for each one kept, so that those kept can show several goals."""


class Episode(NamedTuple):
    """One episode: the T states in which an action was taken, without the state after the last action."""

    qpos: Float[np.ndarray, "T nq"]
    achieved: Float[np.ndarray, "T G"]
    goal: Float[np.ndarray, "T G"]
    distance: Float[np.ndarray, "T"]
    """Metres to the goal."""
    success: Bool[np.ndarray, "T"]
    failed: bool
    """Ended by a failure, such as a fall, rather than by the time limit."""

    @property
    def reached(self) -> bool:
        return bool(self.success.any())

    def at(self, rows: Int[np.ndarray, "K"] | slice) -> "Episode":
        """The same episode with only some of its states."""
        qpos, achieved, goal, distance, success = (column[rows] for column in self[:5])
        return Episode(qpos, achieved, goal, distance, success, self.failed)


class Recording(NamedTuple):
    """Some episodes of one environment."""

    episodes: list[Episode]
    step_seconds: float
    """Simulated time of an env step."""
    success_radius: float


Act = Callable[[Float[np.ndarray, "N S"], Float[np.ndarray, "N G"], int], Float[np.ndarray, "N A"]]
"""(states, goals, step) -> actions."""


def record_agent(
    agent: LoadedAgent, step_seconds: float, *, episodes: int = 4, mode: str = "mean", seed: int = 0
) -> Recording:
    """Record episodes of a trained agent in its evaluation environment; modes are those of `evaluation.mode`."""

    def act(state, goal, step):
        # A different seed for every step, also across recordings.
        return agent.act(state, goal, mode=mode, seed=(seed * 1_000_003 + step) % 2**32)

    return record(agent.env, act, step_seconds, episodes=episodes, seed=seed)


def record(env: Env, act: Act, step_seconds: float, *, episodes: int = 4, seed: int = 0) -> Recording:
    """Play fresh episodes, each to its first end, and keep some that show all kinds of goals, reached and missed."""
    env = env.compiled()
    state = env.reset(jax.random.key(seed), POOL * episodes)
    start, goal = np.asarray(state.achieved_goal), np.asarray(state.goal)
    alive = np.ones(POOL * episodes, bool)
    failed = np.zeros_like(alive)
    frames, outcomes = [], []
    for index in range(env.spec.episode_length):
        if "qpos" not in state.physics:
            raise ConfigError("physics without 'qpos' cannot be drawn")
        physics = state.physics if env.mark_goal is None else env.mark_goal(state.physics, state.goal)
        qpos = np.asarray(physics["qpos"], np.float32)
        frames.append(tuple(map(np.array, (qpos, state.achieved_goal, state.goal, state.distance, state.success))))
        state = env.step(state, act(np.asarray(state.state), np.asarray(state.goal), index), alive)
        achieved = env.spec.achieved_goal(np.asarray(state.next_state))
        outcomes.append((achieved, np.asarray(state.distance), np.asarray(state.success), alive))
        failed |= alive & np.asarray(state.terminated)
        alive = alive & ~np.asarray(state.terminated | state.truncated)
        if not alive.any():
            break
    achieved, distance, success, lived = map(np.stack, zip(*outcomes))
    every = Episodes(start, goal, achieved, distance, success, {}, lived)
    columns = [np.stack(column) for column in zip(*frames)]

    def episode(index: int, length: int) -> Episode:
        qpos, achieved, goal, distance, success = (column[:length, index] for column in columns)
        return Episode(qpos, achieved, goal, distance, success, bool(failed[index]))

    kept = [episode(one.episode, one.length) for one in choose(every, episodes)]
    return Recording(kept, step_seconds, env.spec.success_radius)

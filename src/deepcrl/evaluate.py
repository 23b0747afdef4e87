"""Evaluation by the paper's protocol: fresh environments, one episode each, measured up to its first end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from deepcrl.algorithms.base import Agent, Algorithm
from deepcrl.envs.protocol import Env, EnvState, Scene
from deepcrl.types import Metrics


class Episodes(NamedTuple):
    """One episode of each of N environments, as numpy arrays; step t is the t-th after the reset."""

    start: Float[np.ndarray, "N G"]
    """Achieved goal at the reset."""
    goal: Float[np.ndarray, "N G"]
    achieved: Float[np.ndarray, "T N G"]
    distance: Float[np.ndarray, "T N"]
    """Metres to the goal."""
    success: Bool[np.ndarray, "T N"]
    grades: dict[str, Bool[np.ndarray, "T N"]]
    """Success by the task's other measures, "easy" and "hard", where it has them."""
    alive: Bool[np.ndarray, "T N"]
    """Whether the step belongs to the episode: true up to and including the first end."""
    goal_cell: Int[np.ndarray, "N 2"] | None = None
    """Row and column of the goal; None outside mazes."""


Evaluate = Callable[[Agent, PRNGKeyArray], Episodes]
EvaluateRuns = Callable[[Agent, PRNGKeyArray], tuple[Episodes, ...]]


def make_evaluate(env: Env, algorithm: Algorithm, mode: str, num_envs: int) -> Evaluate:
    """A function (agent, key) to `Episodes`, compiled once. Every step has its own key."""
    if not env.on_device:
        return _host_evaluate(env, algorithm, mode, num_envs)
    run = env.jit(_device_rollout(env, algorithm, mode, num_envs))
    return lambda agent, key: _episodes(env, *jax.tree.map(np.asarray, run(agent, key)))


def make_evaluate_runs(env: Env, algorithm: Algorithm, mode: str, num_envs: int, runs: int) -> EvaluateRuns:
    """`make_evaluate` for several runs at once. With more than one, on the device only, agents and keys have a leading
    axis [runs]."""
    if runs == 1:
        evaluate = make_evaluate(env, algorithm, mode, num_envs)
        return lambda agent, key: (evaluate(agent, key),)
    run = env.jit(jax.vmap(_device_rollout(env, algorithm, mode, num_envs)))

    def evaluate_runs(agents: Agent, keys: PRNGKeyArray) -> tuple[Episodes, ...]:
        first, steps = jax.tree.map(np.asarray, run(agents, keys))
        each = (jax.tree.map(lambda leaf, i=i: leaf[i], (first, steps)) for i in range(runs))
        return tuple(_episodes(env, *own) for own in each)

    return evaluate_runs


def summarise(episodes: Episodes) -> Metrics:
    """Means over episodes: steps at the goal, share that ever reached it, final distance in metres, length in steps.

    "time_at_goal_easy" and "time_at_goal_hard" are the steps that succeed by the task's wider and narrower measure;
    "success_any/3,1" is the share for goals in cell (3, 1) of a maze, for every cell that had one.
    """
    alive = episodes.alive
    success = episodes.success & alive
    reached = success.any(axis=0)
    lengths = alive.sum(axis=0)
    final = episodes.distance[lengths - 1, np.arange(alive.shape[1])]
    return {
        "time_at_goal": float(success.sum(axis=0).mean()),
        "success_any": float(reached.mean()),
        "final_distance": float(final.mean()),
        "episode_length": float(lengths.mean()),
        **{f"time_at_goal_{name}": float((g & alive).sum(axis=0).mean()) for name, g in episodes.grades.items()},
        **_by_cell("success_any", reached, episodes.goal_cell),
    }


def _by_cell(name: str, values: Any, cells: np.ndarray | None) -> Metrics:
    if cells is None:
        return {}
    groups = {(i, j): values[(cells == (i, j)).all(axis=1)] for i, j in np.unique(cells, axis=0).tolist()}
    return {f"{name}/{i},{j}": float(some.mean()) for (i, j), some in groups.items()}


def _cells(scene: Scene, goals: np.ndarray) -> np.ndarray | None:
    """The maze's cells in which goals [N, G] lie."""
    return None if scene.layout is None else scene.cell_of(goals)


class _Step(NamedTuple):
    achieved: jax.Array
    distance: jax.Array
    success: jax.Array
    grades: dict[str, jax.Array]
    alive: jax.Array


def _record(env: Env, after: EnvState, alive: Any) -> _Step:
    achieved = env.spec.achieved_goal(after.next_state)
    return _Step(achieved, after.distance, after.success, after.grades, alive)


def _episodes(env: Env, first: Any, steps: Any) -> Episodes:
    return Episodes(first.achieved_goal, first.goal, *steps, goal_cell=_cells(env.scene, first.goal))


def _device_rollout(env: Env, algorithm: Algorithm, mode: str, num_envs: int) -> Callable[..., tuple[EnvState, _Step]]:
    def run(agent: Agent, key: PRNGKeyArray) -> tuple[EnvState, _Step]:
        reset_key, act_key = jax.random.split(key)
        first = env.reset(reset_key, num_envs)

        def body(carry: tuple[EnvState, jax.Array], step_key: PRNGKeyArray):
            state, alive = carry
            after = env.step(state, algorithm.act(agent, state.state, state.goal, step_key, mode))
            return (after, alive & ~(after.terminated | after.truncated)), _record(env, after, alive)

        keys = jax.random.split(act_key, env.spec.episode_length)
        _, steps = jax.lax.scan(body, (first, jnp.ones(num_envs, bool)), keys)
        return first, steps

    return run


def _host_evaluate(env: Env, algorithm: Algorithm, mode: str, num_envs: int) -> Evaluate:
    act = jax.jit(
        lambda agent, state, goal, key, index: algorithm.act(agent, state, goal, jax.random.fold_in(key, index), mode)
    )

    def evaluate(agent: Agent, key: PRNGKeyArray) -> Episodes:
        reset_key, act_key = jax.random.split(key)
        first = state = env.reset(reset_key, num_envs)
        alive = np.ones(num_envs, bool)
        steps = []
        for index in range(env.spec.episode_length):
            action = np.asarray(act(agent, state.state, state.goal, act_key, np.int32(index)))
            state = env.step(state, action, alive)
            steps.append(_record(env, state, alive))
            alive = alive & ~(state.terminated | state.truncated)
            if not alive.any():
                break
        rows = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        goal = np.asarray(first.goal)
        return Episodes(np.asarray(first.achieved_goal), goal, *rows, goal_cell=_cells(env.scene, goal))

    return evaluate

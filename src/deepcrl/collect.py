"""Rollouts: act and step T times in N environments, on the device in one program or on the host step by step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from deepcrl.algorithms.base import Agent, Algorithm
from deepcrl.envs.protocol import Env, EnvState
from deepcrl.types import Transition

Collect = Callable[[Agent, EnvState, PRNGKeyArray], tuple[EnvState, Transition]]


def make_collect(env: Env, algorithm: Algorithm, mode: str, length: int, runs: int = 1) -> Collect:
    """A function (agent, env state, key) to (env state, transitions [T, N, ...]), compiled once.

    The key of step t is the t-th split of `key`, on both kinds of environment. With several `runs`, on the device
    only, all inputs and outputs have a leading axis [runs].
    """
    if not env.on_device:
        assert runs == 1
        return _host_collect(env, algorithm, mode, length)
    collect = _device_collect(env, algorithm, mode, length)
    return env.jit(collect if runs == 1 else jax.vmap(collect))


def transition(before: EnvState, action: Any, after: EnvState) -> Transition:
    """Transition of the step that took `action` in `before` and led to `after`."""
    return Transition(
        state=before.state,
        action=action,
        goal=before.goal,
        next_state=after.next_state,
        success=after.success,
        terminated=after.terminated,
        truncated=after.truncated,
        episode_id=before.episode_id,
    )


def _device_collect(env: Env, algorithm: Algorithm, mode: str, length: int) -> Collect:
    def collect(agent: Agent, env_state: EnvState, key: PRNGKeyArray) -> tuple[EnvState, Transition]:
        def body(before: EnvState, step_key: PRNGKeyArray) -> tuple[EnvState, Transition]:
            action = algorithm.act(agent, before.state, before.goal, step_key, mode)
            after = env.step(before, action)
            return after, transition(before, action, after)

        return jax.lax.scan(body, env_state, jax.random.split(key, length))

    return collect


def _host_collect(env: Env, algorithm: Algorithm, mode: str, length: int) -> Collect:
    split = jax.jit(lambda key: jax.random.split(key, length))
    act = jax.jit(lambda agent, state, goal, keys, index: algorithm.act(agent, state, goal, keys[index], mode))

    def collect(agent: Agent, env_state: EnvState, key: PRNGKeyArray) -> tuple[EnvState, Transition]:
        keys = split(key)
        steps = []
        for index in range(length):
            action = np.asarray(act(agent, env_state.state, env_state.goal, keys, np.int32(index)))
            after = env.step(env_state, action)
            steps.append(transition(env_state, action, after))
            env_state = after
        return env_state, jax.tree.map(lambda *rows: jnp.asarray(np.stack(rows)), *steps)

    return collect

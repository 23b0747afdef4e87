"""Hindsight goals: for a stored step, a future step of the same trajectory, drawn in closed form (fact sheet 1.5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from deepcrl.config import GoalSampling
from deepcrl.replay.buffer import Replay, gather, steps_left, valid_times


class Pairs(NamedTuple):
    """Rows of the replay by absolute time and environment: a step, and the later step whose goal it is given."""

    time: Int[Array, "*batch"]
    future: Int[Array, "*batch"]
    env: Int[Array, "*batch"]
    ended: Bool[Array, "*batch"] | None = None
    """Whether the future lies beyond the end of a terminated trajectory; told by variant "absorbing" only."""


def truncated_geometric(u: Float[Array, "*batch"], count: Int[Array, "*batch"], discount: float):
    """The offset k in 1..count with P(k) proportional to discount^k, by inverting its distribution at u in [0, 1).

    Returns 0 where `count` is 0.
    """
    mass = -jnp.expm1(count * jnp.log(discount))
    offset = 1 + jnp.floor(jnp.log1p(-u * mass) / jnp.log(discount)).astype(jnp.int32)
    # The clip only mends rounding at the two ends; it moves no mass.
    return jnp.where(count > 0, jnp.clip(offset, 1, jnp.maximum(count, 1)), 0)


def sample_pairs(
    key: PRNGKeyArray,
    replay: Replay,
    shape: tuple[int, ...],
    discount: float,
    variant: GoalSampling,
    window_length: int,
) -> Pairs:
    """Draw `shape` independent pairs, in constant time for each.

    "trajectory": a stored step, uniformly; its future is cut at the end of its trajectory.
    "window": a window of `window_length` stored steps of one environment, uniformly; a step in it but the last,
    uniformly; its future is cut at the end of the window too (the paper's distribution). While fewer steps are
    stored, the window is all of them.
    "absorbing": as "trajectory", and with probability discount^n, the geometric's mass beyond the n steps left, a pair
    of a terminated trajectory is marked `ended` (needs the column "terminated").
    A step without a future, the last of its trajectory, is paired with itself.
    """
    env_key, time_key, start_key, future_key = jax.random.split(key, 4)
    first, end = valid_times(replay)
    num_envs = replay.episode_id.shape[1]
    env = jax.random.randint(env_key, shape, 0, num_envs)
    if variant != "window":
        time = jax.random.randint(time_key, shape, first, end)
        left = steps_left(replay, time, env)
    else:
        length = jnp.minimum(window_length, end - first)
        start = jax.random.randint(start_key, shape, first, end - length + 1)
        time = start + jax.random.randint(time_key, shape, 0, length - 1)
        left = jnp.minimum(steps_left(replay, time, env), start + length - 1 - time)
    ended = None
    if variant == "absorbing":
        future_key, ended_key = jax.random.split(future_key)
        terminated = gather(replay, "terminated", time + left, env)[..., 0] > 0
        ended = terminated & (jax.random.uniform(ended_key, shape) < discount**left)
    u = jax.random.uniform(future_key, shape)
    return Pairs(time, time + truncated_geometric(u, left, discount), env, ended)

"""Hindsight goals: for a stored step, a future step of the same trajectory, drawn in closed form."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from deepcrl.replay.buffer import Replay, gather, steps_left, valid_times

GoalSampling = Literal["trajectory", "window", "absorbing"]
"""Where a pair's future is cut; see `sample_pairs`."""
FutureDistribution = Literal["geometric", "uniform", "final"]
HerStrategy = Literal["future", "final", "mixed"]


class Pairs(NamedTuple):
    """Rows of the replay by absolute time and environment: a step, and the later step whose achieved goal it gets."""

    time: Int[Array, "*batch"]
    future: Int[Array, "*batch"]
    env: Int[Array, "*batch"]
    ended: Bool[Array, "*batch"] | None = None
    """Whether the future lies beyond the end of a terminated trajectory; None unless the variant is "absorbing"."""


def truncated_geometric(u: Float[Array, "*batch"], count: Int[Array, "*batch"], discount: float):
    """Offset k in 1..count with P(k) proportional to discount^k: its inverse CDF at u in [0, 1).

    Returns 0 where `count` is 0.
    """
    mass = -jnp.expm1(count * jnp.log(discount))
    offset = 1 + jnp.floor(jnp.log1p(-u * mass) / jnp.log(discount)).astype(jnp.int32)
    # The clip only corrects rounding at the two ends; it moves no probability mass.
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
    "window": a window of `window_length` consecutive stored steps of one environment, uniformly; a step in it except
    the last, uniformly; its future is cut at the end of the window too (the paper's distribution). While fewer steps
    are stored, the window is all of them.
    "absorbing": as "trajectory", but a pair of a terminated trajectory is marked `ended` with probability discount^n,
    the geometric's mass beyond the n steps left (needs the column "terminated").
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


def sample_futures(
    key: PRNGKeyArray, replay: Replay, shape: tuple[int, ...], distribution: FutureDistribution, discount: float
) -> Pairs:
    """Draw stored steps, uniformly, each with a later step of its trajectory: geometric with `discount`, uniform, or
    the last one. A step without a future is paired with itself."""
    env_key, time_key, future_key = jax.random.split(key, 3)
    time, env, left = _sample_steps(env_key, time_key, replay, shape)
    if distribution == "final":
        return Pairs(time, time + left, env)
    u = jax.random.uniform(future_key, shape)
    if distribution == "geometric":
        return Pairs(time, time + truncated_geometric(u, left, discount), env)
    return Pairs(time, time + jnp.minimum(1 + jnp.floor(u * left).astype(jnp.int32), left), env)


class Relabelled(NamedTuple):
    """Rows of the replay by time and environment; where `relabelled`, the goal is what step `outcome` achieved in its
    next state."""

    time: Int[Array, "*batch"]
    env: Int[Array, "*batch"]
    outcome: Int[Array, "*batch"]
    relabelled: Bool[Array, "*batch"]


def sample_relabelled(
    key: PRNGKeyArray, replay: Replay, shape: tuple[int, ...], strategy: HerStrategy, share: float
) -> Relabelled:
    """Draw stored steps, uniformly, for hindsight experience replay (Andrychowicz et al., 2017, section 4.5).

    A `share` of them get as goal the outcome of the same or a later step of their trajectory: "future" a uniformly
    drawn one, "final" the last one, "mixed" either with equal chance. The others keep their commanded goal.
    """
    env_key, time_key, share_key, future_key, mix_key = jax.random.split(key, 5)
    time, env, left = _sample_steps(env_key, time_key, replay, shape)
    u = jax.random.uniform(future_key, shape)
    offset = jnp.minimum(jnp.floor(u * (left + 1)).astype(jnp.int32), left)
    if strategy == "final":
        offset = left
    elif strategy == "mixed":
        offset = jnp.where(jax.random.bernoulli(mix_key, 0.5, shape), left, offset)
    return Relabelled(time, env, time + offset, jax.random.bernoulli(share_key, share, shape))


def _sample_steps(env_key: PRNGKeyArray, time_key: PRNGKeyArray, replay: Replay, shape: tuple[int, ...]):
    """Draw stored steps, uniformly: their times, environments, and numbers of steps left in the trajectory."""
    first, end = valid_times(replay)
    env = jax.random.randint(env_key, shape, 0, replay.episode_id.shape[1])
    time = jax.random.randint(time_key, shape, first, end)
    return time, env, steps_left(replay, time, env)

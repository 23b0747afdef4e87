"""Ring buffer of the last `capacity` steps of every environment, written in place.

Rows are addressed by absolute time, the number of steps their environment had done before: row `time` lives in slot
`time % capacity`. `insert` writes T rows into the donated buffer; nothing is rolled or copied.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from deepcrl.config import ConfigError
from deepcrl.types import Transition


class Replay(NamedTuple):
    """Stored columns and trajectory bookkeeping.

    `last_time[e % capacity, n]` is the absolute time of the newest stored step of episode e in environment n. Stored
    rows of one environment have at most `capacity` distinct episodes, so the slots never collide, and the number of
    steps left in a trajectory is one look-up.
    """

    columns: dict[str, Shaped[Array, "capacity N ..."]]
    episode_id: Int[Array, "capacity N"]
    last_time: Int[Array, "capacity N"]
    size: Int[Array, ""]
    """Steps inserted so far per environment: the absolute time of the next row."""


def init(sizes: Mapping[str, int], capacity: int, num_envs: int) -> Replay:
    """An empty ring with one float32 column [capacity, N, size] for each named field of a Transition."""
    return Replay(
        columns={name: jnp.zeros((capacity, num_envs, size)) for name, size in sizes.items()},
        episode_id=jnp.full((capacity, num_envs), -1, jnp.int32),
        last_time=jnp.full((capacity, num_envs), -1, jnp.int32),
        size=jnp.zeros((), jnp.int32),
    )


def nbytes(sizes: Mapping[str, int], capacity: int, num_envs: int) -> int:
    """Size of such a buffer in bytes."""
    return 4 * (capacity * num_envs * (sum(sizes.values()) + 2) + 1)


def insert(replay: Replay, transitions: Transition) -> Replay:
    """Append T steps of all N environments, overwriting the oldest when full. Jit with `replay` donated.

    T must not exceed the capacity. Fields of `transitions` without a column are not stored.
    """
    capacity = replay.episode_id.shape[0]
    length, num_envs = transitions.episode_id.shape
    times = replay.size + jnp.arange(length, dtype=jnp.int32)
    slots = times % capacity
    envs = jnp.arange(num_envs, dtype=jnp.int32)
    episode_id = transitions.episode_id.astype(jnp.int32)
    # The maximum is right: later steps of an episode have later times, and so has a new episode that reuses a slot.
    last_time = replay.last_time.at[episode_id % capacity, envs[None, :]].max(times[:, None])
    columns = {}
    for name, column in replay.columns.items():
        rows = getattr(transitions, name).reshape(length, *column.shape[1:])
        columns[name] = column.at[slots].set(rows.astype(column.dtype))
    return Replay(
        columns=columns,
        episode_id=replay.episode_id.at[slots].set(episode_id),
        last_time=last_time,
        size=replay.size + length,
    )


def valid_times(replay: Replay) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Absolute times [first, end) of the rows that the ring still holds."""
    return jnp.maximum(replay.size - replay.episode_id.shape[0], 0), replay.size


def steps_left(replay: Replay, time: Int[Array, "*batch"], env: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
    """Number of stored steps that follow row (time, env) in the same trajectory."""
    capacity = replay.episode_id.shape[0]
    episode = replay.episode_id[time % capacity, env]
    return replay.last_time[episode % capacity, env] - time


def gather(replay: Replay, column: str, time: Int[Array, "*batch"], env: Int[Array, "*batch"]) -> Array:
    """Rows [*batch, size] of one column."""
    values = replay.columns[column]
    capacity, num_envs = replay.episode_id.shape
    flat = values.reshape(capacity * num_envs, *values.shape[2:])
    return flat[(time % capacity) * num_envs + env]


def column_sizes(names: Sequence[str], sizes: Mapping[str, int]) -> dict[str, int]:
    """The subset of `sizes` that an algorithm asked for. Raises ConfigError for an unknown column."""
    if unknown := [name for name in names if name not in sizes]:
        raise ConfigError(f"columns = {unknown[0]!r} of the algorithm is none of {', '.join(sizes)}")
    return {name: sizes[name] for name in names}


jit_insert = jax.jit(insert, donate_argnums=0)

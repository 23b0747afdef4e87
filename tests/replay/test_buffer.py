"""The ring against a Python list, and what an insertion costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.replay import buffer
from deepcrl.types import Transition
from reference.hindsight import ListReplay

SIZES = {"state": 3, "action": 2}


def transitions(episodes: np.ndarray, columns: dict[str, np.ndarray]) -> Transition:
    """A Transition whose fields without a column are NaN or true: whatever reads them shows."""
    shape = episodes.shape
    nothing, true = jnp.full((*shape, 4), jnp.nan), jnp.ones(shape, bool)
    return Transition(
        state=jnp.asarray(columns["state"]),
        action=jnp.asarray(columns["action"]),
        goal=nothing,
        next_state=nothing,
        success=true,
        terminated=true,
        truncated=true,
        episode_id=jnp.asarray(episodes),
    )


def random_run(rng: np.random.Generator, lengths: list[int], num_envs: int, end_probability: float):
    """Blocks of random rows whose episodes end at random, ids counting on from block to block."""
    episode = np.zeros(num_envs, np.int32)
    for length in lengths:
        episodes = np.zeros((length, num_envs), np.int32)
        for step in range(length):
            episodes[step] = episode
            episode = episode + (rng.random(num_envs) < end_probability)
        columns = {name: rng.normal(size=(length, num_envs, size)).astype(np.float32) for name, size in SIZES.items()}
        yield columns, episodes


@pytest.mark.parametrize(
    ("capacity", "end_probability", "lengths"),
    [
        (11, 0.2, [4, 4, 4, 4, 4, 4, 4, 4, 4]),
        (11, 0.7, [4, 11, 1, 4, 11, 4, 1, 1, 4]),  # a block as long as the ring, and single steps
        (8, 0.0, [4, 4, 4, 4, 4]),  # one endless episode, wrapping at block ends
        (8, 1.0, [4, 4, 4, 1, 4, 8]),  # episodes of a single step: as many of them as the ring has rows
        (7, 0.05, [4] * 12),  # episodes longer than the ring
    ],
)
def test_the_ring_equals_a_list_of_the_last_rows(capacity, end_probability, lengths):
    num_envs = 3
    model, replay = ListReplay(capacity, num_envs), buffer.init(SIZES, capacity, num_envs)
    look_up = jax.jit(
        lambda replay, time, env: (
            buffer.valid_times(replay),
            buffer.steps_left(replay, time, env),
            {name: buffer.gather(replay, name, time, env) for name in SIZES},
        )
    )
    for columns, episodes in random_run(np.random.default_rng(capacity), lengths, num_envs, end_probability):
        model.insert(columns, episodes)
        replay = buffer.jit_insert(replay, transitions(episodes, columns))

        held = [time for time, _, _ in model.rows[0]]
        # Always ask for `capacity` rows, so that the look-up compiles once; the list repeats while the ring fills.
        times = np.resize(held, capacity)
        time, env = (leaf.astype(np.int32) for leaf in np.meshgrid(times, np.arange(num_envs), indexing="ij"))
        (first, end), left, rows = look_up(replay, time, env)
        assert (int(first), int(end)) == (held[0], held[-1] + 1)
        assert int(replay.size) == model.time
        for index in np.ndindex(time.shape):
            t, e = int(time[index]), int(env[index])
            assert int(left[index]) == model.steps_left(t, e), (t, e)
            expected = next(row for at, row, _ in model.rows[e] if at == t)
            for name in SIZES:
                assert np.array_equal(rows[name][index], expected[name]), (name, t, e)


def test_an_empty_ring_has_the_columns_asked_for_and_no_valid_row():
    replay = buffer.init(buffer.column_sizes(("state",), {**SIZES, "goal": 2}), 5, 4)
    assert {name: column.shape for name, column in replay.columns.items()} == {"state": (5, 4, 3)}
    assert replay.columns["state"].dtype == jnp.float32
    assert [int(time) for time in buffer.valid_times(replay)] == [0, 0]


def test_insertion_happens_in_place():
    """The donated columns are the result's memory, the old ones are gone, and no second copy is made on the way."""
    capacity, num_envs, length = 512, 8, 4
    replay = buffer.init(SIZES, capacity, num_envs)
    columns = {name: np.ones((length, num_envs, size), np.float32) for name, size in SIZES.items()}
    block = transitions(np.zeros((length, num_envs), np.int32), columns)
    memory = buffer.jit_insert.lower(replay, block).compile().memory_analysis()
    stored = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    assert stored > capacity * num_envs * 4 * 5
    assert memory.alias_size_in_bytes >= stored
    assert memory.temp_size_in_bytes < 0.1 * stored
    addresses = {name: column.unsafe_buffer_pointer() for name, column in replay.columns.items()}
    after = buffer.jit_insert(replay, block)
    assert all(column.is_deleted() for column in replay.columns.values())
    assert {name: column.unsafe_buffer_pointer() for name, column in after.columns.items()} == addresses


def test_what_is_stored_does_not_depend_on_the_order_of_writes():
    """Steps of one episode share a slot of `last_time`; a GPU writes them in any order, so they meet in a maximum."""
    columns = {name: np.ones((4, 3, size), np.float32) for name, size in SIZES.items()}
    block = transitions(np.zeros((4, 3), np.int32), columns)
    program = jax.make_jaxpr(buffer.insert)(buffer.init(SIZES, 8, 3), block).jaxpr
    assert sorted(eqn.primitive.name for eqn in program.eqns if eqn.primitive.name.startswith("scatter")) == [
        "scatter",
        "scatter",
        "scatter",
        "scatter-max",
    ]


def test_gathering_a_batch_costs_the_batch_and_not_the_ring():
    replay = jax.eval_shape(lambda: buffer.init(SIZES, 512, 8))
    indices = jax.ShapeDtypeStruct((6,), jnp.int32)
    gather = jax.jit(lambda replay, time, env: buffer.gather(replay, "state", time, env))
    memory = gather.lower(replay, indices, indices).compile().memory_analysis()
    assert memory.output_size_in_bytes == 6 * 3 * 4
    assert memory.temp_size_in_bytes < 1024

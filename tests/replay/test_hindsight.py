"""Hindsight goals against exact probabilities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from deepcrl.replay import buffer, hindsight
from deepcrl.types import Transition
from reference import hindsight as reference

CAPACITY, ENVS, DISCOUNT = 12, 2, 0.8


def chi_square_p(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """P-value of counts under probabilities; cells expected fewer than five times are joined to one."""
    assert probabilities.sum() == pytest.approx(1.0)
    expected = probabilities.ravel() * counts.sum()
    rare = expected < 5.0
    few = stats.poisson(expected[rare].sum()).sf(counts.ravel()[rare].sum() - 1)
    observed, expected = counts.ravel()[~rare], expected[~rare]
    many = stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue if len(observed) > 1 else 1.0
    return min(few, many)


@partial(jax.jit, static_argnums=2)
def draw_offsets(key: jax.Array, count: int, discount: float) -> jax.Array:
    counts = jnp.full(200_000, count, jnp.int32)
    return hindsight.truncated_geometric(jax.random.uniform(key, counts.shape), counts, discount)


@pytest.mark.parametrize("discount", [0.9, 0.99])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 500])
def test_offsets_are_geometric_and_renormalised_at_the_cut(count, discount):
    offsets = np.asarray(draw_offsets(jax.random.key(count), count, discount))
    counts = np.bincount(offsets, minlength=count + 1)
    assert len(counts) == count + 1
    if count == 0:
        assert counts[0] == 200_000
        return
    weights = discount ** np.arange(1, count + 1)
    assert counts[0] == 0
    assert chi_square_p(counts[1:], weights / weights.sum()) > 1e-3


@pytest.mark.parametrize("discount", [0.9, 0.99])
@pytest.mark.parametrize("count", [1, 2, 10, 500])
def test_offsets_invert_the_distribution_function_up_to_both_ends(count, discount):
    """Between two steps of the distribution function lies one offset; u = 0 is the first, u -> 1 the last."""
    edges = (1.0 - discount ** np.arange(count + 1)) / (1.0 - discount**count)
    known = int((np.diff(edges) > 1e-5).sum())  # steps that float32 can tell apart
    u = jnp.asarray([0.0, *(0.5 * (edges[1:] + edges[:-1]))[:known], np.nextafter(np.float32(1), np.float32(0))])
    found = jax.jit(hindsight.truncated_geometric, static_argnums=2)(u, jnp.full(len(u), count, jnp.int32), discount)
    assert found[:-1].tolist() == [1, *range(1, known + 1)]
    assert known <= int(found[-1]) <= count
    assert count > 10 or int(found[-1]) == count


@pytest.fixture(scope="module")
def wrapped() -> tuple[buffer.Replay, np.ndarray]:
    """A ring that has wrapped, with episodes that end inside, at its seam, at its newest row and in its oldest ones.

    Returns the ring and the episode ids [time, env] of the rows it holds, oldest first.
    """
    episodes = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3],
            [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4],
        ],
        np.int32,
    ).T
    replay = buffer.init({"state": 1}, CAPACITY, ENVS)
    for start, stop in [(0, 7), (7, 14), (14, 19)]:
        ids = jnp.asarray(episodes[start:stop])
        times = jnp.broadcast_to(jnp.arange(start, stop, dtype=jnp.float32)[:, None, None], (*ids.shape, 1))
        block = Transition(times, times, times, times, ids > 0, ids > 0, ids > 0, ids)
        replay = buffer.jit_insert(replay, block)
    return replay, episodes[-CAPACITY:]


sample_pairs = jax.jit(hindsight.sample_pairs, static_argnums=(2, 3, 4, 5))


def drawn(replay: buffer.Replay, variant: str, window: int, held: int = CAPACITY, n: int = 200_000, seed: int = 0):
    """Counts [env, time, future] of n pairs, times counted from the oldest row held."""
    pairs = sample_pairs(jax.random.key(seed), replay, (n,), DISCOUNT, variant, window)
    first = int(buffer.valid_times(replay)[0])
    env, time, future = (np.asarray(leaf) for leaf in (pairs.env, pairs.time - first, pairs.future - first))
    assert min(env.min(), time.min(), future.min()) >= 0
    assert max(time.max(), future.max()) < held
    counts = np.zeros((ENVS, held, held), int)
    np.add.at(counts, (env, time, future), 1)
    return counts


def test_pairs_of_variant_trajectory_have_the_enumerated_joint_distribution(wrapped):
    replay, episodes = wrapped
    joint = reference.trajectory_joint(episodes, DISCOUNT)
    counts = drawn(replay, "trajectory", 5)
    assert chi_square_p(counts, joint) > 1e-3
    assert counts[joint < 1e-5].sum() == 0


@pytest.mark.parametrize("window", [2, 5, CAPACITY, 1000])
def test_pairs_of_variant_window_have_the_enumerated_joint_distribution(wrapped, window):
    replay, episodes = wrapped
    joint = reference.window_joint(episodes, DISCOUNT, window)
    counts = drawn(replay, "window", window)
    assert chi_square_p(counts, joint) > 1e-3
    assert counts[joint < 1e-5].sum() == 0
    # Never beyond the window, and the newest row is never the earlier one.
    assert all(future - time < window for _, time, future in np.argwhere(counts))
    assert counts[:, -1].sum() == 0


def test_pairs_of_variant_absorbing_have_the_enumerated_joint_distribution(wrapped):
    """Episodes 0 and 2 of the first environment and 1 of the second were terminated, the others truncated or go on."""
    _, episodes = wrapped
    last = np.concatenate([episodes[1:] != episodes[:-1], np.zeros((1, ENVS), bool)])
    terminated = last & np.stack([np.isin(episodes[:, 0], [0, 2]), np.isin(episodes[:, 1], [1])], axis=1)
    ids, rows = jnp.asarray(episodes), jnp.zeros((*episodes.shape, 1))
    block = Transition(rows, rows, rows, rows, ids > 9, jnp.asarray(terminated), ids > 9, ids)
    replay = buffer.jit_insert(buffer.init({"terminated": 1}, CAPACITY, ENVS), block)
    pairs = jax.tree.map(np.asarray, sample_pairs(jax.random.key(3), replay, (200_000,), DISCOUNT, "absorbing", 5))
    reached, ended = np.zeros((ENVS, CAPACITY, CAPACITY), int), np.zeros((ENVS, CAPACITY), int)
    alive = ~pairs.ended
    np.add.at(reached, (pairs.env[alive], pairs.time[alive], pairs.future[alive]), 1)
    np.add.at(ended, (pairs.env[~alive], pairs.time[~alive]), 1)
    expected = reference.absorbing_joint(episodes, terminated, DISCOUNT)
    counts, joint = (np.concatenate([part.ravel() for part in parts]) for parts in ((reached, ended), expected))
    assert chi_square_p(counts, joint) > 1e-3
    assert counts[joint == 0].sum() == 0
    assert ended.sum() > 20_000


@pytest.mark.parametrize("variant", ["trajectory", "window"])
def test_futures_lie_in_the_same_episode_and_only_last_steps_are_paired_with_themselves(wrapped, variant):
    replay, episodes = wrapped
    counts = drawn(replay, variant, CAPACITY)
    for env, time, future in np.argwhere(counts):
        assert episodes[time, env] == episodes[future, env]
        last = time == CAPACITY - 1 or episodes[time + 1, env] != episodes[time, env]
        assert (future == time) if last else (future > time)


def test_the_two_variants_differ_where_the_test_can_see_it(wrapped):
    """The chi-square test above tells the two variants, and a discount of 0.9 from one of 0.8, apart."""
    replay, episodes = wrapped
    trajectory, window = drawn(replay, "trajectory", 5), drawn(replay, "window", 5)
    assert chi_square_p(window, reference.trajectory_joint(episodes, DISCOUNT)) < 1e-12
    assert chi_square_p(trajectory, reference.window_joint(episodes, DISCOUNT, 5)) < 1e-12
    assert chi_square_p(trajectory, reference.trajectory_joint(episodes, 0.9)) < 1e-12


@pytest.mark.parametrize("variant", ["trajectory", "window"])
def test_a_ring_that_is_not_yet_full_gives_only_rows_it_holds(variant):
    episodes = np.array([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]], np.int32).T
    ids = jnp.asarray(episodes)
    rows = jnp.zeros((*ids.shape, 1))
    block = Transition(rows, rows, rows, rows, ids > 0, ids > 0, ids > 0, ids)
    replay = buffer.jit_insert(buffer.init({"state": 1}, CAPACITY, ENVS), block)
    joint = reference.trajectory_joint(episodes, DISCOUNT)
    if variant == "window":
        joint = reference.window_joint(episodes, DISCOUNT, 1000)
    assert chi_square_p(drawn(replay, variant, 1000, held=5), joint) > 1e-3


@pytest.mark.parametrize("variant", ["trajectory", "window"])
def test_draws_are_independent_and_each_key_is_used_once(wrapped, variant, keys_used_once):
    replay, _ = wrapped
    pairs = sample_pairs(jax.random.key(1), replay, (400, 50), DISCOUNT, variant, 5)
    for leaf in pairs[:3]:
        values = np.asarray(leaf, float)
        values = (values - values.mean()) / values.std()
        assert abs((values[1:] * values[:-1]).mean()) < 5 / np.sqrt(values.size)
        assert abs((values[:, 1:] * values[:, :-1]).mean()) < 5 / np.sqrt(values.size)
    # Environment and time do not depend on each other, as they would if they were drawn from one key.
    env, time = (np.asarray(leaf, float).ravel() for leaf in (pairs.env, pairs.time))
    assert abs(np.corrcoef(env, time)[0, 1]) < 5 / np.sqrt(env.size)

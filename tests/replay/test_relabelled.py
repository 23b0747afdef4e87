"""Rows with hindsight goals: which are drawn, against exact probabilities, and what each holds, against NumPy."""

from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from deepcrl.algorithms import agent_defaults, build
from deepcrl.config import Config, EnvConfig, NetworkConfig, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer, hindsight
from deepcrl.types import Transition
from reference import td as reference

CAPACITY, ENVS = 12, 2
STRATEGIES, SHARES = get_args(hindsight.HerStrategy), (0.0, 0.8, 1.0)
SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=8, success_radius=0.5)
# Episode 0 of the first environment is cut by the ring; its episode 1 starts in the oldest rows. The newest are
# unfinished: the row that ends them, or does not, is yet to come.
EPISODES = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3],
        [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4],
    ],
    np.int32,
).T
TERMINATED = [(0, 0), (2, 0), (2, 1)]
"""(episode, env) that ended by termination; the other finished ones were truncated."""


class Stored(NamedTuple):
    """A ring that has wrapped, and every step ever inserted in it, as NumPy arrays by absolute time."""

    replay: buffer.Replay
    steps: Transition


@pytest.fixture(scope="module")
def wrapped() -> Stored:
    length = len(EPISODES)
    rng = np.random.default_rng(0)
    draw = lambda size: rng.normal(size=(length, ENVS, size)).astype(np.float32)  # noqa: E731
    ends = np.concatenate([EPISODES[1:] != EPISODES[:-1], np.zeros((1, ENVS), bool)])
    terminated = np.zeros((length, ENVS), bool)
    for episode, env in TERMINATED:
        terminated[:, env] |= ends[:, env] & (EPISODES[:, env] == episode)
    # Next states are drawn on their own: what follows a row in the ring is never taken for its outcome.
    columns: list[Any] = [draw(5), draw(3), draw(2), draw(5), ends & False, terminated, ends & ~terminated, EPISODES]
    steps = Transition(*columns)
    sizes = {"state": 5, "action": 3, "goal": 2, "next_state": 5, "terminated": 1}
    replay = buffer.init(sizes, CAPACITY, ENVS)
    for start, stop in [(0, 7), (7, 14), (14, length)]:
        block = jax.tree.map(lambda leaf: jnp.asarray(leaf[start:stop]), steps)  # noqa: B023
        replay = buffer.jit_insert(replay, block)
    return Stored(replay, steps)


def drawn(replay: buffer.Replay, strategy: Any, share: float, held: int = CAPACITY, n: int = 200_000) -> np.ndarray:
    """Counts [env, time, outcome, relabelled] of n rows, times counted from the oldest row held."""
    rows = jax.tree.map(np.asarray, hindsight.sample_relabelled(jax.random.key(0), replay, (n,), strategy, share))
    first = int(buffer.valid_times(replay)[0])
    time, outcome = rows.time - first, rows.outcome - first
    assert min(rows.env.min(), time.min(), outcome.min()) >= 0
    assert max(time.max(), outcome.max()) < held
    counts = np.zeros((ENVS, held, held, 2), int)
    np.add.at(counts, (rows.env, time, outcome, rows.relabelled.astype(int)), 1)
    return counts


def fit(counts: np.ndarray, joint: np.ndarray) -> float:
    """P-value of the counts under the joint distribution; 0 if something impossible was drawn."""
    assert joint.sum() == pytest.approx(1.0)
    possible = joint > 0.0
    if counts[~possible].any():
        return 0.0
    expected = counts.sum() * joint[possible]
    assert expected.min() > 50.0
    return stats.chisquare(counts[possible], expected).pvalue


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_have_the_enumerated_joint_distribution(wrapped, strategy, share):
    joint = reference.relabelled_joint(EPISODES[-CAPACITY:], strategy, share)
    assert fit(drawn(wrapped.replay, strategy, share), joint) > 1e-3


def test_the_chi_square_test_tells_strategies_and_shares_apart(wrapped):
    counts = {strategy: drawn(wrapped.replay, strategy, 0.8) for strategy in STRATEGIES}
    for strategy in STRATEGIES:
        for other in STRATEGIES:
            joint = reference.relabelled_joint(EPISODES[-CAPACITY:], other, 0.8)
            assert (fit(counts[strategy], joint) > 1e-3) == (strategy == other)
        assert fit(counts[strategy], reference.relabelled_joint(EPISODES[-CAPACITY:], strategy, 0.78)) < 1e-12


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_ring_that_is_not_yet_full_gives_only_rows_it_holds(wrapped, strategy):
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[6:11]), wrapped.steps)
    replay = buffer.jit_insert(buffer.init({"state": 5}, CAPACITY, ENVS), first)
    joint = reference.relabelled_joint(EPISODES[6:11], strategy, 0.8)
    assert fit(drawn(replay, strategy, 0.8, held=5), joint) > 1e-3


def test_draws_are_independent_and_each_key_is_used_once(wrapped, keys_used_once):
    rows = hindsight.sample_relabelled(jax.random.key(1), wrapped.replay, (400, 50), "mixed", 0.8)
    for leaf in rows:
        values = np.asarray(leaf, float)
        values = (values - values.mean()) / values.std()
        assert abs((values[1:] * values[:-1]).mean()) < 5 / np.sqrt(values.size)
        assert abs((values[:, 1:] * values[:, :-1]).mean()) < 5 / np.sqrt(values.size)


def configured(name: str, **changes):
    config = Config(EnvConfig("none"), agent_defaults(name), NetworkConfig(depth=2, block_size=2, width=4))
    return build(override(config, {f"agent.{key}": value for key, value in changes.items()}), SPEC)


@pytest.mark.parametrize("name", ["sac_her", "td3_her"])
def test_every_row_holds_its_step_and_the_goal_part_of_the_outcomes_next_state_or_the_commanded_goal(wrapped, name):
    steps, first = wrapped.steps, len(EPISODES) - CAPACITY
    everything = [
        (time, env, outcome, relabelled)
        for env in range(ENVS)
        for time in range(first, len(EPISODES))
        for outcome in range(time, len(EPISODES))
        if EPISODES[time, env] == EPISODES[outcome, env]
        for relabelled in (False, True)
    ]
    time, env, outcome, relabelled = (np.array(column) for column in zip(*everything, strict=True))
    indices: Any = (*(jnp.asarray(x, jnp.int32) for x in (time, env, outcome)), jnp.asarray(relabelled))
    algorithm = configured(name)
    assert set(algorithm.columns) == set(wrapped.replay.columns)
    found = jax.tree.map(np.asarray, jax.jit(algorithm.relabel)(wrapped.replay, hindsight.Relabelled(*indices)))
    np.testing.assert_array_equal(found.state, steps.state[time, env])
    np.testing.assert_array_equal(found.action, steps.action[time, env])
    np.testing.assert_array_equal(found.next_state, steps.next_state[time, env])
    goals = [
        [steps.next_state[j, n, 3], steps.next_state[j, n, 1]] if yes else list(steps.goal[i, n])
        for i, n, j, yes in everything
    ]
    np.testing.assert_array_equal(found.goal, np.array(goals))
    assert found.terminated.dtype == bool
    np.testing.assert_array_equal(found.terminated, steps.terminated[time, env])
    # Both kinds of end are among the rows, and only one of them is told.
    assert found.terminated.any()
    truncated = np.asarray(steps.truncated)[time, env]
    assert truncated.any()
    assert not found.terminated[truncated].any()


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_the_settings_choose_strategy_and_share(wrapped, name):
    """The algorithm draws what `sample_relabelled` draws from the same key; "sac" and "td3" replace no goal."""
    key, shape = jax.random.key(2), (7, 30)
    draws = []
    for strategy in STRATEGIES:
        draws.append(configured(name, her=strategy, her_share=0.6).draw(key, wrapped.replay, shape))
        expected = hindsight.sample_relabelled(key, wrapped.replay, shape, strategy, 0.6)
        jax.tree.map(np.testing.assert_array_equal, draws[-1], expected)
        assert 0.4 < np.mean(draws[-1].relabelled) < 0.8
        assert all((draws[-1].outcome != other.outcome).any() for other in draws[:-1])
    assert not configured(name).draw(key, wrapped.replay, shape).relabelled.any()
    assert 0.6 < np.mean(configured(f"{name}_her").draw(key, wrapped.replay, shape).relabelled) < 0.95


def test_every_update_of_a_collection_mixes_anew(wrapped):
    """One coin for all updates' k-th row would leave each column all last steps, or all drawn ones."""
    rows = hindsight.sample_relabelled(jax.random.key(3), wrapped.replay, (200, 50), "mixed", 1.0)
    left = buffer.steps_left(wrapped.replay, rows.time, rows.env)
    last = np.asarray(rows.outcome == rows.time + left).mean(axis=0)
    assert ((last > 0.5) & (last < 0.95)).all()

"""Steps with a later step of their trajectory, of each distribution, against exact probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from deepcrl.replay import buffer, hindsight
from deepcrl.types import Transition

CAPACITY, ENVS, DISCOUNT = 9, 3, 0.7
SHAPE = (200, 500)
DISTRIBUTIONS = ["geometric", "uniform", "final"]
# Episode ids from the first step to the newest. The ring holds the last nine, and its seam lies between the third and
# the fourth of them: episodes that lie across it, that begin at it, that lost their first steps, of one step.
EPISODES = np.array(
    [
        [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3],
        [0, 1, 2, 2, 2, 3, 3, 3, 4, 5, 5, 5, 5, 5, 5],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
).T


def joint(episodes: np.ndarray, distribution: str, discount: float = DISCOUNT) -> np.ndarray:
    """P[env, time, future], one stored step after the other."""
    length, num_envs = episodes.shape
    table = np.zeros((num_envs, length, length))
    for env in range(num_envs):
        for time in range(length):
            later = [t for t in range(time + 1, length) if episodes[t, env] == episodes[time, env]]
            weights = {
                "geometric": [discount ** (t - time) for t in later],
                "uniform": [1.0 for _ in later],
                "final": [float(t == later[-1]) for t in later],
            }[distribution]
            for t, weight in zip(later, weights):
                table[env, time, t] = weight / sum(weights)
            if not later:
                table[env, time, time] = 1.0
    return table / (num_envs * length)


def stored(*blocks: np.ndarray) -> buffer.Replay:
    """A ring into which these blocks of episode ids were inserted."""
    replay = buffer.init({"state": 1}, CAPACITY, ENVS)
    for block in blocks:
        ids = jnp.asarray(block, jnp.int32)
        rows = jnp.zeros((*ids.shape, 1))
        replay = buffer.jit_insert(replay, Transition(rows, rows, rows, rows, ids > 0, ids > 0, ids > 0, ids))
    return replay


HELD = EPISODES[-CAPACITY:]


@pytest.fixture(scope="module")
def wrapped() -> buffer.Replay:
    """A ring that has wrapped; it holds HELD."""
    return stored(EPISODES[:5], EPISODES[5:10], EPISODES[10:])


sample_futures = jax.jit(hindsight.sample_futures, static_argnums=(2, 3, 4))


def drawn(replay: buffer.Replay, distribution: str) -> np.ndarray:
    """Environment, time and future, each of SHAPE, times counted from the oldest step held; no key is used twice."""
    # The folder's switch is named again: it is not on yet while a module's fixtures are made, and costs a compilation.
    with jax.debug_key_reuse(True), jax.numpy_rank_promotion("raise"):
        pairs = sample_futures(jax.random.key(0), replay, SHAPE, distribution, DISCOUNT)
    assert pairs.ended is None
    first = int(buffer.valid_times(replay)[0])
    found = np.stack([pairs.env, pairs.time - first, pairs.future - first])
    assert found.shape == (3, *SHAPE)
    assert found.min() >= 0
    return found


def counted(found: np.ndarray, held: int) -> np.ndarray:
    """Counts [env, time, future]."""
    counts = np.zeros((ENVS, held, held), int)
    np.add.at(counts, tuple(found.reshape(3, -1)), 1)
    return counts


def p_value(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """Of a chi-square test; 0 where something impossible was drawn."""
    assert probabilities.sum() == pytest.approx(1.0)
    possible = probabilities > 0.0
    if counts[~possible].any():
        return 0.0
    expected = probabilities[possible] * counts.sum()
    assert expected.min() > 50.0
    return stats.chisquare(counts[possible], expected).pvalue


@pytest.fixture(scope="module")
def draws(wrapped) -> dict[str, np.ndarray]:
    """From the wrapped ring, of each distribution."""
    return {distribution: drawn(wrapped, distribution) for distribution in DISTRIBUTIONS}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_steps_and_futures_have_the_enumerated_joint_distribution(draws, distribution):
    assert p_value(counted(draws[distribution], CAPACITY), joint(HELD, distribution)) > 1e-3


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_ring_that_is_not_yet_full_gives_only_steps_it_holds(distribution):
    counts = counted(drawn(stored(EPISODES[:5]), distribution), 5)
    assert p_value(counts, joint(EPISODES[:5], distribution)) > 1e-3


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_last_steps_alone_are_paired_with_themselves(draws, distribution):
    seen = {(env, time) for env, time, future in draws[distribution].reshape(3, -1).T if time == future}
    newest = {(env, CAPACITY - 1) for env in range(ENVS)}
    ends = {(env, time) for time, env in np.argwhere(HELD[1:] != HELD[:-1])}
    assert len(ends) == 4
    assert seen == newest | ends


def test_the_distributions_and_discounts_differ_where_the_test_can_see_it(draws):
    for distribution in DISTRIBUTIONS:
        counts = counted(draws[distribution], CAPACITY)
        others = [joint(HELD, other) for other in DISTRIBUTIONS if other != distribution]
        others += [joint(HELD, "geometric", discount) for discount in (DISCOUNT - 0.05, DISCOUNT + 0.05)]
        assert all(p_value(counts, other) < 1e-12 for other in others)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_pairs_are_drawn_independently(draws, distribution):
    env, time, future = draws[distribution].astype(float)
    for values in (env, time, future - time):
        values = (values - values.mean()) / values.std()
        for neighbours in (values[1:] * values[:-1], values[:, 1:] * values[:, :-1]):
            assert abs(neighbours.mean()) < 5.0 / np.sqrt(neighbours.size)

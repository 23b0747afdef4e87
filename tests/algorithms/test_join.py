"""Joined algorithms: each learns as it would alone, from its own rows and with its own random numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import algorithms
from deepcrl.algorithms import learners
from deepcrl.config import Config, EnvConfig, NetworkConfig, agent_defaults, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.program import transition_sizes
from deepcrl.replay import buffer
from deepcrl.types import Transition
from reference.numeric import assert_close
from reference.rollouts import stub

SPEC = EnvSpec(state_size=4, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=8, success_radius=0.5)
NETWORK = NetworkConfig(depth=4, block_size=2, width=8)
LEARNERS = ("agent.max_entropy=True", "agent.goal_sampling=final")
PREFIXES = ("", "learner_1/", "learner_2/")

equal = partial(assert_close, rtol=0, atol=0)


@pytest.fixture(scope="module")
def members():
    """The first two sample the same way; the third draws other futures. Each is compiled by itself, joined or not, so
    that even the last bits agree."""
    config = override(Config(EnvConfig("none"), agent_defaults("gcbc"), NETWORK), {"learners": LEARNERS})
    built = [algorithms.build(own, SPEC) for own in learners.configs(config)]
    return [own._replace(update=jax.jit(own.update), diagnose=jax.jit(own.diagnose)) for own in built]


@pytest.fixture(scope="module")
def replay():
    rng = np.random.default_rng(0)

    def draw(size):
        return jnp.asarray(rng.normal(size=(24, 4, size)), jnp.float32)

    no, episode_id = jnp.zeros((24, 4), bool), jnp.tile(jnp.arange(24)[:, None] // 8, (1, 4))
    steps = Transition(draw(4), jnp.tanh(draw(3)), draw(2), draw(4), no, no, no, episode_id)
    empty = buffer.init(buffer.column_sizes(("state", "action"), transition_sizes(SPEC)), 24, 4)
    return buffer.insert(empty, steps)


def keys_of_updates(key) -> list[jax.Array]:
    """What the join of three algorithms gives each of them, as they say."""
    told = stub(update=lambda agent, batch, key: (agent, {"key": jax.random.key_data(key)}))
    _, metrics = learners.join([told] * 3).update((None,) * 3, (None,) * 3, key)
    assert metrics.keys() == {f"{prefix}key" for prefix in PREFIXES}
    return [jax.random.wrap_key_data(metrics[f"{prefix}key"]) for prefix in PREFIXES]


def keys_of_inits(key) -> list[jax.Array]:
    return list(learners.join([stub(init=lambda key: key)] * 3).init(key))


@pytest.mark.parametrize("given", [keys_of_updates, keys_of_inits])
def test_the_collector_has_the_key_as_it_is_and_learners_what_it_cannot_split_off(given):
    key = jax.random.key(3)
    collectors, *others = (tuple(jax.random.key_data(own).tolist()) for own in given(key))
    assert collectors == tuple(jax.random.key_data(key).tolist())
    split = {tuple(row) for row in jax.random.key_data(jax.random.split(key, 1000)).tolist()}
    assert len({collectors, *others} | split) == 1000 + 3


def test_every_column_is_stored_once():
    columns = [("state", "action"), ("action", "goal", "state"), ("terminated",)]
    joined = learners.join([stub(columns=own) for own in columns])
    assert joined.columns == ("state", "action", "goal", "terminated")


def test_members_that_sample_the_same_way_have_the_same_rows(members, replay):
    key, joined = jax.random.key(0), learners.join(members)
    indices = joined.draw(key, replay, (3, 16))
    for own, found in zip(members, indices, strict=True):
        equal(found, own.draw(key, replay, (3, 16)))
    equal(indices[1], indices[0])
    assert (indices[2].future != indices[0].future).any()
    batches = joined.relabel(replay, jax.tree.map(lambda leaf: leaf[-1], indices))
    equal(batches[1], batches[0])
    assert batches[0].goal.shape == (16, 2)
    assert (batches[2].goal != batches[0].goal).any()


def test_each_member_is_updated_and_diagnosed_as_it_is_alone(members, replay):
    joined, key = learners.join(members), jax.random.key(2)
    agents = joined.init(jax.random.key(1))
    indices = jax.tree.map(lambda leaf: leaf[1], joined.draw(jax.random.key(0), replay, (3, 16)))
    batches = joined.relabel(replay, indices)
    found, metrics = joined.update(agents, batches, key)
    diagnostics = joined.diagnose(found, batches)
    expected, diagnosed = {}, {}
    for i, (own, own_key, prefix) in enumerate(zip(members, keys_of_updates(key), PREFIXES, strict=True)):
        batch = own.relabel(replay, indices[i])
        agent, values = own.update(agents[i], batch, own_key)
        equal(found[i], agent)
        expected |= {f"{prefix}{name}": value for name, value in values.items()}
        diagnosed |= {f"{prefix}{name}": value for name, value in own.diagnose(agent, batch).items()}
        if i:  # the keys are seen to matter
            assert abs(own.update(agents[i], batch, key)[1]["entropy"] - values["entropy"]) > 1e-3
    equal(metrics, expected)
    equal(diagnostics, diagnosed)

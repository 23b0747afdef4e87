"""Rows of a collection: what was before each step, what it led to, and the random numbers that it had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import algorithms, make_env, override, preset
from deepcrl.collect import make_collect
from deepcrl.types import Transition
from reference.numeric import assert_close
from reference.rollouts import CHANCE, cliff, stub, teleport

SPEED = 0.6
"""Metres per step at full action."""
NUM_ENVS, STEPS, EPISODE_LENGTH, EDGE = 8, 7, 3, 4.8


def act(agent, state, goal, key, mode):
    """Along +y as chance says, and aside as state and goal say, never as far as a wall."""
    assert mode == "sample"
    ahead = 0.3 + 0.6 * jax.random.uniform(key, (len(state),))
    return agent * jnp.stack([0.2 * jnp.sin(state[:, 0] + goal[:, 1]), ahead], axis=-1)


def walk(env, agent, state, key, edge: float) -> tuple[Transition, dict[str, np.ndarray]]:
    """Rows, and where the walk stands at last, from positions and counts in NumPy; `env` only draws what follows an
    episode."""
    step = jax.jit(env.step)
    position, goal = np.asarray(state.state), np.asarray(state.goal)
    episode_id = count = np.zeros(NUM_ENVS, int)
    rows = []
    for step_key in jax.random.split(key, STEPS):
        action = np.asarray(act(agent, position, goal, step_key, "sample"))
        state = step(state, action)
        reached, count = position + SPEED * action, count + 1
        success = np.hypot(*(reached - goal).T) < env.spec.success_radius
        fell = reached[:, 1] > edge
        late = (count == EPISODE_LENGTH) & ~fell
        rows.append(Transition(position, action, goal, reached, success, fell, late, episode_id))
        ended = fell | late
        position, goal = np.where(ended[:, None], (state.state, state.goal), (reached, goal))
        episode_id, count = episode_id + ended, np.where(ended, 0, count)
    last = {"state": position, "goal": goal, "next_state": reached, "episode_id": episode_id, "episode_step": count}
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows), last


@pytest.mark.parametrize("name", ["point_u_maze", "cliff"])
def test_rows_are_those_of_a_walk_step_by_step(name):
    env = make_env(name, episode_length=EPISODE_LENGTH) if name != "cliff" else cliff(EDGE, EPISODE_LENGTH)
    # The first goal is near: its episodes succeed, up to their last step, and the following ones do not.
    first = env.reset(jax.random.key(0), NUM_ENVS, {"goal": np.array([4.0, 4.7])})
    agent, key = jnp.float32(0.9), jax.random.key(1)
    expected, last = walk(env, agent, first, key, EDGE if name == "cliff" else np.inf)
    end, found = make_collect(env, stub(act=act), "sample", STEPS)(agent, first, key)
    for field in Transition._fields:
        assert_close(getattr(found, field), getattr(expected, field), atol=1e-5)
    assert_close({field: getattr(end, field) for field in last}, last, atol=1e-5)

    assert found.terminated.any() == (name == "cliff")
    assert found.truncated.any()
    assert found.success[1].any()
    assert not found.success.all()
    # Episodes begin elsewhere than the one before ended; steps begin where the last one did.
    ended = np.asarray(found.terminated | found.truncated)
    apart = np.linalg.norm(found.state[1:] - found.next_state[:-1], axis=-1)
    np.testing.assert_array_equal(apart > 0.1, ended[:-1])


def test_host_and_device_collect_the_same_rows():
    config = override(preset("point_u_maze"), {"network.depth": 4, "network.width": 8})
    found = []
    for on_device in (True, False):
        env = cliff(4.5, EPISODE_LENGTH, on_device)
        algorithm = algorithms.build(config, env.spec)
        agent, first = algorithm.init(jax.random.key(0)), env.reset(jax.random.key(1), 32)
        found.append(make_collect(env, algorithm, "sample", STEPS)(agent, first, jax.random.key(2)))
    device, host = found
    assert_close(host, device, atol=1e-5)
    rows = host[1]
    assert rows.terminated.any()
    assert rows.truncated.any()
    assert [leaf.dtype for leaf in rows] == [leaf.dtype for leaf in device[1]]


@pytest.mark.parametrize("on_device", [True, False])
def test_random_numbers_are_new_at_every_step_in_every_environment(on_device):
    env = teleport(EPISODE_LENGTH, on_device)
    collect = make_collect(env, CHANCE, "sample", STEPS)
    numbers, state = [], env.reset(jax.random.key(0), NUM_ENVS)
    for index in range(2):
        state, rows = collect(None, state, jax.random.key(index))
        np.testing.assert_array_equal(rows.action, rows.next_state)
        numbers.append(rows.action)
    assert len(np.unique(numbers)) == 2 * STEPS * NUM_ENVS * 2

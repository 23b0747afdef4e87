"""Recorded episodes: the states in which actions were taken, up to the first end, chosen over goals and outcomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.point import point_engine, point_task
from deepcrl.envs.registry import make_env
from deepcrl.render import record

SPEED = 0.6
"""Metres per step at full action."""


@pytest.fixture(scope="module")
def cliff():
    """The u maze's first corridor, along +y, that ends at y = 9 m in a fall."""
    task = point_task(LAYOUTS["u"], 40)._replace(terminated=lambda physics: physics["qpos"][1] > 9.0)
    return vector.build(task, point_engine(LAYOUTS["u"]), "fresh")


def along_y(state, goal, step):
    return np.tile(np.float32([0, 1]), (len(state), 1))


def idle(state, goal, step):
    return np.zeros((len(state), 2), np.float32)


def test_ends_with_the_first_failure(cliff):
    recording = record(cliff, along_y, 0.1, episodes=3)
    assert (len(recording.episodes), recording.step_seconds, recording.success_radius) == (3, 0.1, 0.5)
    for one in recording.episodes:
        np.testing.assert_allclose(np.diff(one.qpos[:, 1]), SPEED, atol=1e-5)
        assert one.qpos[0, 1] < 4.11
        # The last action, not the last frame, leads beyond the edge.
        assert one.qpos[-1, 1] <= 9.0 < one.qpos[-1, 1] + SPEED
        assert one.failed
        np.testing.assert_allclose(one.distance, np.linalg.norm(one.qpos - one.goal, axis=1), atol=1e-5)
        np.testing.assert_array_equal(one.success, one.distance < 0.5)


def test_ends_at_the_time_limit(cliff):
    for one in record(cliff, idle, 0.1, episodes=2).episodes:
        assert len(one.qpos) == 40
        assert not one.failed
        assert not one.reached
        np.testing.assert_array_equal(one.qpos, one.qpos[:1].repeat(40, axis=0))


def test_goals_differ_and_both_outcomes_are_shown(cliff):
    """Along the corridor one goal of the u maze is passed, the others are missed."""
    episodes = record(cliff, along_y, 0.1, episodes=4).episodes
    assert len({tuple(one.goal[0]) for one in episodes}) == 4
    assert [one.reached for one in episodes].count(True) == 1
    assert next(one for one in episodes if one.reached).goal[0].tolist() == [4, 8]


def test_the_actor_sees_state_goal_and_step(cliff):
    seen = []

    def act(state, goal, step):
        seen.append((state, goal, step))
        return idle(state, goal, step)

    record(cliff, act, 0.1, episodes=1, seed=3)
    assert [step for *_, step in seen] == list(range(40))
    start = cliff.reset(jax.random.key(3), 4)
    np.testing.assert_array_equal(seen[0][0], start.state)
    np.testing.assert_array_equal(seen[-1][1], start.goal)


def test_seeds_decide(cliff):
    first, again, other = (record(cliff, idle, 0.1, episodes=2, seed=seed).episodes for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0].qpos, again[0].qpos)
    assert not np.array_equal(first[0].qpos, other[0].qpos)


def test_host_environments():
    env = make_env("ant", engine="mujoco", episode_length=3)
    recording = record(env, lambda state, goal, step: np.zeros((len(state), 8), np.float32), 0.05, episodes=1)
    (one,) = recording.episodes
    assert one.qpos.shape == (3, 17)
    np.testing.assert_array_equal(one.achieved, one.qpos[:, :2])
    np.testing.assert_allclose(one.qpos[:, 15:], one.goal, atol=1e-5)
    assert 0 < np.abs(np.diff(one.qpos[:, :15], axis=0)).max() < 0.5
    assert jnp.isfinite(one.distance).all()

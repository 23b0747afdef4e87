"""The ball in a maze: its model against the release's, its observation, resets, force and walls."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.layouts import LAYOUTS, cells, wall_boxes
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.simple import SUBSTEPS, simple_model, simple_task

SAMPLES = 4096
NUM_ENVS = 3
MASS = 5 * 4 / 3 * np.pi * 0.25**3


@pytest.fixture(scope="module")
def model():
    return simple_model(LAYOUTS["u"])


@pytest.fixture(scope="module")
def env(model):
    return vector.build(simple_task(LAYOUTS["u"], None), mujoco_engine(model, SUBSTEPS), "fresh")


def test_model(model):
    assert (model.nq, model.nv, model.nu) == (4, 4, 2)
    assert [model.joint(i).name for i in range(4)] == ["ball_x", "ball_y", "target_x", "target_y"]
    np.testing.assert_array_equal(model.jnt_axis, [[1, 0, 0], [0, 1, 0]] * 2)
    np.testing.assert_array_equal(model.jnt_range, [[-100, 100]] * 4)
    assert model.body("ball").mass[0] == pytest.approx(MASS)
    np.testing.assert_array_equal(model.body("ball").pos, [0, 0, 0.75])
    assert model.geom("ball").size[0] == 0.25
    np.testing.assert_array_equal(model.dof_armature, [1, 1, 0, 0])
    assert not model.dof_damping.any()
    np.testing.assert_array_equal(model.actuator_gear[:, 0], [5, 5])
    assert not model.actuator_ctrllimited.any()
    assert model.opt.timestep * SUBSTEPS == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["u", "big", "hardest"])
def test_what_may_touch(name, pairs_that_may_touch):
    walls = [f"wall_{row}_{column}" for row, column, _, _ in wall_boxes(LAYOUTS[name])]
    expected = sorted(("ball", other) for other in ["floor", *walls])
    assert sorted(pairs_that_may_touch(simple_model(LAYOUTS[name]))) == expected


def test_observation(env):
    rng = np.random.default_rng(0)
    qpos, qvel = 4 + rng.uniform(-1, 1, (NUM_ENVS, 4)), rng.normal(size=(NUM_ENVS, 4))
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    np.testing.assert_array_equal(state.state, np.concatenate([qpos[:, :2], qvel[:, :2]], axis=1).astype(np.float32))
    after = env.step(state, rng.uniform(-1, 1, (NUM_ENVS, 2)))
    raw = np.concatenate([after.physics["qpos"][:, :2], after.physics["qvel"][:, :2]], axis=1)
    np.testing.assert_array_equal(after.state, raw.astype(np.float32))


@pytest.mark.parametrize("name", ["u", "big_eval_10"])
def test_reset(name, draw, keys_used_once):
    layout = LAYOUTS[name]
    qpos, qvel, goal = draw(simple_task(layout, None), SAMPLES)
    np.testing.assert_array_equal(qpos[:, :2], [[4, 4]] * SAMPLES)
    np.testing.assert_allclose(qvel[:, :2].std(axis=0), 0.1, rtol=0.06)
    np.testing.assert_allclose(qvel[:, :2].mean(axis=0), 0, atol=0.01)
    assert not qvel[:, 2:].any()
    np.testing.assert_array_equal(qpos[:, 2:], goal)
    found, counts = np.unique(goal, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, 4.0 * cells(layout, "G"))
    np.testing.assert_allclose(counts, SAMPLES / len(found), rtol=0.25)


def test_force(env):
    """Five newtons on mass and armature, nothing in the way; beyond a full action nothing changes."""
    start = {"qpos": [4, 4, 12, 12], "qvel": np.zeros(4)}
    action = np.array([[1, 0], [3, 0], [0, -0.5]], np.float32)
    after = env.step(env.reset(jax.random.key(0), NUM_ENVS, start), action)
    gain = 5 * 0.05 / (1 + MASS)
    np.testing.assert_allclose(after.physics["qvel"][:, :2], [[gain, 0], [gain, 0], [0, -gain / 2]], atol=1e-6)


def test_success(env):
    goals = [[4.49, 4], [4, 4.51], [4, 6.01]]
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": [4, 4, 0, 0], "qvel": np.zeros(4), "goal": goals})
    np.testing.assert_array_equal(state.success, [True, False, False])
    np.testing.assert_array_equal(state.grades["easy"], [True, True, False])


def test_walls_stop_the_ball(env):
    """Driven at the wall face x = 2 it stays a radius away; along the corridor it goes on."""
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": [4, 4, 0, 0], "qvel": np.zeros(4)})
    least = np.inf
    for _ in range(60):
        state = env.step(state, np.array([[-1, 0], [0, 1], [0, 0]], np.float32))
        least = min(least, state.state[0, 0])
    assert 2.1 < least < 2.3
    assert state.state[1, 1] > 10
    np.testing.assert_allclose(state.state[2, :2], 4, atol=1e-6)
    assert not state.terminated.any()


def test_the_floor_is_out_of_reach(model):
    data = mujoco.MjData(model)
    data.qpos = 4, 4, 0, 0
    mujoco.mj_step(model, data, 100)
    assert data.ncon == 0


def test_random_rollout(env, random_rollout):
    assert not any(state.terminated.any() for state in random_rollout(env))

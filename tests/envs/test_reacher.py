"""The reacher: its model against values compiled from Brax's file, its observation, resets, success and torques."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.reacher import SUBSTEPS, reacher_model, reacher_task

SAMPLES = 4096
NUM_ENVS = 3

# Mass, x of the centre of mass, and inertia about it, along the link and across.
BODIES = {
    "upper_arm": (0.03560471674068432, 0.05, 1.7383479349863525e-06, 3.9175660390264734e-05),
    # with the tip, 4.1887902 g at 0.11 m, fused to it
    "forearm": (0.039793506945470715, 0.0563157894736842, 1.905899543177808e-06, 5.283552571071552e-05),
}


@pytest.fixture(scope="module")
def model():
    return reacher_model()


@pytest.fixture(scope="module")
def env(model):
    return vector.build(reacher_task(None), mujoco_engine(model, SUBSTEPS), "fresh")


def tip(qpos):
    """Positions [N] in the plane as complex numbers."""
    return 0.1 * np.exp(1j * qpos[:, 0]) + 0.11 * np.exp(1j * (qpos[:, 0] + qpos[:, 1]))


def expected_state(qpos, qvel):
    """From raw coordinates; the tip's velocity as a difference of its positions."""
    here, step = tip(qpos), 1e-6
    velocity = (tip(qpos + step * qvel) - tip(qpos - step * qvel)) / (2 * step)
    columns = [np.cos(qpos[:, 0]), np.cos(qpos[:, 1]), np.sin(qpos[:, 0]), np.sin(qpos[:, 1])]
    columns += [here.real, here.imag, np.full(len(qpos), 0.01), velocity.real, velocity.imag, np.zeros(len(qpos))]
    return np.stack(columns, axis=1)


class TestModel:
    def test_coordinates(self, model):
        assert (model.nq, model.nv, model.nu) == (4, 4, 2)
        assert [model.joint(i).name for i in range(4)] == ["shoulder", "elbow", "target_x", "target_y"]

    @pytest.mark.parametrize("name", BODIES)
    def test_bodies(self, model, name):
        mass, centre, along, across = BODIES[name]
        body = model.body(name)
        np.testing.assert_allclose(body.mass, mass, rtol=1e-12)
        np.testing.assert_allclose(body.ipos, [centre, 0, 0], atol=1e-15)
        np.testing.assert_allclose(sorted(body.inertia), [along, across, across], rtol=1e-12)

    def test_frames(self, model):
        np.testing.assert_array_equal(model.body("upper_arm").pos, [0, 0, 0.01])
        np.testing.assert_array_equal(model.body("forearm").pos, [0.1, 0, 0])
        np.testing.assert_array_equal(model.body("target").pos, [0, 0, 0.01])

    def test_joints(self, model):
        np.testing.assert_array_equal(model.jnt_axis, [[0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 0]])
        np.testing.assert_array_equal(model.jnt_limited, [False, True, True, True])
        np.testing.assert_array_equal(model.jnt_range[1:], [[-3, 3], [-0.27, 0.27], [-0.27, 0.27]])
        np.testing.assert_array_equal(model.dof_armature, [1, 1, 0, 0])
        np.testing.assert_array_equal(model.dof_damping, [1, 1, 0, 0])

    def test_actuators(self, model):
        np.testing.assert_array_equal(model.actuator_trnid[:, 0], [0, 1])
        np.testing.assert_array_equal(model.actuator_gear[:, 0], [25, 25])
        np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1, 1]] * 2)

    def test_control_step(self, model):
        assert model.opt.timestep * SUBSTEPS == pytest.approx(0.04)
        np.testing.assert_array_equal(model.opt.gravity, [0, 0, -9.81])

    def test_nothing_touches(self, model, pairs_that_may_touch):
        assert pairs_that_may_touch(model) == []


def test_observation(env):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-2.5, 2.5, (NUM_ENVS, 4)), 5 * rng.normal(size=(NUM_ENVS, 4))
    qpos[:, 2:], qvel[:, 2:] = 0.1, 0.0
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    np.testing.assert_allclose(state.state, expected_state(qpos, qvel), atol=1e-5)
    after = env.step(state, rng.uniform(-1, 1, (NUM_ENVS, 2)))
    np.testing.assert_allclose(after.state, expected_state(after.physics["qpos"], after.physics["qvel"]), atol=1e-5)
    np.testing.assert_array_equal(after.achieved_goal, after.state[:, 4:7])


def test_the_tip_is_where_the_model_has_it(model):
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    for _ in range(10):
        data.qpos, data.qvel = rng.uniform(-2.5, 2.5, 4), rng.normal(size=4)
        mujoco.mj_forward(model, data)
        point, jacobian = data.geom("tip").xpos, np.zeros((3, 4))
        mujoco.mj_jac(model, data, jacobian, None, point, model.body("forearm").id)
        expected = expected_state(data.qpos[None], data.qvel[None])[0]
        np.testing.assert_allclose(point, expected[4:7], atol=1e-9)
        np.testing.assert_allclose(jacobian @ data.qvel, expected[7:], atol=1e-8)


def test_reset(draw, keys_used_once):
    qpos, qvel, goal = draw(reacher_task(None), SAMPLES)
    assert np.abs(qpos[:, :2]).max() <= 0.1
    np.testing.assert_allclose(qpos[:, :2].std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    assert np.abs(qvel[:, :2]).max() <= 0.005
    np.testing.assert_allclose(qvel[:, :2].std(axis=0), 0.005 / np.sqrt(3), rtol=0.05)
    assert not qvel[:, 2:].any()
    np.testing.assert_array_equal(qpos[:, 2:], goal[:, :2])
    np.testing.assert_allclose(goal[:, 2], 0.01)
    # Uniform in radius, so denser at the centre than uniform over the disc.
    radii, _ = np.histogram(np.linalg.norm(goal[:, :2], axis=1), bins=8, range=(0, 0.2))
    angles, _ = np.histogram(np.arctan2(goal[:, 1], goal[:, 0]), bins=8, range=(-np.pi, np.pi))
    np.testing.assert_allclose(radii, SAMPLES / 8, rtol=0.2)
    np.testing.assert_allclose(angles, SAMPLES / 8, rtol=0.2)


def test_success_is_within_five_centimetres_in_space(env):
    """With the arm straight the tip is at (0.21, 0, 0.01)."""
    goals = [[0.21, 0.049, 0.01], [0.21, 0.051, 0.01], [0.21, 0.04, 0.045]]
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": np.zeros(4), "qvel": np.zeros(4), "goal": goals})
    np.testing.assert_array_equal(state.success, [True, False, False])
    assert state.grades == {}
    np.testing.assert_allclose(state.distance, [0.049, 0.051, np.hypot(0.04, 0.035)], rtol=1e-5)


def test_torques(env):
    """From rest, 25 N m on one unit of inertia for 0.04 s, less the damping; beyond a full action nothing changes."""
    start = {"qpos": np.zeros(4), "qvel": np.zeros(4)}
    action = np.array([[1, 0], [7, 0], [0, -1]], np.float32)
    qvel = env.step(env.reset(jax.random.key(0), NUM_ENVS, start), action).physics["qvel"]
    np.testing.assert_array_equal(qvel[0], qvel[1])
    np.testing.assert_allclose(qvel[[0, 2], [0, 1]], [25 * (1 - np.exp(-0.04)), -25 * (1 - np.exp(-0.04))], rtol=0.01)


def test_random_rollout(env, random_rollout):
    states = random_rollout(env)
    assert not any(state.terminated.any() for state in states)


def test_episode_length():
    assert reacher_task(None).spec.episode_length == 1000
    assert reacher_task(7).spec.episode_length == 7

"""The spring engine against trajectories of the paper's own stack, to the decimals printed there."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.ant import ant_model, ant_task
from deepcrl.envs.humanoid import humanoid_model, humanoid_task, links_of
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.spring_engine import ANT, HUMANOID, spring_engine

pytest.importorskip("brax")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:brax.*")
"""Brax reads fields of MJX's data by their old names."""

ANT_START = [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
HUMANOID_START = [0, 0, 1.4, 1, *[0] * 20]
TOLERANCE = 1.5e-5
"""Of values printed with five decimals."""


def roll(env, qpos, actions):
    """EnvState before the first and after every action [steps, N, A], from `qpos` [N, nq] or [nq] at rest."""
    num_envs, nv = actions.shape[1], np.shape(qpos)[-1] - 1
    options = {"qpos": np.array(qpos, np.float32), "qvel": np.zeros(nv, np.float32)}
    env = env.compiled()
    states = [env.reset(jax.random.key(0), num_envs, options)]
    for action in actions:
        states.append(env.step(states[-1], jnp.asarray(action, jnp.float32)))
    return states


def positions(states, row):
    """Coordinates [1 + steps, nq] of one row."""
    return np.array([state.physics["qpos"][row] for state in states])


def assert_close(values, printed):
    np.testing.assert_allclose(values, printed, rtol=0, atol=TOLERANCE)


def humanoid_env(layout, time_step, auto_reset):
    model = humanoid_model(layout)
    task = humanoid_task(layout, None, links_of(model, unit_inertia=True))
    return model, vector.build(task, spring_engine(model, HUMANOID, time_step), auto_reset)


@pytest.fixture(scope="module")
def ants():
    """States of two ants: 0 does nothing, 1 drives all joints at half strength."""
    env = vector.build(ant_task(None, None), spring_engine(ant_model(None), ANT, 0.005), "never")
    actions = np.tile([[[0.0]], [[0.5]]], (1, 20, 8)).transpose(1, 0, 2)
    return roll(env, [*ANT_START, 10, 0], actions)


@pytest.fixture(scope="module")
def model_and_env():
    return humanoid_env(None, 0.003, "fresh")


@pytest.fixture(scope="module")
def humanoids(model_and_env):
    """States of two humanoids: 0 does nothing, 1 sends 0.2 to all motors."""
    actions = np.tile([[[0.0]], [[0.5]]], (1, 54, 17)).transpose(1, 0, 2)
    return roll(model_and_env[1], [*HUMANOID_START, 3, 0], actions)


class TestAnt:
    def test_standing(self, ants):
        path = positions(ants, 0)
        assert_close(path[1, 2], 0.54685)
        np.testing.assert_allclose(path[1, 8:15:2], [0.9966, -0.9966, -0.9966, 0.9966], atol=1e-4)
        assert_close(path[1, 7:15:2], 0)
        assert_close(path[20, 2], 0.54735)
        assert_close(path[20, 8:15:2], [0.98783, -0.98279, -0.98783, 0.98279])

    def test_driving(self, ants):
        path = positions(ants, 1)
        assert_close(path[1, :7], [0.00953, -0.00019, 0.54495, 0.99473, 0.00204, -0.02212, -0.10012])
        joints = [0.23257, 1.09959, 0.23409, -0.87627, 0.23198, -0.87777, 0.2326, 1.10128]
        assert_close(path[1, 7:15], joints)
        assert_close(path[10, :7], [0.05232, -0.01224, 0.4901, 0.97121, 0.02565, -0.11011, -0.20967])

    def test_the_marker_stays(self, ants):
        np.testing.assert_allclose(positions(ants, 1)[:, 15:], np.tile([10, 0], (21, 1)), atol=1e-5)

    def test_physics_are_small_arrays(self, ants):
        """Of floats, none empty: what a checkpoint of the environments stores."""
        assert all(leaf.dtype == jnp.float32 and leaf.size for leaf in jax.tree.leaves(ants[0].physics))
        assert jax.tree.map(jnp.shape, ants[0].physics) == jax.tree.map(jnp.shape, ants[-1].physics)


def test_ant_at_a_wall():
    """Walls in few boxes stop it as walls of one box per cell did."""
    layout = LAYOUTS["u"]
    env = vector.build(ant_task(layout, None), spring_engine(ant_model(layout), ANT, 0.005), "never")
    signs = np.where(np.arange(20) % 2 == 0, -1.0, 1.0)
    actions = signs[:, None, None] * np.array([1, -1, 1, 1, -1, -1, -1, 1.0])
    path = positions(roll(env, [2.9, 4.0, *ANT_START[2:], 4, 4], actions), 0)
    assert_close(path[1, :3], [2.89991, 3.99566, 0.54757])
    assert_close(path[10, :3], [2.91493, 4.11462, 0.4768])
    assert_close(path[20, :3], [2.92462, 4.11425, 0.41372])


class TestHumanoid:
    def test_driving(self, humanoids):
        path = positions(humanoids, 1)
        assert_close(path[1, :7], [0.00021, -0.00017, 1.39517, 0.99988, -0.00599, -0.00796, -0.01166])
        assert_close(path[1, 7:10], [0.03266, 0.007, 0.03261])
        assert_close(path[10, :7], [0.05043, 0.01108, 1.18989, 0.93806, -0.12712, -0.26832, -0.17856])

    def test_falls_when_it_does_nothing(self, humanoids):
        """At the very step of the paper's stack, brax 0.10.1; the next state is a fresh start."""
        heights = np.array([state.next_state[0, 2] for state in humanoids])
        assert_close(heights[40], 1.23354)
        assert_close(heights[54], 0.96096)
        assert [bool(state.terminated[0]) for state in humanoids] == [*[False] * 54, True]
        assert humanoids[-1].episode_id[0] == 1
        np.testing.assert_array_equal(humanoids[-1].state[0, :24], np.float32(HUMANOID_START))

    def test_every_entry_of_the_state(self, model_and_env, humanoids):
        """From the raw links: unit inertia, and no lag."""
        model, _ = model_and_env
        mass = model.body_mass[1:]
        joints = [model.jnt_dofadr[joint] for joint in model.actuator_trnid[:, 0]]
        force = np.zeros(25)
        force[joints] = 0.2 * np.array([350] * 11 + [100] * 6)
        for state, forces in ((humanoids[0], np.zeros(25)), (humanoids[7], force)):
            physics = {name: np.array(value[1], np.float64) for name, value in state.physics.items()}
            r = physics["com_position"] - mass @ physics["com_position"] / mass.sum()
            links = []
            for m, arm in zip(mass, r):
                links += [*(np.eye(3) + m * (arm @ arm * np.eye(3) - np.outer(arm, arm))).ravel(), m]
            share = (mass / mass.sum())[:, None]
            velocities = np.hstack([share * physics["com_velocity"], physics["com_angular_velocity"]])
            expected = np.concatenate([physics["qpos"], physics["qvel"], links, velocities.ravel(), forces])
            np.testing.assert_allclose(state.state[1], expected, rtol=2e-5, atol=2e-5)
        assert np.abs(velocities).max() > 0.1

    def test_a_start_is_where_mujoco_has_it(self, model_and_env):
        model, env = model_and_env
        rng = np.random.default_rng(0)
        qpos = rng.uniform(-1, 1, 26)
        qpos[3:7] /= np.linalg.norm(qpos[3:7])
        data = mujoco.MjData(model)
        data.qpos = qpos
        mujoco.mj_kinematics(model, data)
        physics = roll(env, qpos, np.zeros((0, 2, 17)))[0].physics
        np.testing.assert_allclose(physics["com_position"][0], data.xipos[1:], atol=2e-6)
        np.testing.assert_allclose(physics["com_quaternion"][0], data.xquat[1:], atol=2e-6)

    def test_the_model_stays_as_it_was(self, model_and_env):
        model, _ = model_and_env
        fresh = humanoid_model(None)
        assert model.opt.timestep == fresh.opt.timestep
        for name in ("actuator_gear", "actuator_ctrlrange", "jnt_range"):
            np.testing.assert_array_equal(getattr(model, name), getattr(fresh, name))


def test_humanoid_in_a_maze():
    """At the shorter time step: row 0 at a wall; row 1 reaches none, so it moves as on the plane."""
    _, env = humanoid_env(LAYOUTS["u"], 0.0015, "never")
    starts = [[x, y, *HUMANOID_START[2:], 2, 4] for x, y in ((1.25, 2), (2, 4))]
    states = roll(env, starts, np.full((20, 2, 17), 0.5))
    wall, free = positions(states, 0), positions(states, 1)
    assert_close(wall[20, :7], [1.29945, 2.01111, 1.19071, 0.93872, -0.12652, -0.26664, -0.17805])
    assert_close(free[1, :3] - [2, 4, 0], [0.00016, -0.00011, 1.3988])
    assert_close(free[10, :3] - [2, 4, 0], [0.00002, 0.00918, 1.2828])


def test_an_unknown_sensor_is_refused():
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="ball")
    body.add_freejoint()
    body.add_geom(size=(0.1, 0, 0))
    spec.add_sensor(type=mujoco.mjtSensor.mjSENS_SUBTREECOM, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="ball")
    with pytest.raises(NotImplementedError, match="SUBTREECOM"):
        spring_engine(spec.compile(), ANT, 0.005)

"""The half cheetah: its model against values compiled from Brax's file plus the marker, its observation and resets."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.cheetah import SUBSTEPS, cheetah_model, cheetah_task
from deepcrl.envs.mujoco_engine import mujoco_engine

SAMPLES = 4096
NUM_ENVS = 3

# Frame in the parent's, mass, centre of mass, inertia about it (xx, yy, zz, xz; the others are 0).
BODIES = {
    "torso": (
        ("world", (0, 0, 0.7)),
        5.968461601619109,
        (0.152389878163, 0, 0.025398313027),
        (0.02412351626079368, 0.8566773203890476, 0.8387595431234875, -0.07568650988495029),
    ),
    "bthigh": (
        ("torso", (-0.5, 0, 0)),
        1.473935925048393,
        (0.1, 0, -0.13),
        (0.010626693747127871, 0.01608502862857629, 0.006963312400509953, 0.007056159144061913),
    ),
    "bshin": (
        ("bthigh", (0.16, 0, -0.25)),
        1.515888560486203,
        (-0.14, 0, -0.07),
        (0.004671963837307259, 0.017443958395677837, 0.014321357965725316, -0.006315206702818142),
    ),
    "bfoot": (
        ("bshin", (-0.28, 0, -0.14)),
        1.0460190435827308,
        (0.03, 0, -0.097),
        (0.00570935604573616, 0.006066068043860246, 0.0014089534565949514, 0.001288894351727955),
    ),
    "fthigh": (
        ("torso", (0.5, 0, 0)),
        1.3732495999976493,
        (-0.07, 0, -0.12),
        (0.010226283929767894, 0.013120286225348785, 0.004292453682738739, -0.0050544799577520476),
    ),
    "fshin": (
        ("fthigh", (-0.14, 0, -0.24)),
        1.1467053686334745,
        (0.065, 0, -0.09),
        (0.0057176961400500085, 0.00785147152176839, 0.0032925429720929325, 0.0031189308274327857),
    ),
    "ffoot": (
        ("fshin", (0.13, 0, -0.18)),
        0.8446463934812424,
        (0.045, 0, -0.07),
        (0.0025631403241546313, 0.0033700238800848208, 0.0016460727505936805, 0.0011794184234671238),
    ),
}

# Range, stiffness, damping, gear.
JOINTS = {
    "bthigh": ((-0.52, 1.05), 240, 6, 120),
    "bshin": ((-0.785, 0.785), 180, 4.5, 90),
    "bfoot": ((-0.4, 0.785), 120, 3, 60),
    "fthigh": ((-1, 0.7), 180, 4.5, 120),
    "fshin": ((-1.2, 0.87), 120, 3, 60),
    "ffoot": ((-0.5, 0.5), 60, 1.5, 30),
}


@pytest.fixture(scope="module")
def model():
    return cheetah_model()


@pytest.fixture(scope="module")
def env(model):
    return vector.build(cheetah_task(None), mujoco_engine(model, SUBSTEPS), "fresh")


class TestModel:
    def test_coordinates(self, model):
        assert (model.nq, model.nv, model.nu) == (10, 10, 6)
        names = ["rootx", "rootz", "rooty", *JOINTS, "target_x"]
        assert [model.joint(i).name for i in range(10)] == names

    def test_masses(self, model):
        assert model.body_mass.sum() == pytest.approx(14.0)
        assert model.body("target").mass[0] == pytest.approx(0.6310935071511995)
        assert model.body("torso").subtreemass[0] == pytest.approx(13.3689064928488)

    @pytest.mark.parametrize("name", BODIES)
    def test_bodies(self, model, name):
        (parent, position), mass, centre, (xx, yy, zz, xz) = BODIES[name]
        body = model.body(name)
        assert model.body(body.parentid[0]).name == parent
        np.testing.assert_allclose(body.pos, position)
        np.testing.assert_allclose(body.mass, mass, rtol=1e-12)
        np.testing.assert_allclose(body.ipos, centre, atol=1e-12)
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        inertia = axes.reshape(3, 3) @ np.diag(body.inertia) @ axes.reshape(3, 3).T
        np.testing.assert_allclose(inertia, [[xx, 0, xz], [0, yy, 0], [xz, 0, zz]], rtol=1e-9, atol=1e-12)

    def test_root(self, model):
        np.testing.assert_array_equal(model.jnt_axis[:3], [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
        assert not model.jnt_limited[:3].any()
        for values in (model.dof_armature, model.dof_damping[:, None], model.jnt_stiffness[:, None]):
            assert not values[:3].any()
            assert not values[9].any()

    def test_joints(self, model):
        for index, (name, (limits, stiffness, damping, gear)) in enumerate(JOINTS.items()):
            joint, actuator = model.joint(name), model.actuator(index)
            np.testing.assert_allclose(joint.range, limits)
            np.testing.assert_array_equal(joint.axis, [0, 1, 0])
            assert joint.limited[0]
            assert (np.ravel(joint.stiffness)[0], np.ravel(joint.damping)[0], joint.armature[0]) == (
                stiffness,
                damping,
                0.1,
            )
            assert model.joint(actuator.trnid[0]).name == name
            assert actuator.gear[0] == gear
            np.testing.assert_array_equal(actuator.ctrlrange, [-1, 1])
        np.testing.assert_allclose(model.jnt_solimp[:9, :3], [[0, 0.8, 0.03]] * 9)
        np.testing.assert_array_equal(model.joint("target_x").range, [-20, 20])

    def test_geoms(self, model):
        np.testing.assert_allclose(model.geom_friction, [[0.4, 0.1, 0.1]] * model.ngeom)
        np.testing.assert_allclose(model.geom_solimp[:, :3], [[0, 0.8, 0.01]] * model.ngeom)

    def test_options(self, model):
        option = model.opt
        assert (option.timestep, SUBSTEPS, option.iterations, option.ls_iterations) == (0.01, 5, 4, 50)
        assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
        assert not option.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP

    def test_what_may_touch(self, model, pairs_that_may_touch):
        touching = {"head", "bthigh", "bfoot", "fthigh", "ffoot"}
        pairs = pairs_that_may_touch(model)
        assert len(pairs) == 5
        assert set(pairs) == {tuple(sorted(("floor", name))) for name in touching}


def test_observation(env):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-0.3, 0.3, (NUM_ENVS, 10)), rng.normal(size=(NUM_ENVS, 10))
    qpos[:, 9], qvel[:, 9] = 5, 0
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    np.testing.assert_array_equal(state.state, np.concatenate([qpos[:, :9], qvel[:, :9]], axis=1).astype(np.float32))
    after = env.step(state, rng.uniform(-1, 1, (NUM_ENVS, 6)))
    raw = np.concatenate([after.physics["qpos"][:, :9], after.physics["qvel"][:, :9]], axis=1)
    np.testing.assert_array_equal(after.state, raw.astype(np.float32))
    np.testing.assert_array_equal(after.achieved_goal, after.state[:, :1])


def test_reset(draw, keys_used_once):
    qpos, qvel, goal = draw(cheetah_task(None), SAMPLES)
    assert np.abs(qpos[:, :9]).max() <= 0.1
    np.testing.assert_allclose(qpos[:, :9].std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(qvel[:, :9].std(axis=0), 0.1, rtol=0.06)
    np.testing.assert_allclose(qvel[:, :9].mean(axis=0), 0, atol=0.01)
    assert (goal == 5).all()
    assert goal.shape == (SAMPLES, 1)
    assert (qpos[:, 9] == 5).all()
    assert not qvel[:, 9].any()


@pytest.mark.parametrize(
    ("x", "success", "easy"), [(4.51, True, True), (5.49, True, True), (4.49, False, True), (3.01, False, True)]
)
def test_success_near_the_goal(env, x, success, easy):
    qpos = np.zeros(10)
    qpos[0] = x
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(10)})
    assert (state.success[0], state.grades["easy"][0]) == (success, easy)
    np.testing.assert_allclose(state.distance, abs(x - 5), rtol=1e-5)


def test_far_from_the_goal_is_not_even_easy(env):
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": np.array([2.99] + [0] * 9), "qvel": np.zeros(10)})
    assert not state.grades["easy"].any()


def test_stands_on_its_feet(model):
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 200)
    standing = {model.geom(geom).name for geom in data.contact.geom.flat}
    assert standing == {"floor", "bfoot", "ffoot"}
    assert abs(data.qvel).max() < 0.1


def test_random_rollout(env, random_rollout):
    states = random_rollout(env)
    assert not any(state.terminated.any() for state in states)
    qpos = np.array([state.physics["qpos"][:, 9] for state in states])
    np.testing.assert_allclose(qpos, 5, atol=1e-9)


def test_lying_on_its_back_goes_on(env):
    qpos = np.array([0, -0.3, np.pi] + [0] * 7)
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(10)})
    assert not env.step(state, np.zeros((NUM_ENVS, 6))).terminated.any()

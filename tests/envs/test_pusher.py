"""The pushers: the arm against values compiled from Brax's file, observations by rotation, resets, success."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.pusher import EASY, HARD, REACH, SUBSTEPS, TWO_OBJECTS, pusher_model, pusher_task

SETUPS = {"easy": EASY, "hard": HARD, "reach": REACH, "two": TWO_OBJECTS}
SAMPLES = 8192
NUM_ENVS = 3

# Frame in the parent's, mass, x, y, z of the centre of mass, inertia about it (xx, yy, zz, yz; the others are 0). The
# file's links without joints are counted to the link that carries them.
BODIES = {
    "shoulder_pan": (
        (0, -0.6, 0),
        7.293521504574065,
        (0, 0.002991040662, -0.084286698828),
        (0.36437053959404225, 0.36447600218823545, 0.036284535023763116, -0.006201776703613152),
    ),
    "shoulder_lift": (
        (0.1, 0, 0),
        3.141592653589794,
        (0, 0, 0),
        (0.03801327110843651, 0.014451326206513054, 0.03801327110843651, 0),
    ),
    "upper_arm_roll": (
        (0, 0, 0),
        1.7140529517985912,
        (0.190029325513, 0, 0),
        (0.00285045497919632, 0.03663187364548016, 0.03663187364548016, 0),
    ),
    "elbow_flex": (
        (0.4, 0, 0),
        0.4071504079052372,
        (0, 0, 0),
        (0.0008839687744964818, 0.0006351546363321701, 0.0008839687744964818, 0),
    ),
    "forearm_roll": (
        (0, 0, 0),
        0.9281835495031046,
        (0.132104840074, 0, 0),
        (0.0010308335186628244, 0.011625140195746547, 0.011625140195746547, 0),
    ),
    "wrist_flex": (
        (0.321, 0, 0),
        0.00502654824574367,
        (0, 0, 0),
        (1.338318470429252e-06, 2.3876104167282434e-07, 1.338318470429252e-06, 0),
    ),
    "wrist_roll": (
        (0, 0, 0),
        0.18346901096964394,
        (0.027397260274, 0, 0),
        (0.0013746604142459865, 0.0002819025969863633, 0.0016214777044770586, 0),
    ),
}

# Axis, range, damping.
JOINTS = {
    "shoulder_pan": ((0, 0, 1), (-2.2854, 1.714602), 1.0),
    "shoulder_lift": ((0, 1, 0), (-0.5236, 1.3963), 1.0),
    "upper_arm_roll": ((1, 0, 0), (-1.5, 1.7), 0.1),
    "elbow_flex": ((0, 1, 0), (-2.3213, 0), 0.1),
    "forearm_roll": ((1, 0, 0), (-1.5, 1.5), 0.1),
    "wrist_flex": ((0, 1, 0), (-1.094, 0), 0.1),
    "wrist_roll": ((1, 0, 0), (-1.5, 1.5), 0.1),
}


@pytest.fixture(scope="module", params=SETUPS)
def setup(request):
    return SETUPS[request.param]


@pytest.fixture(scope="module")
def env():
    """Any setup's environment, built once."""
    built = {}

    def env(setup):
        if setup not in built:
            engine = mujoco_engine(pusher_model(setup), SUBSTEPS)
            built[setup] = vector.build(pusher_task(setup, None), engine, "fresh")
        return built[setup]

    return env


def turn(axis, angle):
    """Rotation about a coordinate axis by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def wrist(angles):
    """Where the wrist is: from the shoulder outwards."""
    place, rotation = np.zeros(3), np.eye(3)
    offsets = [(0, -0.6, 0), (0.1, 0, 0), (0, 0, 0), (0.4, 0, 0), (0, 0, 0), (0.321, 0, 0)]
    for offset, (axis, _, _), angle in zip(offsets, JOINTS.values(), angles):
        place, rotation = place + rotation @ offset, rotation @ turn(axis, angle)
    return place


def expected_state(setup, qpos, qvel, wrist_angles):
    """One instance's, from raw coordinates; the wrist from angles of its own time."""
    if setup is REACH:
        return np.concatenate([qpos[:7], qvel[:7], wrist(wrist_angles)])
    x0, y0 = (0.0, 0.0) if setup is TWO_OBJECTS else (0.45, -0.05)
    objects = [[x0 + qpos[first + 1], y0 + qpos[first], -0.275] for first in range(7, len(qpos), 4)]
    return np.concatenate([qpos[:7], wrist(wrist_angles), *objects, qvel[:7]])


@pytest.fixture(scope="module")
def model():
    return pusher_model(TWO_OBJECTS)


class TestModel:
    def test_coordinates(self, model):
        assert (model.nq, model.nv, model.nu) == (15, 15, 7)
        things = [f"{kind}_{number}_{axis}" for number in (1, 2) for kind in ("object", "target") for axis in "yx"]
        assert [model.joint(i).name for i in range(15)] == [*JOINTS, *things]
        assert pusher_model(EASY).nq == 11

    @pytest.mark.parametrize("name", BODIES)
    def test_bodies(self, model, name):
        position, mass, centre, (xx, yy, zz, yz) = BODIES[name]
        body = model.body(name)
        np.testing.assert_allclose(body.pos, position)
        np.testing.assert_allclose(body.mass, mass, rtol=1e-12)
        np.testing.assert_allclose(body.ipos, centre, atol=1e-12)
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        inertia = axes.reshape(3, 3) @ np.diag(body.inertia) @ axes.reshape(3, 3).T
        np.testing.assert_allclose(inertia, [[xx, 0, 0], [0, yy, yz], [0, yz, zz]], rtol=1e-9, atol=1e-15)

    def test_the_arm_is_a_chain(self, model):
        parents = [model.body(model.body(name).parentid[0]).name for name in BODIES]
        assert parents == ["world", *list(BODIES)[:-1]]

    def test_joints_and_actuators(self, model):
        for index, (name, (axis, limits, damping)) in enumerate(JOINTS.items()):
            joint, actuator = model.joint(name), model.actuator(index)
            np.testing.assert_array_equal(joint.axis, axis)
            np.testing.assert_allclose(joint.range, limits)
            assert joint.limited[0]
            assert (np.ravel(joint.damping)[0], joint.armature[0]) == (damping, 0.04)
            assert model.joint(actuator.trnid[0]).name == name
            assert actuator.gear[0] == 1
            np.testing.assert_array_equal(actuator.ctrlrange, [-2, 2])

    def test_things(self, setup):
        model = pusher_model(setup)
        base = (0, 0) if setup is TWO_OBJECTS else (0.45, -0.05)
        for number in range(1, len(setup.objects) + 1):
            thing, disc = model.body(f"object_{number}"), model.body(f"target_{number}")
            np.testing.assert_allclose(thing.pos, [*base, -0.275])
            np.testing.assert_allclose(disc.pos, [*base, -0.323])
            np.testing.assert_allclose(thing.mass, 0.0018325957145940465, rtol=1e-12)
            np.testing.assert_allclose(disc.mass, 2.184872970816582e-08, rtol=1e-12)
            np.testing.assert_allclose(sorted(thing.inertia), [2.0289452554e-06, 4.4833145161e-06, 4.4833145161e-06])
            for name in (f"object_{number}", f"target_{number}"):
                axes = {"y": (0, 1, 0), "x": (1, 0, 0)}
                for letter, axis in axes.items():
                    joint = model.joint(f"{name}_{letter}")
                    np.testing.assert_array_equal(joint.axis, axis)
                    np.testing.assert_array_equal(joint.range, [-10.3213, 10.3])
                    assert (np.ravel(joint.damping)[0], joint.armature[0]) == (0.5, 0.04)

    def test_options_and_geoms(self, model):
        assert (model.opt.timestep, SUBSTEPS, model.opt.iterations) == (0.01, 5, 20)
        assert not model.opt.gravity.any()
        np.testing.assert_array_equal(model.geom_friction, [[0.8, 0.1, 0.1]] * model.ngeom)
        np.testing.assert_array_equal(model.geom_margin, [0.002] * model.ngeom)
        np.testing.assert_allclose(model.geom("floor").pos[2], -0.325)

    def test_what_may_touch(self, setup, pairs_that_may_touch):
        """The table and every object with the three capsules of the fork."""
        objects = [f"object_{number}" for number in range(1, len(setup.objects) + 1)]
        expected = sorted(tuple(sorted((other, "wrist_roll_limb"))) for other in ["floor", *objects] * 3)
        assert sorted(pairs_that_may_touch(pusher_model(setup))) == expected


def test_observation(setup, env):
    """Positions and velocities of now; the wrist of the last simulator step's beginning, 0.01 s ago."""
    rng = np.random.default_rng(0)
    size = 7 + 4 * len(setup.objects)
    qpos, qvel = rng.uniform(-0.4, 0.4, (NUM_ENVS, size)), rng.normal(size=(NUM_ENVS, size))
    state = env(setup).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    expected = [expected_state(setup, qpos[i], qvel[i], qpos[i]) for i in range(NUM_ENVS)]
    np.testing.assert_allclose(state.state, expected, atol=1e-6)
    action = rng.uniform(-1, 1, (NUM_ENVS, 7)).astype(np.float32)
    after = env(setup).step(state, action)
    model = pusher_model(setup)
    for i in range(NUM_ENVS):
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.ctrl = qpos[i], qvel[i], action[i]
        mujoco.mj_step(model, data, SUBSTEPS - 1)
        before = data.qpos[:7].copy()
        mujoco.mj_step(model, data)
        np.testing.assert_allclose(after.state[i], expected_state(setup, data.qpos, data.qvel, before), atol=1e-6)
        assert np.abs(wrist(data.qpos) - wrist(before)).max() > 1e-4


def test_the_goal_is_the_achieved_of_a_thing_that_lies_there(setup, env):
    """Objects and discs in the state and goal are the bodies' centres of mass in the model."""
    state = env(setup).reset(jax.random.key(3), NUM_ENVS)
    model = pusher_model(setup)
    count = len(setup.objects)
    for i in range(NUM_ENVS):
        data = mujoco.MjData(model)
        data.qpos = state.physics["qpos"][i]
        mujoco.mj_forward(model, data)
        discs = [data.body(f"target_{number}").xipos for number in range(1, count + 1)]
        np.testing.assert_allclose(state.goal[i], np.concatenate(discs), atol=1e-6)
        if setup is not REACH:
            objects = [data.body(f"object_{number}").xipos for number in range(1, count + 1)]
            np.testing.assert_allclose(state.achieved_goal[i], np.concatenate(objects), atol=1e-6)
        else:
            np.testing.assert_allclose(state.achieved_goal[i], data.body("wrist_flex").xipos, atol=1e-6)


def test_reset_of_the_arm(setup, draw, keys_used_once):
    qpos, qvel, _ = draw(pusher_task(setup, None), SAMPLES)
    assert not qpos[:, :7].any()
    assert np.abs(qvel[:, :7]).max() <= 0.005
    np.testing.assert_allclose(qvel[:, :7].std(axis=0), 0.005 / np.sqrt(3), rtol=0.05)
    assert not qvel[:, 7:].any()


# Of objects and discs, in turn: the ranges along y and x.
RANGES = {
    "easy": [[(-0.3, 0), (-0.2, 0.2)], [(-0.55, -0.25), (-0.2, 0.2)]],
    "hard": [[(-0.3, 0), (-0.2, 0.2)], [(-0.65, 0.35), (-0.55, 0.45)]],
    "two": [
        [(-0.35, -0.05), (0.25, 0.45)],
        [(-0.7, 0.3), (-0.15, 0.375)],
        [(-0.35, -0.05), (0.45, 0.65)],
        [(-0.7, 0.3), (0.375, 0.9)],
    ],
}


@pytest.mark.parametrize("name", RANGES)
def test_reset_of_objects_and_discs(name, draw):
    """Discs uniform in their ranges; objects as by a simulation of the rule for those that start too near."""
    qpos, _, goal = draw(pusher_task(SETUPS[name], None), SAMPLES)
    things = qpos[:, 7:].reshape(SAMPLES, -1, 2)
    low, high = np.moveaxis(np.array(RANGES[name]), -1, 0)
    rng = np.random.default_rng(0)
    raw = rng.uniform(low, high, things.shape)
    for k in range(0, len(low), 2):
        discs = things[:, k + 1]
        for axis in (0, 1):
            counts, _ = np.histogram(discs[:, axis], bins=8, range=(low[k + 1, axis], high[k + 1, axis]))
            np.testing.assert_allclose(counts, SAMPLES / 8, rtol=0.15)
        gap = np.linalg.norm(raw[:, k] - raw[:, k + 1], axis=1)
        objects = raw[:, k] * np.where(gap < 0.17, 0.17 / gap, 1)[:, None]
        alike = [(np.linalg.norm(o - g, axis=1), *o.T) for o, g in ((things[:, k], discs), (objects, raw[:, k + 1]))]
        for ours, simulated in zip(*alike):
            grid = np.quantile(simulated, np.linspace(0.02, 0.98, 25))
            share = np.searchsorted(np.sort(ours), grid) / SAMPLES
            np.testing.assert_allclose(share, np.linspace(0.02, 0.98, 25), atol=0.025)
    assert np.unique(goal[:, 0]).size > 0.9 * SAMPLES


def test_the_discs_of_two_objects_are_independent(draw):
    _, _, goal = draw(pusher_task(TWO_OBJECTS, None), SAMPLES)
    correlations = np.corrcoef(goal[:, [0, 1, 3, 4]].T)
    np.testing.assert_allclose(correlations, np.eye(4), atol=0.05)


def test_reaching_parks_the_object(draw):
    qpos, _, goal = draw(pusher_task(REACH, None), SAMPLES)
    np.testing.assert_array_equal(qpos[:, 7:9], np.ones((SAMPLES, 2)))
    np.testing.assert_allclose(qpos[:, 9:].min(axis=0), [-0.3, -0.2], atol=0.001)
    np.testing.assert_allclose(qpos[:, 9:].max(axis=0), [0, 0.2], atol=0.001)
    np.testing.assert_allclose(goal[:, 0], 0.45 + qpos[:, 10], atol=1e-6)
    np.testing.assert_allclose(goal[:, 1], -0.05 + qpos[:, 9], atol=1e-6)


def place(env, setup, offsets):
    """EnvState with things at offsets (y, x), in the order of the coordinates, and goals where the discs are."""
    qpos = np.concatenate([np.zeros(7), np.ravel(offsets)])
    base = (0.0, 0.0) if setup is TWO_OBJECTS else (0.45, -0.05)
    goal = np.concatenate([[base[0] + x, base[1] + y, -0.323] for y, x in offsets[1::2]])
    return env(setup).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": 0 * qpos, "goal": goal})


@pytest.mark.parametrize(
    ("apart", "success", "hard"),
    [(0, True, True), (0.0138, True, True), (0.0142, True, False), (0.0875, True, False), (0.088, False, False)],
)
def test_success_counts_the_height(env, apart, success, hard):
    """An object at the centre of its disc is still 0.048 m from it."""
    state = place(env, HARD, [(-0.1, 0.1), (-0.1, 0.1 + apart)])
    assert (state.success[0], state.grades["hard"][0]) == (success, hard)
    assert set(state.grades) == {"hard"}
    np.testing.assert_allclose(state.distance, np.hypot(0.048, apart), rtol=1e-4)


@pytest.mark.parametrize(("first", "second"), [(0.05, 0.05), (0.05, 0.3), (0.3, 0.05), (0.3, 0.3), (0.08, 0.08)])
def test_two_objects_succeed_together(env, first, second):
    """Each by its own distance: both 0.08 m off make 0.13 m in all, and success."""
    state = place(env, TWO_OBJECTS, [(0.1, 0.3), (0.1, 0.3 + first), (0.1, 0.6), (0.1 + second, 0.6)])
    near = (first < 0.0877, second < 0.0877)
    assert (state.success[0], state.grades["easy"][0]) == (all(near), any(near))


def test_reaching_is_the_wrist_at_the_disc(env):
    goal = wrist(np.zeros(7)) + np.array([[0.03, 0, 0], [0.06, 0.06, 0], [0.06, 0.06, 0.06]])
    state = env(REACH).reset(jax.random.key(0), NUM_ENVS, {"qpos": np.zeros(11), "qvel": np.zeros(11), "goal": goal})
    np.testing.assert_array_equal(state.success, [True, True, False])
    np.testing.assert_array_equal(state.grades["hard"], [True, False, False])


def test_success_is_of_the_state_after_the_step(env):
    """An object that slides on to its disc succeeds in that step."""
    qpos, qvel = np.zeros(11), np.zeros(11)
    qpos[7:] = 0, 1.0, 0, 1.1
    qvel[8] = 2.0
    goal = [0.45 + 1.1, -0.05, -0.323]
    state = env(EASY).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel, "goal": goal})
    assert not state.success.any()
    after = env(EASY).step(state, np.zeros((NUM_ENVS, 7)))
    assert after.success.all()
    np.testing.assert_allclose(after.next_state[:, 10], 0.45 + after.physics["qpos"][:, 8], atol=1e-6)


def test_torques_are_the_actions(env):
    """The wrist's roll alone: one newton metre on its armature and inertia."""
    start = {"qpos": np.array([0] * 7 + [0, 1, 0, 1.0]), "qvel": np.zeros(11)}
    action = np.zeros((NUM_ENVS, 7))
    action[1, 6], action[2, 6] = 1, 9
    after = env(EASY).step(env(EASY).reset(jax.random.key(0), NUM_ENVS, start), action)
    rate = after.physics["qvel"][:, 6]
    assert rate[1] == rate[2]
    inertia = 0.04 + 0.0013746604142459865
    assert rate[1] - rate[0] == pytest.approx((1 - np.exp(-0.1 * 0.05 / inertia)) / 0.1, rel=0.02)


def test_random_rollout(setup, env, random_rollout):
    states = random_rollout(env(setup))
    assert not any(state.terminated.any() for state in states)
    for state in states:
        x0, y0 = (0.0, 0.0) if setup is TWO_OBJECTS else (0.45, -0.05)
        discs = state.physics["qpos"][:, 7:].reshape(NUM_ENVS, -1, 2)[:, 1::2]
        np.testing.assert_allclose(state.goal.reshape(NUM_ENVS, -1, 3)[:, :, 0], x0 + discs[:, :, 1], atol=1e-5)
        np.testing.assert_allclose(state.goal.reshape(NUM_ENVS, -1, 3)[:, :, 1], y0 + discs[:, :, 0], atol=1e-5)

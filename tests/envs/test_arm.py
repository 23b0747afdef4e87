"""The arm: trajectories and model of the release, and every observation entry from raw coordinates.

The kinematics here are the arm's Denavit-Hartenberg parameters as its maker gives them, in numpy.
"""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from deepcrl.envs import arm_model, vector
from deepcrl.envs.arm import SCENES, SUBSTEPS, arm_task
from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.mujoco_engine import mujoco_engine, sensor_slices

NUM_ENVS = 4
"""One batch size throughout: each compiles anew."""
SAMPLES = 1 << 17
START = [1.571, 0.742, 0, -1.571, 0, 3.054, 1.449]
UPRIGHT = [1, 0, 0, 0]
MOVING = [name for name in SCENES if name not in ("arm_reach", "arm_grasp")]
WITH_ARM = [name for name in SCENES if name != "arm_binpick_easy_EEF"]

TRAJECTORY = {
    0: ([*START, 0.04, 0.04], (-0.000138, 0.678043, 0.370831), 0.07),
    1: (
        [1.570976, 0.75298, -0.000054, -1.498478, -0.000248, 3.002431, 1.41108, 0.054598, 0.054254],
        (-0.000122, 0.690044, 0.388113),
        0.057247,
    ),
    2: (
        [1.570909, 0.772521, -0.000142, -1.304112, -0.000336, 2.848667, 1.300115, 0.064183, 0.063793],
        (-0.000056, 0.717594, 0.446396),
        0.025023,
    ),
    5: (
        [1.570813, 0.752699, -0.000138, -0.987806, -0.000172, 1.974277, 0.857713, 0.076044, 0.076117],
        (0.000038, 0.754084, 0.544222),
        0.029849,
    ),
    10: (
        [1.5708, 0.751794, -0.000173, -0.909942, -0.000293, 1.254477, 0.73503, 0.079611, 0.079632],
        (0.000077, 0.746771, 0.519819),
        0.029892,
    ),
    20: (
        [1.570801, 0.751672, -0.000177, -0.90303, -0.000317, 1.523857, 0.724416, 0.079995, 0.079995],
        (0.000069, 0.752865, 0.546059),
        0.029892,
    ),
}
"""Section 7: by control step of action (0, 0, 0, 0, -1), joints and fingers, observed last link, cube height."""


@functools.cache
def model(name):
    return arm_model.arm_model(SCENES[name])


@functools.cache
def env(name):
    return vector.build(arm_task(SCENES[name], None), mujoco_engine(model(name), SUBSTEPS), "fresh")


def start_qpos(name, cube=(-0.1, 0.6, 0.07)):
    """The start pose with the cube and the marker at given places."""
    marker = [0.1, 0.6, 0.03, *UPRIGHT]
    if name == "arm_reach":
        return np.array([*marker, *START])
    robot = [*START, 0.04, 0, 0.04, 0] if name == "arm_grasp" else [*START, 0.04, 0.04]
    if name == "arm_binpick_easy_EEF":
        robot = [0, 0.6, 0.2, 0.04, 0.04]
    return np.array([*cube, *UPRIGHT, *marker, *robot])


def actions(name, *values):
    """One action [A], the missing entries 0, for all environments."""
    action = np.zeros((NUM_ENVS, arm_task(SCENES[name], None).spec.action_size), np.float32)
    action[:, : len(values)] = values
    return action


def settled(name, action, steps, **options):
    state = env(name).reset(jax.random.key(0), NUM_ENVS, {"qpos": start_qpos(name), **options})
    for _ in range(steps):
        state = env(name).step(state, actions(name, *action))
    return state


# --- Kinematics in numpy.


def rotation(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


DENAVIT_HARTENBERG = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
)
"""a, d and alpha of each joint, in the convention that turns about x before it moves along it."""


def link_frames(angles):
    """Origins [7, 3] and orientations [7, 3, 3] of the links."""
    origin, turn, origins, turns = np.zeros(3), np.eye(3), [], []
    for (a, d, alpha), angle in zip(DENAVIT_HARTENBERG, angles):
        origin = origin + turn @ [a, 0, 0] + turn @ rotation("x", alpha) @ [0, 0, d]
        turn = turn @ rotation("x", alpha) @ rotation("z", angle)
        origins.append(origin)
        turns.append(turn)
    return np.array(origins), np.array(turns)


def effector(angles, velocities):
    """Position and velocity of the last link's frame."""
    origins, turns = link_frames(angles)
    arms = origins[-1] - origins
    return origins[-1], np.cross(turns[:, :, 2], arms).T @ velocities


def on_finger(angles, slide, side, local):
    """World position of a point of a finger, given in the finger's frame."""
    origins, turns = link_frames(angles)
    finger = rotation("z", np.deg2rad({"left": -45, "right": 135}[side]))
    return origins[-1] + turns[-1] @ ([0, 0, 0.107 + 0.0584] + finger @ np.add(local, (0, slide, 0)))


def expected_state(name, qpos, qvel, sensed=None, finger_control=0.0):
    """Section 2.9's layout. `sensed`: coordinates of the moment that the sensors show, by default the same."""
    then, speed = sensed or (qpos, qvel)
    if name == "arm_reach":
        return np.concatenate([qpos[7:14], *effector(then[7:14], speed[6:13])])
    cube = qpos[:3]
    if name == "arm_binpick_easy_EEF":
        forces = 0.09804 * finger_control - 500 * then[17:19] - 50 * speed[15:17]
        return np.concatenate([cube, then[14:17], speed[12:15], [then[17] + then[18]], [0.1 * forces.mean()]])
    joints, rates = then[14:21], speed[12:19]
    motion = np.concatenate(effector(joints, rates))
    if name == "arm_grasp":
        tips = [on_finger(joints, then[i], side, (0, 0.005, 0.07)) for i, side in ((21, "left"), (23, "right"))]
        return np.concatenate([cube, qpos[14:21], motion, *tips, [np.linalg.norm(tips[0] - tips[1])]])
    return np.concatenate([cube, qpos[14:21], motion, [then[21] + then[22]]])


def random_states(name, seed=0):
    """Any poses and velocities: "qpos" [N, nq], "qvel" [N, nv]."""
    rng = np.random.default_rng(seed)
    qpos = np.tile(start_qpos(name), (NUM_ENVS, 1))
    bodies = 7 if name == "arm_reach" else 14
    qpos[:, :3] += rng.uniform(-0.2, 0.2, (NUM_ENVS, 3))
    qpos[:, bodies:] += rng.uniform(-0.2, 0.2, qpos[:, bodies:].shape)
    if name != "arm_reach":
        fingers = qpos[:, -4::2] if name == "arm_grasp" else qpos[:, -2:]
        fingers[:] = rng.uniform(0.0, 0.05, (NUM_ENVS, 2))
    if name == "arm_grasp":
        qpos[:, -3::2] = 0
    return qpos, rng.normal(size=(NUM_ENVS, model(name).nv))


# --- Trajectories.


def test_native_trajectory():
    """To the 6 decimals given, but for their last: the figures come from single precision."""
    name = "arm_push_easy"
    state = env(name).reset(jax.random.key(0), NUM_ENVS, {"qpos": start_qpos(name)})
    for step in range(21):
        if step in TRAJECTORY:
            robot, link, height = TRAJECTORY[step]
            np.testing.assert_allclose(state.physics["qpos"][0, 14:], robot, rtol=0, atol=1.5e-6)
            np.testing.assert_allclose(state.state[0, 10:13], link, rtol=0, atol=1.5e-6)
            np.testing.assert_allclose(state.state[0, 2], height, rtol=0, atol=1.5e-6)
        state = env(name).step(state, actions(name, 0, 0, 0, 0, -1))


def test_mjx_trajectory():
    """MJX, in single precision as the figures."""
    name = "arm_push_easy"
    task, engine = arm_task(SCENES[name], None), mjx_engine(model(name), SUBSTEPS)
    # The native engine's start: MJX's own would take a second compilation.
    fresh = mujoco_engine(model(name), SUBSTEPS).start({"qpos": start_qpos(name)[None], "qvel": np.zeros((1, 21))})
    physics = {key: jnp.asarray(value[0], jnp.float32) for key, value in fresh.items()}
    step = jax.jit(lambda p: engine.step(p, task.control(jnp.array([0.0, 0, 0, 0, -1]), p)))
    for index in range(21):
        if index in TRAJECTORY:
            robot, link, height = TRAJECTORY[index]
            state = task.observe(physics)
            np.testing.assert_allclose(physics["qpos"][14:], robot, rtol=0, atol=1.5e-6)
            np.testing.assert_allclose(state[10:13], link, rtol=0, atol=1.5e-6)
            np.testing.assert_allclose(state[2], height, rtol=0, atol=1.5e-6)
        physics = step(physics)


def test_contact_slots_of_mjx():
    from mujoco import mjx

    assert mjx.make_data(model("arm_push_easy"))._impl.contact.dist.shape == (28,)


@pytest.mark.parametrize(
    ("corner", "link"),
    [
        ((-1, -1, 1, -1), (0.0584, 0.0213, 1.1163)),
        ((-1, 1, 1, -1), (0.7385, 0.2688, 0.3305)),
        ((-1, -1, -1, -1), (0.5170, 0.1882, 0.6060)),
    ],
)
def test_steady_poses(corner, link):
    state = settled("arm_push_easy", (*corner, -1), 100)
    np.testing.assert_allclose(state.state[0, 10:13], link, rtol=0, atol=1e-4)


@pytest.mark.parametrize("action", [(0, 0, 0, 0), (0.3, -0.4, -0.5, 0.2), (-0.6, -0.8, 0.4, 0.9)])
def test_servos_settle_at_a_fraction_of_their_command(action):
    """But for what gravity bends: joint 4 at 4/7, joints 5 to 7 at 1/2."""
    state = settled("arm_reach", action, 100)
    command = np.array([1.5708, 0.741765, 0, -1.5708, 0, 3.05435, 1.4487])
    command[[0, 1, 3, 5]] += np.array([1.2217, 0.741765, 1.5010, 0.69815]) * action
    fraction = np.array([1, 1, 4 / 7, 4 / 7, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(state.physics["qpos"][0, 7:], command * fraction, rtol=0, atol=0.02)
    np.testing.assert_allclose(state.physics["qvel"][0], 0, atol=1e-3)


def test_the_elbow_is_cut_by_its_soft_limit():
    np.testing.assert_allclose(settled("arm_reach", (0, 0, 1, 0), 100).state[0, 3], -0.06, rtol=0, atol=0.01)


def test_fingers_open_and_close_on_the_cube():
    """Both open by 80 mm, 50 mm without an arm; closed, they meet."""
    assert settled("arm_push_easy", (0, 0, 0, 0, -1), 40).state[0, 16] == pytest.approx(0.16, abs=1e-4)
    assert settled("arm_push_easy", (0, 0, 0, 0, 1), 40).state[0, 16] < 0.01
    assert settled("arm_binpick_easy_EEF", (0, 0, 0, -1), 40).state[0, 9] == pytest.approx(0.10, abs=1e-4)


def test_the_hand_without_an_arm_goes_where_it_is_told():
    before = settled("arm_binpick_easy_EEF", (0, 0, 0, -1), 1).state[0, 3:6]
    after = settled("arm_binpick_easy_EEF", (1, 0.5, 0.25, -1), 5).state[0, 3:6]
    assert (after - before > 0.03).all()


# --- Observations.


@pytest.mark.parametrize("name", SCENES)
def test_observation_of_any_state(name):
    qpos, qvel = random_states(name)
    state = env(name).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    expected = [expected_state(name, p, v) for p, v in zip(qpos, qvel)]
    np.testing.assert_allclose(state.state, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(state.achieved_goal, state.state[:, list(env(name).spec.goal_indices)])


@pytest.mark.parametrize("name", SCENES)
def test_sensors_show_the_last_substep_before_its_integration(name):
    qpos, qvel = start_qpos(name), np.zeros(model(name).nv)
    state = env(name).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos})
    action = actions(name, *([0.5] * (env(name).spec.action_size - 1)), -1)
    data = mujoco.MjData(model(name))
    data.qpos, data.qvel = qpos, qvel
    data.ctrl = np.asarray(arm_task(SCENES[name], None).control(action[0], {k: v[0] for k, v in state.physics.items()}))
    mujoco.mj_step(model(name), data, SUBSTEPS - 1)
    sensed = data.qpos.copy(), data.qvel.copy()
    mujoco.mj_step(model(name), data)
    after = env(name).step(state, action).state[0]
    expected = expected_state(name, data.qpos, data.qvel, sensed, finger_control=255.0)
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=2e-6)
    assert np.abs(expected - expected_state(name, data.qpos, data.qvel, finger_control=255.0)).max() > 1e-3


def test_where_things_are_at_the_start():
    data = mujoco.MjData(model("arm_push_easy"))
    data.qpos = start_qpos("arm_push_easy")
    mujoco.mj_forward(model("arm_push_easy"), data)
    near = functools.partial(np.testing.assert_allclose, rtol=0, atol=6e-6)
    near(data.geom("hand").xpos, (-0.00016, 0.77390, 0.26606))
    near(data.geom("left_finger").xpos, (0.03568, 0.79265, 0.20406))
    near(data.geom("right_finger").xpos, (-0.03601, 0.83399, 0.24190))
    near(on_finger(START, 0.04, "left", (0, 0.0055, 0.035)), (0.03568, 0.79265, 0.20406))
    knuckles = data.body("left_finger").xpos - data.body("right_finger").xpos
    near(np.linalg.norm(knuckles), 0.08)
    # The capsule lies along the line on which the fingers slide.
    slide = data.geom("hand").xmat.reshape(3, 3)[:, 2]
    near(np.abs(slide @ knuckles), 0.08)


def test_where_the_hand_without_an_arm_is_at_the_start():
    data = mujoco.MjData(model("arm_binpick_easy_EEF"))
    data.qpos = start_qpos("arm_binpick_easy_EEF")
    mujoco.mj_forward(model("arm_binpick_easy_EEF"), data)
    np.testing.assert_allclose(data.body("hand").xpos, (0, 0.6, 0.2), atol=1e-9)
    np.testing.assert_allclose(data.body("left_finger").xpos, (-0.04, 0.6, 0.1416), atol=1e-9)
    np.testing.assert_allclose(data.body("right_finger").xpos, (0.04, 0.6, 0.1416), atol=1e-9)
    np.testing.assert_allclose(data.geom("hand").xpos, (0, 0.6, 0.165), atol=1e-9)
    np.testing.assert_allclose(np.abs(data.geom("hand").xmat.reshape(3, 3)[:, 2]), (1, 0, 0), atol=1e-9)


def test_fingertips_at_the_papers_start_and_at_ours():
    """The paper's grasp starts with the right finger closed; ours with both open."""
    qpos = np.tile(start_qpos("arm_grasp"), (NUM_ENVS, 1))
    qpos[0, 23] = 0.0
    state = env("arm_grasp").reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos}).state
    np.testing.assert_allclose(state[0, 16:19], (0.03528, 0.81650, 0.17844), rtol=0, atol=6e-6)
    np.testing.assert_allclose(state[0, 19:22], (-0.00411, 0.83922, 0.19923), rtol=0, atol=6e-6)
    np.testing.assert_allclose(state[:, 22], [0.05, 0.09, 0.09, 0.09], rtol=0, atol=1e-6)
    drawn = env("arm_grasp").reset(jax.random.key(1), NUM_ENVS)
    np.testing.assert_allclose(drawn.physics["qpos"][:, 21:], [[0.04, 0, 0.04, 0]] * NUM_ENVS, atol=1e-7)
    np.testing.assert_allclose(drawn.state[:, 22], 0.09, atol=1e-6)


# --- Actions.


@pytest.mark.parametrize("name", WITH_ARM)
@pytest.mark.parametrize("sign", [-1, 1])
def test_joint_commands(name, sign):
    fingers = [] if name == "arm_reach" else [1]
    control = arm_task(SCENES[name], None).control(jnp.array([sign] * 4 + fingers, jnp.float32), {})
    low = [0.3491, 0, 0, -3.0718, 0, 2.3562, 1.4487]
    high = [2.7925, 1.48353, 0, -0.0698, 0, 3.7525, 1.4487]
    np.testing.assert_allclose(control[:7], low if sign < 0 else high, rtol=0, atol=2e-5)
    assert control.shape == (7 + 2 * len(fingers),)
    for index, expected in enumerate((1.2217, 0.741765, 1.5010, 0.69815)):
        one = jnp.zeros(4 + len(fingers)).at[index].set(0.5)
        moved = arm_task(SCENES[name], None).control(one, {}) - arm_task(SCENES[name], None).control(0 * one, {})
        wanted = np.zeros(7)
        wanted[[0, 1, 3, 5][index]] = expected / 2
        np.testing.assert_allclose(moved[:7], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SCENES if name != "arm_reach"])
@pytest.mark.parametrize(("last", "control"), [(-1, 255), (-1e-6, 255), (0, 255), (1e-6, 0), (1, 0)])
def test_gripper_commands(name, last, control):
    task = arm_task(SCENES[name], None)
    action = jnp.zeros(task.spec.action_size).at[-1].set(last)
    physics = {"sensordata": jnp.zeros(14)}
    np.testing.assert_array_equal(task.control(action, physics)[-2:], [control, control])


def test_commands_of_the_hand_without_an_arm_count_from_where_it_was_last_sensed():
    qpos = start_qpos("arm_binpick_easy_EEF")
    physics = {"qpos": qpos, "sensordata": jnp.array([0.1, 0.7, 0.15, *([9.0] * 11)])}
    control = arm_task(SCENES["arm_binpick_easy_EEF"], None).control(jnp.array([1.0, -1.0, 0.5, -1.0]), physics)
    np.testing.assert_allclose(control, [0.3, 0.5, 0.25, 255, 255], rtol=1e-6)


# --- Starts and goals.


@functools.cache
def draws(name):
    physics, goal = jax.vmap(arm_task(SCENES[name], None).reset)(jax.random.split(jax.random.key(0), SAMPLES))
    return np.array(physics["qpos"]), np.array(physics["qvel"]), np.array(goal)


def assert_uniform(points, centre, half):
    """Each column alone, and no two together."""
    scaled = (points - centre) / half
    assert np.abs(scaled).max() <= 1 + 1e-5
    for column in scaled.T:
        counts, _ = np.histogram(column, bins=8, range=(-1, 1))
        np.testing.assert_allclose(counts, len(points) / 8, rtol=0.04)
    correlations = np.corrcoef(scaled.T) - np.eye(points.shape[1])
    np.testing.assert_allclose(correlations, 0, atol=0.015)


AREAS = {
    "arm_push_easy": ((-0.1, 0.6), 0.1, (0.1, 0.6), 0.1, 0.0, 0.068, 0.84),
    "arm_push_hard": ((-0.25, 0.65), 0.25, (0.25, 0.65), 0.25, 0.0, 0.005, 0.11),
    "arm_binpick_easy": ((-0.15, 0.6), 0.09, (0.17, 0.6), 0.09, 0.14, 0.0, 0.35),
    "arm_binpick_hard": ((-0.3, 0.6), 0.15, (0.3, 0.6), 0.15, 0.3, 0.0, 0.0),
    "arm_binpick_easy_EEF": ((-0.15, 0.6), 0.07, (0.17, 0.6), 0.005, 0.245, 0.0, 0.34),
}
"""Cube's centre and half-width, goal's, least gap along x, probabilities to start within 0.1 and 0.3."""


@pytest.mark.parametrize("name", MOVING)
def test_cube_and_goal_are_drawn_from_their_squares(name):
    qpos, qvel, goal = draws(name)
    cube_centre, cube_half, goal_centre, goal_half, gap, within, easily = AREAS[name]
    both = np.concatenate([qpos[:, :2], goal[:, :2]], axis=1)
    assert_uniform(both, [*cube_centre, *goal_centre], [cube_half] * 2 + [goal_half] * 2)
    np.testing.assert_allclose(qpos[:, 2], 0.07, atol=1e-7)
    np.testing.assert_allclose(goal[:, 2], 0.03, atol=1e-7)
    assert gap - 1e-6 <= (goal[:, 0] - qpos[:, 0]).min() < gap + 0.02
    distance = np.linalg.norm(goal[:, :2] - qpos[:, :2], axis=1)
    # Rounding of the sheet's figures and three standard errors.
    assert abs((distance < 0.1).mean() - within) < 0.0005 + 3 * np.sqrt(within / SAMPLES)
    assert abs((distance < 0.3).mean() - easily) < 0.005 + 3 * np.sqrt(easily / SAMPLES)
    np.testing.assert_array_equal(qpos[:, 3:7], [UPRIGHT] * SAMPLES)
    np.testing.assert_array_equal(qpos[:, 7:14], np.concatenate([goal, [UPRIGHT] * SAMPLES], axis=1))
    np.testing.assert_array_equal(qpos[:, 14:], np.tile(start_qpos(name)[14:].astype(np.float32), (SAMPLES, 1)))
    assert qpos.shape[1] == model(name).nq
    assert qvel.shape[1] == model(name).nv
    assert not qvel.any()


def test_some_cubes_start_in_a_wall():
    """The paper's scene has it so; the simulator pushes them out and nothing blows up."""
    x = draws("arm_binpick_easy")[0][:, 0]
    assert (x > -0.065).mean() == pytest.approx(0.0278, abs=0.002)
    qpos = start_qpos("arm_binpick_easy", cube=(-0.0601, 0.6, 0.07))
    state = env("arm_binpick_easy").reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos})
    for _ in range(20):
        state = env("arm_binpick_easy").step(state, actions("arm_binpick_easy", 0, 0, 0, 0, -1))
    assert np.abs(state.physics["qvel"][0, :6]).max() < 0.01
    assert np.linalg.norm(state.state[0, :2] - qpos[:2]) < 0.1


def test_goals_to_reach_fill_a_box():
    qpos, qvel, goal = draws("arm_reach")
    assert_uniform(goal, (0, 0.5, 0.3), (0.2, 0.2, 0.2))
    np.testing.assert_array_equal(qpos[:, :3], goal)
    np.testing.assert_allclose(qpos[:, 7:], [START] * SAMPLES, atol=1e-6)
    assert (qpos.shape[1], qvel.shape[1]) == (14, 13)
    assert not qvel.any()


def test_cubes_to_grasp_and_their_goals():
    qpos, qvel, goal = draws("arm_grasp")
    assert_uniform(qpos[:, :2], (0, 0.6), (0.3, 0.3))
    beside = np.array([0.0375, 0, 0])
    expected = np.concatenate([qpos[:, :3] + beside, qpos[:, :3] - beside, np.full((SAMPLES, 1), 0.075)], axis=1)
    np.testing.assert_allclose(goal, expected, atol=1e-6)
    assert (qpos.shape[1], qvel.shape[1]) == (25, 23)


# --- Success.


@pytest.mark.parametrize("name", [name for name in SCENES if name != "arm_grasp"])
def test_success_counts_all_three_dimensions(name):
    spec = env(name).spec
    assert (spec.success_radius, spec.easy_radius, spec.hard_radius) == (0.1, 0.3, 0.03)
    qpos = start_qpos(name)
    at = qpos[:3] if name != "arm_reach" else effector(START, np.zeros(7))[0]
    offsets = np.array([(0.016, 0.016, 0.016), (0.02, 0.02, 0.02), (0.08, 0.0, -0.08), (0.2, -0.2, 0.2)])
    goal = (at + offsets).astype(np.float32)
    state = env(name).reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "goal": goal})
    distance = np.sqrt((offsets**2).sum(axis=1))
    np.testing.assert_allclose(state.distance, distance, rtol=1e-4)
    np.testing.assert_array_equal(state.success, distance < 0.1)
    np.testing.assert_array_equal(state.grades["easy"], distance < 0.3)
    np.testing.assert_array_equal(state.grades["hard"], distance < 0.03)
    assert state.success.tolist() == [True, True, False, False]
    assert state.grades["hard"].tolist() == [True, False, False, False]


def grasp_grades(cube, left, right, openness):
    """Section 2.9, in numpy."""
    d, o = np.linalg.norm(cube - (left + right) / 2), abs(openness - 0.075)
    limits = {"success": (0.05, 0.02), "easy": (0.15, 0.05), "hard": (0.02, 0.005)}
    return {name: bool(d < far and o < loose) for name, (far, loose) in limits.items()}


def test_success_of_a_grasp():
    rng = np.random.default_rng(0)
    task = arm_task(SCENES["arm_grasp"], None)
    assert task.spec.grades is not None
    judge = jax.jit(task.spec.grades)
    found = {"success": [], "easy": [], "hard": []}
    for scale in np.repeat([0.02, 0.06, 0.15], 60):
        cube = rng.uniform(-0.3, 0.3, 3)
        left, right = cube + rng.uniform(-scale, scale, (2, 3))
        openness = 0.075 + rng.uniform(-scale, scale) / 3
        beside = np.array([0.0375, 0, 0])
        goal = np.array([*(cube + beside), *(cube - beside), 0.075])
        grades = judge(np.array([*left, *right, openness]), goal)
        expected = grasp_grades(cube, left, right, openness)
        assert {name: bool(grade) for name, grade in grades.items()} == expected
        for name, grade in expected.items():
            found[name].append(grade)
    assert all(0.05 < np.mean(grades) < 0.95 for grades in found.values())


def test_the_goal_of_a_grasp_goes_with_the_cube():
    """The goal returned with a state is that state's, not the one before's; so it is after a reset."""
    grasp = vector.build(arm_task(SCENES["arm_grasp"], 3), mujoco_engine(model("arm_grasp"), SUBSTEPS), "fresh")
    qvel = np.zeros(23)
    qvel[0] = 0.5
    first = state = grasp.reset(jax.random.key(0), NUM_ENVS, {"qvel": qvel})
    beside = np.array([0.0375, 0, 0])
    for step in range(1, 4):
        state = grasp.step(state, actions("arm_grasp", 0, 0, 0, 0, 1))
        expected = np.concatenate([state.state[:, :3] + beside, state.state[:, :3] - beside], axis=1)
        np.testing.assert_allclose(state.goal[:, :6], expected, atol=1e-6)
        np.testing.assert_allclose(state.goal[:, 6], 0.075, atol=1e-7)
        assert (state.truncated == (step == 3)).all()
        if step == 1:
            assert (state.goal[:, 0] - first.goal[:, 0] > 0.01).all()


# --- Model.

MASSES = [4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522]


@pytest.mark.parametrize("name", SCENES)
def test_bodies(name):
    compiled = model(name)
    links = [f"link{i}" for i in range(1, 8)]
    fingers = ["left_finger", "right_finger"]
    expected = {
        "arm_reach": ["goal_marker", *links],
        "arm_grasp": ["cube", "goal_marker", *links, "left_finger", "left_tip", "right_finger", "right_tip"],
        "arm_binpick_easy_EEF": ["cube", "goal_marker", "hand", *fingers],
    }.get(name, ["cube", "goal_marker", *links, *fingers])
    assert [compiled.body(i).name for i in range(compiled.nbody)] == ["world", *expected]
    masses = dict(zip(links, MASSES)) | {"cube": 0.216, "goal_marker": 0.216, "hand": 0.871268}
    masses |= {"left_finger": 0.015, "right_finger": 0.015, "left_tip": 0.001, "right_tip": 0.001}
    masses |= {"arm_reach": {"goal_marker": 0.1131}, "arm_grasp": {"goal_marker": 0.002}}.get(name, {})
    for body in expected:
        np.testing.assert_allclose(compiled.body(body).mass, masses[body], rtol=1e-4)
    for finger in fingers if name != "arm_reach" else []:
        np.testing.assert_allclose(compiled.body(finger).inertia, [2.375e-6, 2.375e-6, 7.5e-7])
        np.testing.assert_array_equal(compiled.body(finger).ipos, 0)
    if name != "arm_reach":
        np.testing.assert_allclose(compiled.body("cube").inertia, 1.296e-4)
    if name == "arm_grasp":
        np.testing.assert_allclose(compiled.body("left_tip").inertia, 1.66667e-8, rtol=1e-5)
    weightless = [body for body in expected if compiled.body_gravcomp[compiled.body(body).id]]
    assert weightless == (["goal_marker", "hand"] if "hand" in expected else ["goal_marker"])


def test_inertia_of_the_links():
    """Diagonal about axes of its own in MuJoCo; back in the link's axes it is the sheet's."""
    compiled = model("arm_reach")
    given = {
        "link1": ((0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169)),
        "link4": ((-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641)),
        "link7": ((0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741)),
    }
    for name, (centre, (xx, yy, zz, xy, xz, yz)) in given.items():
        body = compiled.body(name)
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, body.iquat)
        full = turn.reshape(3, 3) @ np.diag(body.inertia) @ turn.reshape(3, 3).T
        np.testing.assert_allclose(full, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], rtol=0, atol=1e-8)
        np.testing.assert_allclose(body.ipos, centre)


def test_joints():
    compiled = model("arm_push_easy")
    ranges = {2: (-1.7628, 1.7628), 4: (-3.0718, -0.0698), 6: (-0.0175, 3.7525)}
    for number in range(1, 8):
        joint = compiled.joint(f"joint{number}")
        assert bool(compiled.jnt_limited[joint.id]) == (number in ranges)
        np.testing.assert_allclose(joint.range, ranges.get(number, (0, 0)))
        assert (joint.armature[0], joint.damping[0]) == (0, 0)
    for name, reach in (("arm_push_easy", 0.08), ("arm_grasp", 0.08), ("arm_binpick_easy_EEF", 0.05)):
        for side in ("left", "right"):
            finger = model(name).joint(f"{side}_finger")
            np.testing.assert_allclose(finger.range, (0, reach))
            assert (finger.armature[0], finger.damping[0]) == (0.1, 5)
    np.testing.assert_allclose(model("arm_grasp").joint("left_tip").range, (-0.0001, 0.0001))
    for axis, limits in (("x", (-0.4, 0.4)), ("y", (0.35, 0.85)), ("z", (0, 0.3))):
        slide = model("arm_binpick_easy_EEF").joint(f"hand_{axis}")
        np.testing.assert_allclose(slide.range, limits)
        assert (slide.armature[0], slide.damping[0]) == (0, 0)


@pytest.mark.parametrize("name", SCENES)
def test_servos(name):
    compiled = model(name)
    stiffness = [4500, 4500, 3500, 3500, 2000, 2000, 2000]
    gains = [4500, 4500, 2000, 2000, 1000, 1000, 1000]
    forces = [87] * 4 + [12] * 3
    turn = (-2.8973, 2.8973)
    ranges = [turn, (-1.7628, 1.7628), turn, (-3.0718, -0.0698), turn, (-0.0175, 3.7525), turn]
    if name == "arm_binpick_easy_EEF":
        stiffness, gains, forces, ranges = [1000] * 3, [1000] * 3, [87] * 3, [turn] * 3
    if name != "arm_reach":
        stiffness, forces, ranges = [*stiffness, 500, 500], [*forces, 500, 500], [*ranges, (0, 255), (0, 255)]
        gains = [*gains, *[0.09804 if name == "arm_binpick_easy_EEF" else 0.15686] * 2]
    bias = np.array([(0, -k, -k / 10) for k in stiffness])
    np.testing.assert_allclose(compiled.actuator_gainprm[:, 0], gains)
    np.testing.assert_allclose(compiled.actuator_biasprm[:, :3], bias)
    np.testing.assert_allclose(compiled.actuator_ctrlrange, ranges)
    assert compiled.actuator_ctrllimited.all()
    # Force limits are the joints', one actuator each.
    assert not compiled.actuator_forcelimited.any()
    driven = compiled.actuator_trnid[:, 0]
    assert len(set(driven)) == compiled.nu
    np.testing.assert_allclose(compiled.jnt_actfrcrange[driven], [(-force, force) for force in forces])
    assert compiled.jnt_actfrclimited[driven].all()
    np.testing.assert_array_equal(compiled.actuator_gear[:, 0], 1)
    assert compiled.neq == (name != "arm_reach")
    if compiled.neq:
        np.testing.assert_allclose(compiled.eq_data[0, :5], (0, 1, 0, 0, 0))
        np.testing.assert_allclose(compiled.eq_solref[0], (0.005, 1))
        np.testing.assert_allclose(compiled.eq_solimp[0], (0.95, 0.99, 0.001, 0.5, 2))


@pytest.mark.parametrize("name", SCENES)
def test_options(name):
    compiled = arm_model.arm_model(SCENES[name])
    option = compiled.opt
    assert (option.timestep, option.iterations, option.ls_iterations) == (0.002, 6, 12)
    assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert option.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    assert option.disableflags == 0
    assert option.impratio == (10 if "binpick" in name else 1)


@pytest.mark.parametrize("name", SCENES)
def test_what_touches_what(name):
    compiled = model(name)
    # Without pairs nothing touches, so that decoration cannot.
    assert not compiled.geom_contype.any()
    assert not compiled.geom_conaffinity.any()
    pairs = zip(compiled.pair_geom1, compiled.pair_geom2)
    touching = {frozenset((compiled.geom(a).name, compiled.geom(b).name)) for a, b in pairs}
    gripper = {"hand", "left_finger", "right_finger"}
    if name == "arm_reach":
        expected = {frozenset(("table", "hand"))}
    else:
        expected = {frozenset((thing, part)) for thing in ("cube", "table") for part in gripper}
        expected |= {frozenset(("cube", "table")), frozenset(("left_finger", "right_finger"))}
    names = [compiled.geom(i).name for i in range(compiled.ngeom)]
    walls, fences = ([n for n in names if n.startswith(kind)] for kind in ("bin", "fence"))
    expected |= {frozenset((wall, thing)) for wall in walls for thing in ("cube", *gripper)}
    expected |= {frozenset((fence, "cube")) for fence in fences}
    assert touching == expected
    counts = {"arm_reach": 1, "arm_binpick_easy": 40, "arm_binpick_hard": 40, "arm_binpick_easy_EEF": 44}
    assert compiled.npair == counts.get(name, 8)
    np.testing.assert_array_equal(compiled.pair_dim, 3)
    np.testing.assert_allclose(compiled.pair_friction, [(1, 1, 0.005, 0.0001, 0.0001)] * compiled.npair)
    np.testing.assert_allclose(compiled.pair_solref, [(0.02, 1)] * compiled.npair)
    np.testing.assert_allclose(compiled.pair_solimp, [(0.9, 0.95, 0.001, 0.5, 2)] * compiled.npair)
    assert not compiled.pair_margin.any()


EASY_BINS = [
    *(((x, y, 0.033), (0.145, 0.005, 0.033)) for x in (-0.17, 0.17) for y in (0.46, 0.74)),
    *(((x, 0.6, 0.033), (0.005, 0.135, 0.033)) for x in (-0.31, -0.03, 0.03, 0.31)),
]
HARD_BINS = [
    *(((x, y, 0.033), (0.195, 0.005, 0.033)) for x in (-0.3, 0.3) for y in (0.41, 0.79)),
    *(((x, 0.6, 0.033), (0.005, 0.185, 0.033)) for x in (-0.49, -0.11, 0.11, 0.49)),
]
FENCES = [
    *(((0, y, 0.15), (0.41, 0.01, 0.15)) for y in (0.35, 0.85)),
    *(((x, 0.6, 0.15), (0.01, 0.24, 0.15)) for x in (-0.4, 0.4)),
]


@pytest.mark.parametrize(
    ("name", "walls"),
    [
        ("arm_binpick_easy", EASY_BINS),
        ("arm_binpick_hard", HARD_BINS),
        ("arm_binpick_easy_EEF", EASY_BINS + FENCES),
        ("arm_push_easy", []),
    ],
)
def test_walls(name, walls):
    compiled = model(name)
    geoms = [compiled.geom(i) for i in range(compiled.ngeom)]
    found = [[*geom.pos, *geom.size] for geom in geoms if geom.name.startswith(("bin", "fence"))]
    expected = [[*centre, *half] for centre, half in walls]
    np.testing.assert_allclose(sorted(np.round(found, 6).tolist()), sorted(np.round(expected, 6).tolist()))


@pytest.mark.parametrize("name", SCENES)
def test_tasks_read_the_sensors_by_name(name):
    slices = sensor_slices(model(name))
    assert slices.pop("effector_position") == arm_model.EFFECTOR_POSITION
    assert slices.pop("effector_velocity") == arm_model.EFFECTOR_VELOCITY
    if name != "arm_reach":
        assert slices.pop("left") == arm_model.LEFT
        assert slices.pop("right") == arm_model.RIGHT
    if name == "arm_binpick_easy_EEF":
        assert (slices.pop("left_finger_force"), slices.pop("right_finger_force")) == (slice(12, 13), slice(13, 14))
        assert slice(12, 14) == arm_model.FINGER_FORCES
    assert not slices


SIZES = {"arm_reach": (13, 3, 4), "arm_grasp": (23, 7, 5), "arm_binpick_easy_EEF": (11, 3, 4)}


@pytest.mark.parametrize("name", SCENES)
def test_a_random_rollout(name):
    spec = env(name).spec
    assert (spec.state_size, spec.goal_size, spec.action_size) == SIZES.get(name, (17, 3, 5))
    goal_indices = {"arm_reach": (7, 8, 9), "arm_grasp": tuple(range(16, 23))}
    assert spec.goal_indices == goal_indices.get(name, (0, 1, 2))
    assert spec.episode_length == 1000
    rng = np.random.default_rng(0)
    state = env(name).reset(jax.random.key(0), NUM_ENVS)
    for _ in range(50):
        state = env(name).step(state, rng.uniform(-1, 1, (NUM_ENVS, spec.action_size)).astype(np.float32))
        assert not state.terminated.any()
    assert state.state.shape == (NUM_ENVS, spec.state_size)
    assert state.goal.shape == state.achieved_goal.shape == (NUM_ENVS, spec.goal_size)
    assert (state.episode_id == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))

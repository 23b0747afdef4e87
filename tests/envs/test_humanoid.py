"""The humanoid: its model against tables of the release's model, every entry of its state, resets, goals and falls."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import humanoid, vector
from deepcrl.envs.humanoid import humanoid_model, humanoid_task, links_of
from deepcrl.envs.layouts import LAYOUTS, cells, wall_boxes
from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.protocol import grade

NUM_ENVS = 3
GEARS = [100, 100, 100, 100, 100, 300, 200, 100, 100, 300, 200, *[25] * 6]
STAND = [0, 0, 1.4, 1, *[0] * 20]

# Link: position in its parent, and mass.
LINKS = {
    "torso": ((0, 0, 1.4), 8.9074624),
    "lwaist": ((-0.01, 0, -0.26), 2.2619467),
    "pelvis": ((0, 0, -0.165), 6.6161941),
    "right_thigh": ((0, -0.1, -0.04), 4.7517509),
    "right_shin": ((0, 0.01, -0.403), 4.522842),
    "left_thigh": ((0, 0.1, -0.04), 4.7517509),
    "left_shin": ((0, -0.01, -0.403), 4.522842),
    "right_upper_arm": ((0, -0.17, 0.06), 1.6610805),
    "right_lower_arm": ((0.18, -0.18, -0.18), 1.2295402),
    "left_upper_arm": ((0, 0.17, 0.06), 1.6610805),
    "left_lower_arm": ((0.18, 0.18, -0.18), 1.2295402),
    "target": ((0, 0, 1.25), 1.0),
}
# Joint: axis, anchor height, range in degrees, stiffness, damping, armature.
HINGES = {
    "abdomen_z": ((0, 0, 1), 0.065, (-45, 45), 20, 5, 0.02),
    "abdomen_y": ((0, 1, 0), 0.065, (-75, 30), 10, 5, 0.02),
    "abdomen_x": ((1, 0, 0), 0.1, (-35, 35), 10, 5, 0.02),
    "right_hip_x": ((1, 0, 0), 0, (-25, 5), 10, 5, 0.01),
    "right_hip_z": ((0, 0, 1), 0, (-60, 35), 10, 5, 0.01),
    "right_hip_y": ((0, 1, 0), 0, (-110, 20), 20, 5, 0.008),
    "right_knee": ((0, -1, 0), 0.02, (-160, -2), 0, 1, 0.006),
    "left_hip_x": ((-1, 0, 0), 0, (-25, 5), 10, 5, 0.01),
    "left_hip_z": ((0, 0, -1), 0, (-60, 35), 10, 5, 0.01),
    "left_hip_y": ((0, 1, 0), 0, (-110, 20), 20, 5, 0.01),
    "left_knee": ((0, -1, 0), 0.02, (-160, -2), 1, 1, 0.006),
    "right_shoulder1": ((2, 1, 1), 0, (-85, 60), 1, 1, 0.0068),
    "right_shoulder2": ((0, -1, 1), 0, (-85, 60), 1, 1, 0.0051),
    "right_elbow": ((0, -1, 1), 0, (-90, 50), 0, 1, 0.0028),
    "left_shoulder1": ((2, -1, 1), 0, (-60, 85), 1, 1, 0.0068),
    "left_shoulder2": ((0, 1, 1), 0, (-60, 85), 1, 1, 0.0051),
    "left_elbow": ((0, -1, -1), 0, (-90, 50), 0, 1, 0.0028),
}
JOINTS = list(HINGES)
ACTUATORS = ["abdomen_y", "abdomen_z", *JOINTS[2:]]
# Link: its solids, each from one end to the other (a sphere's are the same) and radius.
SOLIDS = {
    "torso": [
        ((0, -0.07, 0), (0, 0.07, 0), 0.07),
        ((0, 0, 0.19), (0, 0, 0.19), 0.09),
        ((-0.01, -0.06, -0.12), (-0.01, 0.06, -0.12), 0.06),
    ],
    "lwaist": [((0, -0.06, 0), (0, 0.06, 0), 0.06)],
    "pelvis": [((-0.02, -0.07, 0), (-0.02, 0.07, 0), 0.09)],
    "right_thigh": [((0, 0, 0), (0, 0.01, -0.34), 0.06)],
    "left_thigh": [((0, 0, 0), (0, -0.01, -0.34), 0.06)],
    "right_shin": [((0, 0, 0), (0, 0, -0.3), 0.049), ((0, 0, -0.35), (0, 0, -0.35), 0.075)],
    "left_shin": [((0, 0, 0), (0, 0, -0.3), 0.049), ((0, 0, -0.35), (0, 0, -0.35), 0.075)],
    "right_upper_arm": [((0, 0, 0), (0.16, -0.16, -0.16), 0.04)],
    "left_upper_arm": [((0, 0, 0), (0.16, 0.16, -0.16), 0.04)],
    "right_lower_arm": [
        ((0.01, 0.01, 0.01), (0.17, 0.17, 0.17), 0.031),
        ((0.18, 0.18, 0.18), (0.18, 0.18, 0.18), 0.04),
    ],
    "left_lower_arm": [
        ((0.01, -0.01, 0.01), (0.17, -0.17, 0.17), 0.031),
        ((0.18, -0.18, 0.18), (0.18, -0.18, 0.18), 0.04),
    ],
    "target": [((0, 0, 0), (0, 0, 0), 0.5)],
}


@pytest.fixture(scope="module")
def model():
    return humanoid_model(None)


def task_of(model, layout=None, **options):
    return humanoid_task(layout, None, links_of(model, unit_inertia=False), **options)


@pytest.fixture(scope="module")
def env(model):
    return vector.build(task_of(model), mujoco_engine(model, humanoid.SUBSTEPS), "fresh")


@pytest.fixture(scope="module")
def poses():
    """Humanoids high in the air, bent and tumbling: "qpos" [3, 26] and "qvel" [3, 25] of single precision."""
    rng = np.random.default_rng(0)
    qpos, qvel = rng.uniform(-1, 1, (NUM_ENVS, 26)), rng.uniform(-2, 2, (NUM_ENVS, 25))
    qpos[:, 2] = 1.7
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    qpos[:, 24:] *= 4
    qvel[:, 23:] = 0
    return {"qpos": qpos.astype(np.float32).astype(np.float64), "qvel": qvel.astype(np.float32).astype(np.float64)}


class TestModel:
    def test_coordinates(self, model):
        assert (model.nq, model.nv, model.nu) == (26, 25, 17)
        assert [model.joint(i).name for i in range(model.njnt)] == ["root", *JOINTS, "target_x", "target_y"]

    def test_links(self, model):
        assert [model.body(i).name for i in range(1, model.nbody)] == list(LINKS)
        parents = {"lwaist": "torso", "pelvis": "lwaist", "torso": "world", "target": "world"}
        for name, (position, mass) in LINKS.items():
            body = model.body(name)
            np.testing.assert_allclose(body.pos, position, atol=1e-12)
            np.testing.assert_allclose(body.mass, mass, rtol=1e-7)
            tilted = name in ("lwaist", "pelvis")
            np.testing.assert_allclose(body.quat, [1, 0, -0.002 * tilted, 0] / np.sqrt(1 + 4e-6 * tilted), atol=1e-12)
            side, _, part = name.partition("_")
            above = {"thigh": "pelvis", "shin": f"{side}_thigh", "upper_arm": "torso", "lower_arm": f"{side}_upper_arm"}
            assert model.body(body.parentid[0]).name == (parents.get(name) or above[part])
        np.testing.assert_allclose(model.body_mass.sum(), 42.11603 + 1, atol=5e-6)

    def test_joints(self, model):
        for name, (axis, height, limits, stiffness, damping, armature) in HINGES.items():
            joint = model.joint(name)
            np.testing.assert_allclose(joint.axis, axis / np.linalg.norm(axis))
            np.testing.assert_allclose(joint.pos, (0, 0, height))
            np.testing.assert_allclose(np.rad2deg(joint.range), limits)
            np.testing.assert_array_equal(
                [joint.stiffness[0], joint.damping[0], joint.armature[0]], [stiffness, damping, armature]
            )
            assert joint.limited
        assert not model.dof_damping[[*range(6), 23, 24]].any()
        assert not model.dof_armature[[*range(6), 23, 24]].any()

    def test_solids(self, model):
        for name, solids in SOLIDS.items():
            body = model.body(name)
            assert body.geomnum[0] == len(solids)
            for index, (start, end, radius) in enumerate(solids, start=body.geomadr[0]):
                geom = model.geom(index)
                np.testing.assert_allclose(geom.pos, np.add(start, end) / 2, atol=1e-12)
                assert geom.size[0] == radius
                if start == end:
                    assert geom.type == mujoco.mjtGeom.mjGEOM_SPHERE
                    continue
                assert geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE
                along = matrix(geom.quat)[:, 2] * 2 * geom.size[1]
                sign = np.sign(along @ np.subtract(end, start))
                np.testing.assert_allclose(sign * along, np.subtract(end, start), atol=1e-12)

    def test_actuators(self, model):
        assert [model.joint(model.actuator(i).trnid[0]).name for i in range(17)] == ACTUATORS
        np.testing.assert_array_equal(model.actuator_gear[:, 0], GEARS)
        np.testing.assert_array_equal(model.actuator_ctrlrange, [[-0.4, 0.4]] * 17)
        np.testing.assert_array_equal(model.actuator_gainprm[:, 0], 1)
        assert not model.actuator_biasprm.any()

    def test_options(self, model):
        option = model.opt
        assert (option.timestep, option.iterations, option.ls_iterations) == (0.003, 1, 4)
        assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
        assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP

    def test_friction(self):
        model = humanoid_model(LAYOUTS["u"])
        floor = model.geom("floor").id
        np.testing.assert_array_equal(model.geom_friction[floor], [1, 0.1, 0.1])
        others = np.delete(model.geom_friction, floor, axis=0)
        np.testing.assert_array_equal(others, [[1, 0.005, 0.0001]] * len(others))


@pytest.mark.parametrize("name", [None, "u", "big", "hardest"])
def test_all_solids_touch_floor_and_walls_but_not_each_other(pairs_that_may_touch, name):
    layout = name and LAYOUTS[name]
    pairs = pairs_that_may_touch(humanoid_model(layout))
    num_surroundings = 1 + len(wall_boxes(layout or ()))
    assert len(pairs) == 17 * num_surroundings
    by_surrounding = {}
    for pair in pairs:
        (it,) = (name for name in pair if name == "floor" or name.startswith("wall"))
        by_surrounding.setdefault(it, set()).update({*pair} - {it})
    assert len(by_surrounding) == num_surroundings
    assert all(len(solids) == 17 and "target" not in solids for solids in by_surrounding.values())


def test_walls_are_half_a_cell_high():
    model = humanoid_model(LAYOUTS["u"])
    first = model.geom("wall_0_0")
    np.testing.assert_allclose(first.size, [1, 5, 0.5])
    np.testing.assert_allclose(first.pos, [0, 4, 0.5])


def matrix(quaternion):
    w, v = quaternion[0], np.asarray(quaternion[1:])
    return (w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * cross_matrix(v)


def cross_matrix(v):
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def kinematics(model, qpos, qvel):
    """Origin, axes, velocity and angular velocity of every body's frame, the world's first, joint by joint."""
    frames = [(np.zeros(3), np.eye(3), np.zeros(3), np.zeros(3))]
    for index in range(1, model.nbody):
        body = model.body(index)
        parent, axes, velocity, spin = frames[body.parentid[0]]
        origin = parent + axes @ body.pos
        velocity = velocity + np.cross(spin, origin - parent)
        axes = axes @ matrix(body.quat)
        for joint in range(body.jntadr[0], body.jntadr[0] + body.jntnum[0]):
            kind, q, v = model.jnt_type[joint], model.jnt_qposadr[joint], model.jnt_dofadr[joint]
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                origin, axes = qpos[:3], matrix(qpos[3:7] / np.linalg.norm(qpos[3:7]))
                velocity, spin = qvel[:3], axes @ qvel[3:6]
            elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
                origin = origin + axes @ model.jnt_axis[joint] * qpos[q]
                velocity = velocity + axes @ model.jnt_axis[joint] * qvel[v]
            else:
                anchor = origin + axes @ model.jnt_pos[joint]
                velocity = velocity + np.cross(spin, anchor - origin)
                spin = spin + axes @ model.jnt_axis[joint] * qvel[v]
                k = cross_matrix(model.jnt_axis[joint])
                axes = axes @ (np.eye(3) + np.sin(qpos[q]) * k + (1 - np.cos(qpos[q])) * k @ k)
                origin = anchor - axes @ model.jnt_pos[joint]
                velocity = velocity + np.cross(spin, origin - anchor)
        frames.append((origin, axes, velocity, spin))
    return frames


def expected_blocks(model, qpos, qvel, bodies=range(1, 13)):
    """Inertia and velocity blocks of the state from coordinates alone."""
    frames = kinematics(model, qpos, qvel)
    mass = np.array([model.body_mass[b] for b in bodies])
    centres = np.array([frames[b][0] + frames[b][1] @ model.body_ipos[b] for b in bodies])
    centre = mass @ centres / mass.sum()
    inertias, velocities = [], []
    for m, c, b in zip(mass, centres, bodies):
        origin, axes, velocity, spin = frames[b]
        principal = axes @ matrix(model.body_iquat[b])
        r = c - centre
        inertia = principal @ np.diag(model.body_inertia[b]) @ principal.T + m * (r @ r * np.eye(3) - np.outer(r, r))
        inertias += [*inertia.ravel(), m]
        velocities += [*(m / mass.sum() * (velocity + np.cross(spin, c - origin))), *spin]
    return np.array(inertias), np.array(velocities)


def torques(action):
    """Generalised force of the actuators."""
    force = np.zeros(25)
    for name, gear, a in zip(ACTUATORS, GEARS, action):
        force[6 + JOINTS.index(name)] = gear * 0.4 * a
    return force


def test_every_entry_of_the_state_at_a_start(model, env, poses):
    state = env.reset(jax.random.key(0), NUM_ENVS, poses).state
    assert state.shape == (NUM_ENVS, 268)
    for row, qpos, qvel in zip(state, poses["qpos"], poses["qvel"]):
        inertias, velocities = expected_blocks(model, qpos, qvel)
        expected = np.concatenate([qpos, qvel, inertias, velocities, np.zeros(25)])
        np.testing.assert_allclose(row, expected, rtol=2e-5, atol=2e-5)


def test_every_entry_of_the_state_after_a_step(model, poses):
    """Of one simulator step: derived entries show what it began from, under the action's torques, clipped to 1."""
    env = vector.build(task_of(model), mujoco_engine(model, 1), "never")
    action = np.random.default_rng(1).uniform(-1.5, 1.5, (NUM_ENVS, 17)).astype(np.float32)
    after = env.step(env.reset(jax.random.key(0), NUM_ENVS, poses), action)
    for index, row in enumerate(after.state):
        inertias, velocities = expected_blocks(model, poses["qpos"][index], poses["qvel"][index])
        new = [after.physics[name][index] for name in ("qpos", "qvel")]
        expected = np.concatenate([*new, inertias, velocities, torques(np.clip(action[index], -1, 1))])
        np.testing.assert_allclose(row, expected, rtol=2e-5, atol=2e-5)
        assert np.abs(new[1] - poses["qvel"][index]).max() > 0.1


def test_the_clean_state_knows_nothing_of_the_goal(model, poses):
    env = vector.build(task_of(model, clean=True), mujoco_engine(model, humanoid.SUBSTEPS), "never")
    elsewhere = {**poses, "qpos": poses["qpos"] + np.r_[np.zeros(24), 2, -1]}
    here, there = (env.reset(jax.random.key(0), NUM_ENVS, options).state for options in (poses, elsewhere))
    assert here.shape == (NUM_ENVS, env.spec.state_size) == (NUM_ENVS, 246)
    np.testing.assert_array_equal(here, there)
    for row, qpos, qvel in zip(here, poses["qpos"], poses["qvel"]):
        inertias, velocities = expected_blocks(model, qpos, qvel, range(1, 12))
        expected = np.concatenate([qpos[:24], qvel[:23], inertias, velocities, np.zeros(23)])
        np.testing.assert_allclose(row, expected, rtol=2e-5, atol=2e-5)


def test_mjx_gives_the_same_state(model, env, poses):
    task, engine = task_of(model), mjx_engine(model, humanoid.SUBSTEPS)
    physics = jax.jit(jax.vmap(engine.start))({name: value.astype(np.float32) for name, value in poses.items()})
    native = env.reset(jax.random.key(0), NUM_ENVS, poses).state
    np.testing.assert_allclose(jax.vmap(task.observe)(physics), native, rtol=2e-5, atol=2e-5)


def test_reset_on_the_plane(model, draw):
    """All stand alike; goals are uniform in distance and in angle, a quarter of them within the easy radius."""
    task, samples = task_of(model), 100_000
    qpos, qvel, goal = draw(task, samples)
    np.testing.assert_array_equal(qpos[:, :24], np.tile(np.float32(STAND), (samples, 1)))
    assert not qvel.any()
    np.testing.assert_array_equal(qpos[:, 24:], goal[:, :2])
    np.testing.assert_array_equal(goal[:, 2], 1.25)
    radius = np.linalg.norm(goal[:, :2], axis=1)
    eighths, _ = np.histogram(radius, bins=8, range=(1, 5))
    octants, _ = np.histogram(np.arctan2(goal[:, 1], goal[:, 0]), bins=8, range=(-np.pi, np.pi))
    assert eighths.sum() == samples
    np.testing.assert_allclose([eighths, octants], samples / 8, rtol=0.04)
    _, success, grades = grade(task.spec, qpos[:, :3], goal)
    assert not success.any()
    np.testing.assert_allclose(grades["easy"].mean(), 0.248, atol=0.005)


@pytest.mark.parametrize("name", ["u_eval", "big_eval_10"])
def test_reset_in_a_maze(model, draw, name):
    layout = LAYOUTS[name]
    qpos, qvel, goal = draw(task_of(model, layout), 4096)
    start = [*(2.0 * cells(layout, "R")[0]), *STAND[2:]]
    np.testing.assert_array_equal(qpos[:, :24], np.tile(np.float32(start), (4096, 1)))
    assert not qvel.any()
    np.testing.assert_array_equal(qpos[:, 24:], goal[:, :2])
    found, counts = np.unique(goal, axis=0, return_counts=True)
    np.testing.assert_array_equal(found[:, :2], 2.0 * cells(layout, "G"))
    np.testing.assert_array_equal(found[:, 2], 1.25)
    np.testing.assert_allclose(counts, 4096 / len(found), rtol=0.25)


def test_distance_is_in_space(env):
    """Upright above the goal's place the torso is 0.15 m too high."""
    qpos = [3, 2, *STAND[2:], 3, 2]
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "goal": [3, 2, 1.25]})
    np.testing.assert_allclose(state.distance, 0.15, rtol=1e-5)
    assert state.success.all()
    far = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "goal": [3, 2.48, 1.25]})
    np.testing.assert_array_equal(far.success, False)
    assert far.grades["easy"].all()


@pytest.mark.parametrize(("height", "ends"), [(0.9, True), (1.1, False), (1.9, False), (2.1, True)])
def test_a_fall_terminates(env, height, ends):
    qpos = [0, 0, height, 1, *[0] * 20, 3, 0]
    after = env.step(env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos}), np.zeros((NUM_ENVS, 17), np.float32))
    assert (after.terminated == ends).all()
    assert (after.episode_id == ends).all()
    assert ((after.state[:, 2] == np.float32(1.4)) == ends).all()


@pytest.mark.parametrize("name", [None, "u"])
def test_fifty_random_steps(random_rollout, name):
    model = humanoid_model(name and LAYOUTS[name])
    env = vector.build(task_of(model, name and LAYOUTS[name]), mujoco_engine(model, humanoid.SUBSTEPS), "fresh")
    states = random_rollout(env)
    for state in states:
        np.testing.assert_allclose(state.state[:, 24:26], state.goal[:, :2], atol=1e-6)
    assert (states[-1].episode_id > 0).all()

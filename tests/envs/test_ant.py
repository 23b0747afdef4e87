"""The ant: its model against the release's numbers, its observation, resets, falls, goals and walls."""

import collections

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs.ant import ant_model, ant_stitching_task, ant_task
from deepcrl.envs.layouts import LAYOUTS, cells, corridor, wall_boxes
from deepcrl.envs.point import point_stitching_task
from deepcrl.envs.registry import make_env

STAND = [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
SAMPLES = 4096
NUM_ENVS = 3
"""One batch size throughout: each compiles anew."""
IDLE = np.zeros((NUM_ENVS, 8), np.float32)


@pytest.fixture(scope="module", params=["plain", "maze"])
def model(request):
    return ant_model(None if request.param == "plain" else LAYOUTS["u"])


@pytest.fixture(scope="module")
def ant():
    return make_env("ant")


@pytest.fixture(scope="module")
def maze():
    return make_env("ant_u_maze")


def draws(layout):
    physics, goal = jax.vmap(ant_task(layout, None).reset)(jax.random.split(jax.random.key(0), SAMPLES))
    return np.array(physics["qpos"]), np.array(physics["qvel"]), np.array(goal)


def throw(env, position, velocity, steps):
    """Positions [<= steps, 17] of an ant thrown from x, y, z with zero action, until its first reset."""
    qpos, qvel = np.array([*STAND, 0, 0], float), np.zeros(16)
    qpos[:3], qvel[:2] = position, velocity
    state = env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    path = []
    for _ in range(steps):
        state = env.step(state, IDLE)
        if state.terminated[0]:
            break
        path.append(state.physics["qpos"][0])
    return np.array(path)


class TestModel:
    def test_coordinates(self, model):
        assert (model.nq, model.nv, model.nu) == (17, 16, 8)
        joints = ["root", *(f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle"))]
        assert [model.joint(i).name for i in range(model.njnt)] == [*joints, "target_x", "target_y"]

    def test_masses(self, model):
        np.testing.assert_allclose(model.body("torso").mass, 0.48388025, rtol=1e-7)
        for leg in (1, 2, 3, 4):
            np.testing.assert_allclose(model.body(f"hip_{leg}").mass, 0.03915775, rtol=1e-6)
            np.testing.assert_allclose(model.body(f"ankle_{leg}").mass, 0.06759221, rtol=1e-6)
        assert model.body("target").mass == 1.0
        np.testing.assert_allclose(model.body_mass.sum() - 1.0, 0.91088, rtol=1e-5)

    def test_links_of_a_kilogram(self):
        light, heavy = ant_model(LAYOUTS["u"]), ant_model(LAYOUTS["u"], link_mass=1.0)
        links = [i for i in range(light.nbody) if light.body(i).name.startswith(("torso", "hip", "ankle"))]
        np.testing.assert_allclose(heavy.body_mass[links], np.ones(9))
        rest = np.setdiff1d(np.arange(light.nbody), links)
        np.testing.assert_array_equal(heavy.body_mass[rest], light.body_mass[rest])
        np.testing.assert_allclose(
            heavy.body("ankle_2").inertia, [0.00267479 / 0.06759221] * 2 + [0.00020943 / 0.06759221], rtol=1e-4
        )
        np.testing.assert_allclose(heavy.body("torso").subtreemass, 9.0)
        # The free joint's inverse weight follows: one over the mass of the whole.
        assert heavy.dof_invweight0[0] < light.dof_invweight0[0] / 5

    def test_inertias_and_centres(self, model):
        np.testing.assert_allclose(model.body("torso").inertia, [0.0135857, 0.0111204, 0.0111204], rtol=1e-5)
        for leg, (x, y) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)], start=1):
            hip, ankle = model.body(f"hip_{leg}"), model.body(f"ankle_{leg}")
            np.testing.assert_allclose(hip.inertia, [0.00056797, 0.00056797, 0.00011844], rtol=1e-4)
            np.testing.assert_allclose(ankle.inertia, [0.00267479, 0.00267479, 0.00020943], rtol=1e-4)
            np.testing.assert_allclose(hip.ipos, [0.1 * x, 0.1 * y, 0], atol=1e-12)
            np.testing.assert_allclose(ankle.ipos, [0.2 * x, 0.2 * y, 0], atol=1e-12)
            np.testing.assert_allclose(hip.pos, [0.2 * x, 0.2 * y, 0])
            np.testing.assert_allclose(ankle.pos, [0.2 * x, 0.2 * y, 0])

    def test_joints(self, model):
        ankles = {1: (30, 70), 2: (-70, -30), 3: (-70, -30), 4: (30, 70)}
        axes = {1: (-1, 1), 2: (1, 1), 3: (-1, 1), 4: (1, 1)}
        for leg in (1, 2, 3, 4):
            hip, ankle = model.joint(f"hip_{leg}"), model.joint(f"ankle_{leg}")
            np.testing.assert_allclose(np.rad2deg(hip.range), (-30, 30))
            np.testing.assert_allclose(np.rad2deg(ankle.range), ankles[leg])
            np.testing.assert_allclose(hip.axis, (0, 0, 1))
            np.testing.assert_allclose(ankle.axis, np.array([*axes[leg], 0]) / np.sqrt(2))
            assert hip.limited
            assert ankle.limited
        np.testing.assert_array_equal(model.dof_armature, [0] * 6 + [1] * 8 + [0] * 2)
        np.testing.assert_array_equal(model.dof_damping, [0] * 6 + [1] * 8 + [0] * 2)

    def test_actuators(self, model):
        order = ["hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"]
        assert [model.joint(model.actuator(i).trnid[0]).name for i in range(8)] == order
        np.testing.assert_array_equal(model.actuator_gear, [[150, 0, 0, 0, 0, 0]] * 8)
        np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1, 1]] * 8)
        np.testing.assert_array_equal(model.actuator_gainprm[:, 0], 1)
        assert not model.actuator_biasprm.any()

    def test_options(self, model):
        option = model.opt
        assert (option.timestep, option.iterations, option.ls_iterations) == (0.01, 1, 4)
        assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
        assert option.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
        assert option.integrator == mujoco.mjtIntegrator.mjINT_EULER
        assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP

    def test_friction(self, model):
        np.testing.assert_array_equal(model.geom_friction, [[1, 0.5, 0.5]] * model.ngeom)


def masks(model):
    """Contact type and affinity of every kind of geom."""
    kinds = {}
    for index in range(model.ngeom):
        body, geom = model.body(model.geom_bodyid[index]).name, model.geom(index)
        kind = (geom.name or f"{body}_limb").split("_")
        kinds.setdefault(f"{kind[0]}_limb" if kind[-1] == "limb" else kind[0], set()).add(
            (int(geom.contype[0]), int(geom.conaffinity[0]))
        )
    return kinds


def test_contact_masks_on_the_plane():
    expected = {"floor": (0, 1), "torso": (0, 0), "torso_limb": (0, 0), "hip_limb": (0, 0), "ankle_limb": (0, 0)}
    expected |= {"foot": (1, 0), "target": (0, 0)}
    assert masks(ant_model(None)) == {kind: {mask} for kind, mask in expected.items()}


def test_contact_masks_in_a_maze():
    expected = {"floor": (0, 1), "torso": (0, 1), "torso_limb": (0, 1), "hip_limb": (0, 0), "ankle_limb": (0, 0)}
    expected |= {"foot": (1, 1), "target": (0, 0), "wall": (1, 1)}
    assert masks(ant_model(LAYOUTS["u"])) == {kind: {mask} for kind, mask in expected.items()}


@pytest.mark.parametrize("name", [None, "u", "big"])
def test_pairs_that_may_touch(pairs_that_may_touch, name):
    """Feet touch floor, torso and each other; walls touch feet, the torso and its four stumps of limbs."""
    model = ant_model(name and LAYOUTS[name])
    kinds = [[name.split("_")[0] + "_limb" * name.endswith("_limb") for name in p] for p in pairs_that_may_touch(model)]
    boxes = len(wall_boxes(LAYOUTS[name])) if name else 0
    expected = {("floor", "foot"): 4}
    if name:
        expected |= {("foot", "torso"): 4, ("foot", "torso_limb"): 16, ("foot", "foot"): 6}
        expected |= {("foot", "wall"): 4 * boxes, ("torso", "wall"): boxes, ("torso_limb", "wall"): 4 * boxes}
    assert collections.Counter(tuple(sorted(pair)) for pair in kinds) == expected
    assert len(kinds) == (9 * boxes + 30 if name else 4)


@pytest.mark.parametrize("name", ["u", "u4", "u5", "big", "hardest"])
def test_wall_boxes_fill_the_wall_cells(name):
    """Sampled at the nine tenths around every cell's centre, a point is in a box exactly where the cell is a wall."""
    layout, model = LAYOUTS[name], ant_model(LAYOUTS[name])
    walls = [i for i in range(model.ngeom) if model.geom(i).name.startswith("wall")]
    assert len(walls) == len(wall_boxes(layout))
    centres, halves = model.geom_pos[walls], model.geom_size[walls]
    np.testing.assert_allclose(centres[:, 2], 1.0)
    np.testing.assert_allclose(halves[:, 2], 1.0)
    for i, j in cells(layout, "#RG."):
        for dx, dy in [(0, 0), (1.8, 1.8), (-1.8, 1.8), (1.8, -1.8), (-1.8, -1.8)]:
            offset = np.abs(np.array([4.0 * i + dx, 4.0 * j + dy]) - centres[:, :2])
            assert (offset < halves[:, :2]).all(axis=1).sum() == (layout[i][j] == "#")


def test_observation_is_position_and_velocity_without_the_marker(ant):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.normal(size=(NUM_ENVS, 17)), rng.normal(size=(NUM_ENVS, 16))
    state = ant.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    expected = np.concatenate([qpos[:, :15], qvel[:, :14]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(state.state, expected)
    np.testing.assert_array_equal(state.achieved_goal, expected[:, :2])
    after = ant.step(state, IDLE)
    raw = np.concatenate([after.physics["qpos"][:, :15], after.physics["qvel"][:, :14]], axis=1)
    alive = ~after.terminated
    np.testing.assert_array_equal(after.state[alive], raw[alive].astype(np.float32))


def test_action_is_clipped_torque(ant):
    """Actuator 1 drives ankle 4, the last of the eight joints; actions beyond 1 change nothing."""
    qpos = [*STAND, 10, 0]
    state = ant.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(16)})
    action = IDLE.copy()
    action[1, 1], action[2, 1] = 1.0, 7.0
    after = ant.step(state, action).state
    np.testing.assert_array_equal(after[1], after[2])
    change = np.abs(after[1] - after[0])[7:15]
    assert change.argmax() == 7
    assert change[7] > 0.1


def test_reset_on_the_plane():
    qpos, qvel, goal = draws(None)
    offset = np.delete(qpos[:, :15] - STAND, [3, 4, 5, 6], axis=1)
    assert np.abs(offset).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(offset.std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(offset.mean(axis=0), 0, atol=0.005)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1, atol=1e-6)
    assert 0.05 < qpos[:, 4:7].std() < 0.06
    np.testing.assert_allclose(qvel[:, :14].std(axis=0), 0.1, rtol=0.06)
    assert not qvel[:, 14:].any()
    np.testing.assert_array_equal(qpos[:, 15:], goal)
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 10, rtol=1e-6)
    octants, _ = np.histogram(np.arctan2(goal[:, 1], goal[:, 0]), bins=8, range=(-np.pi, np.pi))
    np.testing.assert_allclose(octants, SAMPLES / 8, rtol=0.2)
    assert len(np.unique(qpos[:, 7])) > 0.99 * SAMPLES


@pytest.mark.parametrize("name", ["u4", "big_eval"])
def test_reset_in_a_maze(name):
    layout = LAYOUTS[name]
    qpos, _, goal = draws(layout)
    offset = qpos[:, :2] - 4.0 * cells(layout, "R")[0]
    assert np.abs(offset).max() <= 0.1 + 1e-5
    np.testing.assert_allclose(offset.std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(qpos[:, 2].mean(), 0.55, atol=0.005)
    found, counts = np.unique(goal, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, 4.0 * cells(layout, "G"))
    np.testing.assert_allclose(counts, SAMPLES / len(found), rtol=0.25)


def test_the_marker_stays_at_the_goal(maze):
    state = maze.reset(jax.random.key(1), NUM_ENVS)
    for _ in range(20):
        state = maze.step(state, np.ones((NUM_ENVS, 8), np.float32))
        np.testing.assert_allclose(state.physics["qpos"][:, 15:], state.goal, atol=1e-9)


def test_stands_when_it_does_nothing(ant):
    path = throw(ant, (0, 0, 0.55), (0, 0), 60)
    assert len(path) == 60
    assert 0.4 < path[-1, 2] < 0.7
    np.testing.assert_allclose(path[-1, :2], 0, atol=0.05)


@pytest.mark.parametrize(
    ("height", "quaternion", "ends"),
    [(0.1, [0, 1, 0, 0], True), (0.5, [0, 1, 0, 0], False), (0.55, [1, 0, 0, 0], False), (1.2, [1, 0, 0, 0], True)],
    ids=["below on its back", "falling on its back", "standing", "above"],
)
def test_a_fall_terminates(ant, height, quaternion, ends):
    """The torso does not touch the floor: an ant on its back sinks. What follows the end is a fresh start."""
    qpos = [0, 0, height, *quaternion, *STAND[7:], 10, 0]
    state = ant.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(16), "goal": [10.0, 0.0]})
    after = ant.step(state, IDLE)
    assert bool(after.terminated[0]) == ends
    assert not after.truncated[0]
    assert int(after.episode_id[0]) == ends
    assert abs(after.next_state[0, 2] - height) < 0.1
    assert not ends or abs(after.state[0, 2] - 0.55) <= 0.1 + 1e-6


def test_walls_block_the_ant(ant, maze):
    """Thrown at the wall face x = 2, feet (radius 0.08) and torso (0.25) stop at it; on the plane they fly on."""
    model = ant_model(None)
    data = mujoco.MjData(model)

    def foremost(path):
        least = np.inf
        for qpos in path:
            data.qpos = qpos
            mujoco.mj_kinematics(model, data)
            least = min(least, *(data.geom(f"foot_{leg}").xpos[0] for leg in (1, 2, 3, 4)))
        return least

    free, blocked = (throw(env, (3.2, 4.0, 0.9), (-6.0, 0.0), 15) for env in (ant, maze))
    assert free[:, 0].min() < 2.0
    assert foremost(free) < 1.5
    assert 2.0 < foremost(blocked) < 2.2
    assert 2.2 < blocked[:, 0].min() < 3.0


def test_what_touches_a_wall():
    """Of an ant that reaches into the wall: torso, its stumps of limbs, the near feet, but neither legs nor ankles."""
    model = ant_model(LAYOUTS["u"])
    data = mujoco.MjData(model)
    data.qpos[:15] = STAND
    data.qpos[:2] = 2.2, 4.0
    mujoco.mj_forward(model, data)
    kinds = set()
    for pair in data.contact.geom:
        names = [model.geom(i).name or model.body(model.geom_bodyid[i]).name + "_limb" for i in pair]
        if "wall_0_0" in names:
            kinds |= {*names} - {"wall_0_0"}
    assert kinds == {"torso", "torso_limb", "foot_2", "foot_3"}


@pytest.mark.parametrize("auto_reset", ["fresh", "cached"])
def test_resets_on_the_host(auto_reset):
    env = make_env("ant", auto_reset=auto_reset, episode_length=2)
    first = state = env.reset(jax.random.key(0), NUM_ENVS)
    for step in range(1, 5):
        state = env.step(state, IDLE)
        assert (state.truncated == (step % 2 == 0)).all()
        assert (state.episode_id == step // 2).all()
    np.testing.assert_array_equal(state.physics["qpos"][:, :15].astype(np.float32), state.state[:, :15])
    assert not state.physics["qacc_warmstart"].any()
    repeats = auto_reset == "cached"
    assert np.array_equal(state.goal, first.goal) == repeats
    assert np.allclose(state.state, first.state, rtol=1e-6, atol=1e-7) == repeats
    assert (np.abs(state.next_state - state.state).max(axis=1) > 0).all()


class TestStitching:
    @pytest.mark.parametrize("task", [ant_stitching_task, point_stitching_task])
    def test_starts_and_goals_are_the_pairs_of_the_corridor(self, task):
        layout, distances = LAYOUTS["u_single_eval"], (1, 2, 3)
        keys = jax.random.split(jax.random.key(0), 20_000)
        physics, goal = jax.vmap(task(layout, distances, None).reset)(keys)
        start, goal = np.array(physics["qpos"])[:, :2] / 4.0, np.array(goal) / 4.0
        if task is ant_stitching_task:  # the marker
            np.testing.assert_array_equal(np.array(physics["qpos"])[:, -2:] / 4.0, goal)
        path = corridor(layout).tolist()
        steps = np.array([[path.index(s), path.index(g)] for s, g in zip(start.tolist(), goal.tolist())])
        apart = steps[:, 1] - steps[:, 0]
        counts = np.bincount(apart, minlength=4)
        np.testing.assert_allclose(counts / len(keys), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.015)
        for distance, pairs in ((1, 6), (2, 5), (3, 4)):
            share = np.bincount(steps[apart == distance, 0], minlength=pairs) / counts[distance]
            np.testing.assert_allclose(share, 1 / pairs, atol=0.02)

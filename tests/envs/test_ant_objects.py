"""Ants with things to push, and the ant of the random start: models, observations, resets, falls and success."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import ant, ant_ball, ant_push, vector
from deepcrl.envs.layouts import LAYOUTS, cells, wall_boxes
from deepcrl.envs.mujoco_engine import mujoco_engine

SAMPLES = 8192
NUM_ENVS = 3
STAND = [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
IDLE = np.zeros((NUM_ENVS, 8), np.float32)
FEET = [f"foot_{leg}" for leg in (1, 2, 3, 4)]
WALLS = [
    [(-4, 20, 2), (8, 8, 2)],
    [(8, 24, 2), (4, 4, 2)],
    [(20, 20, 2), (8, 8, 2)],
    [(-8, 4, 2), (4, 8, 2)],
    [(24, 8, 2), (4, 4, 2)],
    [(20, -4, 2), (8, 8, 2)],
    [(0, -8, 2), (12, 4, 2)],
]


@pytest.fixture(scope="module")
def ball():
    engine = mujoco_engine(ant_ball.ant_ball_model(None), ant_ball.SUBSTEPS)
    return vector.build(ant_ball.ant_ball_task(None, None), engine, "fresh")


@pytest.fixture(scope="module")
def push():
    engine = mujoco_engine(ant_push.ant_push_model(), ant_push.SUBSTEPS)
    return vector.build(ant_push.ant_push_task(None), engine, "fresh")


def pairs(*groups):
    """All pairs, one of each of two groups of names, sorted."""
    return sorted(tuple(sorted((a, b))) for first, second in groups for a in first for b in second)


def octants(offsets):
    """How many of the points [N, 2] lie in each eighth of the plane."""
    return np.histogram(np.arctan2(offsets[:, 1], offsets[:, 0]), bins=8, range=(-np.pi, np.pi))[0]


class TestModels:
    def test_coordinates(self):
        for model, extra in (
            (ant_ball.ant_ball_model(None), ["ball_x", "ball_y"]),
            (ant_push.ant_push_model(), ["box_x", "box_y", "box_z"]),
        ):
            legs = [f"{joint}_{leg}" for leg in (1, 2, 3, 4) for joint in ("hip", "ankle")]
            expected = ["root", *legs, *extra, "target_x", "target_y"]
            assert [model.joint(i).name for i in range(model.njnt)] == expected
            assert (model.nq, model.nv, model.nu) == (17 + len(extra), 16 + len(extra), 8)
            np.testing.assert_array_equal(model.actuator_gear[:, 0], [150] * 8)

    def test_ball(self):
        model = ant_ball.ant_ball_model(None)
        assert model.body("ball").mass[0] == pytest.approx(0.57596, rel=1e-5)
        np.testing.assert_array_equal(model.body("ball").pos, [0, 0, 0.5])
        assert model.geom("ball").size[0] == 0.5
        for name in ("ball_x", "ball_y"):
            joint = model.joint(name)
            np.testing.assert_array_equal(joint.range, [-10.3213, 10.3])
            assert (joint.armature[0], np.ravel(joint.damping)[0]) == (1, 0)
        np.testing.assert_array_equal(ant_ball.ant_ball_model(LAYOUTS["ball_u"]).joint("ball_x").range, [-100, 100])
        assert (model.opt.timestep, model.opt.iterations, model.opt.ls_iterations) == (0.01, 1, 4)
        assert model.body("torso").mass[0] == pytest.approx(0.48388025)

    def test_heavy_links_leave_the_ball_alone(self):
        model = ant_ball.ant_ball_model(None, link_mass=1.0)
        assert model.body("torso").subtreemass[0] == pytest.approx(9.0)
        assert model.body("ball").mass[0] == pytest.approx(0.57596, rel=1e-5)

    def test_push(self):
        model = ant_push.ant_push_model()
        assert model.body("torso").mass[0] == pytest.approx(3.871, abs=1e-3)
        assert model.body("hip_2").mass[0] == pytest.approx(0.31326, abs=1e-5)
        assert model.body("ankle_3").mass[0] == pytest.approx(0.54074, abs=1e-5)
        assert model.body("torso").subtreemass[0] == pytest.approx(7.28704, abs=1e-4)
        np.testing.assert_allclose(model.geom_solimp[:, :3], [[0.995, 0.995, 0.01]] * model.ngeom)
        for number, (centre, half) in enumerate(WALLS):
            np.testing.assert_array_equal(model.geom(f"wall_{number}").pos, centre)
            np.testing.assert_array_equal(model.geom(f"wall_{number}").size, half)
        np.testing.assert_array_equal(model.body("box").pos, [8, 8, 2])
        np.testing.assert_array_equal(model.geom("box").size, [3.6, 3.6, 1.8])
        assert model.body("box").mass[0] == pytest.approx(2e-4)
        box = slice(14, 17)
        assert not model.dof_armature[box].any()
        assert not model.dof_damping[box].any()
        assert not model.jnt_limited[9:12].any()
        option = model.opt
        assert (option.timestep, option.iterations, option.ls_iterations) == (0.01, 4, 8)
        assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP

    def test_what_touches_the_ball(self, pairs_that_may_touch):
        touching = pairs_that_may_touch(ant_ball.ant_ball_model(None))
        assert len(touching) == 20
        between_feet = [(a, b) for a in FEET for b in FEET if a < b]
        others = pairs((["floor"], [*FEET, "ball"]), (["torso"], [*FEET, "ball"]), (["ball"], FEET))
        assert sorted(touching) == sorted(others + between_feet)

    @pytest.mark.parametrize("name", ["ball_u", "ball_big"])
    def test_what_touches_in_a_ball_maze(self, name, pairs_that_may_touch):
        walls = [f"wall_{row}_{column}" for row, column, _, _ in wall_boxes(LAYOUTS[name])]
        plane = pairs_that_may_touch(ant_ball.ant_ball_model(None))
        expected = sorted(plane + pairs((walls, ["torso", "ball", *FEET])))
        assert sorted(pairs_that_may_touch(ant_ball.ant_ball_model(LAYOUTS[name]))) == expected

    def test_what_touches_the_box(self, pairs_that_may_touch):
        touching = pairs_that_may_touch(ant_push.ant_push_model())
        assert len(touching) == 53
        ground = ["floor", *(f"wall_{number}" for number in range(7))]
        body = ["torso", *FEET]
        assert sorted(touching) == pairs((ground, [*body, "box"]), (["box"], body))


def test_observation_with_the_ball(ball):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.normal(size=(NUM_ENVS, 19)), rng.normal(size=(NUM_ENVS, 18))
    state = ball.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    expected = np.concatenate([qpos[:, :15], qvel[:, :14], qpos[:, 15:17]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(state.state, expected)
    np.testing.assert_array_equal(state.achieved_goal, qpos[:, 15:17].astype(np.float32))


def test_the_ball_in_the_state_is_where_the_model_has_it(ball):
    model = ant_ball.ant_ball_model(None)
    data = mujoco.MjData(model)
    state = ball.reset(jax.random.key(1), NUM_ENVS)
    data.qpos = state.physics["qpos"][0]
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(state.achieved_goal[0], data.body("ball").xpos[:2], atol=1e-6)
    np.testing.assert_allclose(state.goal[0], data.body("target").xpos[:2], atol=1e-6)


def test_observation_with_the_box(push):
    rng = np.random.default_rng(0)
    qpos, qvel = rng.normal(size=(NUM_ENVS, 20)), rng.normal(size=(NUM_ENVS, 19))
    state = push.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    expected = np.concatenate([qpos[:, :15], qvel[:, :14], 8 + qpos[:, 15:17]], axis=1)
    np.testing.assert_allclose(state.state, expected, rtol=1e-6)
    np.testing.assert_array_equal(state.achieved_goal, state.state[:, :2])
    model = ant_push.ant_push_model()
    data = mujoco.MjData(model)
    data.qpos = qpos[0]
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(state.state[0, 29:], data.body("box").xpos[:2], atol=1e-5)


def check_noise(qpos, qvel, centre, height):
    offset = np.delete(qpos[:, :15] - [*centre, height, *STAND[3:]], [3, 4, 5, 6], axis=1)
    assert np.abs(offset).max() <= 0.1 + 1e-5
    np.testing.assert_allclose(offset[:, 2:].std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(qvel[:, :14].std(axis=0), 0.1, rtol=0.06)
    assert not qvel[:, 14:].any()
    return offset


def test_reset_with_the_ball(draw, keys_used_once):
    qpos, qvel, goal = draw(ant_ball.ant_ball_task(None, None), SAMPLES)
    offset = check_noise(qpos, qvel, (0, 0), 0.55)
    np.testing.assert_allclose(offset[:, :2].std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_array_equal(qpos[:, 17:], goal)
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 5, rtol=1e-6)
    np.testing.assert_allclose(octants(goal), SAMPLES / 8, rtol=0.15)
    beside = qpos[:, 15:17] - 0.2 * goal
    np.testing.assert_allclose(np.linalg.norm(beside, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(octants(beside), SAMPLES / 8, rtol=0.15)
    # On any side of the way to the goal: independent of its direction.
    along = np.arctan2(beside[:, 1], beside[:, 0]) - np.arctan2(goal[:, 1], goal[:, 0])
    np.testing.assert_allclose(octants(np.stack([np.cos(along), np.sin(along)], axis=1)), SAMPLES / 8, rtol=0.15)


@pytest.mark.parametrize("name", ["ball_u", "ball_big"])
def test_reset_in_a_ball_maze(name, draw, keys_used_once):
    layout = LAYOUTS[name]
    qpos, qvel, goal = draw(ant_ball.ant_ball_task(layout, None), SAMPLES)
    offset = check_noise(qpos, qvel, (4, 4), 0.55)
    assert not offset[:, :2].any()
    np.testing.assert_array_equal(qpos[:, 17:], goal)
    balls, goals = 4.0 * cells(layout, "B"), 4.0 * cells(layout, "G")
    # Every ball cell with every goal cell, all alike: the draws do not share a key.
    found, counts = np.unique(qpos[:, 15:], axis=0, return_counts=True)
    np.testing.assert_array_equal(found, [[*b, *g] for b in balls for g in goals])
    np.testing.assert_allclose(counts, SAMPLES / len(found), rtol=0.3)


def test_reset_with_the_box(draw, keys_used_once):
    qpos, qvel, goal = draw(ant_push.ant_push_task(None), SAMPLES)
    offset = check_noise(qpos, qvel, (0, 0), 0.75)
    np.testing.assert_allclose(offset[:, :2].std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    box = qpos[:, 15:18]
    assert np.abs(box).max() <= 0.1
    np.testing.assert_allclose(box.std(axis=0), 0.1 / np.sqrt(3), rtol=0.05)
    np.testing.assert_array_equal(qpos[:, 18:], goal)
    far_along_x = goal[:, 0] > goal[:, 1]
    np.testing.assert_allclose(far_along_x.mean(), 0.5, atol=0.03)
    for points, corner in ((goal[far_along_x], (16, 8)), (goal[~far_along_x], (8, 16))):
        for axis in (0, 1):
            counts, _ = np.histogram(points[:, axis] - corner[axis], bins=4, range=(0, 2))
            assert counts.sum() == len(points)
            np.testing.assert_allclose(counts, len(points) / 4, rtol=0.15)
        assert abs(np.corrcoef(points.T)[0, 1]) < 0.06


def test_random_start(draw, keys_used_once):
    qpos, qvel, goal = draw(ant.ant_random_start_task(None), SAMPLES)
    from_goal = qpos[:, :2] - goal
    np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 10, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(from_goal, axis=1), 10, rtol=1e-5)
    np.testing.assert_allclose(octants(goal), SAMPLES / 8, rtol=0.15)
    np.testing.assert_allclose(octants(from_goal), SAMPLES / 8, rtol=0.15)
    assert abs(np.corrcoef(goal[:, 0], from_goal[:, 0])[0, 1]) < 0.05
    assert np.linalg.norm(qpos[:, :2], axis=1).max() > 19
    np.testing.assert_array_equal(qpos[:, 15:], goal)
    assert np.abs(qpos[:, 2] - 0.55).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(qvel[:, :14].std(axis=0), 0.1, rtol=0.06)
    task = ant.ant_random_start_task(9)
    assert (task.spec.state_size, task.spec.easy_radius, task.spec.episode_length) == (29, 2.0, 9)


def test_success_is_the_balls(ball):
    qpos = np.array([*STAND, 3, 0, 0, 0])
    goals = [[3.49, 0], [3, -1.99], [0, 0]]
    state = ball.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(18), "goal": goals})
    np.testing.assert_array_equal(state.success, [True, False, False])
    np.testing.assert_array_equal(state.grades["easy"], [True, True, False])
    np.testing.assert_allclose(state.distance, [0.49, 1.99, 3], rtol=1e-5)


def test_success_beside_the_box_is_the_ants(push):
    qpos = np.array([*STAND, 0, 0, 0, 0, 0])
    goals = [[0.49, 0], [0, -1.99], [8, 8]]
    state = push.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(19), "goal": goals})
    np.testing.assert_array_equal(state.success, [True, False, False])
    np.testing.assert_array_equal(state.grades["easy"], [True, True, False])


@pytest.mark.parametrize(
    ("which", "height", "ends"),
    # Beside the box the torso touches the floor, which would lift it out of a start so low.
    [("ball", 0.1, True), ("ball", 0.6, False), ("ball", 1.2, True), ("push", 0.6, False), ("push", 1.2, True)],
)
def test_a_fall_terminates(which, height, ends, request):
    env = request.getfixturevalue(which)
    extra = 4 if which == "ball" else 5
    quaternion = [0, 1, 0, 0] if height < 0.5 else [1, 0, 0, 0]
    qpos = [0, 0, height, *quaternion, *STAND[7:], *[5] * extra]
    after = env.step(env.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": np.zeros(14 + extra)}), IDLE)
    assert bool(after.terminated[0]) == ends
    assert abs(after.next_state[0, 2] - height) < 0.1


def test_the_ant_moves_the_ball(ball):
    """Thrown at it through the air, lest its feet brake; a ball that nothing touches stays."""
    qpos = np.array([*STAND, 0.85, 0, 5, 5])
    qpos[2] = 0.75
    qvel = np.zeros((NUM_ENVS, 18))
    qvel[0, 0] = 4.0
    state = ball.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    for _ in range(5):
        state = ball.step(state, IDLE)
    assert state.state[0, 29] > 1.0
    np.testing.assert_allclose(state.next_state[0, 30], state.physics["qpos"][0, 16], atol=1e-6)
    far = ball.reset(jax.random.key(0), NUM_ENVS, {"qpos": np.array([*STAND, 3, 0, 5, 5]), "qvel": 0 * qvel})
    for _ in range(5):
        far = ball.step(far, IDLE)
    np.testing.assert_allclose(far.state[:, 29:], [[3, 0]] * NUM_ENVS, atol=1e-6)


def test_the_box_falls_to_the_floor_and_gives_way(push):
    """Thrown at the box's face x = 4.4 the ant moves it; else the box comes to rest 0.2 m lower."""
    qpos = np.array([*STAND, 0, 0, 0, 16, 8.0])
    qpos[:2] = 3.6, 8
    qvel = np.zeros((NUM_ENVS, 19))
    qvel[0, 0] = 4.0
    state = push.reset(jax.random.key(0), NUM_ENVS, {"qpos": qpos, "qvel": qvel})
    for _ in range(15):
        state = push.step(state, IDLE)
    assert not state.terminated.any()
    assert state.state[0, 29] > 8.3
    np.testing.assert_allclose(state.physics["qpos"][1, 17], -0.2, atol=0.01)


@pytest.mark.parametrize("which", ["ball", "push"])
def test_random_rollout(which, request, random_rollout):
    states = random_rollout(request.getfixturevalue(which))
    for state in states:
        heights = state.next_state[:, 2]
        np.testing.assert_array_equal(state.terminated, (heights < 0.2) | (heights > 1.0))


def test_random_rollout_in_a_ball_maze(random_rollout):
    layout = LAYOUTS["ball_u"]
    engine = mujoco_engine(ant_ball.ant_ball_model(layout), ant_ball.SUBSTEPS)
    random_rollout(vector.build(ant_ball.ant_ball_task(layout, None), engine, "fresh"))

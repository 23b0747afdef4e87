"""The point: walls, steps, success, episode ends and resets, on a device environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.layouts import LAYOUTS, cells
from deepcrl.envs.point import CELL_SIZE, MAX_STEP, RADIUS
from deepcrl.envs.registry import make_env


def start_at(env, positions, goal=(100.0, 100.0)):
    positions = np.asarray(positions, np.float32)
    return env.reset(jax.random.key(0), len(positions), {"qpos": positions, "goal": np.asarray(goal, np.float32)})


def walk(env, state, action, steps):
    action = jnp.broadcast_to(jnp.asarray(action, jnp.float32), (len(state.goal), 2))
    for _ in range(steps):
        state = env.step(state, action)
    return state


def compiled(name, **settings):
    return make_env(name, **settings).compiled()


@pytest.fixture(scope="module")
def u_maze():
    return compiled("point_u_maze")


def test_ten_thousand_random_steps_never_enter_a_wall():
    """Random headings, each held for 40 steps so that the walks press into walls and corners."""
    env = compiled("point_hardest_maze", episode_length=20_000)
    walls = jnp.asarray(cells(LAYOUTS["hardest"], "#") * CELL_SIZE)
    headings = jax.random.uniform(jax.random.key(1), (250, 8), maxval=2 * np.pi)

    @jax.jit
    def clearance(state):
        def body(state, heading):
            state = env.step(state, jnp.stack([jnp.cos(heading), jnp.sin(heading)], -1))
            offset = jnp.abs(state.state[:, None] - walls) - CELL_SIZE / 2
            return state, jnp.linalg.norm(jnp.maximum(offset, 0.0), axis=-1).min()

        return jax.lax.scan(body, state, jnp.repeat(headings, 40, axis=0))

    state, gaps = clearance(env.reset(jax.random.key(2), 8))
    assert gaps.shape == (10_000,)
    assert gaps.min() > RADIUS - 1e-4
    assert int(state.episode_id.max()) == 0
    assert len(np.unique(np.round(np.asarray(state.state) / CELL_SIZE), axis=0)) > 1


@pytest.mark.parametrize(("maze", "missed"), [("l", []), ("j", [(3, 2)])])
def test_a_straight_line_agent_misses_only_the_dead_end_of_the_harder_maze(maze, missed):
    """Heading for the goal and sliding along walls: how hard these mazes are, as the README says."""
    env = compiled(f"point_{maze}_maze")
    goals = cells(LAYOUTS[maze], "G")
    start = cells(LAYOUTS[maze], "R")[0] * CELL_SIZE
    state = start_at(env, np.tile(start, (len(goals), 1)), goals * CELL_SIZE)
    met = np.zeros(len(goals), bool)
    for _ in range(env.spec.episode_length - 1):
        offset = state.goal - state.state
        state = env.step(state, offset / jnp.abs(offset).max(axis=-1, keepdims=True))
        met |= np.asarray(state.success)
    assert [tuple(int(x) for x in goal) for goal in goals[~met]] == missed


def test_slides_along_a_wall(u_maze):
    """From (4, 4) towards the wall face x = 2: x stops one radius before it, y goes on at its own speed."""
    state = walk(u_maze, start_at(u_maze, [[4.0, 3.0]]), (-1.0, 0.5), 5)
    direction = np.array([-1.0, 0.5]) / np.hypot(1.0, 0.5)
    np.testing.assert_allclose(state.state, [[2.5, 3.0 + 5 * MAX_STEP * direction[1]]], atol=1e-5)


def test_stops_in_a_corner(u_maze):
    state = walk(u_maze, start_at(u_maze, [[4.0, 4.0]]), (-1.0, -1.0), 20)
    np.testing.assert_allclose(state.state, [[2.5, 2.5]], atol=1e-5)


def test_rounds_a_convex_corner(u_maze):
    """The wall (2, 2) of the U ends at y = 10: a point above its edge by less than a radius is pushed off sideways."""
    state = walk(u_maze, start_at(u_maze, [[5.5, 10.3]]), (1.0, 0.0), 4)
    assert state.state[0, 0] > 7.0
    np.testing.assert_allclose(state.state[0, 1], 10.5, atol=1e-4)


def test_step_length(u_maze):
    """Full action moves 0.6 m in any direction, smaller ones in proportion: at least seven steps per cell."""
    actions = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, -0.5], [5.0, 0.0], [0.3, 0.4]], np.float32)
    state = start_at(u_maze, np.tile([[4.0, 5.0]], (5, 1)))
    moved = np.linalg.norm(np.asarray(u_maze.step(state, actions).state - state.state), axis=1)
    np.testing.assert_allclose(moved, [0.6, 0.6, 0.3, 0.6, 0.3], atol=1e-6)
    assert CELL_SIZE / MAX_STEP > 6


def test_distance_and_success(u_maze):
    state = start_at(u_maze, [[4.0, 8.0], [4.0, 8.0]], [[4.0, 9.05], [4.0, 9.15]])
    after = u_maze.step(state, jnp.array([[0.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_allclose(after.distance, [0.45, 0.55], atol=1e-5)
    np.testing.assert_array_equal(after.success, [True, False])
    np.testing.assert_array_equal(after.terminated | after.truncated, [False, False])


def test_goals_are_centres_of_goal_cells_and_all_occur(u_maze):
    state = u_maze.reset(jax.random.key(3), 256)
    drawn = {tuple(goal) for goal in np.asarray(state.goal)}
    assert drawn == {tuple(goal) for goal in cells(LAYOUTS["u"], "G") * CELL_SIZE}
    offset = np.asarray(state.state) - [4.0, 4.0]
    assert np.abs(offset).max() <= 0.1 + 1e-6
    assert np.abs(offset).max() > 0.09


def test_truncation_keeps_the_true_next_state():
    env = compiled("point_u_maze", episode_length=3)
    state = start_at(env, [[4.0, 4.0]], [8.0, 12.0])
    for k in range(1, 3):
        state = walk(env, state, (0.0, 1.0), 1)
        assert not state.truncated[0]
        assert int(state.episode_step[0]) == k
        np.testing.assert_array_equal(state.state, state.next_state)
    state = walk(env, state, (0.0, 1.0), 1)
    assert state.truncated[0]
    assert not state.terminated[0]
    np.testing.assert_allclose(state.next_state, [[4.0, 5.8]], atol=1e-5)
    np.testing.assert_allclose(state.distance, [np.hypot(4.0, 6.2)], atol=1e-4)
    assert np.abs(np.asarray(state.state) - 4.0).max() <= 0.1 + 1e-6
    np.testing.assert_array_equal(state.state, state.physics["qpos"])
    assert (int(state.episode_id[0]), int(state.episode_step[0])) == (1, 0)


def episode_starts(auto_reset):
    """Start and goal of 6 episodes in 4 slots: arrays [6, 4, 2]."""
    env = compiled("point_big_maze", auto_reset=auto_reset, episode_length=1)
    state = env.reset(jax.random.key(4), 4)
    starts, goals = [state.state], [state.goal]
    for _ in range(5):
        state = walk(env, state, (1.0, 0.0), 1)
        starts.append(state.state)
        goals.append(state.goal)
    assert (np.asarray(state.episode_id) == 5).all()
    return np.array(starts), np.array(goals)


def test_fresh_resets_draw_anew():
    starts, goals = episode_starts("fresh")
    assert len(np.unique(starts.reshape(-1, 2), axis=0)) == 24
    assert all(len(np.unique(goals[:, slot], axis=0)) > 1 for slot in range(4))


def test_cached_resets_repeat_each_slots_start_and_goal():
    starts, goals = episode_starts("cached")
    np.testing.assert_array_equal(starts, np.broadcast_to(starts[0], starts.shape))
    np.testing.assert_array_equal(goals, np.broadcast_to(goals[0], goals.shape))
    assert len(np.unique(starts[0], axis=0)) == 4


def test_same_key_same_episodes(u_maze):
    first, second = (u_maze.reset(jax.random.key(5), 8) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_options_give_one_start_to_all_or_one_each(u_maze):
    shared = u_maze.reset(jax.random.key(0), 3, {"qpos": [4.0, 8.0], "goal": [12.0, 4.0]})
    np.testing.assert_array_equal(shared.state, [[4.0, 8.0]] * 3)
    np.testing.assert_array_equal(shared.goal, [[12.0, 4.0]] * 3)
    np.testing.assert_allclose(shared.distance, [np.hypot(8, 4)] * 3, rtol=1e-6)
    each = u_maze.reset(jax.random.key(0), 2, {"qpos": [[4.0, 8.0], [4.0, 12.0]]})
    np.testing.assert_array_equal(each.state, [[4.0, 8.0], [4.0, 12.0]])
    with pytest.raises(ConfigError, match=r"'qvel'.*'goal', 'qpos'"):
        u_maze.reset(jax.random.key(0), 2, {"qvel": [0.0, 0.0]})

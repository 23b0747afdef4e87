"""A run that was really trained, for seconds: value maps against the critic asked directly, and the whole page."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deepcrl import agent as agent_lib
from deepcrl.agent import LoadedAgent
from deepcrl.analysis import ValueMap, value_map
from deepcrl.config import ConfigError
from deepcrl.envs.protocol import Scene
from deepcrl.logging import rows
from deepcrl.report import report

GOAL = np.array([12.0, 8.0], np.float32)


@pytest.fixture(scope="module")
def run_dir(tiny_run) -> Path:
    return tiny_run("point_j_maze")


@pytest.fixture(scope="module")
def agent(run_dir) -> LoadedAgent:
    return agent_lib.load_agent(run_dir)


@pytest.fixture(scope="module")
def found(agent) -> ValueMap:
    return value_map(agent, GOAL, resolution=18)


def test_map_covers_the_maze_with_whole_grid_cells_per_cell(found):
    assert found.values.shape == (20, 20)  # 18 over 5 cells, rounded up to 4 each
    np.testing.assert_allclose(found.x[[0, -1]], [-2.0, 18.0])
    np.testing.assert_allclose(np.diff(found.y), 1.0)
    np.testing.assert_array_equal(found.goal, GOAL)


def test_values_are_the_critics_own_and_x_is_the_row(agent, found):
    for i, j in [(4, 4), (5, 15), (11, 12), (14, 9), (15, 15)]:
        state = np.array([found.x_centres[i], found.y_centres[j]], np.float32)
        direct = agent.value(state, agent.act(state, GOAL, mode="mean"), GOAL)
        np.testing.assert_allclose(found.values[i, j], direct, rtol=1e-5)


def test_walls_are_masked(agent, found):
    walls = np.array([[cell == "#" for cell in row] for row in agent.env.scene.layout])
    np.testing.assert_array_equal(np.isnan(found.values), np.kron(walls, np.ones((4, 4), bool)))


def distance_critic(agent: LoadedAgent) -> LoadedAgent:
    """The same agent with a critic whose value is known: minus the metres to the goal."""
    return agent._replace(value=lambda state, action, goal: -np.linalg.norm(np.asarray(state) - goal, axis=-1))


def test_known_critic_gives_the_known_map(agent):
    found = value_map(distance_critic(agent), GOAL, resolution=45)
    x, y = np.meshgrid(found.x_centres, found.y_centres, indexing="ij")
    free = ~np.isnan(found.values)
    np.testing.assert_allclose(found.values[free], -np.hypot(x - GOAL[0], y - GOAL[1])[free], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.best, GOAL, atol=1e-6)  # nine grid cells per cell: one is centred on the goal


def test_open_plane_is_a_square_around_starts_and_goals(agent):
    plane = distance_critic(agent)._replace(env=agent.env._replace(scene=Scene(None, 1.0)))
    found = value_map(plane, np.array([14.0, 2.0]), resolution=7)
    assert found.values.shape == (7, 7)
    assert np.isfinite(found.values).all()
    assert np.ptp(found.x) == pytest.approx(np.ptp(found.y))
    assert found.x[0] < 4.0 < 14.0 < found.x[-1]
    assert found.y[0] < 2.0 < 12.0 < found.y[-1]


def test_entries_that_repeat_a_position_move_with_it(agent, found):
    """The critic of a state whose second copy of the position is that of the fresh episode would see two places."""
    seen = []

    def value(state, action, goal):
        seen.append(np.asarray(state))
        return np.zeros(len(state))

    # This maze's state is the position and nothing else: three entries more, of which the first and last repeat it.
    spec = dataclasses.replace(agent.env.spec, state_size=5, goal_copies=((4,), (2,)))

    def reset(key, count):
        fresh = agent.env.reset(key, count)
        return fresh._replace(state=np.concatenate([fresh.state, np.full((count, 3), 7.0, np.float32)], axis=1))

    def act(state, goal, mode):
        return np.zeros((len(state), 2))

    wide = agent._replace(env=agent.env._replace(spec=spec, reset=reset), value=value, act=act)
    value_map(wide, GOAL, resolution=18)
    states = np.concatenate(seen)
    np.testing.assert_array_equal(states[:, 4], states[:, 0])
    np.testing.assert_array_equal(states[:, 2], states[:, 1])
    assert (states[:, 3] == 7.0).all()
    assert len(np.unique(states[:, :2], axis=0)) == np.isfinite(found.values).sum()


@pytest.mark.parametrize(("size", "scene"), [(1, Scene(("RG",), 1.0)), (3, Scene(None, 1.0))])
def test_goals_that_are_no_positions_are_refused(agent, size, scene):
    spec = agent.env.spec.__class__(**{**vars(agent.env.spec), "goal_size": size})
    with pytest.raises(ConfigError, match=f"these have {size} coordinate"):
        value_map(agent._replace(env=agent.env._replace(spec=spec, scene=scene)), np.zeros(size))


def test_report_of_a_finished_run(run_dir, parse):
    path = report(run_dir, num_episodes=12)
    page = parse(path.read_text(encoding="utf-8"))
    last = rows.read(run_dir)[-1]
    assert f"{last['eval/time_at_goal']:.1f}" in page.text("p.value")
    assert f"{last['eval/final_distance']:.2f} m" in page.text("p.value")
    assert not page.all("p", "banner")
    assert page.loads() == []
    assert "12 fresh episodes after 400 env steps" in page.text("p.about")
    assert len(page.all("path", "path")) == 12
    assert len(page.all("svg", "large")) == 1
    # Every path starts at R, cell (1, 1) of a picture that shows the rim of the outer walls and three cells.
    for attributes in page.all("path", "path"):
        right, down = map(float, (attributes["d"] or "")[1:].split("L")[0].split(" "))
        assert (right, down) == pytest.approx((200 * 0.8 / 3.6,) * 2, abs=2.0)
    before = path.read_bytes()
    assert report(run_dir, num_episodes=12).read_bytes() == before

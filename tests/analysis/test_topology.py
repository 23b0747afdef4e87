"""Distances round walls, ranks, and what they say of a critic, on mazes small enough to count."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from deepcrl import ConfigError, preset
from deepcrl.agent import LoadedAgent
from deepcrl.analysis.statistics import rank_correlation
from deepcrl.analysis.topology import EPISODES, OwnWay, Topology, shortest_ways, topologies, topology
from deepcrl.analysis.value_map import ValueMap
from deepcrl.envs.registry import make_env
from deepcrl.folder import create_run_dir
from deepcrl.program import build

D = math.sqrt(2.0)


def test_shortest_ways_go_round_walls_and_cut_no_corner():
    free = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 1], [1, 0, 0]], bool)
    # From (2, 2), beside the wall: up, and no diagonal past the wall's corner at (1, 1).
    expected = [[4.0, 3.0, 2.0], [5.0, np.inf, 1.0], [6.0, np.inf, 0.0], [7.0, np.inf, np.inf]]
    np.testing.assert_allclose(shortest_ways(free, (2, 2)), expected)


def test_shortest_ways_on_an_open_plane_are_octagonal():
    i, j = np.indices((7, 9))
    di, dj = np.abs(i - 2), np.abs(j - 3)
    expected = np.maximum(di, dj) + (D - 1.0) * np.minimum(di, dj)
    np.testing.assert_allclose(shortest_ways(np.ones((7, 9), bool), (2, 3)), expected)


def test_ranks_are_spearmans_with_ties():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40).astype(float), rng.integers(0, 9, 40) + rng.normal(size=40).round(1)
    assert rank_correlation(x, y) == pytest.approx(float(spearmanr(x, y).statistic))
    assert math.isnan(rank_correlation(np.zeros(4), np.arange(4.0)))


def made(values: np.ndarray) -> Topology:
    """A corridor of five places bent into a U: the far end is the nearest to the goal along the straight line."""
    straight = np.array([[0.0, 1.0], [np.nan, 2.0], [0.5, 1.5]])
    path = np.array([[0.0, 1.0], [np.nan, 2.0], [4.0, 3.0]])
    edges = np.arange(4.0)
    values = np.where(np.isnan(path), np.nan, values)
    way = np.array([(0, 0), (0, 1), (1, 1), (2, 1)])  # all but the far end
    value = np.array([values[i, j] for i, j in way])
    # Two episodes; the second spends three steps at the last place, whose mean value is what it is there.
    first = OwnWay(way[:3] + 0.5, way[:3], value[:3])
    second = OwnWay(way[[3] * 3] + 0.5, way[[3] * 3], value[3] + np.array([9.0, 0.0, -9.0]))
    return Topology(ValueMap(edges, edges[:3], values, np.zeros(2)), straight, path, [first, second])


def test_a_critic_that_knows_the_walls_and_one_that_does_not():
    wise, naive = made(-made(np.zeros((3, 2))).path), made(-made(np.zeros((3, 2))).straight)
    assert (wise.rank_path, naive.rank_straight) == pytest.approx((1.0, 1.0))
    assert (wise.sides_with_path, naive.sides_with_path) == (1.0, 0.0)
    assert made(np.zeros((3, 2))).sides_with_path == 0.5
    # Distances 0, 1, 2, 0.5, 1.5 and 0, 1, 2, 4, 3 order the pairs (1, 0.5), (2, 0.5), (2, 1.5), (0.5, 1.5) apart.
    # This value is wrong about the third of the four.
    assert made(np.array([[5.0, 4.0], [0.0, 1.0], [0.0, 3.0]])).sides_with_path == pytest.approx(0.75)


def test_a_critic_that_knows_its_own_way_and_not_the_places_beside_it():
    one = made(np.array([[5.0, 4.0], [0.0, 3.0], [9.0, 2.0]]))
    assert one.sides_with_path == pytest.approx(0.25)  # the far end, to which it never goes, is taken for the best
    assert (one.rank_path_on_own_way, one.sides_with_path_on_own_way) == (1.0, 1.0)
    # Of the four places on the way, the last two are the only pair that the distances order differently.
    assert made(np.array([[5.0, 4.0], [0.0, 2.0], [0.0, 3.0]])).sides_with_path_on_own_way == 0.0
    # Places beyond an open border, which NumPy would count from the other side, are on no grid.
    strayed = OwnWay(np.full((2, 2), 9.0), np.array([[-1, 0], [3, 1]]), np.array([99.0, -99.0]))
    astray = one._replace(own_ways=[*one.own_ways, strayed])
    assert (astray.rank_path_on_own_way, astray.sides_with_path_on_own_way) == (1.0, 1.0)
    lost = one._replace(own_ways=[])
    assert math.isnan(lost.rank_path_on_own_way)
    assert math.isnan(lost.sides_with_path_on_own_way)


def test_the_own_way_is_that_of_episodes_which_reach_the_goal():
    """A walker that follows the middle of the U, and critics that measure from where it is."""
    middle = np.array([[4.0, 4.0], [4.0, 12.0], [12.0, 12.0], [12.0, 4.0]])

    def walk(state, goal, *, mode, seed=0):
        turn = np.where(state[:, 1] < 11.5, 1, 2)
        turn[state[:, 0] > 11.5] = 3
        return np.clip((middle[turn] - state) / 0.6, -1.0, 1.0)

    def agent(value, act=walk):
        env = make_env("point_u_maze")
        return LoadedAgent(preset("point_u_maze"), env, 0, act, value, None, None, None, None)  # pyright: ignore

    goal = np.array([12.0, 4.0], np.float32)
    naive = topology(agent(lambda state, action, goal: -np.linalg.norm(state - goal, axis=1)), goal)
    steps = math.ceil(24.0 / 0.6)
    assert len(naive.own_ways) == EPISODES
    for way in naive.own_ways:
        assert steps - 3 < len(way.position) < steps + 3
        np.testing.assert_allclose(way.position[[0, -1]], middle[[0, -1]], atol=0.6)
        np.testing.assert_allclose(way.value, -np.linalg.norm(way.position - goal, axis=1), rtol=1e-5)
        centres = np.stack([naive.map.x_centres[way.place[:, 0]], naive.map.y_centres[way.place[:, 1]]], axis=1)
        assert np.abs(centres - way.position).max() <= (naive.map.x[1] - naive.map.x[0]) / 2 + 1e-5
    assert naive.sides_with_path_on_own_way < 0.05

    def progress(state, action, goal):
        x, y = state.T
        legs = [y - 4.0, 8.0 + x - 4.0, 16.0 + 12.0 - y]
        return np.select([(x < 6.0) & (y < 10.0), y >= 10.0], legs[:2], legs[2])

    wise = topology(agent(progress), goal)
    assert wise.rank_path_on_own_way > 0.95
    assert wise.sides_with_path_on_own_way > 0.95
    still = topology(agent(lambda state, action, goal: state[:, 0], lambda state, goal, **_: 0.0 * state), goal)
    assert still.own_ways == []


def test_every_goal_of_a_run_nearest_first(tiny_run):
    found = topologies(tiny_run("point_u_maze"), resolution=10)
    assert [tuple(one.map.goal) for one in found] == [(12.0, 12.0), (12.0, 8.0), (12.0, 4.0)]
    for one in found:
        walls = np.isnan(one.map.values)
        np.testing.assert_array_equal(np.isnan(one.path), walls)
        assert (one.path[~walls] >= one.straight[~walls] * (1 - 1e-6)).all()
        assert -1.0 <= one.rank_path <= 1.0
        assert 0.0 <= one.sides_with_path <= 1.0
    # To the far end of the U: from (4, 4) it is 8 m through the wall, and 24 m along the corridor's middle.
    one = found[-1]
    i, j = np.argmin(np.abs(one.map.x_centres - 4.0)), np.argmin(np.abs(one.map.y_centres - 4.0))
    assert one.straight[i, j] == pytest.approx(8.0, abs=1.5)
    assert 18.0 < one.path[i, j] < 24.5


def test_an_open_plane_has_no_ways_round(tmp_path):
    create_run_dir(build(preset("reacher")), tmp_path)
    with pytest.raises(ConfigError, match="reacher has no walls"):
        topologies(tmp_path)

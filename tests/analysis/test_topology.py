"""Distances round walls, ranks, and what they say of a critic, on mazes small enough to count."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from deepcrl import ConfigError, preset
from deepcrl.analysis.statistics import rank_correlation
from deepcrl.analysis.topology import Topology, shortest_ways, topologies
from deepcrl.analysis.value_map import ValueMap
from deepcrl.train import create_run_dir

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
    return Topology(ValueMap(edges, edges[:3], np.where(np.isnan(path), np.nan, values), np.zeros(2)), straight, path)


def test_a_critic_that_knows_the_walls_and_one_that_does_not():
    wise, naive = made(-made(np.zeros((3, 2))).path), made(-made(np.zeros((3, 2))).straight)
    assert (wise.rank_path, naive.rank_straight) == pytest.approx((1.0, 1.0))
    assert (wise.sides_with_path, naive.sides_with_path) == (1.0, 0.0)
    assert made(np.zeros((3, 2))).sides_with_path == 0.5
    # Distances 0, 1, 2, 0.5, 1.5 and 0, 1, 2, 4, 3 order the pairs (1, 0.5), (2, 0.5), (2, 1.5), (0.5, 1.5) apart.
    # This value is wrong about the third of the four.
    assert made(np.array([[5.0, 4.0], [0.0, 1.0], [0.0, 3.0]])).sides_with_path == pytest.approx(0.75)


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
    create_run_dir(preset("reacher"), tmp_path)
    with pytest.raises(ConfigError, match="reacher has no walls"):
        topologies(tmp_path)

"""Scores of episodes, on episodes written by hand."""

from typing import Any

import jax
import numpy as np
import pytest

from deepcrl import override, preset
from deepcrl.algorithms import build
from deepcrl.envs import registry
from deepcrl.evaluate import Episodes, make_evaluate, summarise


def test_scores_of_three_episodes():
    # Two episodes towards cell (3, 1), one of which ends after its second step, and one towards (3, 2).
    success = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    alive = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1]], bool)
    distance = np.arange(12.0).reshape(4, 3)
    points = np.zeros((3, 2))
    cells = np.array([[3, 1], [3, 1], [3, 2]])
    episodes = Episodes(points, points, np.zeros((4, 3, 2)), distance, success, {"easy": alive}, alive, cells)
    assert summarise(episodes) == pytest.approx(
        {
            "time_at_goal": (1 + 3 + 0) / 3,
            "success_any": 2 / 3,
            "final_distance": (3.0 + 10.0 + 11.0) / 3,
            "episode_length": (2 + 4 + 4) / 3,
            "time_at_goal_easy": (2 + 4 + 4) / 3,
            "success_any/3,1": 1.0,
            "success_any/3,2": 0.0,
        }
    )


def test_an_open_plane_has_no_cells():
    one: Any = np.ones((1, 1), bool)
    episodes = Episodes(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1, 2)), np.ones((1, 1)), one, {}, one)
    assert summarise(episodes)["success_any"] == 1.0
    assert not any("/" in name for name in summarise(episodes))


@pytest.mark.parametrize("name", ["point_u_maze", "ant_u_maze"])
def test_goals_of_both_kinds_of_environment_lie_in_goal_cells(name):
    env = registry.make_env(name, episode_length=3)
    goal_cells = {(1, 2), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3)}
    algorithm = build(override(preset(name), {"network.depth": 4, "network.width": 8}), env.spec)
    episodes = make_evaluate(env, algorithm, "mean", 32)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    assert episodes.goal_cell is not None
    found = {tuple(cell) for cell in episodes.goal_cell.tolist()}
    assert len(found) >= 4
    assert found <= goal_cells


def test_other_measures_count_living_steps_only():
    flags = np.ones((4, 1), bool)
    alive = np.array([[1], [1], [0], [0]], bool)
    zero, grades = np.zeros((1, 2)), {"easy": flags, "hard": flags}
    found = summarise(Episodes(zero, zero, np.zeros((4, 1, 2)), np.ones((4, 1)), flags, grades, alive))
    assert (found["time_at_goal_easy"], found["time_at_goal_hard"]) == (2.0, 2.0)

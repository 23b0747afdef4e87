"""Episodes as they are walked, and scores of episodes written by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import override, preset
from deepcrl.algorithms import build
from deepcrl.envs import registry
from deepcrl.evaluate import Episodes, make_evaluate, summarise
from reference.rollouts import CHANCE, cliff, stub, teleport


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


def walk(start: np.ndarray, goal: np.ndarray, edge: float, length: int) -> np.ndarray:
    """Positions along +y after each step, up to a fall or the time limit."""
    path = [np.asarray(start, float)]
    while len(path) <= length and path[-1][1] <= edge:
        path.append(path[-1] + [0.0, 0.6 * goal[1] / 12])
    return np.array(path[1:])


@pytest.mark.parametrize("on_device", [True, False])
def test_episodes_are_recorded_up_to_their_first_end(on_device):
    """A goal's y sets the pace: 12 falls after 7 or 8 steps, 8 after 11, and 4 is cut off."""
    edge, length = 8.2, 14
    env = cliff(edge, length, on_device)
    pace = stub(act=lambda agent, state, goal, key, mode: jnp.stack([0.0 * goal[:, 1], goal[:, 1] / 12], axis=-1))
    episodes = make_evaluate(env, pace, "mean", 24)(None, jax.random.key(0))
    assert np.abs(episodes.start - 4.0).max() <= 0.1
    paths = [walk(start, goal, edge, length) for start, goal in zip(episodes.start, episodes.goal)]
    lengths = np.array([len(path) for path in paths])
    assert {7, 11, 14} <= {*lengths} <= {7, 8, 11, 14}
    np.testing.assert_array_equal(episodes.alive, np.arange(length)[:, None] < lengths)
    last = []
    for i, path in enumerate(paths):
        distance = np.hypot(*(path - episodes.goal[i]).T)
        np.testing.assert_allclose(episodes.achieved[: len(path), i], path, atol=1e-5)
        np.testing.assert_allclose(episodes.distance[: len(path), i], distance, atol=1e-5)
        for flags, radius in (
            (episodes.success, 0.6),
            (episodes.grades["easy"], 1.0),
            (episodes.grades["hard"], 0.25),
        ):
            np.testing.assert_array_equal(flags[: len(path), i], distance < radius)
        last.append(distance[-1])

    # Only (4, 8) is met: from step 8 within 1 m, from step 9 within 0.6 m, at step 10 within 0.25 m, until the fall.
    share = np.mean((episodes.goal == (4, 8)).all(axis=1))
    assert 0 < share < 1
    scores = {name: value for name, value in summarise(episodes).items() if "/" not in name}
    assert scores == pytest.approx(
        {
            "time_at_goal": 3 * share,
            "time_at_goal_easy": 4 * share,
            "time_at_goal_hard": 1 * share,
            "success_any": share,
            "final_distance": np.mean(last),
            "episode_length": np.mean(lengths),
        },
        abs=1e-5,
    )


@pytest.mark.parametrize("on_device", [True, False])
def test_no_random_number_is_used_twice(on_device):
    evaluate = make_evaluate(teleport(5, on_device), CHANCE, "sample", 8)
    numbers = [evaluate(None, jax.random.key(index)).achieved for index in range(2)]
    assert len(np.unique(numbers)) == 2 * 5 * 8 * 2


def test_host_and_device_evaluate_from_the_same_starts_to_the_same_goals():
    idle = stub(act=lambda agent, state, goal, key, mode: jnp.zeros((len(state), 2)))
    device, host = (
        make_evaluate(cliff(9.0, 2, on_device), idle, "mean", 8)(None, jax.random.key(0)) for on_device in (True, False)
    )
    for field in ("start", "goal", "goal_cell", "achieved", "alive"):
        np.testing.assert_allclose(getattr(host, field), getattr(device, field), rtol=1e-6)
    assert len(np.unique(host.goal, axis=0)) > 2
    assert host.alive.shape == (2, 8)

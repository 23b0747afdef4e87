"""Principal components against the covariance's, and the choice of the episode."""

import numpy as np
import pytest

from deepcrl import ConfigError, load_agent
from deepcrl.analysis import embeddings as module
from deepcrl.analysis.embeddings import Embeddings, embeddings, principal_plane
from deepcrl.analysis.visits import Visits
from deepcrl.folder import load_config


def test_the_plane_is_that_of_the_covariance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)) * np.array([5.0, 3.0, 1.0, 0.5, 0.2, 0.1]) + 7.0
    plane, explained = principal_plane(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    expected = (x - x.mean(axis=0)) @ vectors[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(explained, values[[-1, -2]] / values.sum())
    assert (plane[np.abs(plane).argmax(axis=0), [0, 1]] > 0.0).all()


def test_spread_of_lines():
    zero = np.zeros((101, 2))
    even = np.linspace(0.0, 1.0, 101)[:, None] * np.ones(3)
    assert Embeddings(even, zero, zero[0], zero[:, 0]).spread_near_goal == pytest.approx(0.25, abs=0.01)
    late = np.where(np.arange(101) < 76, 0.0, np.arange(101) - 76.0)[:, None] * np.ones(3)
    assert Embeddings(late, zero, zero[0], zero[:, 0]).spread_near_goal > 1.0
    assert Embeddings(late[::-1], zero, zero[0], zero[:, 0]).spread_near_goal == 0.0


def test_the_longest_way_that_arrives_is_looked_at(tiny_run, monkeypatch):
    """Environment 0 arrives at step 12, 1 at step 15 and stays, 2 only in its second episode, 3 never."""
    steps, rng = 20, np.random.default_rng(0)
    time = np.arange(steps)[:, None]
    success, first = np.zeros((steps, 4), bool), np.ones((steps, 4), bool)
    success[12, 0] = success[15:, 1] = success[18, 2] = True
    first[17:, 2] = False
    state = rng.normal(size=(steps, 4, 2)).astype(np.float32)
    action, goal = rng.normal(size=(2, steps, 4, 2)).astype(np.float32)
    distance = np.broadcast_to(30.0 - time, (steps, 4)).astype(np.float32)
    seen = Visits(state, action, goal, state, distance, success, first)
    modes = []
    monkeypatch.setattr(module, "visits", lambda *args: modes.append(args[-1]) or seen)
    run = tiny_run("point_u_maze")
    found = embeddings(run)
    assert modes == [load_config(run).evaluation.mode]
    assert len(found.embedding) == 16
    np.testing.assert_array_equal(found.distance, 30.0 - np.arange(16))
    np.testing.assert_allclose(found.plane[:, 0].mean(), 0.0, atol=1e-5)

    for alike in (np.ones((20, 8)), np.arange(20.0)[:, None]):
        blind = load_agent(run)._replace(embed_state_action=lambda state, action, alike=alike: alike[: len(state)])
        with monkeypatch.context() as patch:
            patch.setattr(module.agent_lib, "load_agent", lambda *args, blind=blind: blind)
            with pytest.raises(ConfigError, match="span no plane"):
                embeddings(run)

    monkeypatch.setattr(module, "visits", lambda *args: seen._replace(success=success & False))
    with pytest.raises(ConfigError, match="none of 64 episodes"):
        embeddings(run)


def test_visits_are_whole_states_and_end_with_the_first_episode(tiny_run):
    agent = load_agent(tiny_run("point_u_maze"))
    length = agent.env.spec.episode_length
    seen = module.visits(agent, 3, length + 2, 0)
    assert seen.state.shape == (length + 2, 3, 2)
    np.testing.assert_array_equal(seen.first.all(axis=1), np.arange(length + 2) < length)
    np.testing.assert_array_equal(seen.achieved, seen.state)
    moved = np.linalg.norm(np.diff(seen.state[:length], axis=0), axis=-1)
    assert 0.0 < moved.max() <= 0.6 + 1e-5
    away = np.linalg.norm(seen.achieved - seen.goal, axis=-1)
    np.testing.assert_allclose(seen.distance[:length], away[:length], rtol=1e-5)
    state, _, goal = seen.rows()
    np.testing.assert_array_equal(state[4], seen.state[1, 1])
    np.testing.assert_array_equal(goal[5], seen.goal[1, 2])

"""Every environment of the table: it resets, steps, keeps its shapes and its bookkeeping."""

import jax
import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.registry import ENVIRONMENTS, QUICKSTART, lookup, make_env, resolve_engine
from deepcrl.presets import preset

# body: state, goal and action size, episode length
SIZES = {"point": (2, 2, 2, 200), "ant": (29, 2, 8, 1000)}
NUM_ENVS = 3


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_reset_and_twenty_random_steps(name):
    env = make_env(name)
    spec = env.spec
    sizes = (spec.state_size, spec.goal_size, spec.action_size, spec.episode_length)
    assert sizes == SIZES[name.split("_")[0]]
    assert spec.success_radius == 0.5
    state = env.reset(jax.random.key(0), NUM_ENVS)
    step = jax.jit(env.step) if env.on_device else env.step
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = state
        state = step(before, rng.uniform(-1, 1, (NUM_ENVS, spec.action_size)).astype(np.float32))
        done = np.asarray(state.terminated | state.truncated)
        np.testing.assert_array_equal(state.episode_id, before.episode_id + done)
        np.testing.assert_array_equal(state.episode_step, np.where(done, 0, before.episode_step + 1))
        np.testing.assert_array_equal(state.key, before.key)
        np.testing.assert_array_equal(np.asarray(state.goal)[~done], np.asarray(before.goal)[~done])
        achieved = np.asarray(state.next_state)[:, spec.goal_indices]
        distance = np.linalg.norm(achieved - np.asarray(before.goal), axis=1)
        np.testing.assert_allclose(state.distance, distance, rtol=1e-5)
        np.testing.assert_array_equal(state.success, distance < spec.success_radius)
    assert state.state.shape == state.next_state.shape == (NUM_ENVS, spec.state_size)
    assert state.goal.shape == state.achieved_goal.shape == (NUM_ENVS, spec.goal_size)
    assert state.state.dtype == state.goal.dtype == np.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_defaults_make_a_configuration(name):
    config = preset(name)
    assert config.env.name == name
    if config.evaluation.env is not None:
        assert config.evaluation.env in ENVIRONMENTS


def test_the_paper_mazes_evaluate_on_their_far_goals():
    evaluated_on = {name: entry.defaults.get("evaluation.env") for name, entry in ENVIRONMENTS.items()}
    for body in ("point", "ant"):
        for maze in ("u_maze", "u4_maze", "u5_maze", "big_maze"):
            assert evaluated_on[f"{body}_{maze}"] == f"{body}_{maze}_eval"
            assert evaluated_on[f"{body}_{maze}_eval"] is None
        assert evaluated_on[f"{body}_hardest_maze"] is None
    assert evaluated_on["ant"] is None
    assert "point_j_maze" in ENVIRONMENTS
    assert QUICKSTART in ENVIRONMENTS


def test_an_evaluation_maze_shows_its_own_goals():
    assert "".join(make_env("ant_big_maze").scene.layout).count("G") == 25
    assert "".join(make_env("ant_big_maze_eval").scene.layout).count("G") == 9
    assert make_env("ant").scene.layout is None


def test_unknown_name_names_near_matches():
    with pytest.raises(ConfigError, match=r"env\.name = 'ant_bigmaze'.*did you mean.*ant_big_maze"):
        make_env("ant_bigmaze")
    with pytest.raises(ConfigError, match=r"evaluation\.env = 'zzz'.*known: .*point_u_maze"):
        lookup("zzz", "evaluation.env")


def test_engine_names():
    assert resolve_engine("ant", "auto") == "mujoco"
    assert resolve_engine("point_u_maze", "jax") == "jax"
    with pytest.raises(ConfigError, match=r"env\.engine = 'jax' cannot step ant; it has: auto, mujoco"):
        make_env("ant", engine="jax")


def test_episode_length_can_be_set():
    assert make_env("ant", episode_length=250).spec.episode_length == 250

"""Tasks, options and actions that do not fit are refused in one line; a given goal is shown where it is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import ConfigError, make_env, preset
from deepcrl.envs import registry, vector
from deepcrl.envs.protocol import Engine, EnvSpec, Task
from deepcrl.folder import Standing
from deepcrl.program import build, init_state
from deepcrl.render.run import scene
from deepcrl.train import Stop, run

SLIDE = Engine(on_device=True, step=lambda p, force: {"qpos": p["qpos"] + force})


def task(**changes) -> Task:
    """A point that moves by its action; the spec's fields and the task's functions can be changed."""
    spec = {
        "state_size": 2,
        "goal_size": 2,
        "goal_indices": (0, 1),
        "action_size": 2,
        "episode_length": 5,
        "success_radius": 0.1,
    }
    functions = {
        "reset": lambda key: ({"qpos": jnp.zeros(2)}, jnp.ones(2)),
        "observe": lambda physics: physics["qpos"],
    }
    spec |= {name: value for name, value in changes.items() if name in spec}
    functions |= {name: value for name, value in changes.items() if name not in spec}
    return Task(spec=EnvSpec(**spec), **functions)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goal_indices": (0, 7)}, "goal_indices = \\(0, 7\\).*0 to 1; 7 is not"),
        ({"goal_indices": (0, -1)}, "-1 is not"),
        ({"goal_indices": (0,)}, "must be 2 entries"),
        ({"episode_length": 0}, "episode_length = 0"),
        ({"action_size": 0}, "action_size = 0"),
        ({"success_radius": -1.0}, "success_radius = -1.0"),
        ({"success_radius": float("nan")}, "success_radius = nan"),
    ],
)
def test_a_spec_that_no_environment_can_have_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        vector.build(task(**changes), SLIDE, "fresh")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state_size": 3}, "3 entries for what it observes, float32; its function gives \\(2,\\), float32"),
        ({"observe": lambda p: p["qpos"].astype(int)}, "what it observes.*int32"),
        ({"reset": lambda key: ({"qpos": jnp.zeros(2)}, jnp.ones(3))}, "2 entries for a goal"),
    ],
)
@pytest.mark.parametrize("on_device", [True, False])
def test_functions_that_give_other_sizes_than_the_spec_are_refused(changes, said, on_device):
    engine = SLIDE._replace(on_device=on_device)
    with pytest.raises(ConfigError, match=said):
        vector.build(task(**changes), engine, "fresh").reset(jax.random.key(0), 4)


@pytest.mark.parametrize("name", ["point_u_maze", "arm_push_easy"])
def test_one_action_for_each_environment_of_the_right_size(name):
    env = make_env(name)
    state = env.reset(jax.random.key(0), 2)
    size = env.spec.action_size
    for shape in ((2, 1), (2, size + 1), (1, size), (size,), ()):
        with pytest.raises(ConfigError, match=f"must have \\(2, {size}\\)"):
            env.step(state, np.zeros(shape, np.float32))
    assert env.step(state, np.zeros((2, size), np.float32)).state.shape == (2, env.spec.state_size)


MARKED = {
    "ant": ([3.0, -2.0], [-2, -1], [3.0, -2.0]),
    "ant_ball": ([3.0, -2.0], [-2, -1], [3.0, -2.0]),
    "ant_push": ([3.0, -2.0], [-2, -1], [3.0, -2.0]),
    "humanoid": ([3.0, -2.0, 1.25], [-2, -1], [3.0, -2.0]),
    "simple_u_maze": ([3.0, -2.0], [-2, -1], [3.0, -2.0]),
    "reacher": ([0.1, -0.05, 0.01], [-2, -1], [0.1, -0.05]),
    "cheetah": ([4.0], [-1], [4.0]),
    # The disc's slides run along y, then x, from (0.45, -0.05).
    "pusher_easy": ([0.5, -0.45, -0.323], [-2, -1], [-0.4, 0.05]),
    "pusher2": ([0.1, 0.2, -0.323, 0.3, 0.4, -0.323], [9, 10, 13, 14], [0.2, 0.1, 0.4, 0.3]),
    "arm_reach": ([0.1, 0.5, 0.3], [0, 1, 2], [0.1, 0.5, 0.3]),
    "arm_push_easy": ([0.1, 0.6, 0.03], [7, 8, 9], [0.1, 0.6, 0.03]),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_marker_stands_at_a_given_goal_and_at_every_drawn_one(name):
    goal, where, expected = MARKED[name]
    env = make_env(name, engine="mujoco")
    given = env.reset(jax.random.key(0), 2, {"goal": np.array(goal)})
    np.testing.assert_allclose(given.goal, [goal, goal])
    np.testing.assert_allclose(np.asarray(given.physics["qpos"])[:, where], [expected, expected], atol=1e-6)
    # What resets draw agrees: marking the drawn goal changes nothing.
    drawn = env.reset(jax.random.key(0), 3)
    assert env.mark_goal is not None
    marked = env.mark_goal(drawn.physics, drawn.goal)
    np.testing.assert_allclose(marked["qpos"], drawn.physics["qpos"], atol=1e-6)
    every = np.arange(given.physics["qpos"].shape[1])
    unmarked = np.setdiff1d(every, every[where])
    untouched = env.reset(jax.random.key(0), 2)
    np.testing.assert_array_equal(given.physics["qpos"][:, unmarked], untouched.physics["qpos"][:, unmarked])


def test_the_humanoid_sees_the_goal_that_it_is_given():
    env = make_env("humanoid_u_maze", engine="mujoco")
    state = env.reset(jax.random.key(0), 4, {"goal": np.array([6.0, 2.0, 1.25])})
    np.testing.assert_allclose(state.state[:, 24:26], np.tile([6.0, 2.0], (4, 1)))


def test_a_goal_that_follows_a_cube_is_where_the_given_cube_is():
    env = make_env("arm_grasp", engine="mujoco")
    qpos = np.array(env.reset(jax.random.key(0), 1).physics["qpos"][0])
    qpos[:3] = 0.2, 0.7, 0.03
    state = env.reset(jax.random.key(0), 2, {"qpos": qpos})
    middle = (state.goal[:, :3] + state.goal[:, 3:6]) / 2
    np.testing.assert_allclose(middle, np.tile([0.2, 0.7, 0.03], (2, 1)), atol=1e-6)
    np.testing.assert_allclose(state.physics["qpos"][:, 7:10], state.goal[:, :3], atol=1e-6)


def test_options_of_another_shape_are_refused_by_name():
    env = make_env("ant", engine="mujoco")
    with pytest.raises(ConfigError, match="options\\['goal'\\] of shape \\(3,\\) must have \\(2,\\), or \\(4, 2\\)"):
        env.reset(jax.random.key(0), 4, {"goal": np.zeros(3)})
    with pytest.raises(ConfigError, match="options\\['gaol'\\] is not one of 'goal', 'qpos', 'qvel'"):
        env.reset(jax.random.key(0), 4, {"gaol": np.zeros(2)})


def test_a_run_does_not_start_from_what_is_not_finite(monkeypatch, tmp_path):
    broken = task(reset=lambda key: ({"qpos": jnp.full(2, jnp.nan)}, jnp.ones(2)))
    monkeypatch.setattr(registry, "ENVIRONMENTS", dict(registry.ENVIRONMENTS))
    settings = {
        "env.num_envs": 4,
        "evaluation.num_evals": 2,
        "train.batch_size": 16,
        "train.unroll_length": 10,
        "train.prefill_steps": 10,
        "train.updates_per_env_steps": "1:40",
        "train.total_env_steps": 4000,
    }
    registry.register("broken", {"jax": lambda episode_length: (broken, SLIDE)}, settings)
    program = build(preset("broken"))
    with pytest.raises(ConfigError, match="'broken' starts from a state or a goal that is not finite"):
        run(program, [tmp_path], lambda: Standing(init_state(program)), Stop())


def test_lengths_and_engines_that_cannot_be():
    with pytest.raises(ConfigError, match="episode_length = 0 must be at least 1"):
        make_env("ant", episode_length=0)
    with pytest.raises(ConfigError, match="engines of 'nothing' must name at least one"):
        registry.register("nothing", {})


def test_a_registered_model_is_what_is_drawn(monkeypatch):
    monkeypatch.setattr(registry, "ENVIRONMENTS", dict(registry.ENVIRONMENTS))
    model = registry.lookup("reacher").model
    registry.register("mine", {"jax": lambda episode_length: (task(), SLIDE)}, model=model, substeps=3)
    drawn, seconds = scene("mine")
    assert (drawn.nq, seconds) == (4, pytest.approx(0.03))
    registry.register("unseen", {"jax": lambda episode_length: (task(), SLIDE)})
    with pytest.raises(ConfigError, match="unseen has no model to draw"):
        scene("unseen")

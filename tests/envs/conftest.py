"""What the tests of several tasks share: the pairs of geoms that may touch, and rollouts of random actions."""

import itertools

import jax
import numpy as np
import pytest


def pairs_that_may_touch(model):
    """Sorted names of both geoms of every pair that MuJoCo's rules let collide; "<body>_limb" for nameless ones."""

    def may_touch(a, b):
        masks = (model.geom_contype[a] & model.geom_conaffinity[b]) | (
            model.geom_contype[b] & model.geom_conaffinity[a]
        )
        first, second = (model.body_weldid[model.geom_bodyid[geom]] for geom in (a, b))
        parents = [model.body_weldid[model.body_parentid[body]] for body in (first, second)]
        related = first and second and (parents[0] == second or parents[1] == first)
        return masks and first != second and not related

    names = [model.geom(i).name or f"{model.body(model.geom_bodyid[i]).name}_limb" for i in range(model.ngeom)]
    pairs = itertools.combinations(range(model.ngeom), 2)
    return [tuple(sorted((names[a], names[b]))) for a, b in pairs if may_touch(a, b)]


def random_rollout(env, num_envs=3, steps=50):
    """Every EnvState of a rollout, checked for sizes, finite values and agreement of its parts."""
    spec = env.spec
    rng = np.random.default_rng(0)
    states = [env.reset(jax.random.key(0), num_envs)]
    for _ in range(steps):
        states.append(env.step(states[-1], rng.uniform(-1, 1, (num_envs, spec.action_size))))
    for state in states:
        assert state.state.shape == state.next_state.shape == (num_envs, spec.state_size)
        assert state.goal.shape == state.achieved_goal.shape == (num_envs, spec.goal_size)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        np.testing.assert_array_equal(state.achieved_goal, state.state[:, list(spec.goal_indices)])
    assert (np.abs(states[-1].next_state - states[0].state).max(axis=1) > 0).all()
    return states


@pytest.fixture(scope="session", name="pairs_that_may_touch")
def _pairs_that_may_touch():
    return pairs_that_may_touch


@pytest.fixture(scope="session", name="random_rollout")
def _random_rollout():
    return random_rollout


@pytest.fixture(scope="session")
def draw():
    """Resets of a task as numpy, "qpos", "qvel" and the goals, in so many samples."""

    def draw(task, samples):
        physics, goal = jax.jit(jax.vmap(task.reset))(jax.random.split(jax.random.key(0), samples))
        return np.array(physics["qpos"], float), np.array(physics["qvel"], float), np.array(goal, float)

    return draw

"""How batches leave jitted calls for the host."""

import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.protocol import EnvSpec, Task
from deepcrl.envs.vector import _jit_to_host


@pytest.mark.parametrize("num_envs", [1, 5])
def test_results_of_every_kind_reach_the_host_as_they_are(num_envs):
    def function(x, flags):
        return {
            "matrix": x * 2.0,
            "deep": (x[:, :, None] + jnp.arange(4.0), flags),
            "half": (x * 0.5).astype(jnp.float16),
            "vector": x[:, 1] - 1.0,
            "count": jnp.cumsum(flags),
            "none": {},
        }

    x = np.random.default_rng(0).normal(size=(num_envs, 3)).astype(np.float32)
    flags = np.arange(num_envs) % 2 == 0
    call = _jit_to_host(function)
    for values in (x, -x):  # traced, then from the cache
        result = call(values, flags)
        assert set(result) == {"matrix", "deep", "half", "vector", "count", "none"}
        np.testing.assert_array_equal(result["matrix"], values * 2)
        np.testing.assert_allclose(result["deep"][0], values[:, :, None] + np.arange(4), rtol=1e-6)
        np.testing.assert_array_equal(result["deep"][1], flags)
        np.testing.assert_array_equal(result["half"], (values * 0.5).astype(np.float16))
        np.testing.assert_array_equal(result["vector"], values[:, 1] - 1)
        np.testing.assert_array_equal(result["count"], np.cumsum(flags))
        kinds = [result["matrix"].dtype, result["half"].dtype, result["deep"][1].dtype, result["count"].dtype]
        assert kinds == [np.float32, np.float16, bool, np.int32]
        assert all(isinstance(leaf, np.ndarray) for leaf in (result["matrix"], *result["deep"], result["count"]))


def test_falls_time_limits_divergence_and_moving_goals_are_told_apart():
    spec = EnvSpec(1, 1, (0,), 1, episode_length=1, success_radius=0.5, easy_radius=2.0)
    task = Task(
        spec,
        reset=lambda key: ({"qpos": jnp.zeros(1)}, jnp.zeros(1)),
        observe=lambda physics: physics["qpos"],
        terminated=lambda physics: physics["qpos"][0] > 5.0,
        move_goal=lambda physics, goal: physics["qpos"],
    )
    zero = jnp.zeros((4, 1))
    before = vector._begin(task, jnp.zeros((4, 2), jnp.uint32), {"qpos": zero}, zero)
    # The last is a number whose square is none.
    after = vector._judge(task, before, {"qpos": jnp.asarray([[1.0], [6.0], [jnp.nan], [-1e30]])})
    assert after.terminated.tolist() == [False, True, True, True]
    assert after.truncated.tolist() == [True, False, False, False]  # a fall at the time limit is a fall
    assert after.success.tolist() == after.grades["easy"].tolist() == [True, True, False, False]
    assert after.goal.ravel().tolist() == [1.0, 6.0, 0.0, 0.0]
    assert after.next_state.ravel().tolist() == [1.0, 6.0, 0.0, 0.0]
    assert after.distance.tolist() == [0.0, 0.0, 0.0, 0.0]

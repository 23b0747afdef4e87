"""The same positions, velocities and goal are the same observation on every engine."""

import jax
import numpy as np
import pytest

from deepcrl import make_env
from deepcrl.envs.registry import ENVIRONMENTS

# One environment for every task; those whose MJX programs take a CPU long to compile are slow tests.
QUICK = ("reacher", "cheetah", "ant", "ant_ball", "ant_push", "simple_u_maze")
SLOW = (
    *("pusher_easy", "pusher2", "pusher_reacher", "humanoid", "humanoid_clean"),
    *("arm_reach", "arm_grasp", "arm_push_easy", "arm_binpick_easy", "arm_binpick_easy_EEF"),
)
# Springs have unit inertia (docs/fidelity.md), which the humanoid observes behind its positions and velocities, and
# which decides the velocities that it observes of its links.
ON_SPRINGS = {"humanoid": slice(0, 51), "humanoid_clean": slice(0, 47)}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_state_is_observed_alike_on_every_engine(name: str):
    envs = {engine: make_env(name, engine=engine) for engine in ENVIRONMENTS[name].engines if engine != "warp"}
    assert len(envs) >= 2
    first = envs["mujoco"].reset(jax.random.key(3), 2)
    moving = np.random.default_rng(0).normal(size=first.physics["qvel"].shape)
    options = {"qpos": np.asarray(first.physics["qpos"]), "qvel": moving, "goal": np.asarray(first.goal)}
    states = {engine: env.reset(jax.random.key(0), 2, options) for engine, env in envs.items()}
    expected = states.pop("mujoco")
    assert np.abs(np.asarray(expected.state)).max() > 0.1
    for engine, state in states.items():
        seen = ON_SPRINGS.get(name, slice(None)) if engine == "spring" else slice(None)
        for field in ("state", "achieved_goal", "goal", "distance", "success", "grades"):
            jax.tree.map(
                lambda value, other, field=field, engine=engine: np.testing.assert_allclose(
                    value, other, rtol=2e-5, atol=2e-5, err_msg=f"{field} on {engine}"
                ),
                *(
                    jax.tree.map(np.asarray, getattr(one, field)[:, seen] if field == "state" else getattr(one, field))
                    for one in (state, expected)
                ),
            )

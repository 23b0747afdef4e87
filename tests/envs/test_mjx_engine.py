"""MJX against native MuJoCo: the same model, states and controls."""

import jax
import numpy as np
import pytest

from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.registry import lookup

NUM_ENVS = 2
STEPS = 20


def rollouts(name: str, height: int | None, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions [STEPS, N, nq] on both engines from the same starts under random controls; coordinate `height`, if
    there is one, is raised by 50 m."""
    entry = lookup(name)
    task, _ = entry.engines["mujoco"](None)
    model = entry.model()
    native, device = mujoco_engine(model, entry.substeps), mjx_engine(model, entry.substeps)
    starts, _ = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), NUM_ENVS))
    if height is not None:
        starts["qpos"] = starts["qpos"].at[:, height].add(50.0)
    ours, theirs = native.start(starts), jax.jit(jax.vmap(device.start))(starts)
    step = jax.jit(jax.vmap(device.step))
    rng = np.random.default_rng(0)
    paths: tuple[list, list] = ([], [])
    for _ in range(STEPS):
        action = rng.uniform(-strength, strength, (NUM_ENVS, task.spec.action_size)).astype(np.float32)
        control = np.asarray(jax.vmap(task.control)(action, starts))
        ours, theirs = native.step(ours, control), step(theirs, control)
        paths[0].append(ours["qpos"])
        paths[1].append(np.asarray(theirs["qpos"]))
    return np.stack(paths[0]), np.stack(paths[1])


ON_THE_GROUND = ("reacher", "simple_u_maze", "pusher_easy", "pusher2", "arm_reach")
"""Robots that touch nothing when they move gently, and cannot be lifted."""
HEIGHTS = {"ant": 2, "ant_ball": 2, "ant_push": 2, "humanoid": 2, "cheetah": 1, **dict.fromkeys(ON_THE_GROUND)}
"""Which coordinate is the body's height above the ground."""
DAILY = ("ant", "reacher")


@pytest.mark.parametrize(
    "name", [name if name in DAILY else pytest.param(name, marks=pytest.mark.slow) for name in HEIGHTS]
)
def test_without_contacts_twenty_env_steps_agree(name: str):
    ours, theirs = rollouts(name, HEIGHTS[name], strength=0.2)
    # They do move, joints by tenths of radians; and what was lifted does not come down.
    assert np.abs(ours[-1] - ours[0])[:, 7 if HEIGHTS[name] == 2 else 0 :].max() > 0.1
    if HEIGHTS[name] is not None:
        assert ours[-1, :, HEIGHTS[name]].min() > 30
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ant", "arm_push_easy"])
def test_warp_and_jax_agree(name: str):
    """Without a GPU, Warp runs on the CPU; compiling its kernels takes minutes, once. They stay in its cache."""
    pytest.importorskip("warp")
    entry = lookup(name)
    task, _ = entry.engines["mjx"](None)
    starts, _ = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), NUM_ENVS))
    paths = []
    for implementation in ("jax", "warp"):
        model = entry.model()
        model.opt.iterations, model.opt.ls_iterations = 10, 20
        engine = mjx_engine(model, entry.substeps, implementation, warp_contacts=64 * NUM_ENVS)
        physics, step, path = jax.jit(jax.vmap(engine.start))(starts), jax.jit(jax.vmap(engine.step)), []
        rng = np.random.default_rng(0)
        for _ in range(3):
            action = rng.uniform(-1, 1, (NUM_ENVS, task.spec.action_size)).astype(np.float32)
            physics = step(physics, jax.vmap(task.control)(action, physics))
            path.append(np.asarray(physics["qpos"]))
        paths.append(np.stack(path))
    assert np.abs(paths[0][-1] - paths[0][0]).max() > 0.1
    np.testing.assert_allclose(paths[1], paths[0], atol=1e-3)

"""MJX against native MuJoCo: the same model, states and controls."""

import jax
import numpy as np
import pytest

from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.registry import lookup

NUM_ENVS = 2
STEPS = 20


def rollouts(name: str, lift: float, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions [STEPS, N, nq] on both engines from the same starts, raised by `lift` metres, under random controls."""
    entry = lookup(name)
    task, _ = entry.engines["mujoco"](None)
    model = entry.model()
    native, device = mujoco_engine(model, entry.substeps), mjx_engine(model, entry.substeps)
    starts, _ = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), NUM_ENVS))
    starts["qpos"] = starts["qpos"].at[:, 2].add(lift)
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


@pytest.mark.parametrize("name", ["ant", "humanoid"])
def test_free_flight_agrees_for_twenty_env_steps(name: str):
    ours, theirs = rollouts(name, lift=50.0, strength=0.2)
    assert ours[-1, :, 2].min() > 30
    # They do move: joints by tenths of radians.
    assert np.abs(ours[-1, :, 7:-2] - ours[0, :, 7:-2]).max() > 0.1
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

"""Every program that steps an environment is compiled as its engine asks: an option that XLA lacks must reach XLA."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import override, preset
from deepcrl.algorithms import build
from deepcrl.analysis.visits import visits
from deepcrl.collect import make_collect
from deepcrl.envs import mjx_engine, registry, vector
from deepcrl.evaluate import make_evaluate
from deepcrl.render.rollout import record

REFUSED = pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option: 'xla_no_such_option'")


@pytest.fixture(scope="module")
def env():
    task, engine = registry.lookup("point_u_maze").engines["jax"](4)
    return vector.build(task, engine._replace(compiler_options={"xla_no_such_option": 1}), "fresh")


@pytest.fixture(scope="module")
def algorithm(env):
    return build(override(preset("point_u_maze"), {"network.depth": 4, "network.width": 8}), env.spec)


@pytest.mark.parametrize("runs", [1, 2])
def test_collection(env, algorithm, runs):
    def stacked(tree):
        return tree if runs == 1 else jax.tree.map(lambda leaf: jnp.stack([leaf] * runs), tree)

    agent, state, key = algorithm.init(jax.random.key(0)), env.reset(jax.random.key(1), 3), jax.random.key(2)
    inputs = [stacked(part) for part in (agent, state, key)]
    with REFUSED:
        make_collect(env, algorithm, "sample", 2, runs)(*inputs)
    plain = env._replace(compiler_options={})
    assert make_collect(plain, algorithm, "sample", 2, runs)(*inputs)[1].state.shape[-3:] == (2, 3, 2)


def test_evaluation_and_calls_one_by_one(env, algorithm):
    with REFUSED:
        make_evaluate(env, algorithm, "mean", 3)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    with REFUSED:
        env.compiled().step(env.reset(jax.random.key(0), 3), jnp.zeros((3, 2)))
    with REFUSED:
        record(env, lambda state, goal, index: np.zeros((len(state), 2), np.float32), 0.1)


def test_analyses(env, tiny_run):
    from deepcrl import load_agent

    with REFUSED:
        visits(load_agent(tiny_run("point_u_maze"))._replace(env=env), 3, 2, 0)


def test_gymnasium(monkeypatch):
    from deepcrl.gym import make_gymnasium

    def refused(task, engine, auto_reset):
        return build_env(task, engine._replace(compiler_options={"xla_no_such_option": 1}), auto_reset)

    build_env = vector.build
    monkeypatch.setattr(vector, "build", refused)
    env = make_gymnasium("point_u_maze")
    env.reset(seed=0)
    with REFUSED:
        env.step(np.zeros(2, np.float32))


def test_host_engines_compile_nothing_that_steps():
    env = registry.make_env("reacher", engine="mujoco")
    assert not env.compiler_options
    assert env.compiled() is env


def test_mjx_on_a_cpu_does_without_an_emitter_that_recomputes(monkeypatch):
    """From JAX 0.12 on the option is gone, and so is the need for it."""
    options = registry.make_env("reacher", engine="mjx").compiler_options
    assert options == ({"xla_cpu_use_fusion_emitters": False} if jax.version.__version_info__ < (0, 12) else {})
    jax.jit(lambda: 0, compiler_options=dict(options))()

    monkeypatch.setattr(mjx_engine, "CPU_COMPILER_OPTIONS", {"xla_no_such_option": 1})
    mjx_engine._compiler_options.cache_clear()
    assert mjx_engine._compiler_options() == {}
    mjx_engine._compiler_options.cache_clear()
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        assert mjx_engine._compiler_options() == {}
    mjx_engine._compiler_options.cache_clear()
    assert mjx_engine._compiler_options() == options


CONCURRENT_FACTORISATIONS = """
import jax, jax.numpy as jnp

@jax.jit
def factorise(batches):
    return [jnp.linalg.cholesky(batch @ batch.swapaxes(-1, -2) + 30 * jnp.eye(30)) for batch in batches]

batches = [jax.random.normal(jax.random.key(index), (512, 30, 30)) for index in range(8)]
for _ in range(80):
    factors = jax.block_until_ready(factorise(batches))
print(all(bool(jnp.isfinite(factor).all()) for factor in factors))
"""


def test_batched_factorisations_do_not_wait_for_each_other_on_two_cores():
    """MJX factorises batches of matrices; in JAX 0.10.0 to 0.11.0 several at once can fill XLA's threads for good."""
    environment = {**os.environ, "PJRT_NPROC": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", CONCURRENT_FACTORISATIONS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "True"

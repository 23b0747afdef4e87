"""Figure 17's norms of a run's networks against a plain loop over the blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import ConfigError, load_agent
from deepcrl.algorithms import ALGORITHMS
from deepcrl.analysis import block_norms
from deepcrl.config import Config, EnvConfig, NetworkConfig
from deepcrl.envs.protocol import EnvSpec


@pytest.fixture(scope="module")
def run_dir(tiny_run):
    return tiny_run("point_u_maze")


def swish(x):
    return x / (1.0 + np.exp(-x))


def unit(x, kernel, bias, scale, shift):
    x = x @ np.asarray(kernel, np.float64) + np.asarray(bias)
    x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
    return swish(x * np.asarray(scale) + np.asarray(shift))


@pytest.fixture(scope="module")
def norms(run_dir):
    return block_norms(run_dir, steps=3)


def test_norms_are_those_of_a_loop_over_blocks(run_dir, norms):
    agent = load_agent(run_dir)
    assert list(norms) == ["actor", "phi", "psi"]
    # The same states: the agent's mean actions from the same resets.
    env = agent.env
    now, inputs = env.reset(jax.random.key(0), 16), []
    for _ in range(3):
        inputs.append(np.concatenate([now.state, now.goal], axis=-1))
        now = env.step(now, agent.act(now.state, now.goal))
    assert agent.trunks is not None
    trunk: Any = agent.trunks(now.state, agent.act(now.state, now.goal), now.goal)["actor"].trunk
    stem, units = trunk.stem, trunk.stack.units
    x = unit(np.concatenate(inputs), stem.dense.kernel, stem.dense.bias, stem.norm.scale, stem.norm.bias)
    rms = lambda x: np.sqrt((x**2).mean(axis=-1)).mean()  # noqa: E731
    stream, added = [rms(x)], []
    for block in range(units.dense.kernel.shape[0]):
        branch = x
        for layer in range(units.dense.kernel.shape[1]):
            at = (block, layer)
            branch = unit(
                branch, units.dense.kernel[at], units.dense.bias[at], units.norm.scale[at], units.norm.bias[at]
            )
        added.append(rms(branch))
        x = x + branch
        stream.append(rms(x))
    np.testing.assert_allclose(norms["actor"].added, added, rtol=1e-4)
    np.testing.assert_allclose(norms["actor"].stream, stream, rtol=1e-4)
    assert all((found.gradient > 0.0).all() for found in norms.values())


def test_what_cannot_be_is_refused(run_dir):
    with pytest.raises(ConfigError, match="steps = 0 must be at least 1"):
        block_norms(run_dir, steps=0)


def test_every_algorithm_shows_the_trunks_of_its_networks():
    """With what goes into them: shapes alone, nothing is computed."""
    spec = EnvSpec(state_size=4, goal_size=2, goal_indices=(0, 1), action_size=3, episode_length=9, success_radius=0.5)
    network = NetworkConfig(depth=4, block_size=2, width=8, representation_size=16)
    rows = [jnp.zeros((5, size)) for size in (4, 3, 2)]
    inputs = {"actor": 6, "phi": 7, "psi": 2, "critic": 9, "dynamics": 19}
    for name, row in ALGORITHMS.items():
        algorithm = row.build(Config(EnvConfig("none"), row.defaults, network), spec)
        show = algorithm.probes.trunks
        assert show is not None
        views = jax.eval_shape(lambda key, init=algorithm.init, show=show: show(init(key), *rows), jax.random.key(0))
        assert "actor" in views
        for part, view in views.items():
            size = 4 if (name, part) == ("qrl", "phi") else inputs[part]
            assert view.inputs.shape == (5, size), (name, part)
            assert jax.tree.structure(view.trunk) == jax.tree.structure(view.gradient)
            assert view.trunk.stem.dense.kernel.shape == view.gradient.stem.dense.kernel.shape == (size, 8)

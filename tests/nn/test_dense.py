"""Dense and LayerNorm: initial distributions, and values against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from deepcrl.nn.dense import Dense, LayerNorm
from reference import networks
from reference.numeric import assert_close, central_differences, to64


@pytest.mark.parametrize("fan_in", [3, 256])
def test_kernels_are_uniform_within_one_over_root_fan_in(fan_in):
    kernel = to64(Dense.init(jax.random.key(0), fan_in, 96, (2, 4)).kernel)
    limit = 1.0 / np.sqrt(fan_in)
    assert kernel.shape == (2, 4, fan_in, 96)
    assert np.abs(kernel).max() <= limit
    assert np.abs(kernel).max() > 0.99 * limit
    # Uniform, which fixes the variance at 1 / (3 fan_in); a normal of that variance fails.
    assert stats.kstest(kernel.ravel(), stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3
    assert kernel.var() * 3 * fan_in == pytest.approx(1.0, abs=0.03)


def test_stacked_layers_are_independent_draws():
    kernel = to64(Dense.init(jax.random.key(1), 64, 64, (2, 4)).kernel).reshape(8, -1)
    correlations = np.corrcoef(kernel)
    assert np.abs(correlations - np.eye(8)).max() < 5 / np.sqrt(64 * 64)


def test_biases_start_at_zero_and_norms_at_the_identity():
    dense, norm = Dense.init(jax.random.key(0), 3, 5, (2, 4)), LayerNorm.init(5, (2, 4))
    assert_close(dense.bias, np.zeros((2, 4, 5)), atol=0.0)
    assert_close(norm.scale, np.ones((2, 4, 5)), atol=0.0)
    assert_close(norm.bias, np.zeros((2, 4, 5)), atol=0.0)
    assert norm.eps == 1e-6


def test_dense_is_an_affine_map_of_the_last_axis():
    rng = np.random.default_rng(0)
    kernel, bias, x = rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=(2, 4, 3))
    layer = Dense(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32))
    assert_close(layer(jnp.asarray(x, jnp.float32)), networks.dense(x, kernel, bias))


def test_layer_norm_matches_numpy_with_scale_shift_and_a_large_offset():
    rng = np.random.default_rng(1)
    scale, bias, x = rng.normal(size=7), rng.normal(size=7), rng.normal(size=(4, 7)) + 3.0
    norm = LayerNorm(jnp.asarray(scale, jnp.float32), jnp.asarray(bias, jnp.float32))
    assert_close(norm(jnp.asarray(x, jnp.float32)), networks.layer_norm(x, scale, bias), rtol=1e-4, atol=1e-5)
    # The two-pass variance survives a mean far from zero, where mean(x^2) - mean(x)^2 is lost in float32.
    far = np.round(x * 64) / 64 + 4096.0
    assert_close(norm(jnp.asarray(far, jnp.float32)), networks.layer_norm(far, scale, bias), rtol=1e-3, atol=1e-3)


def test_layer_norm_epsilon_is_under_the_root():
    """Inputs of variance 1e-6, equal to eps: the output's variance is halved; eps beside the root would quarter it."""
    x = np.array([[1e-3, -1e-3]])
    out = to64(LayerNorm.init(2)(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(out, [[0.5**0.5, -(0.5**0.5)]], rtol=1e-5)
    zeros = LayerNorm.init(4)(jnp.full((1, 4), 2.5))
    assert_close(zeros, np.zeros((1, 4)), atol=0.0)


def test_layer_norm_gradients_match_finite_differences():
    rng = np.random.default_rng(2)
    arguments = (rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4))
    weights = rng.normal(size=(3, 4))

    def numpy_loss(arguments):
        return float((networks.layer_norm(*arguments) * weights).sum())

    def loss(arguments):
        x, scale, bias = arguments
        return jnp.sum(LayerNorm(scale, bias)(x) * weights.astype(np.float32))

    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), arguments)
    assert_close(jax.jit(jax.grad(loss))(single), central_differences(numpy_loss, arguments), rtol=1e-3, atol=1e-5)

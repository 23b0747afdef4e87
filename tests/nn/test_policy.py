"""The tanh-Gaussian policy: density, gradients and samples against change of variables and quadrature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.config import NetworkConfig
from deepcrl.nn import policy
from deepcrl.nn.encoder import Encoder
from deepcrl.nn.policy import Gaussian, Policy
from reference import networks
from reference.numeric import assert_close, central_differences, to64

NETWORK = NetworkConfig(depth=4, width=16)
STATE, GOAL, ACTION = 5, 2, 3


def gaussian(mean: object, log_std: object) -> Gaussian:
    return Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(log_std, jnp.float32))


def quadrature(mean: np.ndarray, log_std: np.ndarray, function) -> np.ndarray:
    """E[function(u)], u ~ N(mean, sigma^2), by Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    u = np.asarray(mean)[..., None] + np.exp(np.asarray(log_std))[..., None] * nodes
    return (function(u) * weights).sum(axis=-1) / np.sqrt(2.0 * np.pi)


@pytest.fixture(scope="module")
def net() -> Policy:
    """A policy with random parameters, large enough for the log-std to reach far from its middle."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: Policy.init(jax.random.key(0), STATE, GOAL, ACTION, NETWORK))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.4, leaf.shape), jnp.float32), shapes)


def test_forward_matches_numpy(net):
    rng = np.random.default_rng(1)
    state = rng.normal(size=(6, STATE)).astype(np.float32)
    goal = rng.normal(size=(6, GOAL)).astype(np.float32)
    mean, log_std = networks.policy(to64(state), to64(goal), to64(net))
    assert_close(jax.jit(net.__call__)(state, goal), Gaussian(mean, log_std), rtol=1e-4, atol=1e-4)
    assert np.ptp(log_std) > 1.0


def test_log_std_stays_between_minus_five_and_two(net):
    state, goal = jnp.zeros((1, STATE)), jnp.zeros((1, GOAL))
    raw = np.array([-50.0, -2.0, 0.0, 0.5, 50.0], np.float32)

    def log_std(raw):
        head = dataclasses.replace(net.log_std, kernel=jnp.zeros((16, ACTION)), bias=jnp.full(ACTION, raw))
        return dataclasses.replace(net, log_std=head)(state, goal).log_std

    expected = [-5.0, -1.5 + 3.5 * np.tanh(-2.0), -1.5, -1.5 + 3.5 * np.tanh(0.5), 2.0]
    found = jax.jit(jax.vmap(log_std))(raw)
    assert_close(found, np.broadcast_to(np.reshape(expected, (5, 1, 1)), (5, 1, ACTION)), atol=1e-5)


def test_a_fresh_network_draws_every_layer_by_its_own_fan_in():
    actor = Policy.init(jax.random.key(3), 20, 5, 6, NetworkConfig(depth=8, width=64))
    critic = Encoder.init(jax.random.key(4), 25, NetworkConfig(depth=8, width=64))
    layers = {25: [actor.trunk.stem.dense, critic.trunk.stem.dense]}
    layers[64] = [actor.trunk.stack.units.dense, actor.mean, actor.log_std, critic.trunk.stack.units.dense, critic.head]
    for fan_in, denses in layers.items():
        for dense in denses:
            ratio = np.abs(to64(dense.kernel)).max() * np.sqrt(fan_in)
            assert 0.97 < ratio <= 1.0
            assert not np.any(dense.bias)
    kernels = [to64(dense.kernel).ravel()[:300] for denses in layers.values() for dense in denses]
    scaled = [kernel / np.abs(kernel).max() for kernel in kernels]
    apart = [np.abs(a - b).mean() for i, a in enumerate(scaled) for b in scaled[:i]]
    assert min(apart) > 0.5  # independent uniforms on [-1, 1] are 2/3 apart; layers drawn from one key are 0 apart


def test_log_prob_is_the_change_of_variables():
    rng = np.random.default_rng(2)
    mean, log_std = rng.normal(size=(50, ACTION)), rng.uniform(-2.0, 0.7, size=(50, ACTION))
    u = mean + np.exp(log_std) * rng.normal(size=(50, ACTION))
    u = np.clip(u, -3.0, 3.0)
    found = policy.log_prob(gaussian(mean, log_std), jnp.asarray(u, jnp.float32))
    assert_close(found, networks.tanh_gaussian_log_prob(np.tanh(u), mean, log_std), rtol=1e-4, atol=1e-4)


def test_log_prob_sums_over_action_dimensions_and_keeps_leading_axes():
    mean, log_std = np.zeros((2, 4, ACTION)), np.full((2, 4, ACTION), -1.0)
    u = jnp.full((2, 4, ACTION), 0.3)
    one = networks.tanh_gaussian_log_prob(np.tanh([0.3]), np.zeros(1), np.array([-1.0]))
    assert_close(policy.log_prob(gaussian(mean, log_std), u), np.full((2, 4), ACTION * one), rtol=1e-5)


def test_log_prob_and_its_gradient_stay_exact_where_actions_saturate():
    """1 - tanh(u)^2 = 1 / cosh(u)^2 is below float32's rounding of tanh from |u| = 8 on."""
    u = np.array([-20.0, -10.0, -7.0, 0.0, 5.0, 7.0, 8.0, 10.0, 50.0])

    def log_prob(u, mean):
        return policy.log_prob(Gaussian(mean[None], jnp.zeros(1)), u[None])

    found = jax.jit(jax.vmap(jax.value_and_grad(log_prob)))(u.astype(np.float32), (u - 1.0).astype(np.float32))
    jacobian = 1.0 / np.cosh(u) ** 2
    value = -0.5 - 0.5 * np.log(2 * np.pi) - np.log(jacobian + 1e-6)
    gradient = -1.0 + 2.0 * np.tanh(u) * jacobian / (jacobian + 1e-6)
    assert_close(found, (value, gradient), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -1.5), (0.8, -0.5), (-1.0, -2.0)])
def test_density_integrates_to_one_over_the_action_interval(mean, log_std):
    actions = np.linspace(-0.99999, 0.99999, 200_001)
    u = jnp.asarray(np.arctanh(actions)[:, None], jnp.float32)
    log_density = to64(policy.log_prob(gaussian(np.full((len(u), 1), mean), np.full((len(u), 1), log_std)), u))
    assert np.trapezoid(np.exp(log_density), actions) == pytest.approx(1.0, abs=1e-3)


def test_log_prob_gradients_match_finite_differences():
    rng = np.random.default_rng(3)
    mean, log_std = rng.normal(size=(4, ACTION)), rng.uniform(-1.5, 0.5, size=(4, ACTION))
    noise = rng.normal(size=(4, ACTION))

    def held(parameters):
        return float(networks.tanh_gaussian_log_prob(np.tanh(mean + 0.3), *parameters).sum())

    def reparameterised(parameters):
        action = np.tanh(parameters[0] + np.exp(parameters[1]) * noise)
        return float(networks.tanh_gaussian_log_prob(action, *parameters).sum())

    def single(parameters, u):
        return jnp.sum(policy.log_prob(Gaussian(*parameters), u))

    def single_reparameterised(parameters):
        return single(parameters, parameters[0] + jnp.exp(parameters[1]) * noise.astype(np.float32))

    at = tuple(gaussian(mean, log_std))
    u = jnp.asarray(mean + 0.3, jnp.float32)
    found = jax.jit(lambda p: (jax.grad(single)(p, u), jax.grad(single_reparameterised)(p)))(at)
    expected = (central_differences(held, (mean, log_std)), central_differences(reparameterised, (mean, log_std)))
    assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_mode_is_the_tanh_of_the_mean():
    mean = np.random.default_rng(4).normal(size=(5, ACTION))
    assert_close(policy.mode(gaussian(mean, np.zeros_like(mean))), np.tanh(mean))


def test_samples_have_the_moments_of_the_squashed_gaussian(keys_used_once):
    mean, log_std, n = np.array([0.0, 0.7, -1.2]), np.array([0.0, -1.5, -0.4]), 200_000
    many = gaussian(np.tile(mean, (n, 1)), np.tile(log_std, (n, 1)))
    actions, log_probs = jax.jit(policy.sample_with_log_prob)(many, jax.random.key(0))
    actions, u = to64(actions), np.arctanh(np.clip(to64(actions), -1 + 1e-7, 1 - 1e-7))
    for function in (np.tanh, lambda u: np.tanh(u) ** 2):
        expected = quadrature(mean, log_std, function)
        values = function(u)
        assert np.abs(values.mean(axis=0) - expected).max() < 4 * values.std(axis=0).max() / np.sqrt(n)
    # Independent across dimensions and rows, standard normal before the squash.
    noise = (u - mean) / np.exp(log_std)
    assert np.abs(np.cov(noise.T) - np.eye(3)).max() < 0.02
    assert np.abs(np.mean(noise[1:] * noise[:-1], axis=0)).max() < 0.01
    # The log-probability belongs to the action returned, and its mean is minus the entropy.
    inner = (np.abs(actions) < 0.999).all(axis=1)
    expected = networks.tanh_gaussian_log_prob(actions[inner], mean, log_std)
    assert_close(to64(log_probs)[inner], expected, rtol=1e-3, atol=1e-2)
    entropy = sum(0.5 * np.log(2 * np.pi * np.e) + log_std)
    entropy += quadrature(mean, log_std, lambda u: np.log(1.0 - np.tanh(u) ** 2 + 1e-6)).sum()
    assert -to64(log_probs).mean() == pytest.approx(entropy, abs=0.02)


def test_sample_is_the_action_of_sample_with_log_prob_and_depends_on_the_key():
    many = gaussian(np.zeros((8, ACTION)), np.zeros((8, ACTION)))
    action = policy.sample(many, jax.random.key(1))
    assert_close(action, policy.sample_with_log_prob(many, jax.random.key(1))[0], rtol=0.0, atol=0.0)
    assert np.abs(to64(action) - to64(policy.sample(many, jax.random.key(2)))).min() > 0.0

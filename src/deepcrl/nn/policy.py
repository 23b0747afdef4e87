"""Policies: the tanh-Gaussian one, with exact log-probabilities, and a deterministic one."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import NetworkConfig
from deepcrl.nn.dense import Dense
from deepcrl.nn.encoder import Trunk, actor_depth, actor_width

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
SQUASH_EPS = 1e-6


class Gaussian(NamedTuple):
    """Diagonal Gaussian over pre-squash actions u; the action is tanh(u)."""

    mean: Float[Array, "... A"]
    log_std: Float[Array, "... A"]


class Policy(eqx.Module):
    """Maps state and goal to a Gaussian over pre-squash actions: a trunk with two linear heads."""

    trunk: Trunk
    mean: Dense
    log_std: Dense

    @classmethod
    def init(cls, key: PRNGKeyArray, state_size: int, goal_size: int, action_size: int, network: NetworkConfig):
        trunk_key, mean_key, std_key = jax.random.split(key, 3)
        width = actor_width(network)
        return cls(
            trunk=Trunk.init(trunk_key, state_size + goal_size, network, depth=actor_depth(network), width=width),
            mean=Dense.init(mean_key, width, action_size),
            log_std=Dense.init(std_key, width, action_size),
        )

    def __call__(self, state: Float[Array, "... S"], goal: Float[Array, "... G"]) -> Gaussian:
        features = self.trunk(jnp.concatenate([state, goal], axis=-1))
        squashed = jnp.tanh(self.log_std(features))
        log_std = LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (squashed + 1.0)
        return Gaussian(self.mean(features), log_std)


class DeterministicPolicy(eqx.Module):
    """Maps state and goal to an action in (-1, 1): trunk, linear head, tanh."""

    trunk: Trunk
    head: Dense

    @classmethod
    def init(cls, key: PRNGKeyArray, state_size: int, goal_size: int, action_size: int, network: NetworkConfig):
        trunk_key, head_key = jax.random.split(key)
        width = actor_width(network)
        return cls(
            trunk=Trunk.init(trunk_key, state_size + goal_size, network, depth=actor_depth(network), width=width),
            head=Dense.init(head_key, width, action_size),
        )

    def __call__(self, state: Float[Array, "... S"], goal: Float[Array, "... G"]) -> Float[Array, "... A"]:
        return jnp.tanh(self.head(self.trunk(jnp.concatenate([state, goal], axis=-1))))


def mode(gaussian: Gaussian) -> Float[Array, "... A"]:
    """The deterministic action, tanh of the mean."""
    return jnp.tanh(gaussian.mean)


def sample(gaussian: Gaussian, key: PRNGKeyArray) -> Float[Array, "... A"]:
    """An action drawn from the policy, differentiable in the Gaussian's parameters."""
    return jnp.tanh(_reparameterise(gaussian, key))


def sample_with_log_prob(gaussian: Gaussian, key: PRNGKeyArray) -> tuple[Float[Array, "... A"], Float[Array, "..."]]:
    """A reparameterised action and its log-probability density, summed over action dimensions."""
    pre_squash = _reparameterise(gaussian, key)
    return jnp.tanh(pre_squash), log_prob(gaussian, pre_squash)


def log_prob(gaussian: Gaussian, pre_squash: Float[Array, "... A"]) -> Float[Array, "..."]:
    """log p(a) of a = tanh(u): sum of log N(u; mean, sigma) - log(1 - a^2 + 1e-6).

    1 - tanh(u)^2 is computed from exp(-2|u|); from the rounded tanh, its logarithm would be off by 0.3 at |u| = 10.
    """
    z = (pre_squash - gaussian.mean) * jnp.exp(-gaussian.log_std)
    log_normal = -0.5 * (jnp.square(z) + jnp.log(2.0 * jnp.pi)) - gaussian.log_std
    decay = jnp.exp(-2.0 * jnp.abs(pre_squash))
    log_jacobian = jnp.log(4.0 * decay / jnp.square(1.0 + decay) + SQUASH_EPS)
    return jnp.sum(log_normal - log_jacobian, axis=-1)


def _reparameterise(gaussian: Gaussian, key: PRNGKeyArray) -> Array:
    noise = jax.random.normal(key, gaussian.mean.shape)
    return gaussian.mean + jnp.exp(gaussian.log_std) * noise

"""Stem, residual stack and linear head: the one network shape that every part of an agent uses."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import ConfigError, NetworkConfig
from deepcrl.nn.dense import Dense
from deepcrl.nn.residual import ResidualStack, Unit, check_depth


class Trunk(eqx.Module):
    """Stem (one unit) and residual stack: inputs to features of size W, never normalised at the end."""

    stem: Unit
    stack: ResidualStack

    @classmethod
    def init(cls, key: PRNGKeyArray, input_size: int, network: NetworkConfig, *, depth: int, width: int) -> "Trunk":
        stem_key, stack_key = jax.random.split(key)
        shared = {"layer_norm": network.layer_norm, "activation": network.activation}
        return cls(
            stem=Unit.init(stem_key, input_size, width, **shared),
            stack=ResidualStack.init(
                stack_key,
                depth=depth,
                width=width,
                block_size=network.block_size,
                residual=network.residual,
                remat=network.remat,
                unroll=network.unroll,
                **shared,
            ),
        )

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... W"]:
        return self.stack(self.stem(x))


class Encoder(eqx.Module):
    """Trunk and linear head: inputs to an embedding of size R."""

    trunk: Trunk
    head: Dense

    @classmethod
    def init(cls, key: PRNGKeyArray, input_size: int, network: NetworkConfig) -> "Encoder":
        """An encoder with the critic's depth and width."""
        trunk_key, head_key = jax.random.split(key)
        width = critic_width(network)
        trunk = Trunk.init(trunk_key, input_size, network, depth=critic_depth(network), width=width)
        return cls(trunk, Dense.init(head_key, width, network.representation_size))

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... R"]:
        return self.head(self.trunk(x))


def actor_depth(network: NetworkConfig) -> int:
    return network.depth if network.actor_depth is None else network.actor_depth


def critic_depth(network: NetworkConfig) -> int:
    return network.depth if network.critic_depth is None else network.critic_depth


def actor_width(network: NetworkConfig) -> int:
    return network.width if network.actor_width is None else network.actor_width


def critic_width(network: NetworkConfig) -> int:
    return network.width if network.critic_width is None else network.critic_width


def check_network(network: NetworkConfig) -> None:
    """Raise ConfigError for a network that cannot be built; called before anything is compiled."""
    check_depth(actor_depth(network), network.block_size, _field(network.actor_depth, "depth", "actor_depth"))
    check_depth(critic_depth(network), network.block_size, _field(network.critic_depth, "depth", "critic_depth"))
    sizes = {
        _field(network.actor_width, "width", "actor_width"): actor_width(network),
        _field(network.critic_width, "width", "critic_width"): critic_width(network),
        "network.representation_size": network.representation_size,
        "network.unroll": network.unroll,
    }
    for path, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{path} = {value} must be at least 1")


def _field(own: int | None, shared_name: str, own_name: str) -> str:
    return f"network.{shared_name if own is None else own_name}"

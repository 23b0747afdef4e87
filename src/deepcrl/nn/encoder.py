"""Stem, residual stack and linear head: the one network shape that every part of an agent uses."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import Activation, ConfigError, NetworkConfig
from deepcrl.nn.dense import AnyNorm, Dense, LayerNorm
from deepcrl.nn.residual import ResidualStack, Unit, activate, check_depth


class Trunk(eqx.Module):
    """Stem and blocks: maps inputs to features of size W. The paper's network has no norm after the last block.

    The stem is one unit and always has a bias: without one the norm after it would discard how far from the origin the
    input lies (SimbaV2 appends a constant to the input for this). While biases are 0, the paper's initial value, it
    still does; see `stem_bias`. With backbone "preactivation" the stem is a bare Dense, hyperspherical if the others
    are, and norm and activation follow the last block.
    """

    stem: Unit | Dense
    stack: ResidualStack
    last_norm: AnyNorm
    """Norm before the final activation of backbone "preactivation"; None with the other backbones."""
    final_norm: LayerNorm | None
    activation: Activation = eqx.field(static=True)

    @classmethod
    def init(cls, key: PRNGKeyArray, input_size: int, network: NetworkConfig, *, depth: int, width: int) -> "Trunk":
        stem_key, stack_key = jax.random.split(key)
        preactivation = network.backbone == "preactivation"
        stem = Unit.init(stem_key, input_size, width, network)
        if network.stem_bias:
            spread = jax.random.uniform(jax.random.fold_in(stem_key, 1), (width,), minval=-1.0, maxval=1.0)
            stem = eqx.tree_at(lambda unit: unit.dense.bias, stem, network.stem_bias * spread)
        return cls(
            stem=stem.dense if preactivation else stem,
            stack=ResidualStack.init(stack_key, network, depth=depth, width=width),
            last_norm=stem.norm if preactivation else None,
            final_norm=LayerNorm.init(width) if network.final_norm else None,
            activation=network.activation,
        )

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... W"]:
        x = self.stack(self.stem(x))
        if self.stack.backbone == "preactivation":
            x = activate(x, self.last_norm, self.activation)
        return x if self.final_norm is None else self.final_norm(x)


class Encoder(eqx.Module):
    """Trunk and linear head: maps inputs to an embedding of size R, or to a value (R = 1).

    The head has a bias and unconstrained weights whatever the norm, since embedding distances and returns have no
    fixed scale.
    """

    trunk: Trunk
    head: Dense

    @classmethod
    def init(
        cls, key: PRNGKeyArray, input_size: int, network: NetworkConfig, output_size: int | None = None
    ) -> "Encoder":
        """Encoder with the critic's depth and width; `output_size` None takes the representation size."""
        trunk_key, head_key = jax.random.split(key)
        width = critic_width(network)
        trunk = Trunk.init(trunk_key, input_size, network, depth=critic_depth(network), width=width)
        return cls(trunk, Dense.init(head_key, width, output_size or network.representation_size))

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


def network_words(network: NetworkConfig) -> str:
    """Depth and width in words; of actor and critic apart where they differ."""

    def pair(name: str, actor: int, critic: int) -> str:
        return f"{name} {actor:,}" if actor == critic else f"actor {name} {actor:,}, critic {name} {critic:,}"

    depth = pair("depth", actor_depth(network), critic_depth(network))
    return f"{depth}, {pair('width', actor_width(network), critic_width(network))}"


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
    if not 0 <= network.stem_bias < float("inf"):
        raise ConfigError(f"network.stem_bias = {network.stem_bias} must be at least 0 and finite")
    if network.branch_scale != "none":
        scale = f"network.branch_scale = {network.branch_scale!r}"
        if network.backbone == "plain":
            raise ConfigError(f"{scale} needs a branch: network.backbone = 'residual' or 'preactivation', not 'plain'")
        if network.norm == "hyper":
            raise ConfigError(
                f"{scale} must be 'none' with network.norm = 'hyper', whose branches have a weight already"
            )


def _field(own: int | None, shared_name: str, own_name: str) -> str:
    return f"network.{shared_name if own is None else own_name}"

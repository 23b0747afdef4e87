"""The trunk's blocks: depth is an array axis, so program size and compile time do not depend on it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import Activation, Backbone, ConfigError, NetworkConfig, Remat
from deepcrl.nn.dense import HYPERSPHERICAL, NORMS, AnyNorm, Dense, unit_rms


def swish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x sigmoid(x), with sigmoid(x) = (1 + tanh(x/2)) / 2, which on a CPU costs half as much as the form with exp."""
    return 0.5 * x * (jnp.tanh(0.5 * x) + 1.0)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Phi(x), with Phi the standard normal CDF."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"swish": swish, "relu": jax.nn.relu, "gelu": gelu}

# "dots" stores the matrix products and recomputes normalisation and activation, which costs little compared to reading
# their stored results from memory: at depth 64 it is faster and needs less memory than "none" (benchmarks/depth.py).
REMAT_POLICIES = {"dots": jax.checkpoint_policies.dots_saveable, "block": jax.checkpoint_policies.nothing_saveable}


class Unit(eqx.Module):
    """Dense, norm, activation; with `norm_first`, norm, activation, Dense. Without norm `norm` is None."""

    dense: Dense
    norm: AnyNorm
    activation: Activation = eqx.field(static=True)
    norm_first: bool = eqx.field(static=True, default=False)

    @classmethod
    def init(
        cls,
        key: PRNGKeyArray,
        fan_in: int,
        width: int,
        network: NetworkConfig,
        stack: tuple[int, ...] = (),
        *,
        use_bias: bool = True,
        norm_first: bool = False,
    ) -> "Unit":
        hyperspherical = network.norm in HYPERSPHERICAL
        dense = Dense.init(key, fan_in, width, stack, use_bias=use_bias, hyperspherical=hyperspherical)
        norm = NORMS[network.norm](fan_in if norm_first else width, stack)
        return cls(dense, norm, network.activation, norm_first)

    def __call__(self, x: Float[Array, "... fan_in"]) -> Float[Array, "... width"]:
        if self.norm_first:
            return self.dense(activate(x, self.norm, self.activation))
        return activate(self.dense(x), self.norm, self.activation)


def activate(x: Float[Array, "... width"], norm: AnyNorm, activation: Activation) -> Float[Array, "... width"]:
    """Apply the norm, if any, then the activation."""
    return ACTIVATIONS[activation](x if norm is None else norm(x))


class ResidualStack(eqx.Module):
    """`num_blocks` blocks of `block_size` units. Every leaf of `units` has leading axes [num_blocks, block_size].

    "residual"       x + units(x): added after the last activation, and nothing follows the sum
    "preactivation"  x + units(x), with units that normalise and activate before they multiply
    "plain"          units(x)

    The branch units(x) is multiplied by `weight` (learnt, one per feature) or `factor` (fixed), if there is one.
    """

    units: Unit
    weight: Float[Array, "num_blocks W"] | None
    """Only with branch_scale "zero" (starts at 0) or norm "hyper" (starts at 1 / (num_blocks + 1))."""
    factor: float | None = eqx.field(static=True)
    """Only with branch_scale "depth": 1 / num_blocks at the start; unchanged when blocks are added or dropped."""
    unit_outputs: bool = eqx.field(static=True)
    """Whether the units' output is rescaled to length √W before `weight` (norm "hyper")."""
    backbone: Backbone = eqx.field(static=True)
    remat: Remat = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    @classmethod
    def init(cls, key: PRNGKeyArray, network: NetworkConfig, *, depth: int, width: int) -> "ResidualStack":
        """Raises ConfigError when the block size does not divide `depth`."""
        check_depth(depth, network.block_size)
        num_blocks = depth // network.block_size
        hyper, adds = network.norm == "hyper", network.backbone != "plain"
        units = Unit.init(
            key,
            width,
            width,
            network,
            (num_blocks, network.block_size),
            use_bias=not hyper,
            norm_first=network.backbone == "preactivation",
        )
        weight = None
        if adds and hyper:
            weight = jnp.full((num_blocks, width), 1.0 / (num_blocks + 1))
        elif network.branch_scale == "zero":
            weight = jnp.zeros((num_blocks, width))
        factor = 1.0 / num_blocks if network.branch_scale == "depth" else None
        return cls(units, weight, factor, hyper, network.backbone, network.remat, network.unroll)

    @property
    def blocks(self) -> "Block":
        """Parameters of all blocks, stacked on the leading axis that the scan over depth runs over."""
        return self.units, self.weight

    def branch(self, x: Float[Array, "... W"], block: "Block") -> Float[Array, "... W"]:
        """What one block adds to its input."""
        units, weight = block
        for i in range(units.dense.kernel.shape[0]):
            x = jax.tree.map(lambda leaf, i=i: leaf[i], units)(x)
        if self.unit_outputs:
            x = unit_rms(x)
        if weight is not None:
            x = weight * x
        return x if self.factor is None else self.factor * x

    def block(self, x: Float[Array, "... W"], block: "Block") -> Float[Array, "... W"]:
        """Apply one block; the leaves of its units have one leading axis [block_size]."""
        out = self.branch(x, block)
        return out if self.backbone == "plain" else x + out

    def __call__(self, x: Float[Array, "... W"]) -> Float[Array, "... W"]:
        def body(h: Array, block: Block) -> tuple[Array, None]:
            return self.block(h, block), None

        if self.remat != "none":
            body = jax.checkpoint(body, prevent_cse=False, policy=REMAT_POLICIES[self.remat])
        return jax.lax.scan(body, x, self.blocks, unroll=self.unroll)[0]


Block = tuple[Unit, Array | None]
"""Units of one block, and the weight of its output."""


def check_depth(depth: int, block_size: int, name: str = "network.depth") -> None:
    """Raise ConfigError, naming the nearest legal depths, unless `depth` is a positive multiple of `block_size`."""
    if block_size < 1:
        raise ConfigError(f"network.block_size = {block_size} must be at least 1")
    if depth < block_size or depth % block_size:
        low = depth // block_size * block_size
        nearest = f"{low} and {low + block_size}" if low >= block_size else f"{block_size}"
        raise ConfigError(
            f"{name} = {depth} is not a multiple of network.block_size = {block_size}; nearest: {nearest}"
        )

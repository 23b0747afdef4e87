"""The residual trunk: depth is an array axis, so program size and compile time do not depend on it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import Activation, ConfigError, Remat
from deepcrl.nn.dense import Dense, LayerNorm


def swish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x sigmoid(x), by sigmoid(x) = (1 + tanh(x/2)) / 2: on a CPU half the cost of the exponential's form."""
    return 0.5 * x * (jnp.tanh(0.5 * x) + 1.0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"swish": swish, "relu": jax.nn.relu}

# "dots" keeps the matrix products and recomputes normalisation and activation, which are cheap beside reading their
# stored results from memory: at depth 64 this is both the faster and the smaller choice (benchmarks/depth.py).
REMAT_POLICIES = {"dots": jax.checkpoint_policies.dots_saveable, "block": jax.checkpoint_policies.nothing_saveable}


class Unit(eqx.Module):
    """Dense, optional LayerNorm, activation. Without LayerNorm `norm` is None and has no parameters."""

    dense: Dense
    norm: LayerNorm | None
    activation: Activation = eqx.field(static=True)

    @classmethod
    def init(
        cls,
        key: PRNGKeyArray,
        fan_in: int,
        width: int,
        *,
        layer_norm: bool,
        activation: Activation,
        stack: tuple[int, ...] = (),
    ) -> "Unit":
        norm = LayerNorm.init(width, stack) if layer_norm else None
        return cls(Dense.init(key, fan_in, width, stack), norm, activation)

    def __call__(self, x: Float[Array, "... fan_in"]) -> Float[Array, "... width"]:
        x = self.dense(x)
        x = x if self.norm is None else self.norm(x)
        return ACTIVATIONS[self.activation](x)


class ResidualStack(eqx.Module):
    """`num_blocks` blocks of `block_size` units; the block's input is added after the last activation, nothing follows.

    Every leaf of `units` has leading axes [num_blocks, block_size].
    """

    units: Unit
    residual: bool = eqx.field(static=True)
    remat: Remat = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    @classmethod
    def init(
        cls,
        key: PRNGKeyArray,
        *,
        depth: int,
        width: int,
        block_size: int,
        residual: bool,
        layer_norm: bool,
        activation: Activation,
        remat: Remat,
        unroll: int,
    ) -> "ResidualStack":
        """Raises ConfigError when `block_size` does not divide `depth`."""
        check_depth(depth, block_size)
        stack = (depth // block_size, block_size)
        units = Unit.init(key, width, width, layer_norm=layer_norm, activation=activation, stack=stack)
        return cls(units, residual, remat, unroll)

    def block(self, x: Float[Array, "... W"], units: Unit) -> Float[Array, "... W"]:
        """One block; `units` has one leading axis [block_size]."""
        h = x
        for i in range(units.dense.bias.shape[0]):
            h = jax.tree.map(lambda leaf, i=i: leaf[i], units)(h)
        return x + h if self.residual else h

    def __call__(self, x: Float[Array, "... W"]) -> Float[Array, "... W"]:
        def body(h: Array, units: Unit) -> tuple[Array, None]:
            return self.block(h, units), None

        if self.remat != "none":
            body = jax.checkpoint(body, prevent_cse=False, policy=REMAT_POLICIES[self.remat])
        return jax.lax.scan(body, x, self.units, unroll=self.unroll)[0]


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

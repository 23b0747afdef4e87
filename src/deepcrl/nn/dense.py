"""Dense layers and what normalises them. Kernels start uniform(±1/√fan_in), biases at 0, as the release's do
(docs/algorithm.md, Networks); hyperspherical kernels are those of SimbaV2 (Lee et al., 2025)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import Norm

NORM_FLOOR = 1e-8
"""`project` divides no weights by a length below this."""


class Dense(eqx.Module):
    """Affine map of the last axis. The uniform limit 1/√fan_in is a variance of 1/(3 fan_in).

    A `hyperspherical` one has weights of unit length for each output feature; `project` returns them there after a
    step of the optimiser.
    """

    kernel: Float[Array, "*stack fan_in fan_out"]
    bias: Float[Array, "*stack fan_out"] | None
    hyperspherical: bool = eqx.field(static=True, default=False)

    @classmethod
    def init(
        cls,
        key: PRNGKeyArray,
        fan_in: int,
        fan_out: int,
        stack: tuple[int, ...] = (),
        *,
        use_bias: bool = True,
        hyperspherical: bool = False,
    ) -> "Dense":
        """Parameters for one layer, or for a stack of independent layers on leading axes."""
        limit = fan_in**-0.5
        kernel = jax.random.uniform(key, (*stack, fan_in, fan_out), minval=-limit, maxval=limit)
        bias = jnp.zeros((*stack, fan_out)) if use_bias else None
        return project(cls(kernel, bias, hyperspherical))

    def __call__(self, x: Float[Array, "... fan_in"]) -> Float[Array, "... fan_out"]:
        x = x @ self.kernel
        return x if self.bias is None else x + self.bias


class LayerNorm(eqx.Module):
    """Normalise the last axis to zero mean and unit variance, then scale and shift."""

    scale: Float[Array, "*stack width"]
    bias: Float[Array, "*stack width"]
    eps: float = eqx.field(static=True, default=1e-6)

    @classmethod
    def init(cls, width: int, stack: tuple[int, ...] = ()) -> "LayerNorm":
        return cls(jnp.ones((*stack, width)), jnp.zeros((*stack, width)))

    def __call__(self, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.eps) * self.scale + self.bias


class RMSNorm(eqx.Module):
    """Divide the last axis by its root mean square, then scale."""

    scale: Float[Array, "*stack width"]
    eps: float = eqx.field(static=True, default=1e-6)

    @classmethod
    def init(cls, width: int, stack: tuple[int, ...] = ()) -> "RMSNorm":
        return cls(jnp.ones((*stack, width)))

    def __call__(self, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
        return unit_rms(x, self.eps) * self.scale


class Scale(eqx.Module):
    """A learnt factor per feature: the scaler behind a hyperspherical layer, which has no length of its own."""

    scale: Float[Array, "*stack width"]

    @classmethod
    def init(cls, width: int, stack: tuple[int, ...] = ()) -> "Scale":
        return cls(jnp.full((*stack, width), 2.0**0.5))

    def __call__(self, x: Float[Array, "... width"]) -> Float[Array, "... width"]:
        return x * self.scale


AnyNorm = LayerNorm | RMSNorm | Scale | None

NORMS: dict[Norm, Callable[[int, tuple[int, ...]], AnyNorm]] = {
    "layer": LayerNorm.init,
    "rms": RMSNorm.init,
    "hyper": Scale.init,
    "both": LayerNorm.init,
    "none": lambda width, stack: None,
}

HYPERSPHERICAL: tuple[Norm, ...] = ("hyper", "both")
"""Norms whose Dense layers, in stem and blocks, are hyperspherical."""


def project(tree: Any) -> Any:
    """The tree with the weights of each output of every hyperspherical Dense in it divided by their L2 norm.

    To be called on the parameters after every step of an optimiser, and not on the optimiser's state: Adam's moments
    have the same structure, and are left alone. All other leaves are returned as they are.
    """

    def of_module(node: Any) -> Any:
        if not (isinstance(node, Dense) and node.hyperspherical):
            return node
        norms = jnp.sqrt(jnp.sum(jnp.square(node.kernel), axis=-2, keepdims=True))
        return Dense(node.kernel / jnp.maximum(norms, NORM_FLOOR), node.bias, hyperspherical=True)

    return jax.tree.map(of_module, tree, is_leaf=lambda node: isinstance(node, Dense))


def unit_rms(x: Float[Array, "... width"], eps: float = 1e-6) -> Float[Array, "... width"]:
    """x / √(mean(x²) + eps) over the last axis: the direction of x, at length √width."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)

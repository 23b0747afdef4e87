"""Dense layers and normalisation. Kernels start uniform(±1/√fan_in), biases at 0, as in the paper's released code
(docs/algorithm.md, Networks); hyperspherical kernels are those of SimbaV2 (Lee et al., 2025)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import Norm

NORM_FLOOR = 1e-8
"""Lower bound of the length that `project` divides weights by."""


class Dense(eqx.Module):
    """Affine map of the last axis. Kernels start uniform(±1/√fan_in), which has variance 1/(3 fan_in).

    If `hyperspherical`, the weights of each output feature have unit L2 norm; `project` restores it after an optimiser
    step.
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
    """Learnt factor per feature, SimbaV2's scaler: a hyperspherical layer's weights cannot scale its output."""

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
    """Divide the weights of each output of every hyperspherical Dense in a tree by their L2 norm; keep all else.

    Call it on the parameters after every optimiser step, never on the optimiser's state: Adam's moments have the same
    structure and would be divided too.
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

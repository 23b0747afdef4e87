"""Dense and LayerNorm as the paper initialises them (fact sheet: kernels uniform(±1/√fan_in), zero bias, eps 1e-6)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Dense(eqx.Module):
    """Affine map of the last axis. The uniform limit 1/√fan_in is a variance of 1/(3 fan_in)."""

    kernel: Float[Array, "*stack fan_in fan_out"]
    bias: Float[Array, "*stack fan_out"]

    @classmethod
    def init(cls, key: PRNGKeyArray, fan_in: int, fan_out: int, stack: tuple[int, ...] = ()) -> "Dense":
        """Parameters for one layer, or for a stack of independent layers on leading axes."""
        limit = fan_in**-0.5
        kernel = jax.random.uniform(key, (*stack, fan_in, fan_out), minval=-limit, maxval=limit)
        return cls(kernel, jnp.zeros((*stack, fan_out)))

    def __call__(self, x: Float[Array, "... fan_in"]) -> Float[Array, "... fan_out"]:
        return x @ self.kernel + self.bias


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

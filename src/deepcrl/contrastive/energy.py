"""Energies f(x, y): similarity of two embeddings, row by row and for all pairs of a batch (paper, section 3)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COSINE_EPS = 1e-6
COMPONENTS = 8
"""Number K of components into which the quasimetrics split an embedding; its size must be a multiple of 2 K."""


class Energy(NamedTuple):
    """An energy in its two forms, with `pairwise(x, y)[i, j] == paired(x[i], y[j])`."""

    paired: Callable[[Float[Array, "... R"], Float[Array, "... R"]], Float[Array, "..."]]
    pairwise: Callable[[Float[Array, "B R"], Float[Array, "K R"]], Float[Array, "B K"]]


def safe_sqrt(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root with zero, not infinite, gradient at zero; negative inputs count as zero."""
    positive = x > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def squared_distances(x: Float[Array, "B R"], y: Float[Array, "K R"]) -> Float[Array, "B K"]:
    """Squared L2 distances of all pairs as |x|^2 + |y|^2 - 2 x.y, from one matrix product without a [B, K, R] array.

    Both sides are first shifted by the mean of `y`, which changes no distance and keeps the three terms small, so that
    little precision is lost to cancellation. The product is in full float32: a GPU's default keeps 10 mantissa bits.
    """
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0, keepdims=True))
    x, y = x - centre, y - centre
    x_norms = jnp.sum(jnp.square(x), axis=-1)[:, None]
    y_norms = jnp.sum(jnp.square(y), axis=-1)[None, :]
    products = jnp.matmul(x, y.T, precision="highest")
    return jnp.maximum(x_norms + y_norms - 2.0 * products, 0.0)


def _normalise(x: Float[Array, "... R"]) -> Float[Array, "... R"]:
    return x / (safe_sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)) + COSINE_EPS)


def mrn(x: Float[Array, "... R"], y: Float[Array, "... R"]) -> Float[Array, "..."]:
    """Metric residual network: mean over components of an asymmetric part plus a metric (Liu et al., 2023).

    A component's first half gives max_k relu(x_k - y_k), its second half the L2 distance. Inputs broadcast.
    """
    x, y = _components(x), _components(y)
    half = x.shape[-1] // 2
    largest, squares = -jnp.inf, jnp.zeros(())
    # A loop over features avoids a [B, K, R] array for all pairs; three times as fast on a CPU.
    for k in range(half):
        largest = jnp.maximum(largest, x[..., k] - y[..., k])
        squares = squares + jnp.square(x[..., half + k] - y[..., half + k])
    return jnp.mean(jax.nn.relu(largest) + safe_sqrt(squares), axis=-1)


def iqe(x: Float[Array, "... R"], y: Float[Array, "... R"]) -> Float[Array, "..."]:
    """Interval quasimetric embedding: 0.5 mean + 0.5 max over components (Wang and Isola, 2022, alpha fixed at 1/2).

    A component's distance is the length of the union of the intervals [x_k, max(x_k, y_k)]. Inputs broadcast.
    """
    x, y = jnp.broadcast_arrays(_components(x), _components(y))
    order = jnp.argsort(x, axis=-1)
    low, high = (jnp.take_along_axis(ends, order, axis=-1) for ends in (x, jnp.maximum(x, y)))
    # From left to right, each interval adds only its part beyond all the previous ones.
    covered = jax.lax.cummax(high, axis=high.ndim - 1)
    before = jnp.concatenate([low[..., :1], covered[..., :-1]], axis=-1)
    lengths = jnp.sum(jax.nn.relu(high - jnp.maximum(low, before)), axis=-1)
    return 0.5 * jnp.mean(lengths, axis=-1) + 0.5 * jnp.max(lengths, axis=-1)


def _components(x: Float[Array, "... R"]) -> Float[Array, "... K P"]:
    return x.reshape(*x.shape[:-1], COMPONENTS, -1)


def _l2_paired(x: Array, y: Array) -> Array:
    return -jnp.sum(jnp.square(x - y), axis=-1)


def _dot_paired(x: Array, y: Array) -> Array:
    return jnp.sum(x * y, axis=-1)


ENERGIES: dict[str, Energy] = {
    # The paper's: negative, un-squared L2 distance.
    "norm": Energy(
        paired=lambda x, y: -safe_sqrt(-_l2_paired(x, y)),
        pairwise=lambda x, y: -safe_sqrt(squared_distances(x, y)),
    ),
    "l2": Energy(paired=_l2_paired, pairwise=lambda x, y: -squared_distances(x, y)),
    "l1": Energy(
        paired=lambda x, y: -jnp.sum(jnp.abs(x - y), axis=-1),
        pairwise=lambda x, y: -jnp.sum(jnp.abs(x[:, None, :] - y[None, :, :]), axis=-1),
    ),
    "dot": Energy(paired=_dot_paired, pairwise=lambda x, y: x @ y.T),
    "cosine": Energy(
        paired=lambda x, y: _dot_paired(_normalise(x), _normalise(y)),
        pairwise=lambda x, y: _normalise(x) @ _normalise(y).T,
    ),
    "mrn": Energy(
        paired=lambda x, y: -mrn(x, y),
        pairwise=lambda x, y: -mrn(x[:, None, :], y[None, :, :]),
    ),
    "iqe": Energy(
        paired=lambda x, y: -iqe(x, y),
        pairwise=lambda x, y: -iqe(x[:, None, :], y[None, :, :]),
    ),
}
QUASIMETRICS = ("mrn", "iqe")
"""Energies that are the negative of a quasimetric: d(x, y) and d(y, x) may differ."""

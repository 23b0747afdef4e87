"""Metrics of what a critic has learnt, computed on one batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deepcrl.contrastive.energy import squared_distances
from deepcrl.types import Metrics


def logit_diagnostics(logits: Float[Array, "B B"], ended: Bool[Array, "B"] | None = None) -> Metrics:
    """InfoNCE accuracy, mean energies of positive and negative pairs, mean logsumexp over goals.

    All columns with `ended` are the same outcome, so for a row with `ended` any of them counts as a hit.
    """
    size = logits.shape[0]
    positives = jnp.diagonal(logits)
    found = jnp.argmax(logits, axis=1)
    hits = found == jnp.arange(size)
    if ended is not None:
        hits |= ended & ended[found]
    return {
        "accuracy": jnp.mean(hits.astype(jnp.float32)),
        "positive_energy": jnp.mean(positives),
        "negative_energy": (jnp.sum(logits) - jnp.sum(positives)) / (size * (size - 1)),
        "logsumexp": jnp.mean(jax.nn.logsumexp(logits, axis=1)),
    }


def representation_diagnostics(x: Float[Array, "B R"], y: Float[Array, "B R"]) -> Metrics:
    """Alignment and uniformity on the unit sphere (Wang and Isola, 2020).

    Alignment is the mean squared distance of positive pairs, 0 at best; uniformity is log mean exp(-2 |y_i - y_j|^2)
    over distinct goals, 0 when all embeddings coincide and lower the more evenly they spread. An embedding of zero
    has no direction and stays zero.
    """
    x, y = _unit(x), _unit(y)
    size = y.shape[0]
    exponents = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, -2.0 * squared_distances(y, y))
    return {
        "alignment": jnp.mean(jnp.sum(jnp.square(x - y), axis=-1)),
        "uniformity": jax.nn.logsumexp(exponents) - jnp.log(size * (size - 1.0)),
    }


def _unit(x: Float[Array, "B R"]) -> Float[Array, "B R"]:
    length: Array = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(length > 0, length, 1.0)

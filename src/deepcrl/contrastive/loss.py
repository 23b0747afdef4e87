"""Contrastive losses over logits L[i, j] = f(phi(s_i, a_i), psi(g_j)); positives on the diagonal (paper, section 3)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, "B B"]
Scalar = Float[Array, ""]


def forward_infonce(logits: Logits) -> Scalar:
    """-mean_i [ L_ii - logsumexp_j L_ij ]: tell the pair's goal from the batch's other goals (the paper's)."""
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits))


def backward_infonce(logits: Logits) -> Scalar:
    """-mean_j [ L_jj - logsumexp_i L_ij ]: tell the pair's state and action from the batch's others."""
    return forward_infonce(logits.T)


def symmetric_infonce(logits: Logits) -> Scalar:
    """Mean of forward and backward; not their sum, so that its scale relative to the penalty is that of either."""
    return 0.5 * (forward_infonce(logits) + backward_infonce(logits))


def binary_nce(logits: Logits) -> Scalar:
    """Mean binary cross-entropy of all B^2 pairs, label 1 on the diagonal and 0 elsewhere."""
    labels = jnp.eye(logits.shape[0])
    return jnp.mean(jax.nn.softplus(logits) - labels * logits)


def flat_nce(logits: Logits) -> Scalar:
    """mean_i c_i with c_i = logsumexp_{j != i}(L_ij - L_ii), over negatives only.

    Same gradient as FlatNCE, exp(c_i - stop_gradient(c_i)), whose value is always 1 and would be useless as a metric.
    """
    size = logits.shape[0]
    negatives = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, logits)
    return jnp.mean(jax.nn.logsumexp(negatives, axis=1) - jnp.diagonal(logits))


def logsumexp_penalty(logits: Logits, axes: tuple[int, ...]) -> Scalar:
    """Mean squared logsumexp(L + 1e-6), averaged over the axes that the loss normalises over."""
    terms = [jnp.mean(jnp.square(jax.nn.logsumexp(logits + 1e-6, axis=axis))) for axis in axes]
    return sum(terms[1:], terms[0]) / len(terms)


LOSSES: dict[str, Callable[[Logits], Scalar]] = {
    "forward": forward_infonce,
    "backward": backward_infonce,
    "symmetric": symmetric_infonce,
    "binary": binary_nce,
    "flat": flat_nce,
}

PENALTY_AXES: dict[str, tuple[int, ...]] = {
    "forward": (1,),
    "backward": (0,),
    "symmetric": (1, 0),
    "binary": (1,),
    "flat": (1,),
}

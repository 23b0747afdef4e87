"""The five losses: loops in float64, gradients, gradient signs, and the densities that minimise them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.contrastive.loss import LOSSES, PENALTY_AXES, flat_nce, logsumexp_penalty
from reference import contrastive
from reference.numeric import assert_close, central_differences, to64

NAMES = list(contrastive.LOSSES)

# Counts of pairs (x, y) in a batch drawn from a small joint distribution; rows x, columns y.
COUNTS = np.array([[5, 1, 2], [1, 4, 1]])


def logits(size: int = 5, scale: float = 2.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, scale, size=(size, size)).astype(np.float32)


def test_the_table_holds_the_five_losses_and_the_axes_each_normalises():
    assert sorted(LOSSES) == sorted(NAMES)
    assert PENALTY_AXES == {"forward": (1,), "backward": (0,), "symmetric": (1, 0), "binary": (1,), "flat": (1,)}


@pytest.mark.parametrize("name", NAMES)
def test_losses_match_loops(name):
    loss = jax.jit(LOSSES[name])
    for scale in (0.1, 2.0):
        at = logits(scale=scale)
        assert_close(loss(at), np.asarray(contrastive.LOSSES[name](to64(at))))


def test_losses_of_two_pairs_worked_by_hand():
    """L = [[0, log 3], [0, log 2]]: rows sum to 4 and 3, columns to 2 and 5 after exp."""
    at = jnp.asarray([[0.0, np.log(3.0)], [0.0, np.log(2.0)]], jnp.float32)
    forward = 0.5 * (np.log(4.0) + np.log(3.0) - np.log(2.0))
    backward = 0.5 * (np.log(2.0) + np.log(5.0) - np.log(2.0))
    # Sigmoids: 1/2, 3/4 (negatives' complement 1/4), 1/2, 2/3.
    binary = -0.25 * (np.log(1 / 2) + np.log(1 / 4) + np.log(1 / 2) + np.log(2 / 3))
    flat = 0.5 * (np.log(3.0) + (0.0 - np.log(2.0)))
    expected = {
        "forward": forward,
        "backward": backward,
        "symmetric": (forward + backward) / 2,
        "binary": binary,
        "flat": flat,
    }
    for name, value in expected.items():
        assert float(LOSSES[name](at)) == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_finite_differences(name):
    at = logits(4)
    expected = central_differences(contrastive.LOSSES[name], to64(at))
    assert_close(jax.jit(jax.grad(LOSSES[name]))(jnp.asarray(at)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (0,), (1, 0)])
def test_penalty_matches_loops_in_value_and_gradient(axes):
    at = logits(4)
    found = jax.jit(jax.value_and_grad(lambda logits: logsumexp_penalty(logits, axes)))(jnp.asarray(at))
    reference = lambda logits: contrastive.logsumexp_penalty(logits, axes)  # noqa: E731
    assert_close(
        found, (np.asarray(reference(to64(at))), central_differences(reference, to64(at))), rtol=1e-4, atol=1e-5
    )


def test_penalty_adds_its_millionth_inside_the_logsumexp():
    """For logits -log B every logsumexp is 0 but for the 1e-6: the penalty is its square, not 0."""
    at = np.full((4, 4), -np.log(4.0))
    assert contrastive.logsumexp_penalty(at, (1,)) == pytest.approx(1e-12, rel=1e-3)
    shifted = jnp.asarray(at + 0.5, jnp.float32)
    assert float(logsumexp_penalty(shifted, (1,))) == pytest.approx((0.5 + 1e-6) ** 2, rel=1e-6)
    # In float32 1e-6 shows beside small logits only: 2^-20 of them, with one candidate and so no logarithm of B.
    assert float(logsumexp_penalty(jnp.zeros((1, 1)), (1,))) == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_positives_are_pushed_up_and_negatives_down(name):
    gradient = to64(jax.jit(jax.grad(LOSSES[name]))(logits()))
    off = ~np.eye(5, dtype=bool)
    assert (np.diagonal(gradient) < 0.0).all()
    assert (gradient[off] > 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_least_when_each_pair_finds_its_partner(name):
    good = 24.0 * jnp.eye(4) - 12.0
    indifferent = {
        "forward": np.log(4),
        "backward": np.log(4),
        "symmetric": np.log(4),
        "binary": np.log(2),
        "flat": np.log(3),
    }
    loss = jax.jit(LOSSES[name])
    assert float(loss(jnp.zeros((4, 4)))) == pytest.approx(indifferent[name], rel=1e-6)
    assert float(loss(good)) < 0.5 * indifferent[name] < indifferent[name] < float(loss(-good))


def batch_of(table: jnp.ndarray) -> jnp.ndarray:
    """Logits F[x_i, y_j] of the batch that holds every pair as often as COUNTS says."""
    rows = np.repeat(np.repeat(np.arange(2), 3), COUNTS.ravel())
    columns = np.repeat(np.tile(np.arange(3), 2), COUNTS.ravel())
    return table[rows][:, columns]


def minimiser(name: str) -> np.ndarray:
    """The table F that minimises a loss on that batch, in closed form (up to what the loss cannot see)."""
    independent = COUNTS.sum(axis=1, keepdims=True) * COUNTS.sum(axis=0, keepdims=True)
    if name == "binary":
        # Each cell is a coin: n positives among n_x n_y pairs.
        return np.log(COUNTS / (independent - COUNTS))
    return np.log(COUNTS / independent)


@pytest.mark.parametrize("name", ["forward", "backward", "symmetric", "binary"])
def test_the_log_density_ratio_minimises(name):
    loss = jax.jit(jax.value_and_grad(lambda table: LOSSES[name](batch_of(table))))
    at = jnp.asarray(minimiser(name), jnp.float32)
    least, gradient = loss(at)
    assert_close(gradient, np.zeros((2, 3)), atol=1e-6)
    for index in np.ndindex(2, 3):
        for change in (0.5, -0.5):
            assert float(loss(at.at[index].add(change))[0]) > float(least) + 3e-4
    # What each loss cannot see: a constant per state and action (forward), per goal (backward).
    free = {"forward": [[0.7], [-0.3]], "backward": [[0.7, -0.3, 1.1]]}.get(name)
    if free is not None:
        assert float(loss(at + jnp.asarray(free, jnp.float32))[0]) == pytest.approx(float(least), abs=1e-5)


def test_flat_nce_has_the_gradient_of_exp_c_minus_stopped_c():
    def original(logits):
        size = logits.shape[0]
        others = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, logits - jnp.diagonal(logits)[:, None])
        c = jax.nn.logsumexp(others, axis=1)
        return jnp.mean(jnp.exp(c - jax.lax.stop_gradient(c)))

    at = jnp.asarray(logits())
    value, gradient = jax.jit(jax.value_and_grad(original))(at)
    assert float(value) == pytest.approx(1.0)
    assert_close(jax.jit(jax.grad(flat_nce))(at), gradient, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_large_logits_do_not_overflow(name):
    at = jnp.asarray(logits() * 1e3)
    value, gradient = jax.jit(jax.value_and_grad(LOSSES[name]))(at)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()

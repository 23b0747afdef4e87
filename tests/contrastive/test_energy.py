"""The energies against loops in float64: values, gradients, zero distances, precision far from the origin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.contrastive.energy import ENERGIES, QUASIMETRICS, safe_sqrt, squared_distances
from reference import contrastive
from reference.numeric import assert_close, central_differences, to64

NAMES = list(contrastive.ENERGIES)


def embeddings(rows: int = 4, others: int = 3, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    draw = lambda n: rng.normal(size=(n, size)).astype(np.float32)  # noqa: E731
    return draw(rows), draw(others) + np.float32(0.5)


def test_the_table_holds_them_all():
    assert sorted(ENERGIES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pairwise_matches_loops(name):
    x, y = embeddings()
    found = ENERGIES[name].pairwise(jnp.asarray(x), jnp.asarray(y))
    assert_close(found, contrastive.pairwise(name, to64(x), to64(y)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_paired_matches_loops_and_the_diagonal_of_pairwise(name):
    x, y = embeddings(4, 4)
    found = ENERGIES[name].paired(jnp.asarray(x), jnp.asarray(y))
    assert_close(found, contrastive.paired(name, to64(x), to64(y)), rtol=1e-5, atol=1e-5)
    assert_close(jnp.diagonal(ENERGIES[name].pairwise(jnp.asarray(x), jnp.asarray(y))), found, rtol=1e-5, atol=1e-5)
    leading = ENERGIES[name].paired(jnp.asarray(x.reshape(2, 2, -1)), jnp.asarray(y.reshape(2, 2, -1)))
    assert_close(leading, to64(found).reshape(2, 2))


@pytest.mark.parametrize("form", ["paired", "pairwise"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_finite_differences(name, form):
    x, y = embeddings(3, 3 if form == "paired" else 2)
    weights = np.random.default_rng(1).normal(size=3 if form == "paired" else (3, 2)).astype(np.float32)
    reference = getattr(contrastive, form)
    expected = central_differences(lambda xy: float((reference(name, *xy) * weights).sum()), (to64(x), to64(y)))
    energy = getattr(ENERGIES[name], form)
    found = jax.jit(jax.grad(lambda xy: jnp.sum(energy(*xy) * weights)))((jnp.asarray(x), jnp.asarray(y)))
    assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_energies_and_gradients_are_finite_at_zero_distance_and_for_zero_vectors(name):
    same = jnp.zeros((2, 32)).at[0, :3].set(jnp.asarray([1.0, -2.0, 0.5]))
    at_zero = {"dot": [5.25, 0.0], "cosine": [1.0, 0.0]}.get(name, [0.0, 0.0])
    energy = ENERGIES[name]

    def values(x, y):
        return energy.paired(x, y), jnp.diagonal(energy.pairwise(x, y))

    def everything(x, y):
        gradients = [jax.grad(lambda x, y, i=i: jnp.sum(values(x, y)[i]), argnums=(0, 1))(x, y) for i in (0, 1)]
        return values(x, y), gradients

    found, gradients = jax.jit(everything)(same, same)
    assert_close(found, (np.array(at_zero), np.array(at_zero)), atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_gradient_of_the_norm_has_unit_length_but_is_zero_at_zero_distance():
    x = jnp.asarray([[3.0, 4.0], [1.0, 1.0]])
    y = jnp.asarray([[0.0, 0.0], [1.0, 1.0]])
    gradient = jax.grad(lambda x: jnp.sum(ENERGIES["norm"].paired(x, y)))(x)
    assert_close(gradient, np.array([[-0.6, -0.8], [0.0, 0.0]]))


def test_safe_sqrt_is_the_root_of_positive_numbers_and_flat_elsewhere():
    x = jnp.asarray([4.0, 1e-12, 0.0, -1.0])
    value, gradient = jax.vmap(jax.value_and_grad(safe_sqrt))(x)
    assert_close(value, np.array([2.0, 1e-6, 0.0, 0.0]), atol=1e-9)
    assert_close(gradient, np.array([0.25, 5e5, 0.0, 0.0]), rtol=1e-5)


@pytest.mark.parametrize("name", ["norm", "l2"])
def test_distances_stay_exact_when_all_embeddings_share_a_large_offset(name):
    """|x|^2 + |y|^2 - 2 x.y at 1e3 cancels to a few units of 6e4 * 1e-7 unless the common part is taken off first."""
    x, y = (np.float32(leaf + 1e3) for leaf in embeddings(6, 6, 64))
    found = jax.jit(ENERGIES[name].pairwise)(x, y)
    assert_close(found, contrastive.pairwise(name, to64(x), to64(y)), rtol=1e-3, atol=0.0)
    gradients = jax.jit(jax.grad(lambda x, y: jnp.sum(ENERGIES[name].pairwise(x, y)), argnums=(0, 1)))(x, y)
    near = [np.float32(leaf - np.float32(1e3)) for leaf in (x, y)]
    expected = jax.jit(jax.grad(lambda x, y: jnp.sum(ENERGIES[name].pairwise(x, y)), argnums=(0, 1)))(*near)
    assert_close(gradients, expected, rtol=1e-2, atol=1e-3)


def test_cosine_normalises_each_row_and_not_the_batch():
    x, y = embeddings(3, 4)
    scaled = x * np.array([[1.0], [10.0], [100.0]], np.float32)
    energy = ENERGIES["cosine"].pairwise
    assert_close(energy(jnp.asarray(scaled), jnp.asarray(y)), energy(jnp.asarray(x), jnp.asarray(y)), rtol=1e-4)


def test_the_norm_is_one_exact_matrix_product_and_no_array_of_all_differences():
    """Nothing of size B K R appears, at batch 2048 a gigabyte; and no product is in a GPU's TF32, where it cancels."""
    shape = jax.ShapeDtypeStruct((32, 48), jnp.float32)
    gradient = jax.grad(lambda x, y: jnp.sum(ENERGIES["norm"].pairwise(x, y)), argnums=(0, 1))
    equations = jax.make_jaxpr(gradient)(shape, shape).jaxpr.eqns
    assert 0 < max(np.prod(var.aval.shape) for eqn in equations for var in eqn.outvars) <= 32 * 48
    products = [eqn.params["precision"] for eqn in equations if eqn.primitive.name == "dot_general"]
    assert products == [(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)] * 3


def test_squared_distances_are_never_negative():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(64, 7)), jnp.float32)
    distances = to64(squared_distances(x, x))
    assert distances.min() >= 0.0
    assert np.diagonal(distances).max() < 1e-5


@pytest.mark.parametrize("name", QUASIMETRICS)
def test_quasimetrics_have_no_shorter_detour_and_are_zero_only_at_home(name):
    """Also where whole halves of the embeddings agree or are ordered, which random ones never are."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(40, 32)).astype(np.float32).round(1)
    points[20:30] = points[:10] + np.abs(rng.normal(size=(10, 32))).round(1)
    distance = -to64(ENERGIES[name].pairwise(jnp.asarray(points), jnp.asarray(points)))
    assert_close(np.diagonal(distance), np.zeros(40), atol=1e-6)
    assert distance.min() > -1e-6
    detours = distance[:, :, None] + distance[None, :, :]  # from i by j to k
    assert (detours.min(axis=1) - distance).min() > -1e-5
    # The way up is not the way down.
    up, down = np.diagonal(distance[:10, 20:30]), np.diagonal(distance[20:30, :10])
    assert np.abs(up - down).min() > 0.1


def test_the_intervals_of_iqe_count_once_where_they_overlap():
    """One component of four intervals, [0, 2], [1, 3], [5, 6] and an empty one, cover 4; the other seven nothing."""
    x = jnp.zeros((1, 32)).at[0, :4].set(jnp.asarray([5.0, 0.0, 1.0, 9.0]))
    y = jnp.zeros((1, 32)).at[0, :4].set(jnp.asarray([6.0, 2.0, 3.0, 7.0]))
    assert_close(ENERGIES["iqe"].paired(x, y), np.array([-(4.0 / 8 + 4.0) / 2]))

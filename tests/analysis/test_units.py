"""Effective rank of matrices with known spectra; dormant units where some were put."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.analysis.units import DORMANT, units
from deepcrl.config import NetworkConfig
from deepcrl.nn.blocks import effective_rank, usage
from deepcrl.nn.encoder import Trunk


def with_spectrum(size: list[float]) -> np.ndarray:
    """Rows with these singular values, and columns of mean 0."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(np.column_stack([np.ones(40), rng.normal(size=(40, len(size)))]))[0][:, 1:]
    right = np.linalg.qr(rng.normal(size=(8, len(size))))[0]
    return (left * size @ right.T).astype(np.float32)


@pytest.mark.parametrize(
    ("spectrum", "rank"),
    [([3.0], 1.0), ([2.0] * 5, 5.0), ([1.0] * 8, 8.0), ([0.5, 0.25, 0.25], 2.0**1.5)],
)
def test_the_effective_rank_is_the_exponential_of_the_entropy(spectrum, rank):
    x = jnp.asarray(with_spectrum(spectrum) + np.arange(8.0, dtype=np.float32))
    assert float(effective_rank(x)) == pytest.approx(rank, rel=1e-3)


@pytest.mark.parametrize("backbone", ["residual", "preactivation"])
def test_units_that_never_answer_are_dormant(backbone):
    """Three of sixteen in the second layer of the second block have scale and shift 0, so that swish makes them 0."""
    network = NetworkConfig(depth=6, block_size=2, width=16, backbone=backbone)
    trunk = Trunk.init(jax.random.key(0), 5, network, depth=6, width=16)
    norm = trunk.stack.units.norm
    silent = dataclasses.replace(norm, scale=norm.scale.at[1, 1, :3].set(0.0))
    units = dataclasses.replace(trunk.stack.units, norm=silent)
    trunk = dataclasses.replace(trunk, stack=dataclasses.replace(trunk.stack, units=units))
    x = jax.random.normal(jax.random.key(1), (200, 5))
    rank, dormant = usage(trunk, x, DORMANT)
    np.testing.assert_allclose(dormant, [0.0, 3 / 32, 0.0], atol=1e-6)
    assert rank.shape == (4,)
    assert float(rank[-1]) == pytest.approx(float(effective_rank(trunk.stack(trunk.stem(x)))), rel=1e-4)
    assert float(rank[0]) == pytest.approx(float(effective_rank(trunk.stem(x))), rel=1e-4)


def test_every_network_of_a_run(tiny_run):
    found = units(tiny_run("point_u_maze"), steps=5)
    assert list(found) == ["actor", "phi", "psi"]
    for one in found.values():
        assert (one.rank.shape, one.dormant.shape, one.width) == ((2,), (1,), 16)
        assert ((one.rank >= 1.0) & (one.rank <= 16.0)).all()

"""Whether the quasimetrics can hold the shortest paths of a directed graph, and are led there by quasimetric RL's
objective: all pairs pushed apart, no arc longer than 1. One free embedding for each node, no network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepcrl.contrastive.energy import iqe, mrn

NODES, UPDATES, STARTS = 6, 1500, 3
ARCS = [*((node, (node + 1) % NODES) for node in range(NODES)), (0, 3)]
"""A one-way ring with a short cut."""


def shortest_paths() -> np.ndarray:
    """Lengths from node to node, by relaxing over every node between."""
    lengths = np.where(np.eye(NODES) > 0, 0.0, np.inf)
    for arc in ARCS:
        lengths[arc] = 1.0
    for between in range(NODES):
        lengths = np.minimum(lengths, lengths[:, [between]] + lengths[[between], :])
    return lengths


def fit(distance, size: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances [start, node, node] from several random starts, and their violation of the constraint [start]."""
    tail, head = np.array(ARCS).T
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, UPDATES, 0.02))

    def loss(table, multiplier):
        lengths = distance(table[:, None, :], table[None, :, :])
        push = jnp.mean(jax.nn.softplus(0.1 * (15.0 - lengths))) / 0.1
        violation = jnp.mean(jnp.square(jax.nn.relu(lengths[tail, head] - 1.0)))
        return push + multiplier * violation, (lengths, violation)

    def update(carry, multiplier):
        table, state = carry
        gradient, found = jax.grad(loss, has_aux=True)(table, multiplier)
        updates, state = optimiser.update(gradient, state)
        return (table + updates, state), found

    def run(key):
        table = 0.3 * jax.random.normal(key, (NODES, size))
        # A multiplier that rises from where the push has its way to where the constraint has.
        _, found = jax.lax.scan(update, (table, optimiser.init(table)), jnp.geomspace(0.3, 300.0, UPDATES))
        return jax.tree.map(lambda leaf: leaf[-1], found)

    compiled = jax.jit(jax.vmap(run), compiler_options={"xla_backend_optimization_level": 1})
    lengths, violation = compiled(jax.random.split(jax.random.key(0), STARTS))
    return np.asarray(lengths, np.float64), np.asarray(violation)


@pytest.mark.parametrize(
    ("distance", "size", "rate", "best", "each"), [(mrn, 256, 0.1, 0.1, 0.3), (iqe, 64, 0.2, 0.5, 1.5)]
)
def test_pushed_apart_under_the_length_of_arcs_distances_become_shortest_paths(distance, size, rate, best, each):
    """MRN gets there; IQE, half a mean over components, has other optima, where single pairs stay too close."""
    found, violation = fit(distance, size, rate)
    truth = shortest_paths()
    assert truth.max() == 5.0
    assert violation.max() < 1e-3
    errors = np.abs(found - truth).max(axis=(1, 2))
    assert errors.min() < best
    assert errors.max() < each
    # Never longer than the constraint allows along a path.
    assert (found < 1.1 * truth + 0.05).all()
    one_sided = truth - truth.T >= 2.0
    assert ((found - found.transpose(0, 2, 1))[:, one_sided] > 0.5).all()

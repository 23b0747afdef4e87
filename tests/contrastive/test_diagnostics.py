"""Diagnostics on logits and embeddings made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.contrastive.diagnostics import logit_diagnostics, representation_diagnostics


def test_logit_diagnostics_of_a_batch_worked_by_hand():
    """Rows 0 and 2 find their partner, rows 1 and 3 another's: accuracy one half."""
    logits = np.array([[5.0, 1.0, 0.0, 0.0], [3.0, 2.0, 0.0, 1.0], [0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 7.0, -3.0]])
    found = {name: float(value) for name, value in logit_diagnostics(jnp.asarray(logits, jnp.float32)).items()}
    assert found == {
        "accuracy": 0.5,
        "positive_energy": pytest.approx((5.0 + 2.0 + 4.0 - 3.0) / 4),
        "negative_energy": pytest.approx((1.0 + 3.0 + 1.0 + 2.0 + 1.0 + 1.0 + 7.0) / 12),
        "logsumexp": pytest.approx(np.log(np.exp(logits).sum(axis=1)).mean(), rel=1e-6),
    }


def test_accuracy_looks_along_goals_and_not_along_states():
    """Every row's largest entry is in column 0, every column's on the diagonal or anywhere: 1 of 3 rows is right."""
    logits = jnp.asarray([[9.0, 0.0, 0.0], [8.0, 7.0, 0.0], [8.5, 0.0, 7.0]])
    assert float(logit_diagnostics(logits)["accuracy"]) == pytest.approx(1 / 3)
    assert float(logit_diagnostics(logits.T)["accuracy"]) == 1.0


def test_accuracy_counts_the_end_as_one_outcome():
    """Row 0 finds the end in row 2's column, row 1 a goal that is not its own, row 2 a goal instead of the end."""
    logits = jnp.asarray([[1.0, 0.0, 1.5, 0.0], [0.0, 1.0, 0.0, 2.0], [0.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    ended = jnp.asarray([True, False, True, False])
    assert float(logit_diagnostics(logits, ended)["accuracy"]) == pytest.approx(2 / 4)
    assert float(logit_diagnostics(logits)["accuracy"]) == pytest.approx(1 / 4)


def test_alignment_is_the_mean_squared_distance_on_the_unit_sphere():
    """Angles of 0, 90, 180 and 60 degrees are 0, 2, 4 and 1 apart, squared; lengths do not matter."""
    angles = np.deg2rad([0.0, 90.0, 180.0, 60.0])
    x = jnp.tile(jnp.asarray([[3.0, 0.0]]), (4, 1))
    y = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1.0], [2.0], [0.5], [9.0]], jnp.float32)
    assert float(representation_diagnostics(x, y)["alignment"]) == pytest.approx((0 + 2 + 4 + 1) / 4, rel=1e-5)


def test_uniformity_is_zero_for_identical_embeddings_and_known_for_a_cross():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
    same = jnp.tile(jnp.asarray([[0.3, -2.0]]), (4, 1))
    assert float(representation_diagnostics(x, same)["uniformity"]) == pytest.approx(0.0, abs=1e-5)
    # Four points at right angles: each has two others at squared distance 2 and one at 4. The pair with itself is out.
    cross = jnp.asarray([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0], [0.0, -0.1]])
    expected = np.log((2 * np.exp(-2.0 * 2.0) + np.exp(-2.0 * 4.0)) / 3)
    assert float(representation_diagnostics(x, cross)["uniformity"]) == pytest.approx(expected, rel=1e-5)


def test_uniformity_measures_goals():
    """Only the second argument, psi of the goals, enters."""
    rng = np.random.default_rng(1)
    x, other, y = (jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(3))
    first, second = (representation_diagnostics(left, y) for left in (x, other))
    assert float(first["uniformity"]) == float(second["uniformity"])
    assert abs(float(first["alignment"]) - float(second["alignment"])) > 1e-3


def test_an_embedding_of_zero_stays_at_the_centre():
    x, y = jnp.asarray([[0.0, 0.0], [2.0, 0.0]]), jnp.asarray([[0.0, 5.0], [0.0, 0.0]])
    found = representation_diagnostics(x, y)
    assert float(found["alignment"]) == pytest.approx((1.0 + 1.0) / 2, rel=1e-6)
    assert float(found["uniformity"]) == pytest.approx(-2.0, rel=1e-6)


def test_a_pair_that_goes_on_is_not_met_by_an_end():
    logits = jnp.asarray([[0.0, 1.0], [0.0, 1.0]])
    assert float(logit_diagnostics(logits, jnp.asarray([False, True]))["accuracy"]) == 0.5

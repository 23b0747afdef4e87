"""Comparison and differentiation in float64."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def to64(tree: Any) -> Any:
    """The same tree with float64 NumPy leaves."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Equal structure, equal shapes, equal values up to float32 rounding; compared in float64, never broadcast."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape, f"{jax.tree_util.keystr(path)}: {a.shape} is not {b.shape}"
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def central_differences(function: Callable[[Any], float], tree: Any, step: float = 1e-6) -> Any:
    """The gradient of `function` at a tree of float64 arrays, one entry at a time."""
    leaves, structure = jax.tree.flatten(tree)
    gradients = []
    for which, leaf in enumerate(leaves):
        gradient = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = leaf.copy()
                moved[index] += sign * step
                ends.append(function(jax.tree.unflatten(structure, [*leaves[:which], moved, *leaves[which + 1 :]])))
            gradient[index] = (ends[0] - ends[1]) / (2.0 * step)
        gradients.append(gradient)
    return jax.tree.unflatten(structure, gradients)

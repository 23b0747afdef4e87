"""Strictness for every test: the CPU, and shapes and types checked at each call of the array rooms.

Warnings are errors (pyproject.toml). The compiler optimises little, which halves the time of a suite that compiles a
great deal and computes next to nothing; JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles as a user's run does.
"""

import os
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest
from jaxtyping import install_import_hook

# Must come before the first import of these packages.
install_import_hook(["deepcrl.nn", "deepcrl.contrastive", "deepcrl.replay"], "beartype.beartype")


@pytest.fixture
def exact_ranks() -> Iterator[None]:
    """No implicit broadcasting between ranks: [B] against [B, B] raises instead of meaning rows or columns."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def keys_used_once() -> Iterator[None]:
    """A random key that is used twice raises."""
    with jax.debug_key_reuse(True):
        yield

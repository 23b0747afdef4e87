"""The machine's own matrix-product rate: the physical limit that the other benchmarks divide by."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

CHAIN = 16


def seconds(function: Callable[[], object], repeats: int) -> list[float]:
    """Wall seconds of each of `repeats` calls, after one that is not counted."""
    jax.block_until_ready(function())
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(function())
        found.append(time.perf_counter() - started)
    return sorted(found)


def matmul_rate(rows: int = 512, width: int = 256, repeats: int = 50) -> float:
    """Flops per second of a chain of [rows, width] x [width, width] float32 products, the median of `repeats` chains.

    The chain is unrolled in one program: nothing but the products is in it.
    """
    x = jax.random.normal(jax.random.key(0), (rows, width))
    weights = jax.random.normal(jax.random.key(1), (CHAIN, width, width)) / width**0.5

    @jax.jit
    def chain(x: jax.Array, weights: jax.Array) -> jax.Array:
        for i in range(CHAIN):
            x = jnp.matmul(x, weights[i])
        return x

    times = seconds(lambda: chain(x, weights), repeats)
    return 2.0 * CHAIN * rows * width * width / times[len(times) // 2]

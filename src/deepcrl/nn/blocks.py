"""Measure a trunk block by block (Figure 17), add and remove blocks: operations on stacked blocks, linear in depth."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.config import ConfigError
from deepcrl.nn.dense import Dense
from deepcrl.nn.encoder import Trunk
from deepcrl.nn.residual import ResidualStack, Unit, activate


def block_norms(trunk: Trunk, x: Float[Array, "*rows inputs"]) -> Float[Array, " num_blocks"]:
    """Root mean square over features of each block's branch output, averaged over rows.

    Measured after the branch scale, if any. This is Figure 17's measure; an L2 norm would be √W times larger.
    """
    return _scan(trunk, x, lambda h, block: rms(trunk.stack.branch(h, block)))[1]


def stream_norms(trunk: Trunk, x: Float[Array, "*rows inputs"]) -> Float[Array, " stem_and_blocks"]:
    """Root mean square over features of the stem's output and of the stream after each block, averaged over rows."""
    last, entries = _scan(trunk, x, lambda h, block: rms(h))
    return jnp.append(entries, rms(last))


def usage(
    trunk: Trunk, x: Float[Array, "*rows inputs"], dormant: float
) -> tuple[Float[Array, " stem_and_blocks"], Float[Array, " num_blocks"]]:
    """Effective rank of a trunk's features, and share of dormant units, block by block.

    Args:
        dormant: threshold; a unit whose mean absolute activation is at most this fraction of its layer's mean counts
            as dormant.

    Returns:
        effective rank of the stem's output and of the stream after each block: the exponential of the entropy of the
        singular values of the centred features (Roy and Vetterli, 2007); share of dormant units of each block.
    """

    def measure(h: Array, block) -> tuple[Array, Array]:
        size = jnp.stack([jnp.mean(jnp.abs(layer), axis=tuple(range(layer.ndim - 1))) for layer in _layers(h, block)])
        silent = size <= dormant * jnp.mean(size, axis=-1, keepdims=True)
        return effective_rank(h), jnp.mean(silent)

    last, (entries, silent) = _scan(trunk, x, measure)
    return jnp.append(entries, effective_rank(last)), silent


def _layers(h: Array, block) -> list[Array]:
    """Activations of every layer of a block."""
    units, found = block[0], []
    for i in range(units.dense.kernel.shape[0]):
        unit = jax.tree.map(lambda leaf, i=i: leaf[i], units)
        if unit.norm_first:
            found.append(activate(h, unit.norm, unit.activation))
            h = unit.dense(found[-1])
        else:
            h = unit(h)
            found.append(h)
    return found


def effective_rank(x: Float[Array, "*rows W"]) -> Float[Array, ""]:
    """exp(entropy) of the singular values of centred rows, as shares of their sum: 1 for rows on a line, at most W."""
    x = x.reshape(-1, x.shape[-1])
    x = x - jnp.mean(x, axis=0)
    size = jnp.linalg.svd(x, compute_uv=False)
    share = size / jnp.sum(size)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))


def gradient_norms(gradients: Trunk) -> Float[Array, " num_blocks"]:
    """L2 norm of each block's gradient, over all its parameters; `gradients` has the structure of a trunk."""
    squares = [
        jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(gradients.stack.blocks)
    ]
    return jnp.sqrt(sum(squares, jnp.zeros(len(squares[0]))))


def grow(trunk: Trunk, num_new: int, key: PRNGKeyArray) -> Trunk:
    """Append `num_new` blocks that add 0, so that the deeper trunk computes the same function.

    If blocks have an output weight, the new ones' is 0. Otherwise their last norm is 0 (their last Dense without a norm
    or with backbone "preactivation"), as every activation is 0 at 0; gradients reach that layer at once and the rest of
    the block one step later. Optimiser states must be made anew. A fixed branch scale keeps its old factor.

    Raises:
        ConfigError: if a new block cannot start as the identity and learn.
    """
    if num_new < 1:
        raise ConfigError(f"num_new = {num_new} must be at least 1")
    stack = trunk.stack
    check_growth(stack)
    old = stack.units
    _, block_size, width, _ = old.dense.kernel.shape
    shape = (num_new, block_size)
    dense = Dense.init(
        key,
        width,
        width,
        shape,
        use_bias=old.dense.bias is not None,
        hyperspherical=old.dense.hyperspherical,
    )
    units = Unit(dense, None if old.norm is None else old.norm.init(width, shape), old.activation, old.norm_first)
    weight = None if stack.weight is None else jnp.zeros((num_new, width))
    if weight is None:
        silent = "dense" if old.norm is None or old.norm_first else "norm"
        units = dataclasses.replace(units, **{silent: jax.tree.map(_silence_last, getattr(units, silent))})
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), stack.blocks, (units, weight))
    return _with_blocks(trunk, joined)


def check_growth(stack: ResidualStack) -> None:
    """Raise ConfigError if a new block cannot start as the identity, or could then never learn."""
    if stack.backbone == "plain":
        raise ConfigError("network.backbone = 'plain' cannot grow: only a block that adds to its input can add nothing")
    if stack.weight is not None:
        return
    if stack.backbone == "preactivation" and stack.units.dense.hyperspherical:
        raise ConfigError(
            "network.norm = 'both' cannot grow with network.backbone = 'preactivation': weights of unit length are "
            "never 0; network.branch_scale = 'zero' can"
        )
    if stack.backbone == "residual" and stack.units.activation == "relu":
        raise ConfigError(
            "network.activation = 'relu' cannot grow with network.backbone = 'residual': it has no slope at 0, so a "
            "block that adds 0 never learns; network.branch_scale = 'zero' can"
        )


def drop(trunk: Trunk, indices: Sequence[int]) -> Trunk:
    """Remove the blocks with these indices; the others are unchanged and keep their order.

    Works on anything with a trunk's structure, such as Adam's moments. A fixed branch scale keeps its factor.

    Raises:
        ConfigError: for an index that no block has, or if no block would remain.
    """
    num_blocks = len(trunk.stack.units.dense.kernel)
    if outside := sorted(set(indices) - set(range(num_blocks))):
        raise ConfigError(f"indices = {outside} are not blocks of this trunk, which has 0 to {num_blocks - 1}")
    keep = [index for index in range(num_blocks) if index not in set(indices)]
    if not keep:
        raise ConfigError(f"indices = {sorted(set(indices))} leave no block")
    return _with_blocks(trunk, jax.tree.map(lambda leaf: leaf[jnp.array(keep)], trunk.stack.blocks))


def rms(x: Float[Array, "*rows W"]) -> Float[Array, ""]:
    """Root mean square over features, averaged over rows."""
    return jnp.mean(jnp.sqrt(jnp.mean(jnp.square(x), axis=-1)))


def _scan(trunk: Trunk, x: Array, measure: Callable[..., Any]) -> tuple[Array, Any]:
    """Output of the last block, and `measure` of each block's input and parameters, stacked."""

    def body(h: Array, block) -> tuple[Array, Any]:
        return trunk.stack.block(h, block), measure(h, block)

    return jax.lax.scan(body, trunk.stem(x), trunk.stack.blocks)


def _silence_last(leaf: Array) -> Array:
    """Set the last layer of every block to zero in a leaf [num_new, block_size, ...]."""
    return leaf.at[:, -1].set(0.0)


def _with_blocks(trunk: Trunk, blocks: tuple[Unit, Array | None]) -> Trunk:
    units, weight = blocks
    return dataclasses.replace(trunk, stack=dataclasses.replace(trunk.stack, units=units, weight=weight))

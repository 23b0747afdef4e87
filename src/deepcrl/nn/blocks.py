"""Looking into and changing the depth of a trunk: array operations on stacked blocks, linear in depth (Figure 17)."""

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
    """How much every block adds: root mean square over features of its output as it is added, averaged over rows.

    The output counts after a branch scale. This is Figure 17's measure; an L2 norm would be √W times larger.
    """
    return _scan(trunk, x, lambda h, block: rms(trunk.stack.branch(h, block)))[1]


def stream_norms(trunk: Trunk, x: Float[Array, "*rows inputs"]) -> Float[Array, " stem_and_blocks"]:
    """Root mean square over features of the stem's output and of what leaves every block, averaged over rows."""
    last, entries = _scan(trunk, x, lambda h, block: rms(h))
    return jnp.append(entries, rms(last))


def usage(
    trunk: Trunk, x: Float[Array, "*rows inputs"], dormant: float
) -> tuple[Float[Array, " stem_and_blocks"], Float[Array, " num_blocks"]]:
    """How much of a trunk is in use.

    Args:
        dormant: a unit is when its mean absolute activation is at most this part of its layer's mean.

    Returns:
        effective rank of the stem's output and of what leaves every block: the exponential of the entropy of the
        singular values of the centred features (Roy and Vetterli, 2007); share of dormant units of every block.
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
    """L2 norm, over all parameters of a block together, of gradients in the shape of a trunk."""
    squares = [
        jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(gradients.stack.blocks)
    ]
    return jnp.sqrt(sum(squares, jnp.zeros(len(squares[0]))))


def grow(trunk: Trunk, num_new: int, key: PRNGKeyArray) -> Trunk:
    """A trunk that is `num_new` blocks deeper and computes the same function: the new blocks come last and add 0.

    They add 0 by the weight of their output where there is one. Else their last norm, or without a norm their last
    Dense, is zero, since every activation is 0 at 0; gradients reach that one at once and the rest of the block one
    step later. Optimiser states have to be made anew. A fixed branch scale keeps the factor of the depth before.

    Raises:
        ConfigError: where no new block can be the identity and learn.
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
    """Raise ConfigError where a new block cannot be the identity, or could never become anything else."""
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
    """The trunk without the blocks of these indices; the others are unchanged and in their order.

    Also for anything in the shape of a trunk, such as Adam's moments. A fixed branch scale keeps its factor.

    Raises:
        ConfigError: for an index that no block has, and when no block would stay.
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
    """What leaves the last block, and `measure` of every block's input and parameters."""

    def body(h: Array, block) -> tuple[Array, Any]:
        return trunk.stack.block(h, block), measure(h, block)

    return jax.lax.scan(body, trunk.stem(x), trunk.stack.blocks)


def _silence_last(leaf: Array) -> Array:
    """[num_new, block_size, ...] with the last layer of every block zero."""
    return leaf.at[:, -1].set(0.0)


def _with_blocks(trunk: Trunk, blocks: tuple[Unit, Array | None]) -> Trunk:
    units, weight = blocks
    return dataclasses.replace(trunk, stack=dataclasses.replace(trunk.stack, units=units, weight=weight))

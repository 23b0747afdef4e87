"""Looking into and changing stacks of blocks, against Python loops over the blocks."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepcrl.config import ConfigError, NetworkConfig
from deepcrl.nn import blocks
from deepcrl.nn.encoder import Trunk
from reference import networks
from reference.numeric import assert_close, to64

BASE = NetworkConfig(depth=6, width=8, block_size=2)
X = jnp.asarray(np.random.default_rng(5).normal(size=(7, 4)), jnp.float32)

ARCHITECTURES = [
    {},
    {"norm": "none"},
    {"norm": "rms", "activation": "gelu"},
    {"norm": "hyper"},
    {"norm": "both"},
    {"branch_scale": "zero"},
    {"branch_scale": "zero", "activation": "relu"},
    {"branch_scale": "depth"},
    {"backbone": "preactivation"},
    {"backbone": "preactivation", "norm": "none", "activation": "relu", "final_norm": True},
    {"backbone": "preactivation", "norm": "hyper"},
    {"backbone": "preactivation", "norm": "both", "branch_scale": "zero"},
]
name = lambda change: "-".join(map(str, change.values())) or "default"  # noqa: E731


def trunk(**change) -> Trunk:
    """Random leaves throughout."""
    network = dataclasses.replace(BASE, **change)
    shapes = jax.eval_shape(lambda: Trunk.init(jax.random.key(0), 4, network, depth=network.depth, width=8))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.3, 0.4, leaf.shape), jnp.float32), shapes)


def cut(net: Trunk, count: int) -> Trunk:
    """The first blocks alone, and nothing behind them."""
    stack = jax.tree.map(lambda leaf: leaf[:count], net.stack)
    return dataclasses.replace(net, stack=stack, last_norm=None, final_norm=None)


def mean_rms(x: np.ndarray) -> float:
    return float(np.mean([np.sqrt(np.mean(row**2)) for row in x]))


@pytest.mark.parametrize("change", [{}, {"branch_scale": "zero", "final_norm": True}], ids=name)
def test_block_and_stream_norms_are_those_of_a_loop(change):
    net = trunk(**change)
    options = {"branch_scale": change.get("branch_scale", "none")}
    streams = [networks.trunk(to64(X), to64(cut(net, count)), **options) for count in range(4)]
    added = [after - before for before, after in itertools.pairwise(streams)]
    assert_close(jax.jit(blocks.block_norms)(net, X), np.array([mean_rms(x) for x in added]), rtol=1e-4)
    assert_close(jax.jit(blocks.stream_norms)(net, X), np.array([mean_rms(x) for x in streams]), rtol=1e-4)
    # Rows may have any shape.
    assert_close(blocks.block_norms(net, X.reshape(7, 1, 4)), blocks.block_norms(net, X), rtol=1e-6)


def test_norms_of_a_plain_stack_are_those_of_its_blocks_outputs():
    net = trunk(backbone="plain")
    outputs = [networks.trunk(to64(X), to64(cut(net, count)), backbone="plain") for count in range(1, 4)]
    expected = np.array([mean_rms(x) for x in outputs])
    assert_close(jax.jit(blocks.block_norms)(net, X), expected, rtol=1e-4)
    assert_close(jax.jit(blocks.stream_norms)(net, X)[1:], expected, rtol=1e-4)


@pytest.mark.parametrize("change", [{}, {"norm": "hyper"}], ids=name)
def test_gradient_norms_are_those_of_the_blocks_one_by_one(change):
    net = trunk(**change)
    gradients = jax.jit(jax.grad(lambda net: jnp.sum(jnp.sin(net(X)))))(net)
    expected = []
    for block in range(3):
        parts = [to64(leaf)[block].ravel() for leaf in jax.tree.leaves(gradients.stack)]
        expected.append(np.linalg.norm(np.concatenate(parts)))
    assert len(jax.tree.leaves(gradients.stack)) == (3 if change else 4)
    assert_close(jax.jit(blocks.gradient_norms)(gradients), np.array(expected), rtol=1e-5)


def test_looking_into_a_trunk_costs_no_program_per_block():
    def size(depth: int) -> int:
        net = jax.eval_shape(lambda: Trunk.init(jax.random.key(0), 4, BASE, depth=depth, width=8))
        look = lambda net: (blocks.block_norms(net, X), blocks.stream_norms(net, X), blocks.gradient_norms(net))  # noqa: E731
        return str(jax.make_jaxpr(look)(net)).count(" = ")

    assert size(4) == size(1024) > 30


@pytest.mark.parametrize("change", ARCHITECTURES, ids=name)
def test_growing_keeps_the_function_and_the_old_blocks_and_the_new_ones_learn(change):
    net = trunk(**change)
    grown = blocks.grow(net, 2, jax.random.key(3))
    deeper = jax.eval_shape(
        lambda: Trunk.init(jax.random.key(0), 4, dataclasses.replace(BASE, **change), depth=10, width=8)
    )
    assert [leaf.shape for leaf in jax.tree.leaves(grown)] == [leaf.shape for leaf in jax.tree.leaves(deeper)]
    assert_close(jax.jit(grown.__call__)(X), jax.jit(net.__call__)(X), rtol=1e-6, atol=1e-6)
    for old, new in zip(jax.tree.leaves(net.stack), jax.tree.leaves(grown.stack), strict=True):
        np.testing.assert_array_equal(old, new[:3])
    # A step down the signs of the gradient reaches both new blocks, and a second one every layer of them.
    step = jax.jit(
        lambda net: jax.tree.map(
            lambda p, g: p - 0.01 * jnp.sign(g), net, jax.grad(lambda net: jnp.mean(jnp.square(net(X) - 1.0)))(net)
        )
    )
    once = step(grown)
    assert blocks.block_norms(once, X)[3:].min() > 0.0
    kernels = [to64(tree.stack.units.dense.kernel)[3:] for tree in (grown, step(once))]
    assert (np.abs(kernels[1] - kernels[0]).max(axis=(2, 3)) > 0.0).all()
    # Fresh blocks, each drawn for itself; the last layer of one that is silent by its kernel is zero.
    first = kernels[0][:, 0].reshape(2, -1)
    assert np.abs(first[0] - first[1]).mean() > 0.1


def test_blocks_that_could_not_stay_silent_or_could_never_learn_are_refused():
    for change, message in [
        ({"backbone": "plain"}, "network.backbone = 'plain'"),
        ({"activation": "relu"}, "network.activation = 'relu'"),
        ({"activation": "relu", "norm": "none"}, "network.activation = 'relu'"),
        ({"backbone": "preactivation", "norm": "both"}, "network.norm = 'both'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            blocks.grow(trunk(**change), 1, jax.random.key(0))
    with pytest.raises(ConfigError, match="num_new = 0"):
        blocks.grow(trunk(), 0, jax.random.key(0))


@pytest.mark.parametrize("indices", [[0], [2, 0], [1, 1]], ids=str)
def test_dropping_blocks_leaves_the_others_in_their_order(indices):
    net = trunk(branch_scale="zero")
    dropped = blocks.drop(net, indices)
    keep = [block for block in range(3) if block not in indices]
    for before, after in zip(jax.tree.leaves(net.stack), jax.tree.leaves(dropped.stack), strict=True):
        np.testing.assert_array_equal(np.stack([before[block] for block in keep]), after)
    h = net.stem(X)
    for block in keep:
        h = net.stack.block(h, jax.tree.map(lambda leaf, block=block: leaf[block], net.stack.blocks))
    assert_close(jax.jit(dropped.__call__)(X), h, rtol=1e-5, atol=1e-5)


def test_what_has_been_grown_can_be_dropped_and_moments_with_it():
    net = trunk()
    assert_close(blocks.drop(blocks.grow(net, 2, jax.random.key(0)), [3, 4]), net, rtol=0.0, atol=0.0)
    moments = optax.adam(1e-3).init(net)[0].mu
    assert jax.tree.structure(blocks.drop(moments, [1])) == jax.tree.structure(blocks.drop(net, [1]))


def test_a_fixed_branch_scale_keeps_its_factor():
    net = trunk(branch_scale="depth")
    assert blocks.drop(net, [0]).stack.factor == net.stack.factor == pytest.approx(1 / 3)


def test_dropping_what_is_not_there_or_everything_is_refused():
    with pytest.raises(ConfigError, match=r"indices = \[-1, 3\] are not blocks of this trunk, which has 0 to 2"):
        blocks.drop(trunk(), [3, 0, -1])
    with pytest.raises(ConfigError, match=r"indices = \[0, 1, 2\] leave no block"):
        blocks.drop(trunk(), [2, 1, 0])

"""The residual trunk: values and gradients against NumPy, the meaning of each option, and cost without depth."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.config import ConfigError, NetworkConfig
from deepcrl.nn.encoder import Encoder, check_network
from deepcrl.nn.policy import Policy
from deepcrl.nn.residual import ACTIVATIONS, ResidualStack
from reference import networks
from reference.numeric import assert_close, central_differences, to64

SMALL = NetworkConfig(depth=8, width=5, representation_size=3)
THREE_BLOCKS = NetworkConfig(depth=6, width=5, representation_size=3, block_size=2)


def encoder(network: NetworkConfig, inputs: int = 3, seed: int = 0) -> Encoder:
    """An encoder with random parameters throughout: biases and scales too differ from their initial values."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: Encoder.init(jax.random.key(0), inputs, network))
    net = jax.tree.map(lambda leaf: rng.normal(0.0, 0.4, leaf.shape).astype(np.float32), shapes)
    for unit in (net.trunk.stem, net.trunk.stack.units):
        if unit.norm is not None:
            unit.norm.scale[...] += 1.0
    return jax.tree.map(jnp.asarray, net)


def inputs(rows: int = 4, size: int = 3, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32)


def equations(jaxpr) -> list:
    """Equations of a jaxpr and of all jaxprs inside it."""
    inner = [getattr(value, "jaxpr", value) for eqn in jaxpr.eqns for value in jax.tree.leaves(eqn.params)]
    return [*jaxpr.eqns, *(eqn for value in inner if hasattr(value, "eqns") for eqn in equations(value))]


def values_and_gradients(net: Encoder, x: np.ndarray) -> tuple:
    """Output, gradient of a weighted sum of the outputs by every parameter, and by the input."""
    weights = np.random.default_rng(9).normal(size=(len(x), 3)).astype(np.float32)

    def loss(net, x):
        out = net(x)
        return jnp.sum(out * weights), out

    gradients, out = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(net, jnp.asarray(x))
    return out, jax.tree.leaves(gradients)


@pytest.mark.parametrize("name", ["swish", "relu", "gelu"])
def test_activations_and_their_derivatives_match_numpy_over_the_whole_range(name):
    x = np.concatenate([np.linspace(-6.0, 6.0, 200), [-100.0, -20.0, 20.0, 100.0]]).astype(np.float32)
    reference = getattr(networks, name)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])))(x)
    assert_close(value, reference(to64(x)), rtol=1e-5, atol=1e-5)
    assert_close(slope, (reference(to64(x) + 1e-6) - reference(to64(x) - 1e-6)) / 2e-6, rtol=1e-4, atol=1e-5)


def test_forward_matches_numpy_at_depth_16():
    net = encoder(NetworkConfig(depth=16, width=32, representation_size=8), inputs=7)
    x = inputs(6, 7)
    assert net.trunk.stack.units.dense.kernel.shape == (4, 4, 32, 32)
    assert_close(jax.jit(net.__call__)(x), networks.encoder(to64(x), to64(net)), rtol=1e-4, atol=1e-4)


def test_gradients_of_all_leaves_match_finite_differences():
    net, x = encoder(SMALL), inputs()
    weights = to64(np.random.default_rng(9).normal(size=(len(x), 3)).astype(np.float32))
    found = values_and_gradients(net, x)[1]
    expected = central_differences(
        lambda tree: float((networks.encoder(tree[1], tree[0]) * weights).sum()), (to64(net), to64(x))
    )
    assert len(found) == 11  # ten parameters and the input
    assert_close(found, jax.tree.leaves(expected), rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="module")
def three_blocks() -> tuple:
    return values_and_gradients(encoder(THREE_BLOCKS), inputs())


@pytest.mark.parametrize(
    "change",
    [{"remat": "none"}, {"remat": "block"}, {"unroll": 2}, {"unroll": 3}, {"remat": "none", "unroll": 2}],
    ids=str,
)
def test_remat_and_unroll_change_neither_values_nor_gradients(change, three_blocks):
    other = encoder(dataclasses.replace(THREE_BLOCKS, **change))
    assert all(getattr(other.trunk.stack, name) == value for name, value in change.items())
    assert_close(values_and_gradients(other, inputs()), three_blocks, rtol=1e-5, atol=1e-5)


def test_scan_equals_a_loop_over_blocks_in_values_and_gradients(three_blocks):
    class Loop(Encoder):
        def __call__(self, x):
            h = self.trunk.stem(x)
            for index in range(3):
                block = jax.tree.map(lambda leaf, index=index: leaf[index], self.trunk.stack.blocks)
                h = self.trunk.stack.block(h, block)
            return self.head(h)

    net = encoder(THREE_BLOCKS)
    assert_close(values_and_gradients(Loop(net.trunk, net.head), inputs()), three_blocks, rtol=1e-5, atol=1e-5)


def test_remat_policies_differ_in_what_they_recompute():
    """Matrix products in forward and backward pass of a block of 2: 2 + 4, and the forward's 2 again under "block"."""

    def products(remat: str) -> int:
        net = encoder(dataclasses.replace(THREE_BLOCKS, remat=remat)).trunk.stack
        program = jax.make_jaxpr(jax.grad(lambda net, x: jnp.sum(net(x)), argnums=(0, 1)))(net, jnp.ones((4, 5)))
        return sum(equation.primitive.name == "dot_general" for equation in equations(program.jaxpr))

    assert (products("none"), products("dots"), products("block")) == (6, 6, 8)


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        ({"backbone": "plain"}, {"backbone": "plain"}),
        ({"norm": "none"}, {"norm": "none"}),
        ({"activation": "relu"}, {"activation": networks.relu}),
        ({"block_size": 2}, {}),
    ],
    ids=lambda value: str(list(value)),
)
def test_every_switch_of_the_block_changes_the_outcome_as_numpy_says(change, reference):
    network = dataclasses.replace(SMALL, width=16)
    net, x = encoder(dataclasses.replace(network, **change)), inputs()
    out = to64(jax.jit(net.__call__)(x))
    assert_close(out, networks.encoder(to64(x), to64(net), **reference), rtol=1e-4, atol=1e-4)
    plain = to64(jax.jit(encoder(network).__call__)(x))
    assert np.abs(out - plain).max() > 0.05
    assert len(jax.tree.leaves(net)) == (6 if "norm" in change else 10)


def test_without_its_blocks_contribution_a_residual_trunk_is_its_stem():
    """Zero scale and shift make every block add swish(0) = 0: the sum must then pass the stem through unchanged."""
    net, x = encoder(SMALL), inputs()
    units = net.trunk.stack.units
    silent = dataclasses.replace(units, norm=jax.tree.map(jnp.zeros_like, units.norm))
    stack = dataclasses.replace(net.trunk.stack, units=silent)
    stem = net.trunk.stem(jnp.asarray(x))
    assert_close(stack(stem), stem, atol=0.0, rtol=0.0)
    assert_close(dataclasses.replace(stack, backbone="plain")(stem), np.zeros_like(stem), atol=0.0)


# Fact sheet 1.1, Humanoid: state 268, goal 3, action 17. Width, depth, millions in actor, phi and psi as printed there.
TABLE = [
    (128, 4, "0.107", "0.112", "0.076"),
    (256, 4, "0.344", "0.355", "0.283"),
    (512, 4, "1.212", "1.235", "1.091"),
    (1024, 4, "4.52", "4.57", "4.28"),
    (2048, 4, "17.4", "17.5", "16.9"),
    (256, 8, "0.609", "0.621", "0.548"),
    (256, 16, "1.140", "1.151", "1.079"),
    (256, 32, "2.201", "2.212", "2.140"),
    (256, 64, "4.322", "4.334", "4.261"),
    (256, 256, "17.05", "17.06", "16.99"),
    (256, 512, "34.0", "34.0", "34.0"),
    (256, 1024, "68.0", "68.0", "67.9"),
]


def shapes(network: NetworkConfig) -> tuple:
    """Actor, phi and psi of Humanoid's sizes as shapes only."""
    key = jax.random.key(0)
    return (
        jax.eval_shape(lambda: Policy.init(key, 268, 3, 17, network)),
        jax.eval_shape(lambda: Encoder.init(key, 268 + 17, network)),
        jax.eval_shape(lambda: Encoder.init(key, 3, network)),
    )


def count(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"W{row[0]}-D{row[1]}")
def test_parameter_counts_are_those_of_the_paper(row):
    width, depth, *printed = row
    counts = [count(net) for net in shapes(NetworkConfig(depth=depth, width=width))]
    assert counts == [
        networks.parameter_count(271, width, depth, (17, 17)),
        networks.parameter_count(285, width, depth, (64,)),
        networks.parameter_count(3, width, depth, (64,)),
    ]
    assert [f"{found / 1e6:.{len(text.partition('.')[2])}f}" for found, text in zip(counts, printed)] == printed


def test_actor_and_critic_sizes_can_differ():
    network = NetworkConfig(depth=4, width=64, actor_depth=8, critic_depth=16, actor_width=32, critic_width=48)
    actor, phi, psi = (count(net) for net in shapes(network))
    assert actor == networks.parameter_count(271, 32, 8, (17, 17))
    assert phi == networks.parameter_count(285, 48, 16, (64,))
    assert psi == networks.parameter_count(3, 48, 16, (64,))


@pytest.mark.parametrize(
    ("depth", "nearest"),
    [(6, "nearest: 4 and 8"), (0, "nearest: 4"), (2, "nearest: 4"), (1023, "nearest: 1020 and 1024")],
)
def test_depths_that_are_no_whole_number_of_blocks_are_refused(depth, nearest):
    with pytest.raises(ConfigError, match=f"network.depth = {depth} .*{nearest}$"):
        Encoder.init(jax.random.key(0), 3, NetworkConfig(depth=depth, width=8))
    with pytest.raises(ConfigError, match=f"network.actor_depth = {depth} .*{nearest}$"):
        check_network(NetworkConfig(actor_depth=depth))
    with pytest.raises(ConfigError, match=f"network.critic_depth = {depth} .*{nearest}$"):
        check_network(NetworkConfig(critic_depth=depth))


@pytest.mark.parametrize(
    "size", ["width", "actor_width", "critic_width", "representation_size", "unroll", "block_size"]
)
def test_sizes_below_one_are_refused_by_name(size):
    with pytest.raises(ConfigError, match=rf"network\.{size} = 0 must be at least 1"):
        check_network(NetworkConfig(**{size: 0}))
    check_network(NetworkConfig(**{size: 4 if size == "block_size" else 1}))


@pytest.mark.parametrize("depth", [1024, 2048])
def test_very_deep_networks_build(depth):
    actor, phi, psi = shapes(NetworkConfig(depth=depth))
    for net in (actor, phi, psi):
        assert net.trunk.stack.units.dense.kernel.shape == (depth // 4, 4, 256, 256)
        assert net.trunk.stack.units.norm.scale.shape == (depth // 4, 4, 256)
    assert [len(jax.tree.leaves(net)) for net in (actor, phi, psi)] == [12, 10, 10]
    assert [len(jax.tree.leaves(net)) for net in shapes(NetworkConfig(depth=4))] == [12, 10, 10]


def test_depth_1024_runs_forward_and_backward():
    network = NetworkConfig(depth=1024, width=16, representation_size=3)
    net = jax.jit(lambda key: Encoder.init(key, 3, network))(jax.random.key(0))
    x = inputs()
    out, gradients = values_and_gradients(net, x)
    expected = networks.encoder(to64(x), to64(net))
    # The stream is a sum of 256 blocks; float32 rounding grows along it.
    assert_close(out, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0.0 for leaf in gradients)
    # Every one of the 256 blocks is reached by the gradient.
    assert (np.abs(to64(gradients[4])).reshape(256, -1).max(axis=1) > 0.0).all()


def test_the_program_does_not_grow_with_depth():
    def size(depth: int) -> int:
        network = NetworkConfig(depth=depth, width=8, representation_size=3)
        net = jax.eval_shape(lambda: Encoder.init(jax.random.key(0), 3, network))
        step = jax.value_and_grad(lambda net, x: jnp.sum(net(x)))
        return len(equations(jax.make_jaxpr(step)(net, jax.ShapeDtypeStruct((4, 3), jnp.float32)).jaxpr))

    # The equations inside the scan are in the count.
    assert size(4) > 100
    assert size(4) == size(64) == size(1024)


def test_stack_refuses_what_it_cannot_run():
    with pytest.raises(ConfigError, match="block_size = 0"):
        ResidualStack.init(jax.random.key(0), NetworkConfig(block_size=0), depth=4, width=8)

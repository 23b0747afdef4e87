"""Every architecture of the trunk against NumPy, hyperspherical weights, and what is refused."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepcrl.config import ConfigError, NetworkConfig
from deepcrl.nn.dense import Dense, project
from deepcrl.nn.encoder import Encoder, Trunk, check_network
from deepcrl.nn.policy import DeterministicPolicy, Policy
from reference import networks
from reference.numeric import assert_close, central_differences, to64

BASE = NetworkConfig(depth=6, width=6, block_size=2, representation_size=3)
BACKBONES = ("residual", "preactivation", "plain")
NORMS = ("layer", "rms", "hyper", "both", "none")

# Every pair of backbone and norm, and every other option with each backbone that it may stand beside.
ARCHITECTURES = [
    *({"backbone": backbone, "norm": norm} for backbone, norm in itertools.product(BACKBONES, NORMS)),
    {"branch_scale": "depth"},
    {"branch_scale": "zero"},
    {"backbone": "preactivation", "branch_scale": "depth", "norm": "both"},
    {"backbone": "preactivation", "branch_scale": "zero", "norm": "none"},
    {"final_norm": True},
    {"backbone": "preactivation", "final_norm": True, "branch_scale": "zero"},
    {"backbone": "plain", "norm": "hyper", "final_norm": True},
    {"activation": "gelu"},
    {"backbone": "preactivation", "activation": "relu"},
]
name = lambda change: "-".join(map(str, change.values()))  # noqa: E731


def random(shapes: object, seed: int = 0) -> object:
    """Random leaves throughout; scales near 1, so that nothing vanishes along the layers."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        centre = 1.0 if jax.tree_util.keystr(path).endswith((".scale", ".weight")) else 0.0
        return jnp.asarray(rng.normal(centre, 0.4, shape.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def encoder(network: NetworkConfig, size: int = 4) -> Encoder:
    return random(jax.eval_shape(lambda: Encoder.init(jax.random.key(0), size, network)))


def inputs(rows: int = 5, size: int = 4) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, size)).astype(np.float32)


def reference(change: dict) -> dict:
    return change | ({"activation": getattr(networks, change["activation"])} if "activation" in change else {})


@pytest.mark.parametrize("change", ARCHITECTURES, ids=name)
def test_every_architecture_computes_what_numpy_does(change):
    network = dataclasses.replace(BASE, **change)
    check_network(network)
    net, x = encoder(network), inputs()
    out = to64(jax.jit(net.__call__)(x))
    assert_close(out, networks.encoder(to64(x), to64(net), **reference(change)), rtol=1e-4, atol=1e-4)
    assert np.abs(out).max() > 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "hyper"},
        {"norm": "rms", "backbone": "preactivation", "activation": "gelu"},
        {"branch_scale": "zero", "final_norm": True},
    ],
    ids=name,
)
def test_gradients_of_all_leaves_match_finite_differences(change):
    network = NetworkConfig(depth=4, width=4, block_size=2, representation_size=2, **change)
    net, x = encoder(network, 3), jnp.asarray(inputs(size=3))
    weights = np.random.default_rng(9).normal(size=(len(x), 2))
    found = jax.jit(jax.grad(lambda net: jnp.sum(net(x) * weights.astype(np.float32))))(net)
    expected = central_differences(
        lambda tree: float((networks.encoder(to64(x), tree, **reference(change)) * weights).sum()), to64(net)
    )
    assert_close(found, expected, rtol=2e-3, atol=5e-4)


def init(network: NetworkConfig) -> Trunk:
    depth, width = network.depth, network.width
    return Trunk.init(jax.random.key(1), 4, network, depth=depth, width=width)


def test_what_the_learnt_and_fixed_factors_of_a_branch_start_from():
    assert (init(BASE).stack.weight, init(BASE).stack.factor) == (None, None)
    assert_close(init(dataclasses.replace(BASE, norm="hyper")).stack.weight, np.full((3, 6), 0.25))
    assert_close(init(dataclasses.replace(BASE, branch_scale="zero")).stack.weight, np.zeros((3, 6)), atol=0.0)
    scaled = init(dataclasses.replace(BASE, branch_scale="depth")).stack
    assert scaled.weight is None
    assert scaled.factor == pytest.approx(1 / 3)
    # Nothing is added in a plain stack.
    assert init(dataclasses.replace(BASE, norm="hyper", backbone="plain")).stack.weight is None


def test_with_branches_that_start_at_zero_a_trunk_is_its_stem():
    trunk, x = init(dataclasses.replace(BASE, branch_scale="zero")), jnp.asarray(inputs())
    assert_close(trunk(x), trunk.stem(x), rtol=0.0, atol=0.0)
    gradients = jax.jit(jax.grad(lambda trunk: jnp.sum(jnp.sin(trunk(x)))))(trunk)
    assert (np.abs(to64(gradients.stack.weight)).max(axis=1) > 0.0).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_stem_biases_are_uniform_and_nothing_else_changes(backbone):
    network = dataclasses.replace(BASE, width=512, backbone=backbone)
    before, after = (init(dataclasses.replace(network, stem_bias=bias)) for bias in (0.0, 3.0))
    changed = [
        (old, new)
        for old, new in zip(jax.tree.leaves(to64(before)), jax.tree.leaves(to64(after)), strict=True)
        if (old != new).any()
    ]
    ((old, new),) = changed
    assert new.shape == (512,)
    assert not old.any()
    assert 2.9 < np.abs(new).max() <= 3.0
    assert abs(new.mean()) < 0.3
    assert new.std() == pytest.approx(np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_without_stem_biases_a_fresh_trunk_cannot_tell_how_far_along_a_ray_its_input_lies(norm):
    x = jnp.asarray(inputs())
    gap = {}
    for bias in (0.0, 1.0):
        trunk = init(dataclasses.replace(BASE, norm=norm, width=64, stem_bias=bias))
        features = to64(trunk(x))
        gap[bias] = np.abs(to64(trunk(3.0 * x)) - features).max() / np.abs(features).max()
    assert gap[0.0] < 1e-4
    assert gap[1.0] > 0.1


@pytest.mark.parametrize("bias", [-1.0, float("nan"), float("inf")])
def test_limits_of_stem_biases_that_are_none_are_refused(bias):
    with pytest.raises(ConfigError, match=f"network.stem_bias = {bias} must be at least 0 and finite"):
        check_network(NetworkConfig(stem_bias=bias))


def test_hyper_blocks_add_vectors_of_length_root_width_and_their_units_have_no_bias():
    trunk = init(dataclasses.replace(BASE, norm="hyper", width=32))
    block = jax.tree.map(lambda leaf: leaf[1], trunk.stack.blocks)
    added = to64(trunk.stack.branch(jax.random.normal(jax.random.key(2), (7, 32)), block)) / 0.25
    assert_close(np.linalg.norm(added, axis=-1), np.full(7, np.sqrt(32)), rtol=1e-4)
    assert trunk.stack.units.dense.bias is None
    assert trunk.stem.dense.bias is not None
    assert_close(trunk.stack.units.norm.scale, np.full((3, 2, 32), np.sqrt(2)))
    assert_close(trunk.stem.norm.scale, np.full(32, np.sqrt(2)))


def hyper_kernels(net: Encoder | Policy | DeterministicPolicy) -> list[np.ndarray]:
    stem = net.trunk.stem
    return [to64((stem if isinstance(stem, Dense) else stem.dense).kernel), to64(net.trunk.stack.units.dense.kernel)]


@pytest.mark.parametrize("norm", ["hyper", "both"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_hyperspherical_weights_have_unit_length_from_the_start_and_after_a_projected_step(backbone, norm):
    network = dataclasses.replace(BASE, norm=norm, backbone=backbone)
    net = Encoder.init(jax.random.key(0), 4, network)
    x = jnp.asarray(inputs())
    for kernel in hyper_kernels(net):
        assert_close(np.sqrt((kernel**2).sum(axis=-2)), np.ones(kernel.shape[:-2] + kernel.shape[-1:]), rtol=1e-5)
    assert np.abs(np.linalg.norm(to64(net.head.kernel), axis=0) - 1.0).max() > 0.01

    adam = optax.adam(0.1)
    gradients = jax.jit(jax.grad(lambda net: jnp.sum(jnp.square(net(x)))))(net)
    updates, _ = adam.update(gradients, adam.init(net))
    free = optax.apply_updates(net, updates)
    # Anywhere in a tree; an optimiser's state is not to be given to it.
    projected = project({"critics": (free, jnp.arange(3)), "none": None})["critics"][0]
    for kernel, before in zip(hyper_kernels(projected), hyper_kernels(free), strict=True):
        lengths = np.sqrt((before**2).sum(axis=-2, keepdims=True))
        assert np.abs(lengths - 1.0).max() > 0.01
        assert_close(kernel, before / lengths, rtol=1e-5)
    kept = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(projected)
        if not (jax.tree_util.keystr(path).startswith(".trunk") and jax.tree_util.keystr(path).endswith("kernel"))
    ]
    unprojected = dict(jax.tree_util.tree_leaves_with_path(free))
    assert len(kept) == len(unprojected) - 2
    assert all(leaf is unprojected[path] for path, leaf in kept)


def test_weights_of_no_length_stay_where_they_are():
    dense = Dense(jnp.zeros((3, 2)).at[:, 0].set(jnp.array([3.0, 0.0, 4.0])), None, hyperspherical=True)
    assert_close(project(dense).kernel, np.array([[0.6, 0.0], [0.0, 0.0], [0.8, 0.0]]))


@pytest.mark.parametrize("norm", ["layer", "rms", "none"])
def test_projection_returns_all_other_networks_as_they_are(norm):
    tree = (Policy.init(jax.random.key(0), 3, 2, 2, dataclasses.replace(BASE, norm=norm)), jnp.zeros(2))
    assert all(a is b for a, b in zip(jax.tree.leaves(project(tree)), jax.tree.leaves(tree), strict=True))


@pytest.mark.parametrize("change", ARCHITECTURES[1:], ids=name)
def test_no_architecture_s_program_grows_with_depth(change):
    def size(depth: int) -> int:
        network = dataclasses.replace(BASE, depth=depth, remat="none", **change)
        net = jax.eval_shape(lambda: Encoder.init(jax.random.key(0), 4, network))
        step = jax.make_jaxpr(jax.grad(lambda net, x: jnp.sum(net(x))))
        return str(step(net, jax.ShapeDtypeStruct((5, 4), jnp.float32))).count(" = ")

    assert size(64) == size(1024) > 30


def test_an_encoder_can_have_an_output_of_any_size():
    assert Encoder.init(jax.random.key(0), 4, BASE).head.kernel.shape == (6, 3)
    value, embedding = (Encoder.init(jax.random.key(0), 4, BASE, output_size=size) for size in (1, 3))
    assert value.head.kernel.shape == (6, 1)
    assert value(jnp.asarray(inputs())).shape == (5, 1)
    assert_close(embedding, Encoder.init(jax.random.key(0), 4, BASE), rtol=0.0, atol=0.0)


def test_a_deterministic_policy_is_the_tanh_of_a_linear_head():
    network = dataclasses.replace(BASE, actor_depth=4, actor_width=5)
    net = random(jax.eval_shape(lambda: DeterministicPolicy.init(jax.random.key(0), 4, 2, 3, network)))
    assert net.trunk.stack.units.dense.kernel.shape == (2, 2, 5, 5)
    state, goal = inputs(), inputs(size=2)
    features = networks.trunk(to64(np.concatenate([state, goal], axis=-1)), to64(net.trunk))
    expected = np.tanh(networks.affine(features, to64(net.head)))
    assert_close(jax.jit(net.__call__)(state, goal), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["depth", "zero"])
def test_branch_scales_without_a_branch_or_beside_another_weight_are_refused(scale):
    for change, message in [({"backbone": "plain"}, "not 'plain'"), ({"norm": "hyper"}, "network.norm = 'hyper'")]:
        with pytest.raises(ConfigError, match=f"network.branch_scale = '{scale}' .*{message}") as error:
            check_network(NetworkConfig(branch_scale=scale, **change))
        assert "\n" not in str(error.value)

"""What a collection's updates return, and what a run writes of them."""

import itertools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import ConfigError, preset
from deepcrl.algorithms import ALGORITHMS
from deepcrl.algorithms.base import Algorithm, Probes
from deepcrl.config import BranchScale, Norm, override
from deepcrl.folder import Standing
from deepcrl.nn.dense import Dense
from deepcrl.program import COLLECT, EVALUATE, LEARN, build, init_state, make_learn, run_key, transition_sizes
from deepcrl.replay import buffer
from deepcrl.train import Stop, run
from reference.rollouts import stub

SMALL = {
    "env.num_envs": 8,
    "env.episode_length": 20,
    "network.depth": 4,
    "network.width": 8,
    "train.total_env_steps": 1600,
    "train.unroll_length": 10,
    "train.prefill_steps": 40,
    "train.batch_size": 16,
    "evaluation.num_evals": 4,
    "evaluation.num_envs": 8,
}


def test_metrics_are_the_mean_over_updates_and_diagnostics_are_of_the_last_batch():
    stub = Algorithm(
        columns=(),
        init=lambda key: None,
        act=lambda *inputs: inputs[1],
        draw=lambda key, replay, shape: jnp.arange(shape[0] * shape[1]).reshape(shape),
        relabel=lambda replay, rows: rows,
        update=lambda agent, rows, key: (agent + 1.0, {"count": agent}),
        diagnose=lambda agent, rows: {"first_row": rows[0]},
        probes=Probes(),
    )
    agent, metrics = make_learn(stub, 4, 2)(jnp.zeros(()), jnp.zeros(()), jax.random.key(0))
    assert (float(agent), float(metrics["count"]), int(metrics["first_row"])) == (4.0, 1.5, 6)


def test_every_update_and_the_draw_have_a_key_of_their_own():
    def draw(key, replay, shape):
        return jnp.broadcast_to(jax.random.uniform(key), shape)

    def update(agent, drawn, key):
        numbers, count = agent
        return (numbers.at[count].set(jnp.stack([jax.random.uniform(key), drawn[0]])), count + 1), {}

    chance = stub(draw=draw, relabel=lambda replay, drawn: drawn, update=update, diagnose=lambda agent, drawn: {})
    agent, given = (jnp.zeros((5, 2)), jnp.zeros((), jnp.int32)), jax.random.key(0)
    (numbers, count), _ = make_learn(chance, 5, 3)(agent, jnp.zeros(()), given)
    assert int(count) == 5
    assert len(np.unique(numbers[:, 1])) == 1
    # Nor may any have the key that all are split from.
    assert len(np.unique([*numbers[:, 0], numbers[0, 1], jax.random.uniform(given)])) == 5 + 1 + 1


@pytest.mark.parametrize(
    "settings",
    [{"agent.algorithm": name} for name in ALGORITHMS]
    + [{"network.norm": norm} for norm in get_args(Norm)]
    + [{"network.branch_scale": scale} for scale in get_args(BranchScale)],
    ids=lambda settings: "-".join(settings.values()),
)
def test_what_a_run_starts_from_has_the_types_of_what_it_goes_on_from(settings: dict[str, str]):
    """Weak ones included: each difference would compile collection, insertion or updates a second time."""

    def types(record) -> dict[str, tuple]:
        leaves = jax.tree_util.tree_leaves_with_path(record)
        return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype, leaf.weak_type) for path, leaf in leaves}

    algorithm = settings.get("agent.algorithm", "crl")
    program = build(override(preset("point_l_maze", algorithm=algorithm), SMALL | settings))
    state = init_state(program)
    env, transitions = jax.eval_shape(program.collect, state.agent, state.env, run_key(0, COLLECT, 0))
    replay = jax.eval_shape(program.insert, state.replay, transitions)
    agent, _ = jax.eval_shape(program.learn, state.agent, state.replay, run_key(0, LEARN, 0))
    assert types(env) == types(state.env)
    assert types(replay) == types(state.replay)
    assert types(agent) == types(state.agent)


@pytest.mark.parametrize("name", ["crl", "sac_her", "td3", "gcbc", "qrl"])
def test_hyperspherical_weights_have_unit_length_after_every_algorithms_updates(name: str):
    """Targets are averages of such weights, and shorter."""

    def kernels(agent) -> dict[str, np.ndarray]:
        layers = jax.tree_util.tree_leaves_with_path(agent, is_leaf=lambda leaf: isinstance(leaf, Dense))
        named = {jax.tree_util.keystr(path): layer for path, layer in layers if isinstance(layer, Dense)}
        online = {path: layer for path, layer in named.items() if "target" not in path and "_opt" not in path}
        return {path: np.asarray(layer.kernel) for path, layer in online.items() if layer.hyperspherical}

    fast = {f"agent.{field}": 0.1 for field in vars(preset(algorithm=name).agent) if field.endswith("learning_rate")}
    program = build(override(preset("point_l_maze", algorithm=name), SMALL | fast | {"network.norm": "hyper"}))
    state = init_state(program)
    _, transitions = program.collect(state.agent, state.env, run_key(0, COLLECT, 0))
    replay, before = program.insert(state.replay, transitions), kernels(state.agent)
    agent, _ = program.learn(state.agent, replay, run_key(0, LEARN, 0))
    assert len(before) >= 2, "a stem and a stack, of each network"
    for path, kernel in kernels(agent).items():
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=-2), 1.0, rtol=1e-5, err_msg=path)
        assert np.abs(kernel - before[path]).max() > 0.01, path


def test_a_row_has_the_mean_since_the_last_evaluation_without_the_prefill(tmp_path):
    config = override(preset("point_u_maze"), SMALL)
    program = build(config)
    seen = []

    def evaluate(agent, key):
        seen.append(jax.random.key_data(key))
        return program.evaluate[0](agent, key)

    watched = program._replace(evaluate=(evaluate,))
    (found,) = run(watched, [tmp_path], lambda: Standing(init_state(watched)), Stop())
    state = init_state(program)
    agent, env, replay, losses = state.agent, state.env, state.replay, []
    for index in range(program.plan.num_collections):
        env, transitions = program.collect(agent, env, run_key(config.seed, COLLECT, index))
        replay = program.insert(replay, transitions)
        if index >= program.plan.prefill_collections:
            agent, metrics = program.learn(agent, replay, run_key(config.seed, LEARN, index))
            losses.append((index + 1, float(metrics["critic_loss"])))
    bounds = [program.plan.prefill_collections, *program.plan.eval_after[1:]]
    expected = [
        np.mean([loss for done, loss in losses if low < done <= high]) for low, high in itertools.pairwise(bounds)
    ]
    assert [row["train/critic_loss"] for row in found.rows[1:]] == pytest.approx(expected, rel=1e-4)
    keys = [jax.random.key_data(run_key(config.seed, EVALUATE, index)) for index in range(len(found.rows))]
    np.testing.assert_array_equal(seen, keys)


def test_every_field_of_a_transition_can_be_stored_and_others_are_refused():
    sizes = transition_sizes(build(override(preset("point_u_maze"), SMALL)).env.spec)
    assert buffer.column_sizes(("state", "success", "truncated"), sizes) == {"state": 2, "success": 1, "truncated": 1}
    with pytest.raises(ConfigError, match="columns = 'reward'"):
        buffer.column_sizes(("reward",), sizes)


@pytest.mark.parametrize("runs", [1, 3])
def test_the_memory_of_every_part_is_counted(runs: int, monkeypatch: pytest.MonkeyPatch):
    """A state, a goal and an action of the point are two numbers each, and every number has four bytes."""
    sizes = {
        "env.num_envs": 6,
        "env.episode_length": 30,
        "network.depth": 8,
        "network.representation_size": 12,
        "network.width": 16,
        "train.total_env_steps": 1200,
        "train.unroll_length": 20,
        "train.batch_size": 32,
        "train.replay_capacity": 1000,
        "agent.explore": "best_of_7",
        "evaluation.num_envs": 5,
        "evaluation.mode": "best_of_3",
    }
    needs = {}
    monkeypatch.setattr(
        "deepcrl.program.check_memory", lambda settings, need, available: needs.update({settings: need})
    )
    build(override(preset("point_u_maze"), SMALL | sizes), seeds=range(runs))
    blocks = 8 * (16 * 16 + 16 + 2 * 16)  # kernel, bias, and LayerNorm's scale and bias
    actor = (4 * 16 + 16 + 2 * 16) + blocks + 2 * (16 * 2 + 2)
    phi = (4 * 16 + 16 + 2 * 16) + blocks + (16 * 12 + 12)
    psi = (2 * 16 + 16 + 2 * 16) + blocks + (16 * 12 + 12)
    assert actor + phi + psi + 1 == 8077  # 1: the temperature
    assert needs == {
        # State, action, episode and its last step; and the number of steps.
        "train.replay_capacity = 1000 with env.num_envs = 6": runs * 4 * (1000 * 6 * (2 + 2 + 1 + 1) + 1),
        # Adam has two moments of each parameter, and each of three optimisers counts its steps.
        "network of depth 8, width 16, block_size 4, representation_size 12, unroll 1": runs * 4 * (3 * 8077 + 3),
        # Three updates per 120 env steps: time and environment of their examples, state and action of one batch.
        "train.batch_size = 32": runs * 4 * 32 * (3 * 2 + 4),
        "agent.explore = 'best_of_7'": runs * 4 * 7 * 6 * 2,
        "evaluation.mode = 'best_of_3'": runs * 4 * 3 * 5 * 2,
        # Achieved goal and distance.
        "evaluation.num_envs = 5": runs * 4 * 30 * 5 * (2 + 1),
    }

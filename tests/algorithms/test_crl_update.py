"""One CRL update against losses written out again: each network evaluated anew in each loss, each loss differentiated
whole, and Adam by its formulas in NumPy."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.algorithms import build, crl
from deepcrl.algorithms.crl import CRLConfig
from deepcrl.config import Config, ConfigError, EnvConfig, NetworkConfig, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer
from deepcrl.replay.hindsight import Pairs
from deepcrl.types import Batch, Transition
from reference import contrastive
from reference.numeric import assert_close, to64

SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=100, success_radius=0.5)
CONFIG = Config(
    env=EnvConfig("none"),
    agent=CRLConfig(
        "crl",
        logsumexp_penalty=0.3,
        entropy_coefficient=0.7,
        # Large steps, all different: what uses a new parameter for an old one, or another's rate, shows.
        actor_learning_rate=0.01,
        critic_learning_rate=0.02,
        temperature_learning_rate=0.3,
    ),
    network=NetworkConfig(depth=4, block_size=2, width=8, representation_size=4),
)
ROWS = 6
ENDED = (False, True, False, False, True, False)
"""Rows of a batch whose episode ended; of no meaning but for goal_sampling "absorbing"."""


def batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    draw = lambda size: jnp.asarray(rng.normal(size=(ROWS, size)), jnp.float32)  # noqa: E731
    return Batch(draw(5), jnp.tanh(draw(3)), draw(2), jnp.asarray(ENDED))


# The losses, written out again.


def energy(name: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """Of the last axis, by differences."""
    return {
        "norm": lambda: -jnp.linalg.norm(x - y, axis=-1),
        "dot": lambda: jnp.sum(x * y, axis=-1),
    }[name]()


def action_and_log_prob(actor, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_std = actor(batch.state, batch.goal)
    u = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    action = jnp.tanh(u)
    log_normal = -0.5 * ((u - mean) / jnp.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    return action, jnp.sum(log_normal - jnp.log(1 / jnp.cosh(u) ** 2 + 1e-6), axis=-1)


def phi_of(critic, state: jax.Array, action: jax.Array) -> jax.Array:
    return critic.phi(jnp.concatenate([state, action], axis=-1))


def for_actor(batch: Batch, config: CRLConfig) -> Batch:
    """The first rows with the goal of the row before, the very first with the last one's."""
    source = [row - 1 if row < round(config.random_goals * ROWS) else row for row in range(ROWS)]
    return batch._replace(goal=batch.goal[jnp.asarray(source)])


def actor_loss(actor, agent, batch: Batch, key: jax.Array, config: CRLConfig) -> jax.Array:
    batch = for_actor(batch, config)
    action, log_prob = action_and_log_prob(actor, batch, key)
    phi = phi_of(agent.critic, batch.state, action)
    value = energy(config.energy, phi, agent.critic.psi(batch.goal))
    if config.end_aversion:
        value = value - config.end_aversion * energy(config.energy, phi, jnp.stack(ROWS * [agent.critic.ended]))
    return jnp.mean(jnp.exp(agent.log_temperature) * log_prob - value)


def temperature_loss(log_temperature, agent, batch: Batch, key: jax.Array, config: CRLConfig) -> jax.Array:
    _, log_prob = action_and_log_prob(agent.actor, for_actor(batch, config), key)
    return jnp.exp(log_temperature) * jnp.mean(-log_prob + config.entropy_coefficient * SPEC.action_size)


def critic_loss(critic, batch: Batch, config: CRLConfig) -> jax.Array:
    phi, psi = phi_of(critic, batch.state, batch.action), critic.psi(batch.goal)
    if config.goal_sampling == "absorbing":
        psi = jnp.stack([critic.ended if over else row for over, row in zip(ENDED, psi, strict=True)])
    logits = energy(config.energy, phi[:, None, :], psi[None, :, :])
    rows, columns = jnp.log(jnp.sum(jnp.exp(logits), axis=1)), jnp.log(jnp.sum(jnp.exp(logits), axis=0))
    forward, backward = jnp.mean(rows - jnp.diagonal(logits)), jnp.mean(columns - jnp.diagonal(logits))
    loss, penalty = {
        "forward": (forward, jnp.mean(rows**2)),
        "symmetric": ((forward + backward) / 2, (jnp.mean(rows**2) + jnp.mean(columns**2)) / 2),
    }[config.loss]
    return loss + config.logsumexp_penalty * penalty


def adam(parameters, gradients, state, rate: float):
    """Adam with betas (0.9, 0.999) and eps 1e-8 from the moments in `state`: parameters and moments after the step."""
    count = int(state.count) + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, to64(state.mu), to64(gradients))
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, to64(state.nu), to64(gradients))
    moved = jax.tree.map(
        lambda p, m, v: p - rate * (m / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + 1e-8),
        to64(parameters),
        first,
        second,
    )
    return moved, first, second


class Case(NamedTuple):
    """An agent that has learnt for one update, a second update of it, and what that should have been."""

    config: Config
    before: crl.CRLAgent
    after: crl.CRLAgent
    metrics: dict
    losses: dict
    gradients: dict


CASES = [("norm", "forward", "trajectory"), ("dot", "symmetric", "trajectory"), ("norm", "forward", "absorbing")]
BESIDES = {"absorbing": {"agent.random_goals": 0.5, "agent.end_aversion": 0.7}}


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request) -> Case:
    names = "agent.energy", "agent.loss", "agent.goal_sampling"
    config = override(CONFIG, dict(zip(names, request.param, strict=True)))
    config = override(config, BESIDES.get(config.agent.goal_sampling, {}))
    algorithm = build(config, SPEC)
    with jax.debug_key_reuse(True):
        fresh = jax.jit(algorithm.init)(jax.random.key(0))
        update = jax.jit(algorithm.update)
        before, _ = update(fresh, batch(1), jax.random.key(1))
        after, metrics = update(before, batch(2), jax.random.key(2))

    @jax.jit
    def expected(agent, batch, key):
        of = config.agent
        return {
            "actor": jax.value_and_grad(actor_loss)(agent.actor, agent, batch, key, of),
            "temperature": jax.value_and_grad(temperature_loss)(agent.log_temperature, agent, batch, key, of),
            "critic": jax.value_and_grad(critic_loss)(agent.critic, batch, of),
        }

    found = expected(before, batch(2), jax.random.key(2))
    losses, gradients = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
    return Case(config, before, after, metrics, losses, gradients)


@pytest.mark.parametrize("part", ["actor", "critic", "temperature"])
def test_the_new_parameters_are_one_adam_step_down_each_loss(case, part):
    name = "log_temperature" if part == "temperature" else part
    old, new = getattr(case.before, name), getattr(case.after, name)
    rate = getattr(case.config.agent, f"{part}_learning_rate")
    state, new_state = (getattr(agent, f"{part}_opt")[0] for agent in (case.before, case.after))
    moved, first, second = adam(old, case.gradients[part], state, rate)
    assert (int(state.count), int(new_state.count)) == (1, 2)
    # The moments show the gradient itself, whose size Adam's step hides.
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(first))
    assert_close(new_state.mu, first, rtol=1e-4, atol=1e-5 * largest)
    assert_close(new_state.nu, second, rtol=1e-3, atol=1e-5 * largest**2)
    step = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(to64(new)), jax.tree.leaves(to64(old))))
    assert step > 0.5 * rate
    assert_close(new, moved, rtol=1e-6, atol=1e-3 * rate)


def test_logged_losses_entropy_temperature_and_gradient_norms_are_the_true_ones(case):
    metrics = {name: float(value) for name, value in case.metrics.items()}
    rows = for_actor(batch(2), case.config.agent)
    _, log_prob = action_and_log_prob(case.before.actor, rows, jax.random.key(2))

    def norm(tree) -> float:
        return np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(to64(tree))))

    expected = {
        "actor_loss": case.losses["actor"],
        "critic_loss": case.losses["critic"],
        "temperature_loss": case.losses["temperature"],
        "entropy": -np.mean(log_prob),
        "temperature": np.exp(case.before.log_temperature),
        "actor_grad_norm": norm(case.gradients["actor"]),
        "phi_grad_norm": norm(case.gradients["critic"].phi),
        "psi_grad_norm": norm(case.gradients["critic"].psi),
    }
    assert metrics == {name: pytest.approx(float(value), rel=1e-4) for name, value in expected.items()}
    assert abs(metrics["temperature"] - 1.0) > 0.2  # an update of size 0.3 before this one: old and new are apart


def test_an_update_of_4096_pairs_has_the_loss_of_all_their_products():
    """Twice the paper's largest batch (Figure 7): the 16.8 million logits again in float64, row by row."""
    size, config = 4096, override(CONFIG, {"network.depth": 2})
    rng = np.random.default_rng(4)
    draw = lambda width: jnp.asarray(rng.normal(size=(size, width)), jnp.float32)  # noqa: E731
    pairs = Batch(draw(5), jnp.tanh(draw(3)), draw(2), jnp.zeros(size, bool))
    before = jax.jit(build(config, SPEC).init)(jax.random.key(5))
    after, metrics = jax.jit(build(config, SPEC).update)(before, pairs, jax.random.key(0))
    phi, psi = to64(phi_of(before.critic, pairs.state, pairs.action)), to64(before.critic.psi(pairs.goal))
    logits = (-np.linalg.norm(row - psi, axis=-1) for row in phi)
    positive, logsumexp = zip(*((row[i], np.log(np.sum(np.exp(row)))) for i, row in enumerate(logits)), strict=True)
    loss = np.mean(logsumexp) - np.mean(positive) + 0.3 * np.mean(np.square(logsumexp))
    assert float(metrics["critic_loss"]) == pytest.approx(loss, rel=1e-5)
    steps = jax.tree.map(lambda new, old: np.abs(new - old).max(), to64(after.critic), to64(before.critic))
    assert max(jax.tree.leaves(steps)) == pytest.approx(0.02, rel=1e-3)  # Adam's first: the learning rate


def test_the_first_agent_has_log_temperature_zero_and_networks_of_its_own_draws():
    agent = jax.jit(build(CONFIG, SPEC).init)(jax.random.key(5))
    assert float(agent.log_temperature) == 0.0
    for state in (agent.actor_opt, agent.critic_opt, agent.temperature_opt):
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(state))
    kernels = [to64(net.trunk.stack.units.dense.kernel) for net in (agent.actor, agent.critic.phi, agent.critic.psi)]
    for i, kernel in enumerate(kernels):
        assert all(np.abs(kernel - other).mean() > 0.1 for other in kernels[:i])
    assert agent.actor.trunk.stem.dense.kernel.shape == (5 + 2, 8)
    assert agent.critic.phi.trunk.stem.dense.kernel.shape == (5 + 3, 8)
    assert agent.critic.psi.trunk.stem.dense.kernel.shape == (2, 8)


@pytest.mark.parametrize("name", list(contrastive.LOSSES))
def test_the_configured_loss_carries_its_penalty(name):
    logits = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    config = CRLConfig("crl", loss=name, logsumexp_penalty=0.25)
    axes = {"backward": (0,), "symmetric": (0, 1)}.get(name, (1,))
    expected = contrastive.LOSSES[name](to64(logits)) + 0.25 * contrastive.logsumexp_penalty(to64(logits), axes)
    assert float(crl.contrastive_loss(config, jnp.asarray(logits))) == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def agent() -> crl.CRLAgent:
    """An agent with random parameters: actions and values that differ from row to row."""
    return random_agent(CONFIG)


def random_agent(config):
    shapes = jax.eval_shape(build(config, SPEC).init, jax.random.key(0))
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.5, leaf.shape), leaf.dtype), shapes)


@pytest.mark.parametrize("name", list(contrastive.ENERGIES))
def test_the_configured_energy_gives_the_values_and_the_diagnostics(name):
    config = override(CONFIG, {"agent.energy": name, "network.representation_size": 16})
    agent, algorithm = random_agent(config), build(config, SPEC)
    rows = batch(4)

    def look(agent):
        phi = algorithm.probes.embed_state_action(agent, rows.state, rows.action)
        psi = algorithm.probes.embed_goal(agent, rows.goal)
        value = algorithm.probes.value(agent, rows.state, rows.action, rows.goal)
        return phi, psi, value, algorithm.diagnose(agent, rows)

    phi, psi, value, found = jax.jit(look)(agent)
    assert_close(phi, phi_of(agent.critic, rows.state, rows.action), rtol=1e-4, atol=1e-4)
    assert_close(psi, agent.critic.psi(rows.goal), rtol=1e-4, atol=1e-4)
    assert_close(value, contrastive.paired(name, to64(phi), to64(psi)), rtol=1e-4, atol=1e-3)
    logits = contrastive.pairwise(name, to64(phi), to64(psi))
    unit = [to64(x) / np.linalg.norm(to64(x), axis=-1, keepdims=True) for x in (phi, psi)]
    apart = np.array([((a - b) ** 2).sum() for i, a in enumerate(unit[1]) for j, b in enumerate(unit[1]) if i != j])
    expected = {
        "accuracy": (logits.argmax(axis=1) == np.arange(ROWS)).mean(),
        "positive_energy": np.diagonal(logits).mean(),
        "negative_energy": logits[~np.eye(ROWS, dtype=bool)].mean(),
        "logsumexp": np.mean([contrastive.logsumexp(row) for row in logits]),
        "alignment": ((unit[0] - unit[1]) ** 2).sum(axis=-1).mean(),
        "uniformity": np.log(np.exp(-2 * apart).mean()),
    }
    assert {key: float(x) for key, x in found.items()} == {
        key: pytest.approx(x, rel=1e-3, abs=1e-3) for key, x in expected.items()
    }


def test_without_an_end_in_the_batch_aversion_to_it_does_nothing():
    """Where episodes never terminate, "ended" is a vector that nothing has trained."""
    rows, agents = batch(6)._replace(ended=jnp.zeros(ROWS, bool)), []
    for aversion in (0.0, 2.0):
        changes = {"agent.goal_sampling": "absorbing", "agent.end_aversion": aversion}
        algorithm = build(override(CONFIG, changes), SPEC)
        fresh = jax.jit(algorithm.init)(jax.random.key(0))
        agents.append(jax.jit(algorithm.update)(fresh, rows, jax.random.key(1))[0])
    jax.tree.map(np.testing.assert_array_equal, *(agent.actor for agent in agents))


def test_the_end_takes_the_place_of_the_goal_in_the_diagnostics():
    """Rows that ended are compared with the learnt vector; their goal's embedding enters nothing."""
    algorithm = build(override(CONFIG, {"agent.goal_sampling": "absorbing"}), SPEC)
    fresh = jax.jit(algorithm.init)(jax.random.key(0))
    fresh = fresh._replace(critic=fresh.critic._replace(ended=jnp.arange(4.0)))
    diagnose, rows = jax.jit(algorithm.diagnose), batch(7)
    moved = rows._replace(goal=jnp.where(rows.ended[:, None], 9.0, rows.goal))
    assert diagnose(fresh, rows) == diagnose(fresh, moved)
    assert diagnose(fresh, rows) != diagnose(fresh, moved._replace(ended=None))


def test_actions_by_mode(agent):
    """The mean's tanh; a sample; and of K samples the one whose value is greatest, row by row."""
    algorithm, rows, key = build(CONFIG, SPEC), batch(5), jax.random.key(7)
    act = jax.jit(algorithm.act, static_argnums=4)
    modes = "mean", "sample", "best_of_16"
    with jax.debug_key_reuse(True):
        found = {mode: to64(act(agent, rows.state, rows.goal, jax.random.clone(key), mode)) for mode in modes}

    @jax.jit
    def expected(agent):
        mean, log_std = agent.actor(rows.state, rows.goal)
        noises = jax.vmap(lambda key: jax.random.normal(key, mean.shape))(jax.random.split(key, 16))
        sampled = jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))
        candidates = jnp.tanh(mean + jnp.exp(log_std) * noises)
        phis = jax.vmap(lambda action: phi_of(agent.critic, rows.state, action))(candidates)
        return jnp.tanh(mean), sampled, candidates, energy("norm", phis, agent.critic.psi(rows.goal)[None])

    mode, sampled, candidates, values = to64(expected(agent))
    assert_close(found["mean"], mode, rtol=1e-4, atol=1e-5)
    assert_close(found["sample"], sampled, rtol=1e-4, atol=1e-4)
    best = values.argmax(axis=0)
    assert len(set(best)) > 1
    assert_close(found["best_of_16"], candidates[best, np.arange(ROWS)], rtol=1e-4, atol=1e-4)


def test_a_batch_holds_states_and_actions_of_now_and_the_goal_part_of_the_future():
    algorithm = build(CONFIG, SPEC)
    rng = np.random.default_rng(6)
    state, action = rng.normal(size=(10, 2, 5)).astype(np.float32), rng.normal(size=(10, 2, 3)).astype(np.float32)
    nothing = jnp.full((10, 2, 2), jnp.nan)  # neither commanded goals nor next states are read
    ids = jnp.zeros((10, 2), jnp.int32)
    block = Transition(jnp.asarray(state), jnp.asarray(action), nothing, nothing, ids > 0, ids > 0, ids > 0, ids)
    replay = buffer.init({name: {"state": 5, "action": 3}[name] for name in algorithm.columns}, 10, 2)
    replay = buffer.jit_insert(replay, block)
    time, future, env = np.array([0, 3, 8, 5]), np.array([4, 3, 9, 7]), np.array([0, 1, 1, 0])
    rows = algorithm.relabel(replay, Pairs(*(jnp.asarray(x, jnp.int32) for x in (time, future, env))))
    assert_close(rows.state, state[time, env], rtol=0.0, atol=0.0)
    assert_close(rows.action, action[time, env], rtol=0.0, atol=0.0)
    assert_close(rows.goal, state[future, env][:, [3, 1]], rtol=0.0, atol=0.0)

    pairs = jax.jit(algorithm.draw, static_argnums=2)(jax.random.key(0), replay, (50, 40))
    assert pairs.time.shape == (50, 40)
    offsets = np.asarray(pairs.future - pairs.time)
    assert offsets.min() == 0
    assert (offsets[np.asarray(pairs.time) < 9] > 0).all()


def test_episodes_without_a_future_are_refused():
    config = Config(EnvConfig("none"), CRLConfig("crl"))
    with pytest.raises(ConfigError, match=r"^env.episode_length = 1 must be at least 2"):
        build(config, replace(SPEC, episode_length=1))
    build(config, replace(SPEC, episode_length=2))

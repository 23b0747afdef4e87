"""Quasimetric RL: what it learns on a graph whose shortest paths are known, one update against losses written out
again, rows, probes, and refused settings."""

import dataclasses
import functools
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.algorithms import parts, qrl
from deepcrl.config import Config, ConfigError, EnvConfig, NetworkConfig, TrainConfig
from deepcrl.contrastive.energy import ENERGIES
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer
from deepcrl.replay.hindsight import Pairs
from deepcrl.types import Transition
from reference import contrastive
from reference.numeric import assert_close, to64

NETWORK = NetworkConfig(depth=1, block_size=1, width=8, representation_size=16, remat="none")
# Large steps, all different: what uses another's rate shows. No weight is 1.
SETTINGS = qrl.QRLConfig(
    "qrl",
    energy="mrn",
    push_offset=2.0,
    push_beta=0.7,
    epsilon=0.4,
    dynamics_weight=0.3,
    entropy_coefficient=0.7,
    actor_learning_rate=0.01,
    critic_learning_rate=0.02,
    temperature_learning_rate=0.3,
    multiplier_learning_rate=0.4,
)
SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=100, success_radius=0.5)
ROWS = 6


def config(network: NetworkConfig = NETWORK, batch_size: int = ROWS, **changes) -> Config:
    agent = dataclasses.replace(SETTINGS, **changes)
    return Config(EnvConfig("none"), agent, network, TrainConfig(batch_size=batch_size))


# What it learns: six states in a one-way ring. An action above 0 goes one state on; any other stays, but at state 0
# takes a short cut to state 3.

STATES = 6
OUTCOMES = np.array([[3 if s == 0 else s, (s + 1) % STATES] for s in range(STATES)])
"""The state after each action, [state, is above 0]."""
RING = EnvSpec(
    state_size=STATES,
    goal_size=STATES,
    goal_indices=tuple(range(STATES)),
    action_size=1,
    episode_length=100,
    success_radius=0.5,
)


def shortest_paths() -> np.ndarray:
    """Steps from state to state, breadth first."""
    found = np.full((STATES, STATES), -1)
    for start in range(STATES):
        found[start, start], queue = 0, deque([start])
        while queue:
            state = queue.popleft()
            for after in OUTCOMES[state]:
                if found[start, after] < 0:
                    found[start, after] = found[start, state] + 1
                    queue.append(after)
    return found


@functools.cache
def learnt() -> dict[str, np.ndarray]:
    """Medians of three trainings: distances [state, goal], actions and values [state, goal, ...], metrics over time.

    One training may end in a local optimum of the interval embedding, and rounding decides which; most do not.
    """
    updates, rows = 2000, 48
    network = dataclasses.replace(NETWORK, width=32, representation_size=64)
    settings = qrl.QRLConfig(
        "qrl",
        epsilon=0.05,
        actor_learning_rate=2e-3,
        critic_learning_rate=2e-3,
        temperature_learning_rate=3e-3,
        multiplier_learning_rate=0.03,
    )
    algorithm = qrl.build(Config(EnvConfig("none"), settings, network), RING)
    one_hot = jnp.eye(STATES)
    states, goals = (jnp.eye(STATES)[x.ravel()] for x in np.indices((STATES, STATES)))

    def train(key):
        init_key, state_key, action_key, goal_key, update_key = jax.random.split(key, 5)
        state, goal = (jax.random.randint(k, (updates, rows), 0, STATES) for k in (state_key, goal_key))
        # Far from 0, where the outcome jumps and no continuous model of it can be right.
        action = jax.random.uniform(action_key, (updates, rows), minval=-1.0, maxval=1.0)
        action = 0.5 * (action + jnp.sign(action))
        after = jnp.asarray(OUTCOMES)[state, (action > 0).astype(int)]
        batches = qrl.QRLBatch(one_hot[state], action[..., None], one_hot[after], one_hot[goal])
        agent, metrics = jax.lax.scan(
            lambda agent, inputs: algorithm.update(agent, *inputs),
            algorithm.init(init_key),
            (batches, jax.random.split(update_key, updates)),
        )
        mean = algorithm.act(agent, states, goals, key, "mean")[:, 0]
        ways = [algorithm.probes.value(agent, states, jnp.full((STATES**2, 1), a), goals) for a in (-1.0, 1.0)]
        z, psi = agent.critic.phi(states), algorithm.probes.embed_goal(agent, goals)
        return metrics, {"distance": qrl.iqe(z, psi), "mean": mean, "values": jnp.stack(ways, axis=-1)}

    # Two thousand sorts are worth a little optimisation.
    compiled = jax.jit(jax.vmap(train), compiler_options={"xla_backend_optimization_level": 1})
    metrics, found = jax.tree.map(
        lambda leaf: np.median(leaf, axis=0), compiled(jax.random.split(jax.random.key(0), 3))
    )
    tables = {name: np.asarray(leaf).reshape(STATES, STATES, *leaf.shape[1:]) for name, leaf in found.items()}
    return tables | {name: np.asarray(leaf) for name, leaf in metrics.items()}


def test_learnt_distances_are_the_lengths_of_the_shortest_paths():
    """Up to the slack that a multiplier of finite size leaves to every step, about a fifth."""
    found, truth = learnt()["distance"], shortest_paths()
    assert truth.max() == 5
    away = truth > 0
    ratio = found[away] / truth[away]
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.97
    assert np.diagonal(found).max() < 0.2


def test_the_learnt_way_back_is_not_the_way_there():
    found, truth = learnt()["distance"], shortest_paths()
    one_sided = truth - truth.T >= 2
    assert one_sided.sum() >= 6
    assert ((found - found.T)[one_sided] > 1.5).all()


def test_policy_and_values_take_the_shorter_way():
    """For every state and goal one action is better; wherever it is so by two steps or more, it must be taken."""
    paths = shortest_paths()
    after = paths[OUTCOMES]  # [state, action, goal]
    gain = after[:, 0] - after[:, 1]  # what the way on saves
    assert (gain != 0).all()
    clear = np.abs(gain) >= 2
    assert clear.sum() >= 10
    values = learnt()["values"]
    for goes_on in (learnt()["mean"] > 0, values[..., 1] > values[..., 0]):
        right = goes_on == (gain > 0)
        assert right[clear].all()
        assert right.mean() >= 0.9


def test_the_multiplier_rises_until_the_constraints_nearly_hold():
    run = learnt()
    assert run["multiplier"][0] == pytest.approx(0.01, rel=1e-5)
    assert run["multiplier"][-1] > 3.0
    early, late = run["constraint_violation"][:400].mean(), run["constraint_violation"][-200:].mean()
    assert late < 0.05 < 1.0 < early
    assert run["dynamics_loss"][-200:].mean() < 0.03


# One update.


def batch(seed: int) -> qrl.QRLBatch:
    rng = np.random.default_rng(seed)
    draw = lambda size: jnp.asarray(rng.normal(size=(ROWS, size)), jnp.float32)  # noqa: E731
    return qrl.QRLBatch(draw(5), jnp.tanh(draw(3)), draw(5), draw(2))


def random_agent(settings: Config, scale: float = 0.5) -> qrl.QRLAgent:
    """All parameters random, all moments 0: then Adam's first moment is a tenth of the gradient."""
    algorithm = qrl.build(settings, SPEC)
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    rng = np.random.default_rng(3)

    def fill(leaf):
        return jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)

    names = "actor", "critic", "log_temperature", "raw_multiplier"
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return zero._replace(**{name: jax.tree.map(fill, getattr(shapes, name)) for name in names})


def after_action(critic: qrl.Critic, state: jax.Array, action: jax.Array) -> jax.Array:
    z = critic.phi(state)
    return z + critic.dynamics(jnp.concatenate([z, action], axis=-1))


def far(x: jax.Array, y: jax.Array) -> jax.Array:
    return -ENERGIES["mrn"].paired(x, y)


def critic_terms(critic: qrl.Critic, rows: qrl.QRLBatch) -> dict[str, jax.Array]:
    """Goals are entries 3 and 1 of a state, and row i is pushed from the outcome of row i - 1."""
    z, after = critic.phi(rows.state), critic.phi(rows.next_state)
    own = critic.psi(jnp.stack([rows.next_state[:, 3], rows.next_state[:, 1]], axis=1))
    guess = after_action(critic, rows.state, rows.action)
    apart = far(z, own[jnp.asarray([5, 0, 1, 2, 3, 4])])
    return {
        "push": jnp.mean(jnp.log(1 + jnp.exp(0.7 * (2.0 - apart))) / 0.7),
        "constraint_violation": jnp.mean(jnp.maximum(far(z, after) - 1.0, 0.0) ** 2 + far(after, own) ** 2),
        "push_distance": jnp.mean(apart),
        "dynamics_loss": jnp.mean((far(guess, after) ** 2 + far(after, guess) ** 2) / 2),
    }


def critic_loss(critic: qrl.Critic, agent: qrl.QRLAgent, rows: qrl.QRLBatch) -> jax.Array:
    terms, multiplier = critic_terms(critic, rows), jnp.log(1 + jnp.exp(agent.raw_multiplier))
    return terms["push"] + multiplier * (terms["constraint_violation"] - 0.16) + 0.3 * terms["dynamics_loss"]


def actor_loss(actor, agent: qrl.QRLAgent, rows: qrl.QRLBatch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    goal = rows.goal[jnp.asarray([5, 0, 1, 3, 4, 5])]  # half of the rows have the goal of the row before
    mean, log_std = actor(rows.state, goal)
    noise = jax.random.normal(key, mean.shape)
    u = mean + jnp.exp(log_std) * noise
    log_normal = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
    log_prob = jnp.sum(log_normal - jnp.log(1 / jnp.cosh(u) ** 2 + 1e-6), axis=-1)
    left = far(after_action(agent.critic, rows.state, jnp.tanh(u)), agent.critic.psi(goal))
    return jnp.mean(jnp.exp(agent.log_temperature) * log_prob + left), -jnp.mean(log_prob)


@functools.cache
def jitted_update():
    return jax.jit(qrl.build(config(), SPEC).update)


def update(agent: qrl.QRLAgent, rows: qrl.QRLBatch, seed: int) -> tuple[qrl.QRLAgent, dict[str, float]]:
    with jax.debug_key_reuse(True):
        after, metrics = jitted_update()(agent, rows, jax.random.key(seed))
    return after, {name: float(value) for name, value in metrics.items()}


@functools.cache
def updated():
    """An agent, the same after one update, and the update's metrics."""
    agent = random_agent(config())
    return agent, *update(agent, batch(2), seed=2)


@functools.cache
def expected():
    agent, _, _ = updated()

    @jax.jit
    def losses(agent, rows, key):
        return (
            jax.value_and_grad(actor_loss, has_aux=True)(agent.actor, agent, rows, key),
            jax.value_and_grad(critic_loss)(agent.critic, agent, rows),
            critic_terms(agent.critic, rows),
        )

    return losses(agent, batch(2), jax.random.key(2))


def gradients() -> dict[str, object]:
    """Of each of the four losses; the last two by hand."""
    agent, _, _ = updated()
    ((_, entropy), actor), (_, critic), terms = expected()
    temperature = np.exp(agent.log_temperature) * (entropy + 0.7 * 3)
    multiplier = -(float(terms["constraint_violation"]) - 0.16) / (1 + np.exp(-agent.raw_multiplier))
    return {"actor": actor, "critic": critic, "temperature": temperature, "multiplier": multiplier}


@pytest.mark.parametrize(
    ("part", "name", "rate"),
    [
        ("actor", "actor", 0.01),
        ("critic", "critic", 0.02),
        ("temperature", "log_temperature", 0.3),
        ("multiplier", "raw_multiplier", 0.4),
    ],
)
def test_each_part_is_one_adam_step_down_its_own_loss(part, name, rate):
    old, new, _ = updated()
    gradient = to64(gradients()[part])
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    assert largest > 1e-2
    moment = getattr(new, f"{part}_opt")[0].mu
    assert_close(moment, jax.tree.map(lambda g: 0.1 * g, gradient), rtol=1e-3, atol=1e-5 * largest)
    for g, a, b in zip(*(jax.tree.leaves(to64(x)) for x in (gradient, getattr(old, name), getattr(new, name)))):
        clear = np.abs(g) > 1e-3 * largest
        np.testing.assert_allclose((b - a)[clear], -rate * np.sign(g)[clear], rtol=1e-3)


def test_logged_numbers_are_the_true_ones_before_the_update():
    agent, _, metrics = updated()
    ((loss, entropy), _), (of_critic, _), terms = expected()
    norm = {
        part: np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(to64(gradients()[part]))))
        for part in ("actor", "critic")
    }
    truth = {
        "critic_loss": of_critic,
        "actor_loss": loss,
        "temperature_loss": np.exp(agent.log_temperature) * (entropy + 0.7 * 3),
        "temperature": np.exp(agent.log_temperature),
        "entropy": entropy,
        "multiplier": np.log(1 + np.exp(agent.raw_multiplier)),
        "constraint_violation": terms["constraint_violation"],
        "push_distance": terms["push_distance"],
        "dynamics_loss": terms["dynamics_loss"],
        "actor_grad_norm": norm["actor"],
        "critic_grad_norm": norm["critic"],
    }
    assert metrics == {name: pytest.approx(float(value), rel=1e-3) for name, value in truth.items()}
    assert abs(metrics["temperature"] - 1.0) > 0.1


def test_what_only_the_actor_sees_moves_neither_critic_nor_multiplier():
    agent, after, _ = updated()
    other, _ = update(agent, batch(2)._replace(goal=batch(9).goal), seed=5)
    for name in ("critic", "critic_opt", "raw_multiplier"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(other, name))
    kernels = [np.asarray(leaf.actor.mean.kernel) for leaf in (after, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_the_multiplier_rises_while_the_constraints_are_violated_and_falls_otherwise():
    agent = random_agent(config(), scale=1.0)
    after, metrics = update(agent, batch(4), seed=0)
    assert metrics["constraint_violation"] > 0.16
    assert float(after.raw_multiplier - agent.raw_multiplier) == pytest.approx(0.4, rel=1e-4)
    # All embeddings 0: every distance is 0, and nothing violated.
    flat = agent._replace(critic=jax.tree.map(jnp.zeros_like, agent.critic))
    after, metrics = update(flat, batch(4), seed=0)
    assert metrics["constraint_violation"] == 0.0
    assert float(after.raw_multiplier - agent.raw_multiplier) == pytest.approx(-0.4, rel=1e-4)


# Rows, probes, first parameters, settings.


@pytest.mark.parametrize("name", ["iqe", "mrn"])
def test_values_are_minus_the_configured_distance_after_the_predicted_step(name):
    settings = config(energy=name)
    algorithm, agent, rows = qrl.build(settings, SPEC), random_agent(settings), batch(4)

    @jax.jit
    def look(agent):
        critic, probes = agent.critic, algorithm.probes
        return {
            "embedded": (
                probes.embed_state_action(agent, rows.state, rows.action),
                probes.embed_goal(agent, rows.goal),
            ),
            "networks": (after_action(critic, rows.state, rows.action), critic.psi(rows.goal)),
            "value": probes.value(agent, rows.state, rows.action, rows.goal),
            "z": (critic.phi(rows.state), critic.phi(rows.next_state)),
            "own": critic.psi(rows.next_state[:, jnp.asarray([3, 1])]),
            "diagnostics": algorithm.diagnose(agent, rows),
        }

    found = to64(look(agent))
    assert_close(found["embedded"], found["networks"], rtol=1e-4, atol=1e-4)
    assert_close(found["value"], contrastive.paired(name, *found["networks"]), rtol=1e-4, atol=1e-4)
    z, after = found["z"]
    pairs = {
        "distance": (z, found["networks"][1]),
        "step_distance": (z, after),
        "own_goal_distance": (after, found["own"]),
    }
    assert found["diagnostics"] == {
        key: pytest.approx(-contrastive.paired(name, *pair).mean(), rel=1e-4) for key, pair in pairs.items()
    }


def test_the_best_of_several_actions_is_the_one_with_the_least_distance_left():
    algorithm, rows = qrl.build(config(), SPEC), batch(5)

    @jax.jit
    def lefts(agent, key):
        keys = jax.random.split(key, 4)
        one_each = [algorithm.act(agent, rows.state, rows.goal, k, "sample") for k in keys]
        best = algorithm.act(agent, rows.state, rows.goal, key, "best_of_4")
        ahead = jax.vmap(lambda action: after_action(agent.critic, rows.state, action))(jnp.stack([*one_each, best]))
        return far(ahead, agent.critic.psi(rows.goal)[None])

    *each, best = to64(lefts(random_agent(config()), jax.random.key(7)))
    assert_close(best, np.min(each, axis=0), rtol=1e-4, atol=1e-5)
    assert len(set(np.argmin(each, axis=0))) > 1


def test_at_first_the_multiplier_is_small_and_no_action_changes_anything():
    algorithm, rows = qrl.build(config(), SPEC), batch(6)
    agent = jax.jit(algorithm.init)(jax.random.key(1))
    assert jax.nn.softplus(agent.raw_multiplier) == pytest.approx(0.01, rel=1e-5)
    assert float(agent.log_temperature) == 0.0
    look = jax.jit(lambda agent: (algorithm.probes.embed_state_action(agent, *rows[:2]), agent.critic.phi(rows.state)))
    ahead, z = look(agent)
    np.testing.assert_array_equal(ahead, z)
    assert np.abs(ahead).max() > 0.01
    assert np.abs(agent.critic.dynamics.trunk.stem.dense.kernel).max() > 0.01


def test_a_batch_holds_a_step_its_true_outcome_and_the_goal_part_of_a_later_state():
    algorithm = qrl.build(config(), SPEC)
    rng = np.random.default_rng(6)
    state, action, after = (rng.normal(size=(10, 2, size)).astype(np.float32) for size in (5, 3, 5))
    ids = jnp.zeros((10, 2), jnp.int32)
    commanded = jnp.full((10, 2, 2), jnp.nan)  # is not read
    block = Transition(*map(jnp.asarray, (state, action)), commanded, jnp.asarray(after), *(ids > 0,) * 3, ids)
    sizes = {"state": 5, "action": 3, "next_state": 5}
    replay = buffer.jit_insert(buffer.init({name: sizes[name] for name in algorithm.columns}, 10, 2), block)
    time, future, env = np.array([0, 3, 8, 5]), np.array([4, 3, 9, 7]), np.array([0, 1, 1, 0])
    rows = algorithm.relabel(replay, Pairs(*(jnp.asarray(x, jnp.int32) for x in (time, future, env))))
    exact = functools.partial(assert_close, rtol=0.0, atol=0.0)
    exact(rows.state, state[time, env])
    exact(rows.action, action[time, env])
    exact(rows.next_state, after[time, env])
    exact(rows.goal, state[future, env][:, [3, 1]])

    # By default any later state is as likely as another: from the first of ten rows 5 steps on average.
    pairs = jax.jit(algorithm.draw, static_argnums=2)(jax.random.key(0), replay, (400, 100))
    offsets = np.asarray(pairs.future - pairs.time)[np.asarray(pairs.time) == 0]
    assert (offsets.min(), offsets.max()) == (1, 9)
    np.testing.assert_allclose(np.bincount(offsets)[1:] / offsets.size, 1 / 9, atol=0.02)


@pytest.mark.parametrize(("share", "rows"), [(0.0, 0), (0.001, 1), (1 / 3, 2), (1.0, 6)])
def test_a_share_of_the_actors_goals_is_that_of_the_row_before(share, rows):
    goal = jnp.arange(12.0).reshape(6, 2)
    source = [(row - 1) % 6 if row < rows else row for row in range(6)]
    assert_close(parts.mix_goals((goal,), share)[0], np.asarray(goal)[source])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"push_offset": 0.0}, r"agent\.push_offset = 0\.0 must be above 0"),
        ({"push_beta": -1.0}, r"agent\.push_beta = -1\.0 must be above 0"),
        ({"epsilon": 0.0}, r"agent\.epsilon = 0\.0 must be above 0"),
        ({"dynamics_weight": 0.0}, r"agent\.dynamics_weight = 0\.0 must be above 0"),
        ({"random_goals": 1.5}, r"agent\.random_goals = 1\.5 must lie between 0 and 1"),
        (
            {"multiplier_learning_rate": 0.0},
            r"agent\.multiplier_learning_rate = 0\.0 must lie strictly between 0 and 1",
        ),
        ({"critic_learning_rate": 1.0}, r"agent\.critic_learning_rate = 1\.0 must lie strictly between 0 and 1"),
        ({"discount": 1.0}, r"agent\.discount = 1\.0 must lie strictly between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        qrl.build(config(**changes), SPEC)


def test_a_representation_that_cannot_be_split_into_components_is_refused():
    network = dataclasses.replace(NETWORK, representation_size=24)
    with pytest.raises(ConfigError, match=r"^network\.representation_size = 24 must be a multiple of 16"):
        qrl.build(config(network), SPEC)

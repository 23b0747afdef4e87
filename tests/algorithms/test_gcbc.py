"""GCBC and GCSL: the loss against NumPy, one update, and what is learnt where the answer is known.

The known answer: states in a ring, and a behaviour whose pre-squash action is drawn about +CENTRE or -CENTRE; an action
above 0 moves one state up with probability OBEYS and one down else, an action below 0 the reverse. Of all Gaussians the
likeliest has the mean and the standard deviation of the pre-squash actions that led from s to g.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from deepcrl.algorithms import build
from deepcrl.algorithms.base import Probes
from deepcrl.config import Config, ConfigError, EnvConfig, NetworkConfig, agent_defaults, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer
from deepcrl.replay.hindsight import Pairs
from deepcrl.types import Batch, Transition
from reference import networks
from reference.numeric import assert_close, central_differences, to64

SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=100, success_radius=0.5)
CONFIG = override(
    Config(EnvConfig("none"), agent_defaults("gcbc"), NetworkConfig(depth=2, block_size=2, width=6)),
    {"agent.actor_learning_rate": 0.01, "agent.temperature_learning_rate": 0.3, "agent.entropy_coefficient": 0.7},
)
ROWS = 6
LOG_TEMPERATURE = 0.4
FURTHEST = float(np.float32(1.0 - 1e-6))


def batch(at_ends: bool) -> Batch:
    """Random rows; with actions at both ends of their range, or near neither."""
    rng = np.random.default_rng(1)
    state, action, goal = (rng.normal(size=(ROWS, size)) for size in (5, 3, 2))
    action = np.tanh(action)
    if at_ends:
        action[0, 0], action[2, 1], action[3] = 1.0, -1.0, [1.0, -1.0, 0.5]
    return Batch(*(jnp.asarray(x, jnp.float32) for x in (state, action, goal)))


def random_agent(algorithm):
    """Random parameters, so that means and standard deviations differ from row to row; optimisers at their start."""
    agent = jax.jit(algorithm.init)(jax.random.key(0))
    rng = np.random.default_rng(3)
    actor = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.5, leaf.shape), leaf.dtype), agent.actor)
    hot = None if agent.log_temperature is None else jnp.asarray(LOG_TEMPERATURE)
    return agent._replace(actor=actor, log_temperature=hot)


def loss_and_entropy(actor, rows: Batch, noise: np.ndarray, temperature: float) -> tuple[float, float]:
    """In NumPy, of float64 trees: minus the stored actions' log-density, and temperature times that of the policy's."""
    mean, log_std = networks.policy(rows.state, rows.goal, actor)
    stored = networks.tanh_gaussian_log_prob(np.clip(rows.action, -FURTHEST, FURTHEST), mean, log_std)
    own = networks.tanh_gaussian_log_prob(np.tanh(mean + np.exp(log_std) * noise), mean, log_std)
    return temperature * own.mean() - stored.mean(), -own.mean()


@pytest.mark.parametrize(("max_entropy", "at_ends"), [(False, False), (True, False), (True, True)])
def test_an_update_follows_the_gradient_of_the_loss_that_numpy_finds(max_entropy, at_ends):
    algorithm = build(override(CONFIG, {"agent.max_entropy": max_entropy}), SPEC)
    before, rows, key = random_agent(algorithm), batch(at_ends), jax.random.key(2)
    with jax.debug_key_reuse(True):
        after, metrics = jax.jit(algorithm.update)(before, rows, key)
    noise = to64(jax.random.normal(key, (ROWS, 3)))
    temperature = np.exp(LOG_TEMPERATURE) if max_entropy else 0.0
    numbers = Batch(*(to64(x) for x in rows[:3]))

    loss, entropy = loss_and_entropy(to64(before.actor), numbers, noise, temperature)
    assert float(metrics["actor_loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(metrics["entropy"]) == pytest.approx(entropy, rel=1e-5)

    gradient = central_differences(lambda actor: loss_and_entropy(actor, numbers, noise, temperature)[0], before.actor)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    assert float(metrics["actor_grad_norm"]) == pytest.approx(norm, rel=1e-4)
    # Adam's first moment is a tenth of its first gradient, and its first step one learning rate against every sign.
    assert_close(after.actor_opt[0].mu, jax.tree.map(lambda leaf: 0.1 * leaf, gradient), rtol=1e-3, atol=1e-6 * norm)
    steps = jax.tree.map(lambda new, old: new - old, to64(after.actor), to64(before.actor))
    for step, slope in zip(jax.tree.leaves(steps), jax.tree.leaves(gradient), strict=True):
        clear = np.abs(slope) > 1e-4 * norm
        np.testing.assert_allclose(step[clear], -0.01 * np.sign(slope[clear]), rtol=1e-3)


@pytest.mark.parametrize(("coefficient", "direction"), [(-2.0, 1.0), (5.0, -1.0)])
def test_the_temperature_rises_below_the_target_entropy_and_falls_above(coefficient, direction):
    changes = {"agent.max_entropy": True, "agent.entropy_coefficient": coefficient}
    algorithm = build(override(CONFIG, changes), SPEC)
    after, metrics = jax.jit(algorithm.update)(random_agent(algorithm), batch(False), jax.random.key(2))
    excess = float(metrics["entropy"]) + 3 * coefficient
    assert np.sign(excess) == -direction
    assert float(metrics["temperature"]) == pytest.approx(np.exp(LOG_TEMPERATURE), rel=1e-6)
    assert float(metrics["temperature_loss"]) == pytest.approx(np.exp(LOG_TEMPERATURE) * excess, rel=1e-5)
    assert float(after.log_temperature) == pytest.approx(LOG_TEMPERATURE + 0.3 * direction, rel=1e-5)


def test_an_agent_without_max_entropy_has_no_temperature_and_learns_without_chance():
    for name, max_entropy in (("gcbc", False), ("gcsl", True)):
        algorithm = build(Config(EnvConfig("none"), agent_defaults(name), CONFIG.network), SPEC)
        fresh, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
        assert (fresh.log_temperature is not None) == max_entropy
        assert (fresh.temperature_opt is not None) == max_entropy
        assert not max_entropy or float(fresh.log_temperature) == 0.0
        results = [update(fresh, batch(False), jax.random.key(seed)) for seed in (1, 2)]
        expected = {"actor_loss", "entropy", "actor_grad_norm"}
        assert set(results[0][1]) == expected | ({"temperature", "temperature_loss"} if max_entropy else set())
        first, second = (jax.tree.leaves(agent.actor_opt[0].mu) for agent, _ in results)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)) != max_entropy


def test_actions_and_the_diagnosed_error_come_from_the_policy():
    algorithm, rows = build(CONFIG, SPEC), batch(False)
    agent = random_agent(algorithm)
    mean, log_std = networks.policy(to64(rows.state), to64(rows.goal), to64(agent.actor))
    key = jax.random.key(4)
    act = jax.jit(algorithm.act, static_argnums=4)
    assert_close(act(agent, rows.state, rows.goal, key, "mean"), np.tanh(mean), rtol=1e-4, atol=1e-5)
    sampled = np.tanh(mean + np.exp(log_std) * to64(jax.random.normal(key, mean.shape)))
    assert_close(act(agent, rows.state, rows.goal, key, "sample"), sampled, rtol=1e-4, atol=1e-5)
    error = np.sqrt(((np.tanh(mean) - to64(rows.action)) ** 2).mean())
    found = jax.jit(algorithm.diagnose)(agent, rows)
    assert {name: float(x) for name, x in found.items()} == {"action_error": pytest.approx(error, rel=1e-4)}


def test_the_replay_holds_states_and_actions_and_a_batch_the_goal_part_of_later_states():
    algorithm = build(CONFIG, SPEC)
    assert algorithm.columns == ("state", "action")
    assert algorithm.probes == Probes()
    rng = np.random.default_rng(6)
    state, action = rng.normal(size=(10, 2, 5)).astype(np.float32), rng.normal(size=(10, 2, 3)).astype(np.float32)
    unread = jnp.full((10, 2, 1), jnp.nan)
    ids = jnp.zeros((10, 2), jnp.int32)
    block = Transition(jnp.asarray(state), jnp.asarray(action), unread, unread, ids > 0, ids > 0, ids > 0, ids)
    replay = buffer.jit_insert(buffer.init({"state": 5, "action": 3}, 10, 2), block)
    time, future, env = np.array([0, 3, 8, 5]), np.array([4, 3, 9, 7]), np.array([0, 1, 1, 0])
    rows = algorithm.relabel(replay, Pairs(*(jnp.asarray(x, jnp.int32) for x in (time, future, env))))
    assert rows.ended is None
    np.testing.assert_array_equal(rows.state, state[time, env])
    np.testing.assert_array_equal(rows.action, action[time, env])
    np.testing.assert_array_equal(rows.goal, state[future, env][:, [3, 1]])


@pytest.mark.parametrize("name", ["gcbc", "gcsl"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network.critic_depth", 8),
        ("network.critic_width", 16),
        ("agent.explore", "best_of_4"),
        ("evaluation.mode", "best_of_4"),
        ("agent.discount", 0.0),
        ("agent.discount", 1.0),
        ("agent.discount", -0.5),
    ],
)
def test_settings_it_cannot_run_with_are_refused_by_name(name, path, value):
    config = Config(EnvConfig("none"), agent_defaults(name))
    build(config, SPEC)
    with pytest.raises(ConfigError, match=rf"{path} = {value!r} ") as caught:
        build(override(config, {path: value}), SPEC)
    assert "critic" not in path or name in str(caught.value)


def test_a_best_of_several_actions_is_refused_without_a_critic():
    algorithm, rows = build(CONFIG, SPEC), batch(False)
    with pytest.raises(ConfigError, match="needs a critic"):
        algorithm.act(random_agent(algorithm), rows.state, rows.goal, jax.random.key(0), "best_of_4")


# The known answer.

STATES, LENGTH, DISCOUNT = 5, 8, 0.5
CENTRE, SPREAD, ABOVE, OBEYS = 1.2, 0.3, 0.6, 0.95
ENVS, EPISODES, BATCH, UPDATES = 2048, 20, 512, 800
TARGET_ENTROPY = 0.6
RING = EnvSpec(
    state_size=STATES,
    goal_size=STATES,
    goal_indices=tuple(range(STATES)),
    action_size=1,
    episode_length=LENGTH,
    success_radius=0.5,
)
GRID = np.linspace(-4.0, 4.0, 8000)
"""Pre-squash actions; sums over it are integrals, but for a factor."""


def led_there(distribution: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(s, g), and mean and standard deviation of the pre-squash actions that led from s to g, each [s, g].

    All steps of an episode are drawn equally often, in all states equally often; the last one is its own future.
    """
    up = np.roll(np.eye(STATES), 1, axis=1)
    density = ABOVE * stats.norm.pdf(GRID, CENTRE, SPREAD) + (1.0 - ABOVE) * stats.norm.pdf(GRID, -CENTRE, SPREAD)
    density /= density.sum()
    goes_up = np.where(GRID > 0.0, OBEYS, 1.0 - OBEYS)
    chain = (density @ goes_up) * up + (density @ (1.0 - goes_up)) * up.T
    after = {move: np.eye(STATES) / LENGTH for move in ("up", "down")}
    for left in range(1, LENGTH):
        offsets = np.arange(1, left + 1)
        weights = DISCOUNT**offsets if distribution == "geometric" else np.ones(left)
        for offset, weight in zip(offsets, weights / weights.sum() / LENGTH):
            rest = np.linalg.matrix_power(chain, offset - 1)
            after["up"] += weight * up @ rest
            after["down"] += weight * up.T @ rest
    joint = density * (goes_up * after["up"][..., None] + (1.0 - goes_up) * after["down"][..., None]) / STATES
    weight = joint.sum(axis=-1)
    mean = joint @ GRID / weight
    return weight, mean, np.sqrt(joint @ GRID**2 / weight - mean**2)


def expected(mean: np.ndarray, std: np.ndarray, function: Callable) -> np.ndarray:
    """E[function(u, z)], u = mean + std z of standard normal z, by Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return function(mean[..., None] + std[..., None] * nodes, nodes) @ weights / np.sqrt(2.0 * np.pi)


def entropies(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Of tanh(u), u ~ N(mean, std^2): that of u and E[log(1 - tanh(u)^2)]."""
    squash = expected(mean, std, lambda u, _: np.log(4.0) - 2.0 * np.logaddexp(u, -u))
    return np.log(std) + 0.5 * np.log(2.0 * np.pi * np.e) + squash


def at_target(weight: np.ndarray, mean: np.ndarray, std: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The temperature at which the best policy's entropy is the target, and that policy's mean and std [s, g].

    The best policy maximises the expected log-density of u, for which its first two moments suffice, plus temperature
    times entropy: both derivatives are 0. On a ring the way from s to g decides all, so state 0 is enough.
    """
    mean, std, share = mean[0], std[0], weight[0] * STATES

    def conditions(unknowns: np.ndarray) -> np.ndarray:
        m, s = unknowns[:STATES], np.exp(unknowns[STATES:-1])
        temperature = np.exp(unknowns[-1])
        by_mean = (mean - m) / s**2 + temperature * expected(m, s, lambda u, _: -2.0 * np.tanh(u))
        spread = ((mean - m) ** 2 + std**2) / s**2
        by_log_std = spread - 1.0 + temperature * (1.0 + s * expected(m, s, lambda u, z: -2.0 * np.tanh(u) * z))
        return np.concatenate([by_mean, by_log_std, [share @ entropies(m, s) - TARGET_ENTROPY]])

    found = optimize.root(conditions, np.concatenate([mean, np.log(std), [0.0]]))
    assert found.success
    m, s = (np.stack([np.roll(row, state) for state in range(STATES)]) for row in np.split(found.x[:-1], 2))
    return float(np.exp(found.x[-1])), m, np.exp(s)


def simulated() -> Transition:
    """EPISODES of the ring, one after the other, in every environment."""
    rng = np.random.default_rng(0)
    shape = EPISODES, LENGTH, ENVS
    u = np.where(rng.random(shape) < ABOVE, CENTRE, -CENTRE) + SPREAD * rng.normal(size=shape)
    moves = np.where(rng.random(shape) < OBEYS, 1, -1) * np.where(u > 0.0, 1, -1)
    start = rng.integers(0, STATES, (EPISODES, 1, ENVS))
    states = (start + np.cumsum(moves, axis=1) - moves) % STATES
    one_hot = jnp.asarray(np.eye(STATES)[states].reshape(-1, ENVS, STATES), jnp.float32)
    action = jnp.asarray(np.tanh(u).reshape(-1, ENVS, 1), jnp.float32)
    ids = jnp.broadcast_to(jnp.arange(EPISODES * LENGTH, dtype=jnp.int32)[:, None] // LENGTH, one_hot.shape[:2])
    return Transition(one_hot, action, one_hot, one_hot, ids > 0, ids > 0, ids > 0, ids)


@pytest.fixture(scope="module")
def replay() -> buffer.Replay:
    return buffer.jit_insert(buffer.init({"state": STATES, "action": 1}, EPISODES * LENGTH, ENVS), simulated())


def learn(replay: buffer.Replay, name: str, changes: dict) -> dict[str, np.ndarray]:
    """Mean and std [s, g], entropy and temperature: means over the second half of training."""
    network = NetworkConfig(depth=2, block_size=2, width=32)
    config = override(Config(EnvConfig("none"), agent_defaults(name), network), changes)
    algorithm = build(config, RING)
    state, goal = np.meshgrid(np.arange(STATES), np.arange(STATES), indexing="ij")

    @jax.jit
    def train(replay, key):
        init_key, draw_key, update_key = jax.random.split(key, 3)
        pairs = algorithm.draw(draw_key, replay, (UPDATES, BATCH))

        def body(agent, inputs):
            indices, key = inputs
            agent, metrics = algorithm.update(agent, algorithm.relabel(replay, indices), key)
            gaussian = agent.actor(jnp.eye(STATES)[state], jnp.eye(STATES)[goal])
            found = {"mean": gaussian.mean[..., 0], "std": jnp.exp(gaussian.log_std[..., 0])}
            return agent, found | {name: metrics[name] for name in ("entropy", "temperature") if name in metrics}

        start = algorithm.init(init_key)
        _, found = jax.lax.scan(body, start, (pairs, jax.random.split(update_key, UPDATES)))
        return jax.tree.map(lambda x: jnp.mean(x[UPDATES // 2 :], axis=0), found)

    return to64(train(replay, jax.random.key(0)))

"""GCBC and GCSL: the loss against NumPy, one update, and what is learnt where the answer is known.

The known answer: states in a ring, and a behaviour whose pre-squash action is drawn about +CENTRE or -CENTRE; an action
above 0 moves one state up with probability OBEYS and one down else, an action below 0 the reverse. Of all Gaussians the
likeliest has the mean and the standard deviation of the pre-squash actions that led from s to g.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from deepcrl.algorithms import build
from deepcrl.algorithms.base import Algorithm
from deepcrl.algorithms.gcbc import GCBCAgent
from deepcrl.config import Config, ConfigError, EnvConfig, NetworkConfig, agent_defaults, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer
from deepcrl.replay.hindsight import Pairs
from deepcrl.types import Batch, Transition
from reference import networks
from reference.numeric import assert_close, central_differences, to64

SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=100, success_radius=0.5)
CONFIG = override(
    Config(EnvConfig("none"), agent_defaults("gcbc"), NetworkConfig(depth=2, block_size=2, width=6, remat="none")),
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


def random_agent(algorithm: Algorithm) -> GCBCAgent:
    """Random parameters, so that means and standard deviations differ from row to row; optimisers at their start."""
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    agent = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    rng = np.random.default_rng(3)
    actor = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.4, leaf.shape), leaf.dtype), agent.actor)
    hot = None if agent.log_temperature is None else jnp.asarray(LOG_TEMPERATURE)
    return agent._replace(actor=actor, log_temperature=hot)


def log_density(action: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """Of tanh(u), u ~ N(mean, sigma^2), by change of variables, with the release's 1e-6."""
    normal = stats.norm.logpdf(np.arctanh(action), mean, np.exp(log_std))
    return (normal - np.log(1.0 - action**2 + 1e-6)).sum(axis=-1)


def loss_and_entropy(actor: Any, rows: Any, noise: np.ndarray, temperature: float) -> tuple[float, float]:
    """In NumPy, of float64 trees: minus the stored actions' log-density, and temperature times that of the policy's."""
    mean, log_std = networks.policy(rows.state, rows.goal, actor)
    stored = log_density(np.clip(rows.action, -FURTHEST, FURTHEST), mean, log_std)
    own = log_density(np.tanh(mean + np.exp(log_std) * noise), mean, log_std)
    return temperature * own.mean() - stored.mean(), -own.mean()


class Case(NamedTuple):
    """The first updates of a random agent, from two keys."""

    max_entropy: bool
    coefficient: float
    before: GCBCAgent
    rows: Batch
    key: jax.Array
    after: GCBCAgent
    metrics: dict[str, float]
    after_other_key: GCBCAgent

    def loss(self, actor: Any) -> tuple[float, float]:
        rows = Batch(*(to64(x) for x in self.rows[:3]))
        noise = to64(jax.random.normal(self.key, (ROWS, 3)))
        return loss_and_entropy(actor, rows, noise, np.exp(LOG_TEMPERATURE) if self.max_entropy else 0.0)


# Whether there is a temperature, actions at the ends, the entropy coefficient.
CASES = {
    "plain": (False, False, 0.7),
    "cold": (True, False, -2.0),
    "hot": (True, True, 5.0),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def case(request) -> Case:
    max_entropy, at_ends, coefficient = request.param
    changes = {"agent.max_entropy": max_entropy, "agent.entropy_coefficient": coefficient}
    algorithm = build(override(CONFIG, changes), SPEC)
    before, rows, key = random_agent(algorithm), batch(at_ends), jax.random.key(2)
    with jax.debug_key_reuse(True):
        update = jax.jit(algorithm.update)
        after, metrics = update(before, rows, jax.random.clone(key))
        other, _ = update(before, rows, jax.random.key(3))
    metrics = {name: float(value) for name, value in metrics.items()}
    return Case(max_entropy, coefficient, before, rows, key, after, metrics, other)


def test_the_loss_and_the_entropy_are_those_of_the_densities_in_numpy(case):
    loss, entropy = case.loss(to64(case.before.actor))
    assert case.metrics["actor_loss"] == pytest.approx(loss, rel=1e-5)
    assert case.metrics["entropy"] == pytest.approx(entropy, rel=1e-5)


def test_the_actor_steps_down_the_gradient_of_the_loss(case):
    gradient = central_differences(lambda actor: case.loss(actor)[0], to64(case.before.actor))
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    assert case.metrics["actor_grad_norm"] == pytest.approx(norm, rel=1e-4)
    # Adam's first moment is a tenth of its first gradient, and its first step one learning rate against every sign.
    tenth = jax.tree.map(lambda leaf: 0.1 * leaf, gradient)
    assert_close(case.after.actor_opt[0].mu, tenth, rtol=1e-3, atol=1e-6 * norm)
    steps = jax.tree.map(lambda new, old: new - old, to64(case.after.actor), to64(case.before.actor))
    for step, slope in zip(jax.tree.leaves(steps), jax.tree.leaves(gradient), strict=True):
        clear = np.abs(slope) > 1e-4 * norm
        np.testing.assert_allclose(step[clear], -0.01 * np.sign(slope[clear]), rtol=1e-3)


def test_the_temperature_rises_below_the_target_entropy_and_falls_above(case):
    if not case.max_entropy:
        assert set(case.metrics) == {"actor_loss", "entropy", "actor_grad_norm"}
        return
    temperature, excess = np.exp(LOG_TEMPERATURE), case.metrics["entropy"] + 3 * case.coefficient
    assert np.sign(excess) == np.sign(case.coefficient)  # each coefficient is far to one side
    assert case.metrics["temperature"] == pytest.approx(temperature, rel=1e-6)
    assert case.metrics["temperature_loss"] == pytest.approx(temperature * excess, rel=1e-5)
    step = float(case.after.log_temperature) - LOG_TEMPERATURE
    assert step == pytest.approx(-0.3 * np.sign(excess), rel=1e-4)


def test_only_the_entropy_term_leaves_anything_to_chance(case):
    first, second = (jax.tree.leaves(agent.actor_opt[0].mu) for agent in (case.after, case.after_other_key))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)) != case.max_entropy


def test_only_an_agent_with_max_entropy_has_a_temperature_which_starts_at_one():
    for name, max_entropy in (("gcbc", False), ("gcsl", True)):
        init = build(override(CONFIG, {"agent.algorithm": name}), SPEC).init
        fresh = jax.eval_shape(init, jax.random.key(0))
        assert (fresh.log_temperature is not None) == (fresh.temperature_opt is not None) == max_entropy
        first = jax.jit(lambda key, init=init: init(key).log_temperature)(jax.random.key(0))
        assert first == (0.0 if max_entropy else None)


def test_actions_and_the_diagnosed_error_come_from_the_policy():
    algorithm, rows, key = build(CONFIG, SPEC), batch(False), jax.random.key(4)
    agent = random_agent(algorithm)

    @jax.jit
    def look(agent):
        acted = [algorithm.act(agent, rows.state, rows.goal, key, mode) for mode in ("mean", "sample")]
        return acted, algorithm.diagnose(agent, rows)

    acted, diagnosed = look(agent)
    mean, log_std = networks.policy(to64(rows.state), to64(rows.goal), to64(agent.actor))
    sampled = np.tanh(mean + np.exp(log_std) * to64(jax.random.normal(key, mean.shape)))
    assert_close(acted, [np.tanh(mean), sampled], rtol=1e-4, atol=1e-5)
    error = np.sqrt(((np.tanh(mean) - to64(rows.action)) ** 2).mean())
    assert {name: float(x) for name, x in diagnosed.items()} == {"action_error": pytest.approx(error, rel=1e-4)}
    with pytest.raises(ConfigError, match="needs a critic"):
        jax.eval_shape(lambda: algorithm.act(agent, rows.state, rows.goal, key, "best_of_4"))


def test_the_replay_holds_states_and_actions_and_a_batch_the_goal_part_of_later_states():
    algorithm = build(CONFIG, SPEC)
    assert algorithm.columns == ("state", "action")
    assert algorithm.probes[:3] == (None, None, None)  # there is no critic to look into
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


# The known answer.

STATES, LENGTH, DISCOUNT = 3, 8, 0.5
CENTRE, SPREAD, ABOVE, OBEYS = 1.2, 0.3, 0.6, 0.95
ENVS, EPISODES, BATCH, UPDATES = 2048, 16, 192, 800
TARGET_ENTROPY = 0.66
WITHIN = 0.1
"""Of the known mean and standard deviation; the pre-squash action itself has a standard deviation of 1.2."""
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


def learn(replay: buffer.Replay, name: str, changes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean and std [s, g], entropy and temperature: means over the second half of training."""
    # Of small networks, one without skip connections needs the fewest updates for such a table.
    network = NetworkConfig(depth=2, block_size=2, width=64, backbone="plain", norm="rms", remat="none")
    # The discount is set for GCSL too: its own, 0.99, would be all but uniform if it acted.
    settings = {
        "agent.discount": DISCOUNT,
        "agent.actor_learning_rate": 3e-3,
        "agent.temperature_learning_rate": 0.1,
        "agent.warmup_updates": 100,
    }
    config = override(Config(EnvConfig("none"), agent_defaults(name), network), settings | changes)
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


def test_the_known_answers_are_farther_apart_than_what_is_learnt_may_be_from_them():
    geometric, uniform = led_there("geometric"), led_there("uniform")
    for weight, mean, std in (geometric, uniform):
        assert weight.sum() == pytest.approx(1.0)
        # All goals together leave the behaviour's own distribution.
        first, second = (weight * mean).sum(), (weight * (std**2 + mean**2)).sum()
        assert first == pytest.approx((2.0 * ABOVE - 1.0) * CENTRE, abs=1e-3)
        assert second == pytest.approx(CENTRE**2 + SPREAD**2, abs=1e-3)
    assert np.abs(geometric[1] - uniform[1]).max() > 2.0 * WITHIN
    assert np.abs(geometric[2] - uniform[2]).max() > 1.5 * WITHIN
    temperature, mean, _ = at_target(*uniform)
    assert np.abs(mean - uniform[1]).max() > 2.0 * WITHIN
    assert temperature > 1.5  # it starts at 1
    assert (uniform[0] * entropies(*uniform[1:])).sum() < TARGET_ENTROPY - 0.1


@pytest.mark.parametrize(
    ("name", "changes", "distribution"),
    [
        ("gcbc", {}, "geometric"),
        ("gcsl", {"agent.max_entropy": False}, "uniform"),
    ],
)
def test_the_policy_becomes_the_likeliest_gaussian_of_what_led_to_the_goal(replay, name, changes, distribution):
    found = learn(replay, name, changes)
    weight, mean, std = led_there(distribution)
    np.testing.assert_allclose(found["mean"], mean, atol=WITHIN)
    np.testing.assert_allclose(found["std"], std, atol=WITHIN)
    assert found["entropy"] == pytest.approx((weight * entropies(mean, std)).sum(), abs=0.03)


def test_with_max_entropy_the_entropy_is_the_target_and_the_policy_the_best_of_such(replay):
    found = learn(replay, "gcsl", {"agent.entropy_coefficient": -TARGET_ENTROPY})
    temperature, mean, std = at_target(*led_there("uniform"))
    assert found["entropy"] == pytest.approx(TARGET_ENTROPY, abs=0.01)
    # So close to the largest entropy, log 2, an entropy off by 0.004 is a temperature off by a tenth.
    assert found["temperature"] == pytest.approx(temperature, rel=0.25)
    np.testing.assert_allclose(found["mean"], mean, atol=0.5 * WITHIN)
    np.testing.assert_allclose(found["std"], std, atol=0.5 * WITHIN)

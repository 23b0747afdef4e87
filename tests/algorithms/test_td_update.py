"""One update of SAC and of TD3 against NumPy in float64: targets, losses, their gradients by central differences."""

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.algorithms import agent_defaults, build, td
from deepcrl.algorithms.base import Algorithm
from deepcrl.config import Config, ConfigError, EnvConfig, NetworkConfig, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.types import StepBatch
from reference import networks
from reference import td as reference
from reference.numeric import assert_close, central_differences, to64

SPEC = EnvSpec(state_size=5, goal_size=2, goal_indices=(3, 1), action_size=3, episode_length=100, success_radius=0.5)
NETWORK = NetworkConfig(depth=2, block_size=2, width=6, remat="none")
ROWS, DELAY = 10, 3
# Large steps, all different: what uses a new parameter for an old one, or another's rate, shows.
SHARED = {"discount": 0.9, "target_rate": 0.3, "actor_learning_rate": 0.01, "critic_learning_rate": 0.02}
OWN = {
    "sac": {"temperature_learning_rate": 0.3, "entropy_coefficient": 0.7},
    # Much noise: about a fourth of it is cut, on either side.
    "td3": {"policy_delay": DELAY, "exploration_noise": 0.8, "target_noise": 0.6, "noise_clip": 0.7},
}
SEEDS = {"sac": 10, "td3": 6}
"""Of the random agents: with these each of two critics is the smaller one of some rows."""
RATES = {"actor": 0.01, "critics": 0.02, "log_temperature": 0.3}


def configured(name: str, **changes: Any) -> Algorithm:
    config = Config(EnvConfig("none"), agent_defaults(name), NETWORK)
    return build(override(config, {f"agent.{field}": value for field, value in changes.items()}), SPEC)


@pytest.fixture(scope="module", params=["sac", "td3"])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def algorithm(name) -> Any:
    return configured(name, **SHARED, **OWN[name])


@pytest.fixture(scope="module")
def update(algorithm):
    return jax.jit(algorithm.update)


@pytest.fixture(scope="module")
def agent(name, algorithm) -> Any:
    """All networks drawn on their own, targets too; optimisers that have done nothing."""
    rng = np.random.default_rng(SEEDS[name])
    fresh = jax.eval_shape(algorithm.init, jax.random.key(0))
    parts = {
        field: jax.tree.map(
            lambda leaf: (
                jnp.zeros(leaf.shape, leaf.dtype)
                if field.endswith(("opt", "updates"))  # noqa: B023
                else jnp.asarray(rng.normal(0.0, 0.5, leaf.shape), leaf.dtype)
            ),
            part,
        )
        for field, part in fresh._asdict().items()
    }
    agent = type(fresh)(**parts)
    if hasattr(agent, "log_temperature"):
        return agent._replace(log_temperature=jnp.asarray(-0.6))
    return agent._replace(updates=jnp.asarray(DELAY - 1, jnp.int32))


OUTCOMES = {
    # Where the goal part of the next state lies, seen from the goal, and whether the step terminated.
    0: ((0.49, 0.0), False),
    1: ((0.0, -0.51), False),
    2: ((0.1, 0.1), True),
    3: ((2.0, 0.0), True),
    4: ((0.4, -0.4), False),  # near in each coordinate, not in both
    5: ((3.0, 3.0), False),  # here the state, not the next one, is at the goal
}
REWARDED = (0, 2)


def batch(seed: int) -> StepBatch:
    rng = np.random.default_rng(seed)
    state, action, goal, next_state = (rng.normal(size=(ROWS, size)) for size in (5, 3, 2, 5))
    terminated = np.zeros(ROWS, bool)
    next_state[:, [3, 1]] = goal + 2.0  # the other rows are away from it
    for row, (offset, ends) in OUTCOMES.items():
        next_state[row, [3, 1]], terminated[row] = goal[row] + offset, ends
    state[5, [3, 1]] = goal[5]
    state, action, goal, next_state = (jnp.asarray(x, jnp.float32) for x in (state, np.tanh(action), goal, next_state))
    return StepBatch(state, action, goal, next_state, jnp.asarray(terminated))


def numpy_rows(rows: StepBatch) -> Any:
    return to64(rows)._replace(terminated=np.asarray(rows.terminated))


class Case(NamedTuple):
    """One update, and what its target, losses and gradients should have been."""

    before: Any
    after: Any
    metrics: dict[str, float]
    target: np.ndarray
    losses: dict[str, float]
    gradients: dict[str, Any]


@pytest.fixture(scope="module")
def case(name, update, agent) -> Case:
    key = jax.random.key(2)
    with jax.debug_key_reuse(True):
        after, metrics = update(agent, batch(2), jax.random.clone(key))
    old, new, rows = to64(agent), to64(after), numpy_rows(batch(2))
    noise = lambda key: to64(jax.random.normal(key, rows.action.shape))  # noqa: E731
    losses, gradients = {}, {}
    if name == "sac":
        actor_noise, target_noise = (noise(part) for part in jax.random.split(key))
        alpha = np.exp(old.log_temperature)
        future = reference.sac_future(old.actor, old.targets, alpha, rows, target_noise)
        actor_loss = partial(
            reference.sac_actor_loss, critics=old.critics, temperature=alpha, rows=rows, noise=actor_noise
        )
        _, log_prob = reference.gaussian_action(old.actor, rows.state, rows.goal, actor_noise)
        losses["entropy"] = -np.mean(log_prob)
        losses["temperature"] = alpha
        # Target entropy: -0.7 for each of three action dimensions. exp has itself as its derivative.
        losses["temperature_loss"] = gradients["log_temperature"] = alpha * (losses["entropy"] + 0.7 * 3)
    else:
        future = reference.td3_future(old.target_actor, old.target_critics, rows, 0.6 * noise(key), 0.7)
        actor_loss = partial(reference.td3_actor_loss, critics=new.critics, rows=rows)
    target = reference.targets(rows, future, SPEC.goal_indices, SPEC.success_radius, discount=0.9)
    critic_loss = partial(reference.critic_loss, rows=rows, target=target)
    losses |= {"actor_loss": actor_loss(old.actor), "critic_loss": critic_loss(old.critics)}
    gradients["actor"] = central_differences(actor_loss, old.actor)
    gradients["critics"] = central_differences(critic_loss, old.critics)
    for part in ("actor", "critic"):
        of = gradients["actor" if part == "actor" else "critics"]
        losses[f"{part}_grad_norm"] = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(of)))
    return Case(agent, after, {key: float(x) for key, x in metrics.items()}, target, losses, gradients)


def test_the_rows_show_every_case_of_the_target(name, case):
    """Rewarded or not, terminated or not; either critic the smaller one; noise and actions cut on both sides."""
    rows, old = numpy_rows(batch(2)), to64(case.before)
    nothing = np.zeros(ROWS)
    rewards = reference.targets(rows, nothing, SPEC.goal_indices, SPEC.success_radius, 0.9)
    assert rewards.tolist() == [float(row in REWARDED) for row in range(ROWS)]
    assert case.target[2:4].tolist() == [1.0, 0.0]
    assert (np.abs(case.target - rewards) > 0.05).sum() == ROWS - 2
    targets = old.targets if name == "sac" else old.target_critics
    for critics, state, action in ((targets, rows.next_state, rows.action), (old.critics, rows.state, rows.action)):
        first, second = reference.critic_values(critics, state, action, rows.goal)
        assert 0 < (first < second).sum() < ROWS
    if name == "td3":
        noise = 0.6 * to64(jax.random.normal(jax.random.key(2), rows.action.shape))
        assert noise.max() > 0.7
        assert noise.min() < -0.7
        action = reference.td3_action(old.target_actor, rows, noise, 0.7)
        assert (action == 1.0).any()
        assert (action == -1.0).any()


def test_logged_losses_and_gradient_norms_are_those_of_numpy(case):
    assert case.metrics == {key: pytest.approx(float(x), rel=1e-4) for key, x in case.losses.items()}


OPTIMISERS = {"actor": "actor_opt", "critics": "critic_opt", "log_temperature": "temperature_opt"}


def test_the_new_parameters_are_one_adam_step_down_each_loss(name, case):
    assert set(case.gradients) == set(OPTIMISERS) - ({"log_temperature"} if name == "td3" else set())
    for part, gradient in case.gradients.items():
        state = getattr(case.after, OPTIMISERS[part])[0]
        assert int(state.count) == 1
        # After its first step the moments are a tenth of the gradient, and a thousandth of its square.
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
        first, second = (jax.tree.map(of, gradient) for of in (lambda g: 0.1 * g, lambda g: 0.001 * g**2))
        assert_close(state.mu, first, rtol=1e-4, atol=1e-5 * largest)
        assert_close(state.nu, second, rtol=1e-3, atol=1e-8 * largest**2)
        # The step itself is the gradient's sign times the rate, but for Adam's 1e-8.
        stepped = jax.tree.map(
            lambda p, m: p - RATES[part] * 10.0 * m / (np.abs(10.0 * m) + 1e-8),  # noqa: B023
            to64(getattr(case.before, part)),
            to64(state.mu),
        )
        assert_close(getattr(case.after, part), stepped, rtol=1e-6, atol=1e-3 * RATES[part])


def test_every_target_network_takes_on_its_share_of_the_new_online_one(name, case):
    pairs = [("targets", "critics")] if name == "sac" else [("target_critics", "critics"), ("target_actor", "actor")]
    for target, online in pairs:
        old, new = to64(getattr(case.before, target)), to64(getattr(case.after, online))
        assert_close(getattr(case.after, target), jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, old, new))


def changed(old: Any, new: Any) -> list[bool]:
    """Of each leaf, whether it is another."""
    return jax.tree.leaves(jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), old, new))


@pytest.mark.parametrize("name", ["td3"], indirect=True)
def test_actor_and_all_targets_change_on_every_third_update_only(update, agent):
    """The agent comes to this test with all but one of a delay's updates done."""
    for done in range(DELAY, 3 * DELAY):
        before, (agent, _) = agent, update(agent, batch(done), jax.random.key(done))
        assert int(agent.updates) == done
        assert all(changed(before.critics, agent.critics))
        assert all(changed(before.critic_opt, agent.critic_opt))
        for field in ("actor", "target_actor", "target_critics", "actor_opt"):
            moved = changed(getattr(before, field), getattr(agent, field))
            assert all(moved) if done % DELAY == 0 else not any(moved), (done, field)


def test_a_fresh_agent_has_two_different_critics_and_targets_that_equal_them(name, algorithm):
    fresh = jax.jit(algorithm.init)(jax.random.key(5))
    kernel = to64(fresh.critics.trunk.stack.units.dense.kernel)
    assert kernel.shape == (2, 1, 2, 6, 6)
    assert np.abs(kernel[0] - kernel[1]).mean() > 0.1
    assert fresh.critics.trunk.stem.dense.kernel.shape == (2, 5 + 3 + 2, 6)
    assert fresh.critics.head.kernel.shape == (2, 6, 1)
    assert fresh.actor.trunk.stem.dense.kernel.shape == (5 + 2, 6)
    if name == "sac":
        pairs, zeros = [(fresh.targets, fresh.critics)], [fresh.log_temperature, fresh.temperature_opt]
    else:
        pairs = [(fresh.target_critics, fresh.critics), (fresh.target_actor, fresh.actor)]
        zeros = [fresh.updates]
    assert not any(any(changed(*pair)) for pair in pairs)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([*zeros, fresh.actor_opt, fresh.critic_opt]))


def test_actions_by_mode(name, algorithm, agent):
    """The mean; a sample, within [-1, 1]; and of K samples the favourite of the smaller critic, row by row."""
    rows, key = numpy_rows(batch(5)), jax.random.key(7)
    modes = "mean", "sample", "best_of_16"

    @jax.jit
    def act(agent, rows, key):
        return {mode: algorithm.act(agent, rows.state, rows.goal, jax.random.clone(key), mode) for mode in modes}

    with jax.debug_key_reuse(True):
        found = to64(act(agent, batch(5), jax.random.clone(key)))
    noises = [jax.random.normal(key, rows.action.shape) for key in (key, *jax.random.split(key, 16))]
    old = to64(agent)

    def sampled(noise: np.ndarray) -> np.ndarray:
        if name == "sac":
            mean, log_std = networks.policy(rows.state, rows.goal, old.actor)
            return np.tanh(mean + np.exp(log_std) * noise)
        return np.clip(reference.deterministic_action(old.actor, rows.state, rows.goal) + 0.8 * noise, -1.0, 1.0)

    sample, *candidates = (sampled(to64(noise)) for noise in noises)
    assert_close(found["mean"], sampled(np.zeros_like(rows.action)), rtol=1e-4, atol=1e-5)
    assert_close(found["sample"], sample, rtol=1e-4, atol=1e-5)
    both = np.array([reference.critic_values(old.critics, rows.state, action, rows.goal) for action in candidates])
    best = both.min(axis=1).argmax(axis=0)
    assert len(set(best)) > 1
    assert (best != both[:, 0].argmax(axis=0)).any()
    assert_close(found["best_of_16"], np.array(candidates)[best, np.arange(ROWS)], rtol=1e-4, atol=1e-5)
    if name == "td3":
        assert all(np.abs(found[mode]).max() == 1.0 for mode in ("sample", "best_of_16"))  # noise is cut there


def test_value_and_diagnostics(algorithm, agent):
    rows = batch(6)

    @jax.jit
    def look(agent, rows):
        return algorithm.probes.value(agent, rows.state, rows.action, rows.goal), algorithm.diagnose(agent, rows)

    value, found = look(agent, rows)
    exact = numpy_rows(rows)
    first, second = reference.critic_values(to64(agent.critics), exact.state, exact.action, exact.goal)
    assert_close(value, np.minimum(first, second), rtol=1e-4, atol=1e-5)
    expected = {
        "value": (first.mean() + second.mean()) / 2.0,
        "value_gap": np.abs(first - second).mean(),
        "reward": len(REWARDED) / ROWS,
    }
    assert {key: float(x) for key, x in found.items()} == {
        key: pytest.approx(x, rel=1e-4, abs=1e-5) for key, x in expected.items()
    }


BOTH = ("sac", "sac_her", "td3", "td3_her")
WRONG = [
    *((name, "her_share", value) for name in BOTH for value in (-0.1, 1.1)),
    *((name, "target_rate", value) for name in BOTH for value in (-0.1, 0.0, 1.5)),
    *((name, "discount", value) for name in BOTH for value in (0.0, 1.0)),
    *((name, "critic_learning_rate", 0.0) for name in BOTH),
    ("sac", "temperature_learning_rate", 0.0),
    *(("td3", "policy_delay", value) for value in (0, -2, 2**31)),
    *(
        ("td3", field, value)
        for field in ("exploration_noise", "target_noise", "noise_clip")
        for value in (-0.1, math.inf)
    ),
]


@pytest.mark.parametrize(("algorithm_name", "field", "value"), WRONG)
def test_settings_out_of_range_are_refused_by_name_and_value(algorithm_name, field, value):
    with pytest.raises(ConfigError) as error:
        configured(algorithm_name, **{field: value})
    assert f"agent.{field} = {value} " in str(error.value)


@pytest.mark.parametrize("algorithm_name", ["sac", "td3"])
def test_settings_at_the_ends_of_their_ranges_are_accepted(algorithm_name):
    for share in (0.0, 1.0):
        configured(algorithm_name, her_share=share, target_rate=1.0)
    if algorithm_name == "td3":
        configured("td3", policy_delay=1, exploration_noise=0.0, target_noise=0.0, noise_clip=0.0)


def test_rewards_are_the_tasks_own_success_and_an_environment_without_one_is_refused(name):
    both_near = dataclasses.replace(SPEC, grades=lambda achieved, goal: {"success": (achieved > goal).all()})
    rng = np.random.default_rng(3)
    rows, goals = (jnp.asarray(rng.normal(size=(64, size)), jnp.float32) for size in (SPEC.state_size, SPEC.goal_size))
    batch = StepBatch(rows, jnp.zeros((64, SPEC.action_size)), goals, rows, jnp.zeros(64, bool))
    expected = (np.asarray(rows)[:, list(SPEC.goal_indices)] > np.asarray(goals)).all(axis=1)
    assert 0 < expected.sum() < 64
    np.testing.assert_array_equal(td.rewards(both_near, batch), expected)
    with pytest.raises(ConfigError, match=f"'{name}' needs a reward for every goal, and .* has no success radius"):
        build(Config(EnvConfig("none"), agent_defaults(name), NETWORK), dataclasses.replace(SPEC, success_radius=0.0))


def test_trunks_show_the_first_critic_and_what_goes_into_it(name, algorithm, agent):
    rng = np.random.default_rng(5)
    sizes = SPEC.state_size, SPEC.action_size, SPEC.goal_size
    state, action, goal = (jnp.asarray(rng.normal(size=(4, size)), jnp.float32) for size in sizes)
    found = algorithm.probes.trunks(agent, state, action, goal)
    assert set(found) == {"actor", "critic"}
    first = jax.tree.leaves(jax.tree.map(lambda leaf: leaf[0], agent.critics.trunk))
    for leaf, expected in zip(jax.tree.leaves(found["critic"].trunk), first, strict=True):
        np.testing.assert_array_equal(leaf, expected)
    np.testing.assert_array_equal(found["critic"].inputs, np.concatenate([state, action, goal], axis=1))
    np.testing.assert_array_equal(found["actor"].inputs, np.concatenate([state, goal], axis=1))

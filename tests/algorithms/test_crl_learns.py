"""What the critic learns, on a Markov chain whose discounted future-state distribution is known exactly.

Eight states in a ring; the action, -1 or +1, moves one state that way with probability 0.9 and the other way else; the
behaviour goes +1 with probability 0.7. The optimal InfoNCE critic is log p(g | s, a) / p(g) + c(s, a), and the
logsumexp penalty fixes c: the sum of exp f over the batch's B goals is 1, so that c = -log B.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl.algorithms import build
from deepcrl.algorithms.crl import CRLConfig
from deepcrl.config import Config, EnvConfig, NetworkConfig
from deepcrl.envs.protocol import EnvSpec
from deepcrl.replay import buffer
from deepcrl.types import Transition

STATES, RIGHT, OBEYS, DISCOUNT = 8, 0.7, 0.9, 0.8
ENVS, LENGTH, BATCH, UPDATES = 256, 500, 256, 500
SPEC = EnvSpec(
    state_size=STATES,
    goal_size=STATES,
    goal_indices=tuple(range(STATES)),
    action_size=1,
    episode_length=LENGTH,
    success_radius=0.5,
)


def moves(probability_right: float) -> np.ndarray:
    """Transition matrix of the ring."""
    step = np.roll(np.eye(STATES), 1, axis=1)
    return probability_right * step + (1.0 - probability_right) * step.T


def log_ratios() -> np.ndarray:
    """log p(g | s, a) / p(g) [s, a, g]: rows uniform in a trajectory of LENGTH, futures geometric up to its end."""
    chain = moves(RIGHT * OBEYS + (1.0 - RIGHT) * (1.0 - OBEYS))
    reached = np.zeros((STATES, 2, STATES))
    for action, first in enumerate([moves(1.0 - OBEYS), moves(OBEYS)]):
        reached[:, action] += np.eye(STATES) / LENGTH  # the last row is paired with itself
        after, unnormalised, mass = first, np.zeros((STATES, STATES)), 0.0
        for left in range(1, LENGTH):
            unnormalised = unnormalised + DISCOUNT**left * after
            mass += DISCOUNT**left
            after = after @ chain
            reached[:, action] += unnormalised / mass / LENGTH
    # All states are visited, and reached, equally often.
    return np.log(reached / (1.0 / STATES))


def test_the_known_answer_is_a_distribution_close_to_that_of_endless_trajectories():
    found = np.exp(log_ratios()) / STATES
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-12)
    chain = moves(RIGHT * OBEYS + (1.0 - RIGHT) * (1.0 - OBEYS))
    endless = (1.0 - DISCOUNT) * np.linalg.solve(np.eye(STATES) - DISCOUNT * chain, np.eye(STATES))
    np.testing.assert_allclose(found[:, 1], moves(OBEYS) @ endless, atol=0.02)


def simulated() -> Transition:
    """Trajectories of the chain, one episode for each environment."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, STATES, ENVS)
    states, actions = np.zeros((LENGTH, ENVS), int), np.zeros((LENGTH, ENVS))
    for step in range(LENGTH):
        action = np.where(rng.random(ENVS) < RIGHT, 1, -1)
        states[step], actions[step] = state, action
        state = (state + np.where(rng.random(ENVS) < OBEYS, action, -action)) % STATES
    one_hot = jnp.asarray(np.eye(STATES)[states], jnp.float32)
    ids = jnp.zeros((LENGTH, ENVS), jnp.int32)
    action = jnp.asarray(actions, jnp.float32)[..., None]
    return Transition(one_hot, action, one_hot, one_hot, ids > 0, ids > 0, ids > 0, ids)


def learn(energy: str) -> np.ndarray:
    """f [s, a, g], the mean over the second half of training: single iterates are a few tenths off at random."""
    agent_config = CRLConfig("crl", energy=energy, discount=DISCOUNT, logsumexp_penalty=0.05, critic_learning_rate=3e-3)
    network = NetworkConfig(depth=2, block_size=2, width=32, representation_size=16)
    algorithm = build(Config(EnvConfig("none"), agent_config, network), SPEC)
    replay = buffer.init({"state": STATES, "action": 1}, LENGTH, ENVS)
    replay = buffer.jit_insert(replay, simulated())

    state, action, goal = np.meshgrid(np.arange(STATES), [-1.0, 1.0], np.arange(STATES), indexing="ij")
    everything = jnp.eye(STATES)[state], jnp.asarray(action, jnp.float32)[..., None], jnp.eye(STATES)[goal]

    @jax.jit
    def train(replay, key):
        init_key, draw_key, update_key = jax.random.split(key, 3)
        pairs = algorithm.draw(draw_key, replay, (UPDATES, BATCH))

        def body(agent, inputs):
            indices, key = inputs
            agent, _ = algorithm.update(agent, algorithm.relabel(replay, indices), key)
            return agent, algorithm.probes.value(agent, *everything)

        start = algorithm.init(init_key)
        _, values = jax.lax.scan(body, start, (pairs, jax.random.split(update_key, UPDATES)))
        return jnp.mean(values[UPDATES // 2 :], axis=0)

    return np.asarray(train(replay, jax.random.key(0)), np.float64)


@pytest.fixture(scope="module", params=["dot", "norm"])
def learnt(request) -> tuple[str, np.ndarray]:
    return request.param, learn(request.param)


def test_values_order_the_goals_of_every_state_and_action_as_their_densities_do(learnt):
    _, values = learnt
    truth = log_ratios()
    clear = truth[..., :, None] - truth[..., None, :] > 0.3
    assert clear.sum() > 16 * 20
    assert ((values[..., :, None] > values[..., None, :])[clear]).all()


def test_values_are_the_log_density_ratios(learnt):
    energy, values = learnt
    truth = log_ratios()
    correlations = [np.corrcoef(values[s, a], truth[s, a])[0, 1] for s in range(STATES) for a in range(2)]
    assert min(correlations) > (0.98 if energy == "dot" else 0.95)
    assert (values - truth).mean() == pytest.approx(-np.log(BATCH), abs=0.05)
    # Embeddings compared by "dot" can give any table: there each value is known.
    np.testing.assert_allclose(values, truth - np.log(BATCH), atol=0.25 if energy == "dot" else 0.5)


def test_values_tell_what_an_action_leads_to(learnt):
    _, values = learnt
    for state in range(STATES):
        ahead, behind = (state + 1) % STATES, (state - 1) % STATES
        assert values[state, 1, ahead] > values[state, 0, ahead] + 0.3
        assert values[state, 0, behind] > values[state, 1, behind] + 0.3

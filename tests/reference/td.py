"""Temporal-difference targets, losses, hindsight rows and optimal values, from the formulas of docs/baselines.md.

Networks are float64 trees of the package's parameters (`numeric.to64`); twin critics have a leading axis [2].
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy import special

from reference import networks

# Hindsight rows.


def relabelled_joint(episodes: np.ndarray, strategy: str, share: float) -> np.ndarray:
    """P[env, i, j, relabelled]: i uniform over all stored rows [time, env], j a row of its episode from i on."""
    length, num_envs = episodes.shape
    joint = np.zeros((num_envs, length, length, 2))
    for env in range(num_envs):
        for i in range(length):
            rows = [j for j in range(i, length) if episodes[j, env] == episodes[i, env]]
            for j in rows:
                future, final = 1.0 / len(rows), float(j == rows[-1])
                chance = {"future": future, "final": final, "mixed": (future + final) / 2.0}[strategy]
                joint[env, i, j] = np.array([1.0 - share, share]) * chance / (length * num_envs)
    return joint


# Networks.


def critic_values(critics: Any, state: np.ndarray, action: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
    """Q_1 and Q_2 of every row."""
    inputs = np.concatenate([state, action, goal], axis=-1)
    each = [jax.tree.map(lambda leaf: leaf[which], critics) for which in range(2)]  # noqa: B023
    return [networks.encoder(inputs, critic)[:, 0] for critic in each]


def deterministic_action(actor: Any, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """tanh of the head."""
    return np.tanh(networks.affine(networks.trunk(np.concatenate([state, goal], axis=-1), actor.trunk), actor.head))


def gaussian_action(actor: Any, state: np.ndarray, goal: np.ndarray, noise: np.ndarray):
    """tanh(mean + sigma noise), and the logarithm of its probability density."""
    mean, log_std = networks.policy(state, goal, actor)
    action = np.tanh(mean + np.exp(log_std) * noise)
    return action, networks.tanh_gaussian_log_prob(action, mean, log_std)


# Targets and losses; `rows` is a StepBatch of NumPy arrays.


def targets(rows: Any, future: np.ndarray, indices: tuple[int, ...], radius: float, discount: float) -> np.ndarray:
    """Row by row: 1 if the next state's goal part is nearer to the goal than the radius, and what the future adds."""
    found = []
    for next_state, goal, terminated, value in zip(rows.next_state, rows.goal, rows.terminated, future, strict=True):
        distance = sum((next_state[index] - wanted) ** 2 for index, wanted in zip(indices, goal, strict=True)) ** 0.5
        found.append((1.0 if distance < radius else 0.0) + (0.0 if terminated else discount * value))
    return np.array(found)


def critic_loss(critics: Any, rows: Any, target: np.ndarray) -> float:
    """0.5 mean over rows and both critics of (Q_k - y)^2."""
    first, second = critic_values(critics, rows.state, rows.action, rows.goal)
    return float(0.5 * (np.mean((first - target) ** 2) + np.mean((second - target) ** 2)) / 2.0)


def sac_future(actor: Any, critics: Any, temperature: float, rows: Any, noise: np.ndarray) -> np.ndarray:
    """min_k Q_k(s', a') - alpha log pi(a' | s'), a' from the policy."""
    action, log_prob = gaussian_action(actor, rows.next_state, rows.goal, noise)
    return np.minimum(*critic_values(critics, rows.next_state, action, rows.goal)) - temperature * log_prob


def sac_actor_loss(actor: Any, critics: Any, temperature: float, rows: Any, noise: np.ndarray) -> float:
    """mean[alpha log pi(a | s) - min_k Q_k(s, a)]."""
    action, log_prob = gaussian_action(actor, rows.state, rows.goal, noise)
    value = np.minimum(*critic_values(critics, rows.state, action, rows.goal))
    return float(np.mean(temperature * log_prob - value))


def td3_action(actor: Any, rows: Any, noise: np.ndarray, limit: float) -> np.ndarray:
    """The actor's action at s' with noise cut at the limit, brought back into [-1, 1]."""
    cut = np.maximum(np.minimum(noise, limit), -limit)
    return np.maximum(np.minimum(deterministic_action(actor, rows.next_state, rows.goal) + cut, 1.0), -1.0)


def td3_future(actor: Any, critics: Any, rows: Any, noise: np.ndarray, limit: float) -> np.ndarray:
    """min_k Q_k(s', a'), a' as `td3_action`."""
    return np.minimum(*critic_values(critics, rows.next_state, td3_action(actor, rows, noise, limit), rows.goal))


def td3_actor_loss(actor: Any, critics: Any, rows: Any) -> float:
    """-mean Q_1(s, pi(s))."""
    action = deterministic_action(actor, rows.state, rows.goal)
    return float(-np.mean(critic_values(critics, rows.state, action, rows.goal)[0]))


# Optimal values of finite worlds with two moves, chosen by the sign of the action.


def greedy(values: np.ndarray) -> np.ndarray:
    """V [s, g] of Q [s, move, g]: the better move's."""
    return values.max(axis=1)


def softly_greedy(temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """V of the best tanh-Gaussian: max over its mean and deviation of P(a > 0) Q_1 + P(a <= 0) Q_0 + alpha H.

    Expectations by Gauss-Hermite quadrature; H is the entropy of the action's density on [-1, 1].
    """
    deviation, ratio = np.meshgrid(np.exp(np.linspace(-3.0, 1.5, 181)), np.linspace(-5.0, 5.0, 401), indexing="ij")
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    u = (deviation * ratio)[..., None] + deviation[..., None] * nodes
    log_slope = 2.0 * (np.log(2.0) - np.abs(u) - np.log1p(np.exp(-2.0 * np.abs(u))))  # log(1 - tanh(u)^2)
    entropy = 0.5 * np.log(2.0 * np.pi * np.e) + np.log(deviation) + (log_slope * weights).sum(-1) / weights.sum()
    upward, best = special.ndtr(ratio[0]), entropy.max(axis=0)  # P(a > 0) depends on the ratio alone

    def value(values: np.ndarray) -> np.ndarray:
        low, high = values[:, 0, :, None], values[:, 1, :, None]
        return ((1.0 - upward) * low + upward * high + temperature * best).max(axis=-1)

    return value


def optimal_values(
    successor: np.ndarray,
    future: np.ndarray,
    discount: float,
    value: Callable[[np.ndarray], np.ndarray] = greedy,
) -> np.ndarray:
    """Q[s, move, g] by value iteration: 1 for arriving at g, and `future` [s, move] of the discounted V from there."""
    states = len(successor)
    arrival = np.eye(states)[successor]
    values = np.zeros((states, 2, states))
    for _ in range(round(40.0 / (1.0 - discount))):
        values = arrival + discount * future[..., None] * value(values)[successor]
    return values

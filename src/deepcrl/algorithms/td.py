"""What the temporal-difference algorithms share: sparse rewards, hindsight experience replay, twin critics.

The reward of a step is 1 if its outcome, the true next state, is a success, else 0: the value of a policy is its
discounted time at goal. Success is the task's own measure; for Gymnasium environments, whose own JAX cannot compute,
the success radius stands for it. Success ends no episode. A terminated step has no future; a truncated one is
bootstrapped, as only the time limit ended it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.algorithms import parts
from deepcrl.algorithms.base import Algorithm, Probes, TrunkView
from deepcrl.config import AgentConfig, Config, ConfigError, NetworkConfig
from deepcrl.envs.protocol import EnvSpec, grade
from deepcrl.nn.encoder import Encoder
from deepcrl.replay import buffer, hindsight
from deepcrl.types import Metrics, StepBatch

COLUMNS = ("state", "action", "goal", "next_state", "terminated")


@dataclass(frozen=True)
class TDConfig(AgentConfig):
    """Settings that SAC and TD3 share; docs/baselines.md says where they are not JaxGCRL's."""

    discount: float = 0.99
    """Gamma of the value, the discounted time at goal."""
    critic_learning_rate: float = 3e-4
    """Adam learning rate of both critics, which share one optimiser."""
    target_rate: float = 0.005
    """Weight of the online network in each moving-average update of its target network (tau)."""
    her_share: float = 0.0
    """Share of a batch whose commanded goal is replaced by one that its trajectory achieved then or later."""
    her: hindsight.HerStrategy = "future"
    """Which later outcome: "future" any, uniformly; "final" the trajectory's last; "mixed" either, with equal chance.
    Used only with her_share above 0."""


def check(config: Config, spec: EnvSpec) -> None:
    """Raise ConfigError for settings or an environment that these algorithms cannot run with."""
    if spec.grades is None and spec.success_radius == 0.0:
        raise ConfigError(
            f"agent.algorithm = {config.agent.algorithm!r} needs a reward for every goal, and {config.env.name} has no "
            "success radius (Gymnasium: distance_threshold) to tell it by"
        )
    parts.check(config, ranks=True)
    parts.check_share(config, "her_share")
    parts.check_share(config, "target_rate")
    settings = config.agent
    assert isinstance(settings, TDConfig)
    if settings.target_rate == 0.0:
        raise ConfigError("agent.target_rate = 0.0 must be more than 0: the targets would never move")


def init_critics(key: PRNGKeyArray, spec: EnvSpec, network: NetworkConfig) -> Encoder:
    """Two critics Q(s, a, g) as one network whose leaves have a leading axis [2]."""
    size = spec.state_size + spec.action_size + spec.goal_size
    return jax.vmap(lambda k: Encoder.init(k, size, network, 1))(jax.random.split(key, 2))


def values(critics: Encoder, state: Array, action: Array, goal: Array) -> Float[Array, "2 B"]:
    """Both critics' values."""
    inputs = jnp.concatenate([state, action, goal], axis=-1)
    return jax.vmap(lambda critic: critic(inputs)[..., 0])(critics)


def min_value(critics: Encoder, state: Array, action: Array, goal: Array) -> Float[Array, "B"]:
    """The smaller of the two critics' values."""
    return jnp.min(values(critics, state, action, goal), axis=0)


def rewards(spec: EnvSpec, batch: StepBatch) -> Float[Array, "B"]:
    """1 where the step's outcome is at the goal, else 0."""
    achieved = spec.achieved_goal(batch.next_state)
    return grade(spec, achieved, batch.goal)[1].astype(jnp.float32)


def targets(spec: EnvSpec, discount: float, batch: StepBatch, future: Float[Array, "B"]) -> Float[Array, "B"]:
    """r + gamma (1 - terminated) V(s'), with V(s') as given."""
    return rewards(spec, batch) + discount * (1.0 - batch.terminated.astype(jnp.float32)) * future


def critic_loss(critics: Encoder, batch: StepBatch, target: Float[Array, "B"]) -> Float[Array, ""]:
    """Half the mean squared error of both critics."""
    return 0.5 * jnp.mean(jnp.square(values(critics, batch.state, batch.action, batch.goal) - target))


def draw(config: TDConfig, key: PRNGKeyArray, replay: buffer.Replay, shape: tuple[int, ...]) -> hindsight.Relabelled:
    """Draw steps, and for a share of them the same or a later step whose achieved goal they get."""
    return hindsight.sample_relabelled(key, replay, shape, config.her, config.her_share)


def relabel(spec: EnvSpec, replay: buffer.Replay, rows: hindsight.Relabelled) -> StepBatch:
    """Gather the steps with their goals, commanded or achieved."""
    commanded = buffer.gather(replay, "goal", rows.time, rows.env)
    achieved: Array = spec.achieved_goal(buffer.gather(replay, "next_state", rows.outcome, rows.env))
    return StepBatch(
        state=buffer.gather(replay, "state", rows.time, rows.env),
        action=buffer.gather(replay, "action", rows.time, rows.env),
        goal=jnp.where(rows.relabelled[..., None], achieved, commanded),
        next_state=buffer.gather(replay, "next_state", rows.time, rows.env),
        terminated=buffer.gather(replay, "terminated", rows.time, rows.env)[..., 0] > 0,
    )


def trunks(agent: Any, state: Array, action: Array, goal: Array) -> dict[str, TrunkView]:
    """The actor's trunk and that of the first critic."""
    pairs = agent.critics, parts.first_moment(agent.critic_opt)
    critic, gradient = (jax.tree.map(lambda leaf: leaf[0], pair) for pair in pairs)
    return {
        "actor": parts.trunk_view(agent.actor, parts.first_moment(agent.actor_opt), state, goal),
        "critic": parts.trunk_view(critic, gradient, state, action, goal),
    }


def record(spec: EnvSpec, config: TDConfig, **own: Callable) -> Algorithm:
    """Complete an algorithm from its own `init`, `act` and `update`.

    Its agent must have the fields `actor`, `critics`, `actor_opt` and `critic_opt`.
    """
    return Algorithm(
        columns=COLUMNS,
        draw=lambda key, replay, shape: draw(config, key, replay, shape),
        relabel=lambda replay, rows: relabel(spec, replay, rows),
        diagnose=lambda agent, batch: diagnose(spec, agent.critics, batch),
        probes=Probes(value=value, trunks=trunks),
        **own,
    )


def value(agent: Any, state: Array, action: Array, goal: Array) -> Float[Array, "B"]:
    """What ranks actions: the smaller of the critics' values."""
    return min_value(agent.critics, state, action, goal)


def diagnose(spec: EnvSpec, critics: Encoder, batch: StepBatch) -> Metrics:
    """Mean value, how far the two critics are apart, and the share of rewarded steps, on one batch."""
    both = values(critics, batch.state, batch.action, batch.goal)
    return {
        "value": jnp.mean(both),
        "value_gap": jnp.mean(jnp.abs(both[0] - both[1])),
        "reward": jnp.mean(rewards(spec, batch)),
    }

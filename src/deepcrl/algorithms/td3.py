"""Twin delayed deterministic policy gradient with hindsight experience replay (Fujimoto et al., 2018).

Read top to bottom: settings, agent, update, acting, and the record that joins them.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from deepcrl.algorithms import parts, td
from deepcrl.algorithms.base import Algorithm
from deepcrl.config import Config, ConfigError
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn.encoder import Encoder
from deepcrl.nn.policy import DeterministicPolicy
from deepcrl.types import Metrics, StepBatch


@dataclass(frozen=True)
class TD3Config(td.TDConfig):
    """Settings of TD3. Noise is added to actions, which are then clipped to [-1, 1]."""

    policy_delay: int = 2
    """Critic updates per update of the actor and of all targets."""
    exploration_noise: float = 0.4
    """Standard deviation of the noise on actions of the modes "sample" and "best_of_K"."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target policy's actions."""
    noise_clip: float = 0.5
    """The noise on the target policy's actions is clipped to ± this."""


class TD3Agent(NamedTuple):
    """Networks and optimiser states. `critics` and `target_critics` have a leading axis [2]."""

    actor: DeterministicPolicy
    target_actor: DeterministicPolicy
    critics: Encoder
    target_critics: Encoder
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    updates: Int[Array, ""]
    """Critic updates done."""


def check(config: Config, spec: EnvSpec) -> TD3Config:
    """The agent's settings. Raises ConfigError for those, or an environment, that this algorithm cannot run with."""
    td.check(config, spec)
    settings = config.agent
    assert isinstance(settings, TD3Config)
    parts.check_count(settings, "policy_delay", 1)
    for name in ("exploration_noise", "target_noise", "noise_clip"):
        if not 0.0 <= getattr(settings, name) < math.inf:
            raise ConfigError(f"agent.{name} = {getattr(settings, name)} must be 0 or more, and finite")
    return settings


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """TD3 for an environment of these sizes. Raises ConfigError for settings it cannot run with."""
    settings, network = check(config, spec), config.network
    actor_adam = parts.adam(settings.actor_learning_rate, settings)
    critic_adam = parts.adam(settings.critic_learning_rate, settings)

    def init(key: PRNGKeyArray) -> TD3Agent:
        actor_key, critic_key = jax.random.split(key)
        actor = DeterministicPolicy.init(actor_key, spec.state_size, spec.goal_size, spec.action_size, network)
        critics = td.init_critics(critic_key, spec, network)
        return TD3Agent(
            actor,
            jax.tree.map(jnp.copy, actor),
            critics,
            jax.tree.map(jnp.copy, critics),
            actor_adam.init(actor),  # pyright: ignore[reportArgumentType]  (a module is a pytree)
            critic_adam.init(critics),  # pyright: ignore[reportArgumentType]
            jnp.zeros((), jnp.int32),
        )

    def update(agent: TD3Agent, batch: StepBatch, key: PRNGKeyArray) -> tuple[TD3Agent, Metrics]:
        """Step the critics; after every `policy_delay` such steps also the actor, then all target networks."""
        target = smoothed_targets(agent, batch, key)
        critic_loss, critic_grads = jax.value_and_grad(td.critic_loss)(agent.critics, batch, target)
        critics, critic_opt = parts.step(critic_adam, agent.critics, agent.critic_opt, critic_grads)
        agent = agent._replace(critics=critics, critic_opt=critic_opt, updates=agent.updates + 1)
        actor_loss, actor_grads = jax.value_and_grad(actor_loss_fn)(agent.actor, agent.critics, batch)
        agent = jax.lax.cond(
            agent.updates % settings.policy_delay == 0, delayed, lambda agent, _: agent, agent, actor_grads
        )
        return agent, {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "actor_grad_norm": parts.global_norm(actor_grads),
            "critic_grad_norm": parts.global_norm(critic_grads),
        }

    def delayed(agent: TD3Agent, actor_grads: DeterministicPolicy) -> TD3Agent:
        actor, actor_opt = parts.step(actor_adam, agent.actor, agent.actor_opt, actor_grads)
        return agent._replace(
            actor=actor,
            actor_opt=actor_opt,
            target_actor=parts.moving_average(agent.target_actor, actor, settings.target_rate),
            target_critics=parts.moving_average(agent.target_critics, agent.critics, settings.target_rate),
        )

    def smoothed_targets(agent: TD3Agent, batch: StepBatch, key: PRNGKeyArray) -> Array:
        """y = r + gamma (1 - terminated) min_k Qbar_k(s', clip(pibar(s') + clipped noise, -1, 1))."""
        noise = settings.target_noise * jax.random.normal(key, batch.action.shape)
        noise = jnp.clip(noise, -settings.noise_clip, settings.noise_clip)
        action = jnp.clip(agent.target_actor(batch.next_state, batch.goal) + noise, -1.0, 1.0)
        future = td.min_value(agent.target_critics, batch.next_state, action, batch.goal)
        return td.targets(spec, settings.discount, batch, future)

    def actor_loss_fn(actor: DeterministicPolicy, critics: Encoder, batch: StepBatch) -> Array:
        """-mean Q_1(s, pi(s, g), g)."""
        return -jnp.mean(td.values(critics, batch.state, actor(batch.state, batch.goal), batch.goal)[0])

    def act(agent: TD3Agent, state: Array, goal: Array, key: PRNGKeyArray, mode: str) -> Array:
        kind, candidates = parts.parse_mode(mode, "mode")
        action = agent.actor(state, goal)

        def explored(key: PRNGKeyArray) -> Array:
            return jnp.clip(action + settings.exploration_noise * jax.random.normal(key, action.shape), -1.0, 1.0)

        if kind == "mean":
            return action
        if kind == "sample":
            return explored(key)
        return parts.best_of(agent, state, goal, explored, jax.random.split(key, candidates), td.value)

    return td.record(spec, settings, init=init, act=act, update=update)

"""Soft actor-critic with hindsight experience replay (Haarnoja et al., 2018).

Read top to bottom: settings, agent, update, losses, and the record that joins them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.algorithms import parts, td
from deepcrl.algorithms.base import Algorithm
from deepcrl.config import Config
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn import policy
from deepcrl.nn.encoder import Encoder
from deepcrl.nn.policy import Policy
from deepcrl.types import Metrics, StepBatch


@dataclass(frozen=True)
class SACConfig(td.TDConfig):
    """Settings of soft actor-critic."""

    temperature_learning_rate: float = 3e-4
    """Adam learning rate of the log-temperature."""
    entropy_coefficient: float = 0.5
    """The target entropy is minus this times the action size."""


class SACAgent(NamedTuple):
    """Networks, temperature and optimiser states. `critics` and `targets` have a leading axis [2]."""

    actor: Policy
    critics: Encoder
    targets: Encoder
    log_temperature: Float[Array, ""]
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    temperature_opt: optax.OptState


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """SAC for an environment of these sizes. Raises ConfigError for settings it cannot run with."""
    td.check(config, spec)
    settings, network = config.agent, config.network
    assert isinstance(settings, SACConfig)
    actor_adam = parts.adam(settings.actor_learning_rate, settings)
    critic_adam = parts.adam(settings.critic_learning_rate, settings)
    temperature_adam = parts.adam(settings.temperature_learning_rate, settings)
    target_entropy = -settings.entropy_coefficient * spec.action_size

    def init(key: PRNGKeyArray) -> SACAgent:
        actor_key, critic_key = jax.random.split(key)
        actor = Policy.init(actor_key, spec.state_size, spec.goal_size, spec.action_size, network)
        critics = td.init_critics(critic_key, spec, network)
        log_temperature = jnp.zeros(())
        return SACAgent(
            actor,
            critics,
            jax.tree.map(jnp.copy, critics),
            log_temperature,
            actor_adam.init(actor),  # pyright: ignore[reportArgumentType]  (a module is a pytree)
            critic_adam.init(critics),  # pyright: ignore[reportArgumentType]
            temperature_adam.init(log_temperature),
        )

    def update(agent: SACAgent, batch: StepBatch, key: PRNGKeyArray) -> tuple[SACAgent, Metrics]:
        """Step critics, actor and temperature, all from the old parameters, then the target networks."""
        actor_key, target_key = jax.random.split(key)
        target = jax.lax.stop_gradient(soft_targets(agent, batch, target_key))
        critic_loss, critic_grads = jax.value_and_grad(td.critic_loss)(agent.critics, batch, target)
        (actor_loss, entropy), actor_grads = jax.value_and_grad(actor_loss_fn, has_aux=True)(
            agent.actor, agent.critics, agent.log_temperature, batch, actor_key
        )
        log_temperature, temperature_opt, tuned = parts.tune_temperature(
            temperature_adam, agent.log_temperature, agent.temperature_opt, entropy, target_entropy
        )
        actor, actor_opt = parts.step(actor_adam, agent.actor, agent.actor_opt, actor_grads)
        critics, critic_opt = parts.step(critic_adam, agent.critics, agent.critic_opt, critic_grads)
        targets = parts.moving_average(agent.targets, critics, settings.target_rate)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            **tuned,
            "actor_grad_norm": parts.global_norm(actor_grads),
            "critic_grad_norm": parts.global_norm(critic_grads),
        }
        return SACAgent(actor, critics, targets, log_temperature, actor_opt, critic_opt, temperature_opt), metrics

    def soft_targets(agent: SACAgent, batch: StepBatch, key: PRNGKeyArray) -> Array:
        """y = r + gamma (1 - terminated) (min_k Qbar_k(s', a') - alpha log pi(a' | s')), a' from the policy."""
        action, log_prob = policy.sample_with_log_prob(agent.actor(batch.next_state, batch.goal), key)
        future = td.min_value(agent.targets, batch.next_state, action, batch.goal)
        return td.targets(spec, settings.discount, batch, future - jnp.exp(agent.log_temperature) * log_prob)

    def actor_loss_fn(
        actor: Policy, critics: Encoder, log_temperature: Array, batch: StepBatch, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        action, log_prob = policy.sample_with_log_prob(actor(batch.state, batch.goal), key)
        value = td.min_value(critics, batch.state, action, batch.goal)
        return jnp.mean(jnp.exp(log_temperature) * log_prob - value), -jnp.mean(log_prob)

    return td.record(
        spec, settings, init=init, act=parts.gaussian_act(lambda agent: agent.actor, td.value), update=update
    )

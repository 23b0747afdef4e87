"""Imitation of the agent's own data: a step's action is the label for a goal that its trajectory reached later.

GCBC draws that goal geometrically, GCSL (Ghosh et al., 2021) uniformly over the rest of the trajectory. `max_entropy`
also keeps the policy's entropy at a target. There is no critic. Read top to bottom: settings, agent, update, losses,
record.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.algorithms import parts
from deepcrl.algorithms.base import Algorithm, Probes
from deepcrl.config import AgentConfig, Config, ConfigError
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn import policy
from deepcrl.nn.policy import Policy
from deepcrl.replay import hindsight
from deepcrl.types import Batch, Metrics

ACTION_LIMIT = 1.0 - 1e-6
"""Stored actions are clipped to ± this before arctanh, which is infinite at ±1."""


@dataclass(frozen=True)
class GCBCConfig(AgentConfig):
    """Settings of GCBC and GCSL."""

    discount: float = 0.99
    """Gamma of the geometric distribution over future goals; used only with goal_sampling "geometric"."""
    goal_sampling: hindsight.FutureDistribution = "geometric"
    """Which later state of the trajectory is the goal: "geometric", "uniform", or "final", its last one."""
    max_entropy: bool = False
    """Add temperature times log-probability of the policy's own actions to the loss; the temperature is learnt."""
    temperature_learning_rate: float = 3e-4
    """Adam learning rate of the log-temperature; used only with max_entropy."""
    entropy_coefficient: float = 0.5
    """The target entropy is minus this times the action size; used only with max_entropy."""


class GCBCAgent(NamedTuple):
    """Policy, temperature (max_entropy only) and optimiser states."""

    actor: Policy
    log_temperature: Float[Array, ""] | None
    actor_opt: optax.OptState
    temperature_opt: optax.OptState | None


def check(config: Config) -> GCBCConfig:
    """The agent's settings. Raises ConfigError for those that this algorithm cannot run with."""
    parts.check(config, ranks=False)
    for name in ("critic_depth", "critic_width"):
        if (value := getattr(config.network, name)) is not None:
            raise ConfigError(f"network.{name} = {value} must be None: {config.agent.algorithm} has no critic")
    assert isinstance(config.agent, GCBCConfig)
    return config.agent


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """GCBC or GCSL for an environment of these sizes. Raises ConfigError for settings it cannot run with."""
    settings, network = check(config), config.network
    actor_adam = parts.adam(settings.actor_learning_rate, settings)
    temperature_adam = parts.adam(settings.temperature_learning_rate, settings)
    target_entropy = -settings.entropy_coefficient * spec.action_size

    def init(key: PRNGKeyArray) -> GCBCAgent:
        actor = Policy.init(key, spec.state_size, spec.goal_size, spec.action_size, network)
        actor_opt = actor_adam.init(actor)  # pyright: ignore[reportArgumentType]  (a module is a pytree)
        if not settings.max_entropy:
            return GCBCAgent(actor, None, actor_opt, None)
        log_temperature = jnp.zeros(())
        return GCBCAgent(actor, log_temperature, actor_opt, temperature_adam.init(log_temperature))

    def update(agent: GCBCAgent, batch: Batch, key: PRNGKeyArray) -> tuple[GCBCAgent, Metrics]:
        (loss, entropy), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            agent.actor, agent.log_temperature, batch, key
        )
        actor, actor_opt = parts.step(actor_adam, agent.actor, agent.actor_opt, grads)
        agent = agent._replace(actor=actor, actor_opt=actor_opt)
        metrics = {"actor_loss": loss, "entropy": entropy, "actor_grad_norm": parts.global_norm(grads)}
        if agent.log_temperature is None or agent.temperature_opt is None:
            return agent, metrics
        log_temperature, temperature_opt, tuned = parts.tune_temperature(
            temperature_adam, agent.log_temperature, agent.temperature_opt, entropy, target_entropy
        )
        return agent._replace(log_temperature=log_temperature, temperature_opt=temperature_opt), metrics | tuned

    def loss_fn(actor: Policy, log_temperature: Array | None, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Array]:
        """mean[alpha log pi(b|s, g) - log pi(a|s, g)], a stored, b from the policy; without max_entropy alpha is 0."""
        gaussian = actor(batch.state, batch.goal)
        imitation = -jnp.mean(policy.log_prob(gaussian, unsquash(batch.action)))
        own = jnp.mean(policy.sample_with_log_prob(gaussian, key)[1])
        entropy_term = 0.0 if log_temperature is None else jnp.exp(log_temperature) * own
        return imitation + entropy_term, -own

    def diagnose(agent: GCBCAgent, batch: Batch) -> Metrics:
        """Root mean square error of the policy's deterministic action against the stored one, over all entries."""
        error = policy.mode(agent.actor(batch.state, batch.goal)) - batch.action
        return {"action_error": jnp.sqrt(jnp.mean(jnp.square(error)))}

    return Algorithm(
        columns=("state", "action"),
        init=init,
        act=parts.gaussian_act(lambda agent: agent.actor, None),
        draw=lambda key, replay, shape: hindsight.sample_futures(
            key, replay, shape, settings.goal_sampling, settings.discount
        ),
        relabel=partial(parts.relabel_pairs, spec),
        update=update,
        diagnose=diagnose,
        probes=Probes(
            trunks=lambda agent, state, action, goal: {
                "actor": parts.trunk_view(agent.actor, parts.first_moment(agent.actor_opt), state, goal)
            }
        ),
    )


def unsquash(action: Float[Array, "B A"]) -> Float[Array, "B A"]:
    """Pre-squash action u with tanh(u) = action, kept finite."""
    return jnp.arctanh(jnp.clip(action, -ACTION_LIMIT, ACTION_LIMIT))

"""Contrastive RL with deep residual networks (paper, section 3; docs/algorithm.md).

Read top to bottom: agent, losses, update, acting, relabelling, diagnostics, and the record that joins them.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl import machine
from deepcrl.algorithms import parts
from deepcrl.algorithms.base import Algorithm, Probes, TrunkView
from deepcrl.config import AgentConfig, Config, ConfigError
from deepcrl.contrastive.diagnostics import logit_diagnostics, representation_diagnostics
from deepcrl.contrastive.energy import COMPONENTS, ENERGIES, QUASIMETRICS
from deepcrl.contrastive.loss import LOSSES, PENALTY_AXES, logsumexp_penalty
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn import policy
from deepcrl.nn.encoder import Encoder
from deepcrl.nn.policy import Policy
from deepcrl.plan import check_memory
from deepcrl.replay import buffer, hindsight
from deepcrl.types import Batch, Metrics

EnergyName = Literal["norm", "l2", "l1", "dot", "cosine", "mrn", "iqe"]
LossName = Literal["forward", "backward", "symmetric", "binary", "flat"]


@dataclass(frozen=True)
class CRLConfig(AgentConfig):
    """Settings of contrastive RL. The defaults are the paper's, except `goal_sampling`, which is "window" there."""

    energy: EnergyName = "norm"
    """Similarity of two embeddings; "norm" is the paper's negative L2 distance; "mrn" and "iqe" are
    quasimetrics, for which the way there may be longer than the way back."""
    loss: LossName = "forward"
    """Contrastive loss; "forward" is the paper's InfoNCE over goals."""
    logsumexp_penalty: float = 0.1
    """Weight of the squared log-partition."""
    discount: float = 0.99
    """Gamma of the geometric distribution over future goals."""
    goal_sampling: hindsight.GoalSampling = "trajectory"
    """Where future goals are cut off: "trajectory" at the trajectory's end; "window" also at a random window's end, as
    in the paper; "absorbing" as "trajectory", but futures beyond a termination are the outcome "ended", so that an
    early end makes goals less likely."""
    end_aversion: float = 0.0
    """Weight of the outcome "ended" in the actor's loss; 1 maximises the log-odds of the goal against an early end.
    Needs goal_sampling "absorbing"."""
    random_goals: float = 0.0
    """Share of the actor's pairs whose goal is another pair's; the rest keep their hindsight goal. The paper's is 0."""
    window_length: int = 1000
    """Steps per window; used only with goal_sampling "window"."""
    critic_learning_rate: float = 3e-4
    """Adam learning rate of both encoders, which share one optimiser."""
    temperature_learning_rate: float = 3e-4
    """Adam learning rate of the log-temperature."""
    entropy_coefficient: float = 0.5
    """The target entropy is minus this times the action size."""


class Critic(NamedTuple):
    """phi(s, a) and psi(g); their energy is the critic's value."""

    phi: Encoder
    psi: Encoder
    ended: Float[Array, "R"] | None
    """Learnt embedding of the outcome "ended", in place of psi(g); None unless goal_sampling is "absorbing"."""


class CRLAgent(NamedTuple):
    """Networks, temperature and optimiser states. There are no target networks."""

    actor: Policy
    critic: Critic
    log_temperature: Float[Array, ""]
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    temperature_opt: optax.OptState


def check(config: Config) -> CRLConfig:
    """The agent's settings. Raises ConfigError for those that this algorithm cannot run with."""
    agent = config.agent
    assert isinstance(agent, CRLConfig)
    parts.check(config, ranks=True)
    parts.check_share(config, "random_goals")
    for name in ("logsumexp_penalty", "end_aversion"):
        if getattr(agent, name) < 0.0:
            raise ConfigError(f"agent.{name} = {getattr(agent, name)} must be 0 or more")
    if agent.end_aversion > 0.0 and agent.goal_sampling != "absorbing":
        raise ConfigError(
            f"agent.end_aversion = {agent.end_aversion} needs agent.goal_sampling = 'absorbing', not "
            f"{agent.goal_sampling!r}"
        )
    size = config.network.representation_size
    if agent.energy in QUASIMETRICS and size % (2 * COMPONENTS):
        raise ConfigError(
            f"network.representation_size = {size} must be a multiple of {2 * COMPONENTS} for agent.energy = "
            f"{agent.energy!r}"
        )
    parts.check_count(agent, "window_length", 2)
    batch = config.train.batch_size
    check_memory(f"train.batch_size = {batch}", 4 * batch**2, machine.memory())
    for name in ("prefill_steps", "replay_capacity"):
        if getattr(config.train, name) < 2:
            raise ConfigError(f"train.{name} = {getattr(config.train, name)} must be at least 2: a goal lies ahead")
    return agent


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """CRL for an environment of these sizes. Raises ConfigError for settings it cannot run with."""
    agent_config, network = check(config), config.network
    if spec.episode_length < 2:
        raise ConfigError(f"env.episode_length = {spec.episode_length} must be at least 2: a goal lies ahead")
    energy = ENERGIES[agent_config.energy]
    actor_adam = parts.adam(agent_config.actor_learning_rate, agent_config)
    critic_adam = parts.adam(agent_config.critic_learning_rate, agent_config)
    temperature_adam = parts.adam(agent_config.temperature_learning_rate, agent_config)
    absorbing = agent_config.goal_sampling == "absorbing"
    target_entropy = -agent_config.entropy_coefficient * spec.action_size

    def init(key: PRNGKeyArray) -> CRLAgent:
        actor_key, phi_key, psi_key = jax.random.split(key, 3)
        actor = Policy.init(actor_key, spec.state_size, spec.goal_size, spec.action_size, network)
        critic = Critic(
            phi=Encoder.init(phi_key, spec.state_size + spec.action_size, network),
            psi=Encoder.init(psi_key, spec.goal_size, network),
            ended=jnp.zeros(network.representation_size) if absorbing else None,
        )
        log_temperature = jnp.zeros(())
        return CRLAgent(
            actor,
            critic,
            log_temperature,
            actor_adam.init(actor),  # pyright: ignore[reportArgumentType]  (a module is a pytree)
            critic_adam.init(critic),  # pyright: ignore[reportArgumentType]
            temperature_adam.init(log_temperature),
        )

    def update(agent: CRLAgent, batch: Batch, key: PRNGKeyArray) -> tuple[CRLAgent, Metrics]:
        """One step of actor, temperature and critic, in this order, all from the old parameters."""
        # psi(g) serves both losses: the actor sees it as a constant, the critic's gradient returns through `pull_psi`.
        psi, pull_psi = jax.vjp(lambda net: net(batch.goal), agent.critic.psi)

        (actor_loss, entropy), actor_grads = jax.value_and_grad(actor_loss_fn, has_aux=True)(
            agent.actor, agent.critic.phi, (psi, agent.critic.ended), agent.log_temperature, batch, key
        )
        log_temperature, temperature_opt, tuned = parts.tune_temperature(
            temperature_adam, agent.log_temperature, agent.temperature_opt, entropy, target_entropy
        )
        critic_loss, (phi_grads, psi_cotangent, ended_grad) = jax.value_and_grad(critic_loss_fn, argnums=(0, 1, 2))(
            agent.critic.phi, psi, agent.critic.ended, batch
        )
        critic_grads = Critic(phi_grads, pull_psi(psi_cotangent)[0], ended_grad)

        actor, actor_opt = parts.step(actor_adam, agent.actor, agent.actor_opt, actor_grads)
        critic, critic_opt = parts.step(critic_adam, agent.critic, agent.critic_opt, critic_grads)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            **tuned,
            "actor_grad_norm": parts.global_norm(actor_grads),
            "phi_grad_norm": parts.global_norm(critic_grads.phi),
            "psi_grad_norm": parts.global_norm(critic_grads.psi),
        }
        return CRLAgent(actor, critic, log_temperature, actor_opt, critic_opt, temperature_opt), metrics

    def critic_loss_fn(phi_net: Encoder, psi: Array, ended: Array | None, batch: Batch) -> Array:
        logits = energy.pairwise(encode(phi_net, batch.state, batch.action), outcomes(psi, ended, batch))
        return contrastive_loss(agent_config, logits)

    def actor_loss_fn(
        actor: Policy,
        phi_net: Encoder,
        embeddings: tuple[Array, Array | None],
        log_temperature: Array,
        batch: Batch,
        key: PRNGKeyArray,
    ) -> tuple[Array, Array]:
        psi, ended = embeddings
        goal, psi = parts.mix_goals((batch.goal, psi), agent_config.random_goals)
        action, log_prob = policy.sample_with_log_prob(actor(batch.state, goal), key)
        phi = encode(phi_net, batch.state, action)
        value = energy.paired(phi, psi)
        if ended is not None and batch.ended is not None and agent_config.end_aversion:
            # Both energies are log-ratios up to the same constant for each (s, a), which cancels in their difference.
            # While nothing in the batch has ended, the embedding of "ended" may be untrained: it counts for nothing.
            weight = agent_config.end_aversion * jnp.any(batch.ended)
            value -= weight * energy.paired(phi, jnp.broadcast_to(ended, phi.shape))
        return jnp.mean(jnp.exp(log_temperature) * log_prob - value), -jnp.mean(log_prob)

    def draw(key: PRNGKeyArray, replay: buffer.Replay, shape: tuple[int, ...]) -> hindsight.Pairs:
        return hindsight.sample_pairs(
            key, replay, shape, agent_config.discount, agent_config.goal_sampling, agent_config.window_length
        )

    def diagnose(agent: CRLAgent, batch: Batch) -> Metrics:
        phi = encode(agent.critic.phi, batch.state, batch.action)
        psi = outcomes(agent.critic.psi(batch.goal), agent.critic.ended, batch)
        return logit_diagnostics(energy.pairwise(phi, psi), batch.ended) | representation_diagnostics(phi, psi)

    def value(agent: CRLAgent, state: Array, action: Array, goal: Array) -> Array:
        return energy.paired(encode(agent.critic.phi, state, action), agent.critic.psi(goal))

    def trunks(agent: CRLAgent, state: Array, action: Array, goal: Array) -> dict[str, TrunkView]:
        gradient = parts.first_moment(agent.critic_opt)
        return {
            "actor": parts.trunk_view(agent.actor, parts.first_moment(agent.actor_opt), state, goal),
            "phi": parts.trunk_view(agent.critic.phi, gradient.phi, state, action),
            "psi": parts.trunk_view(agent.critic.psi, gradient.psi, goal),
        }

    probes = Probes(
        value=value,
        embed_state_action=lambda agent, state, action: encode(agent.critic.phi, state, action),
        embed_goal=lambda agent, goal: agent.critic.psi(goal),
        trunks=trunks,
    )
    act = parts.gaussian_act(lambda agent: agent.actor, value)
    columns = ("state", "action", *(("terminated",) if absorbing else ()))
    relabel = partial(parts.relabel_pairs, spec)
    return Algorithm(columns, init, act, draw, relabel, update, diagnose, probes)


def encode(phi: Encoder, state: Float[Array, "B S"], action: Float[Array, "B A"]) -> Float[Array, "B R"]:
    """phi(s, a)."""
    return phi(jnp.concatenate([state, action], axis=-1))


def outcomes(psi: Float[Array, "B R"], ended: Float[Array, "R"] | None, batch: Batch) -> Float[Array, "B R"]:
    """Embedding of each row's outcome: psi(goal), or the learnt vector "ended" where `batch.ended`."""
    return psi if ended is None or batch.ended is None else jnp.where(batch.ended[:, None], ended, psi)


def contrastive_loss(config: CRLConfig, logits: Float[Array, "B B"]) -> Float[Array, ""]:
    """The chosen loss with its logsumexp penalty."""
    penalty = logsumexp_penalty(logits, PENALTY_AXES[config.loss])
    return LOSSES[config.loss](logits) + config.logsumexp_penalty * penalty

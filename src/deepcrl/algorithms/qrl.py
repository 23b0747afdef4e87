"""Quasimetric RL: the largest distance that one-step constraints allow (Wang et al., 2023).

d(phi(s), psi(g)) learns the least number of steps from a state to a goal. Random pairs are pushed apart, subject to
distances of at most 1 for a step and of 0 from a state to its own goal; by the triangle inequality, which a quasimetric
satisfies by construction, the largest such distance is the length of the shortest path. The policy minimises the
distance to the goal from the latent state that learnt dynamics predict for its action. Read top to bottom: settings,
agent, update, losses, and the record that joins them.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.algorithms import parts
from deepcrl.algorithms.base import Algorithm, Probes, TrunkView
from deepcrl.config import AgentConfig, Config, ConfigError
from deepcrl.contrastive.energy import COMPONENTS, iqe, mrn
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn import policy
from deepcrl.nn.encoder import Encoder
from deepcrl.nn.policy import Policy
from deepcrl.replay import buffer, hindsight
from deepcrl.types import Metrics

FIRST_MULTIPLIER = 0.01
"""Lagrange multiplier before the first update."""


@dataclass(frozen=True)
class QRLConfig(AgentConfig):
    """Settings of quasimetric RL; defaults of the authors' online runs, except the networks' learning rates."""

    energy: Literal["iqe", "mrn"] = "iqe"
    """The quasimetric: interval quasimetric embedding, or metric residual network."""
    push_offset: float = 15.0
    """Distance up to which random pairs are pushed apart with nearly full weight. Tasks whose goals are many more steps
    away need a larger one."""
    push_beta: float = 0.1
    """How sharply the push fades around the offset: its weight is sigmoid(beta (offset - d))."""
    epsilon: float = 0.25
    """Tolerance of the constraints: the mean squared excess of step distances over 1, plus the mean squared distance of
    states to their own goal, may reach epsilon^2."""
    multiplier_learning_rate: float = 1e-2
    """Adam learning rate of the Lagrange multiplier before its softplus."""
    dynamics_weight: float = 0.1
    """Weight of the latent dynamics' loss in the critic's loss."""
    critic_learning_rate: float = 3e-4
    """Adam learning rate of both encoders and the latent dynamics, which share one optimiser."""
    random_goals: float = 0.5
    """Share of the actor's rows whose goal is another row's; the rest keep their hindsight goal."""
    goal_sampling: hindsight.FutureDistribution = "uniform"
    """Which later state of the trajectory is the actor's hindsight goal: "geometric", "uniform", or "final", its last
    one. The distance has no discount and so favours no horizon, hence "uniform"."""
    discount: float = 0.99
    """Gamma of the geometric distribution over future goals; used only with goal_sampling "geometric"."""
    temperature_learning_rate: float = 3e-4
    """Adam learning rate of the log-temperature."""
    entropy_coefficient: float = 0.5
    """The target entropy is minus this times the action size."""


class QRLBatch(NamedTuple):
    """Single env steps with the true next state; `goal[i]` was reached after `state[i]` in the same trajectory."""

    state: Float[Array, "B S"]
    action: Float[Array, "B A"]
    next_state: Float[Array, "B S"]
    goal: Float[Array, "B G"]


class Critic(NamedTuple):
    """phi(s) and psi(g), whose distance is learnt, and dynamics(phi(s), a), the predicted change of phi(s)."""

    phi: Encoder
    psi: Encoder
    dynamics: Encoder


class QRLAgent(NamedTuple):
    """Networks, temperature, multiplier before its softplus, and optimiser states. There are no target networks."""

    actor: Policy
    critic: Critic
    log_temperature: Float[Array, ""]
    raw_multiplier: Float[Array, ""]
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    temperature_opt: optax.OptState
    multiplier_opt: optax.OptState


def check(config: Config) -> QRLConfig:
    """The agent's settings. Raises ConfigError for those that this algorithm cannot run with."""
    settings = config.agent
    assert isinstance(settings, QRLConfig)
    parts.check(config, ranks=True)
    parts.check_share(config, "random_goals")
    for name in ("push_offset", "push_beta", "epsilon", "dynamics_weight"):
        if not getattr(settings, name) > 0.0:
            raise ConfigError(f"agent.{name} = {getattr(settings, name)} must be above 0")
    rate = settings.multiplier_learning_rate
    if not 0.0 < rate < 1.0:
        raise ConfigError(f"agent.multiplier_learning_rate = {rate} must lie strictly between 0 and 1")
    size = config.network.representation_size
    if size % (2 * COMPONENTS):
        raise ConfigError(f"network.representation_size = {size} must be a multiple of {2 * COMPONENTS}")
    return settings


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """QRL for an environment of these sizes. Raises ConfigError for settings it cannot run with."""
    settings, network = check(config), config.network
    distance = {"iqe": iqe, "mrn": mrn}[settings.energy]
    actor_adam = parts.adam(settings.actor_learning_rate, settings)
    critic_adam = parts.adam(settings.critic_learning_rate, settings)
    temperature_adam = parts.adam(settings.temperature_learning_rate, settings)
    multiplier_adam = parts.adam(settings.multiplier_learning_rate, settings)
    target_entropy = -settings.entropy_coefficient * spec.action_size

    def init(key: PRNGKeyArray) -> QRLAgent:
        actor_key, phi_key, psi_key, dynamics_key = jax.random.split(key, 4)
        actor = Policy.init(actor_key, spec.state_size, spec.goal_size, spec.action_size, network)
        change = Encoder.init(dynamics_key, network.representation_size + spec.action_size, network)
        critic = Critic(
            phi=Encoder.init(phi_key, spec.state_size, network),
            psi=Encoder.init(psi_key, spec.goal_size, network),
            # With a zero head, every action is predicted to change nothing at first.
            dynamics=Encoder(change.trunk, jax.tree.map(jnp.zeros_like, change.head)),
        )
        log_temperature, raw_multiplier = jnp.zeros(()), jnp.log(jnp.expm1(FIRST_MULTIPLIER))
        return QRLAgent(
            actor,
            critic,
            log_temperature,
            raw_multiplier,
            actor_adam.init(actor),  # pyright: ignore[reportArgumentType]  (a module is a pytree)
            critic_adam.init(critic),  # pyright: ignore[reportArgumentType]
            temperature_adam.init(log_temperature),
            multiplier_adam.init(raw_multiplier),
        )

    def update(agent: QRLAgent, batch: QRLBatch, key: PRNGKeyArray) -> tuple[QRLAgent, Metrics]:
        """One step of critic, multiplier, actor and temperature, all from the old parameters."""
        (critic_loss, found), critic_grads = jax.value_and_grad(critic_loss_fn, has_aux=True)(
            agent.critic, jax.nn.softplus(agent.raw_multiplier), batch
        )
        multiplier_grad = jax.grad(multiplier_loss_fn)(agent.raw_multiplier, found["constraint_violation"])
        (actor_loss, entropy), actor_grads = jax.value_and_grad(actor_loss_fn, has_aux=True)(
            agent.actor, agent.critic, agent.log_temperature, batch, key
        )
        log_temperature, temperature_opt, tuned = parts.tune_temperature(
            temperature_adam, agent.log_temperature, agent.temperature_opt, entropy, target_entropy
        )
        actor, actor_opt = parts.step(actor_adam, agent.actor, agent.actor_opt, actor_grads)
        critic, critic_opt = parts.step(critic_adam, agent.critic, agent.critic_opt, critic_grads)
        raw_multiplier, multiplier_opt = parts.step(
            multiplier_adam, agent.raw_multiplier, agent.multiplier_opt, multiplier_grad
        )
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            **tuned,
            "multiplier": jax.nn.softplus(agent.raw_multiplier),
            **found,
            "actor_grad_norm": parts.global_norm(actor_grads),
            "critic_grad_norm": parts.global_norm(critic_grads),
        }
        new = QRLAgent(
            *(actor, critic, log_temperature, raw_multiplier),
            *(actor_opt, critic_opt, temperature_opt, multiplier_opt),
        )
        return new, metrics

    def critic_loss_fn(critic: Critic, multiplier: Array, batch: QRLBatch) -> tuple[Array, Metrics]:
        """mean softplus(beta (offset - d(s, g))) / beta over random pairs + multiplier (violation - epsilon^2), and
        the latent dynamics' loss.

        Both constraints share one multiplier: a path to a goal is a chain of steps whose last, the arrival, has length
        0, and at one price all of them give way alike.
        """
        # Stacked, so that encoder and distance are compiled once.
        z, z_next = critic.phi(jnp.stack([batch.state, batch.next_state]))
        own_goal = critic.psi(spec.achieved_goal(batch.next_state))
        random_goal = jnp.roll(own_goal, 1, axis=0)  # rows are drawn independently
        guess = predict(critic, z, batch.action)
        apart, step, arrival, there, back = distance(
            jnp.stack([z, z, z_next, guess, z_next]), jnp.stack([random_goal, z_next, own_goal, z_next, guess])
        )
        push = jnp.mean(jax.nn.softplus(settings.push_beta * (settings.push_offset - apart))) / settings.push_beta
        violation = jnp.mean(jnp.square(jax.nn.relu(step - 1.0))) + jnp.mean(jnp.square(arrival))
        dynamics_loss = 0.5 * jnp.mean(jnp.square(there) + jnp.square(back))
        loss = push + multiplier * (violation - settings.epsilon**2) + settings.dynamics_weight * dynamics_loss
        return loss, {
            "constraint_violation": violation,
            "push_distance": jnp.mean(apart),
            "dynamics_loss": dynamics_loss,
        }

    def multiplier_loss_fn(raw_multiplier: Array, violation: Array) -> Array:
        """Minus the Lagrangian: the multiplier rises while the constraints are violated by more than is allowed."""
        return -jax.nn.softplus(raw_multiplier) * (violation - settings.epsilon**2)

    def actor_loss_fn(
        actor: Policy, critic: Critic, log_temperature: Array, batch: QRLBatch, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        (goal,) = parts.mix_goals((batch.goal,), settings.random_goals)
        action, log_prob = policy.sample_with_log_prob(actor(batch.state, goal), key)
        left = distance(predict(critic, critic.phi(batch.state), action), critic.psi(goal))
        return jnp.mean(jnp.exp(log_temperature) * log_prob + left), -jnp.mean(log_prob)

    def relabel(replay: buffer.Replay, pairs: hindsight.Pairs) -> QRLBatch:
        """Take each step's goal from its future state: the goal that it achieves."""
        batch = parts.relabel_pairs(spec, replay, pairs)
        next_state = buffer.gather(replay, "next_state", pairs.time, pairs.env)
        return QRLBatch(state=batch.state, action=batch.action, next_state=next_state, goal=batch.goal)

    def diagnose(agent: QRLAgent, batch: QRLBatch) -> Metrics:
        """Mean distances: to the hindsight goal, of one step (ideally at most 1), to a state's own goal (ideally 0)."""
        z, z_next = agent.critic.phi(batch.state), agent.critic.phi(batch.next_state)
        own_goal = agent.critic.psi(spec.achieved_goal(batch.next_state))
        return {
            "distance": jnp.mean(distance(z, agent.critic.psi(batch.goal))),
            "step_distance": jnp.mean(distance(z, z_next)),
            "own_goal_distance": jnp.mean(distance(z_next, own_goal)),
        }

    def embed_state_action(agent: QRLAgent, state: Array, action: Array) -> Array:
        return predict(agent.critic, agent.critic.phi(state), action)

    def trunks(agent: QRLAgent, state: Array, action: Array, goal: Array) -> dict[str, TrunkView]:
        gradient = parts.first_moment(agent.critic_opt)
        return {
            "actor": parts.trunk_view(agent.actor, parts.first_moment(agent.actor_opt), state, goal),
            "phi": parts.trunk_view(agent.critic.phi, gradient.phi, state),
            "psi": parts.trunk_view(agent.critic.psi, gradient.psi, goal),
            "dynamics": parts.trunk_view(agent.critic.dynamics, gradient.dynamics, agent.critic.phi(state), action),
        }

    def value(agent: QRLAgent, state: Array, action: Array, goal: Array) -> Array:
        return -distance(embed_state_action(agent, state, action), agent.critic.psi(goal))

    return Algorithm(
        columns=("state", "action", "next_state"),
        init=init,
        act=parts.gaussian_act(lambda agent: agent.actor, value),
        draw=lambda key, replay, shape: hindsight.sample_futures(
            key, replay, shape, settings.goal_sampling, settings.discount
        ),
        relabel=relabel,
        update=update,
        diagnose=diagnose,
        probes=Probes(value, embed_state_action, lambda agent, goal: agent.critic.psi(goal), trunks),
    )


def predict(critic: Critic, z: Float[Array, "B R"], action: Float[Array, "B A"]) -> Float[Array, "B R"]:
    """The latent state after an action, z + change(z, a)."""
    return z + critic.dynamics(jnp.concatenate([z, action], axis=-1))

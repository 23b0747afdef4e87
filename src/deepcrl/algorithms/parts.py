"""What the algorithms share: optimisers, acting by a tanh-Gaussian policy, temperature, checks of settings."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.algorithms.base import TrunkView
from deepcrl.config import AgentConfig, Config, ConfigError
from deepcrl.envs.protocol import EnvSpec
from deepcrl.nn import policy
from deepcrl.nn.dense import project
from deepcrl.nn.encoder import check_network
from deepcrl.nn.policy import Policy
from deepcrl.replay import buffer, hindsight
from deepcrl.types import Batch, Metrics

Value = Callable[[Any, Array, Array, Array], Float[Array, "N"]]
"""(agent, state, action, goal) to the critic's value."""


def check(config: Config, *, ranks: bool) -> None:
    """Raise ConfigError for shared settings that cannot be run; `ranks` says whether a critic can rank actions."""
    check_network(config.network)
    agent = config.agent
    for mode, path in ((agent.explore, "agent.explore"), (config.evaluation.mode, "evaluation.mode")):
        if parse_mode(mode, path)[0] == "best" and not ranks:
            raise ConfigError(f"{path} = {mode!r} needs a critic, which {agent.algorithm} does not have")
    for name in ("actor", "critic", "temperature"):
        rate = getattr(agent, f"{name}_learning_rate", None)
        if rate is not None and not 0.0 < rate < 1.0:
            raise ConfigError(f"agent.{name}_learning_rate = {rate} must lie strictly between 0 and 1")
    if agent.max_grad_norm is not None and agent.max_grad_norm <= 0.0:
        raise ConfigError(f"agent.max_grad_norm = {agent.max_grad_norm} must be above 0, or None")
    check_count(agent, "warmup_updates", 0)
    discount = getattr(agent, "discount", None)
    if discount is not None and not 0.0 < np.float32(discount) < 1.0:
        raise ConfigError(f"agent.discount = {discount} must lie strictly between 0 and 1, in single precision too")


def check_count(agent: AgentConfig, name: str, least: int) -> None:
    """Raise ConfigError unless the agent's field lies between `least` and the largest 32-bit integer."""
    count, most = getattr(agent, name), 2**31 - 1
    if not least <= count <= most:
        raise ConfigError(f"agent.{name} = {count} must lie between {least} and {most}")


def check_share(config: Config, name: str) -> None:
    """Raise ConfigError unless the agent's field lies between 0 and 1, both included."""
    share = getattr(config.agent, name)
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f"agent.{name} = {share} must lie between 0 and 1")


def parse_mode(mode: str, path: str) -> tuple[str, int]:
    """Split an acting mode into a kind ("mean", "sample", "best") and a number of candidates. Raises ConfigError."""
    if mode in ("mean", "sample"):
        return mode, 1
    match = re.fullmatch(r"best_of_(\d+)", mode)
    if not match or int(match[1]) < 2:
        raise ConfigError(f"{path} = {mode!r} must be 'mean', 'sample' or 'best_of_K' with K >= 2")
    return "best", int(match[1])


def gaussian_act(actor: Callable[[Any], Policy], value: Value | None) -> Callable[..., Array]:
    """`Algorithm.act` of the tanh-Gaussian policy `actor(agent)`; `value` ranks the candidates of "best_of_K"."""

    def act(agent: Any, state: Array, goal: Array, key: PRNGKeyArray, mode: str) -> Array:
        kind, candidates = parse_mode(mode, "mode")
        gaussian = actor(agent)(state, goal)
        if kind == "mean":
            return policy.mode(gaussian)
        if kind == "sample":
            return policy.sample(gaussian, key)
        return best_of(
            agent, state, goal, lambda k: policy.sample(gaussian, k), jax.random.split(key, candidates), value
        )

    return act


def best_of(agent: Any, state: Array, goal: Array, draw: Callable, keys: PRNGKeyArray, value: Value | None) -> Array:
    """Draw one action per key by `draw(key)`; returns each row's best by `value`. Raises ConfigError if it is None."""
    if value is None:
        raise ConfigError("mode = 'best_of_K' needs a critic, which this algorithm does not have")
    actions = jax.vmap(draw)(keys)
    values = jax.vmap(lambda action: value(agent, state, action, goal))(actions)
    best = jnp.argmax(values, axis=0)
    return jnp.take_along_axis(actions, best[None, :, None], axis=0)[0]


def temperature_loss(log_temperature: Array, entropy: Array, target_entropy: float) -> Array:
    """exp(log alpha) (H - H_target): the temperature falls while the entropy is above its target."""
    return jnp.exp(log_temperature) * jax.lax.stop_gradient(entropy - target_entropy)


def tune_temperature(
    optimiser: optax.GradientTransformation,
    log_temperature: Array,
    opt_state: optax.OptState,
    entropy: Array,
    target_entropy: float,
) -> tuple[Array, optax.OptState, Metrics]:
    """Step the log-temperature; returns it and its optimiser state after the step, and metrics from before it."""
    loss, grad = jax.value_and_grad(temperature_loss)(log_temperature, entropy, target_entropy)
    metrics = {"temperature_loss": loss, "temperature": jnp.exp(log_temperature), "entropy": entropy}
    return *step(optimiser, log_temperature, opt_state, grad), metrics


def relabel_pairs(spec: EnvSpec, replay: buffer.Replay, pairs: hindsight.Pairs) -> Batch:
    """Steps and their hindsight goals: the goal part of the future state, which the agent did achieve."""
    return Batch(
        state=buffer.gather(replay, "state", pairs.time, pairs.env),
        action=buffer.gather(replay, "action", pairs.time, pairs.env),
        goal=spec.achieved_goal(buffer.gather(replay, "state", pairs.future, pairs.env)),
        ended=pairs.ended,
    )


def mix_goals(rows: tuple[Float[Array, "B *size"], ...], share: float) -> tuple[Array, ...]:
    """Replace the goals (and what goes with them) of the first round(share * B) rows by those of the row before.

    Rows are drawn independently, so a neighbour's goal is a random one. A share above 0 replaces at least one.
    """
    count = max(round(share * rows[0].shape[0]), int(share > 0.0))
    return tuple(jnp.concatenate([jnp.roll(x, 1, axis=0)[:count], x[count:]]) if count else x for x in rows)


def adam(rate: float, config: AgentConfig) -> optax.GradientTransformation:
    """Adam with the configured gradient clipping and warm-up; by default neither, as in the paper."""
    warm = config.warmup_updates
    schedule = optax.linear_schedule(rate / warm, rate, warm - 1) if warm > 1 else rate
    clip = [] if config.max_grad_norm is None else [optax.clip_by_global_norm(config.max_grad_norm)]
    return optax.chain(*clip, optax.adam(schedule)) if clip else optax.adam(schedule)


def step(optimiser: optax.GradientTransformation, params: Any, opt_state: Any, grads: Any) -> tuple[Any, Any]:
    """Take one optimiser step and normalise hyperspherical kernels again; returns (params, state)."""
    updates, opt_state = optimiser.update(grads, opt_state, params)
    return project(optax.apply_updates(params, updates)), opt_state


def moving_average(target: Any, online: Any, rate: float) -> Any:
    """Polyak averaging of target networks: (1 - rate) target + rate online."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, online)


def first_moment(opt_state: Any) -> Any:
    """Adam's first moment, a running mean of the gradients, with the structure of the parameters."""
    return optax.tree_utils.tree_get(opt_state, "mu")


def trunk_view(network: Any, gradient: Any, *inputs: Array) -> TrunkView:
    """View, for `Probes.trunks`, of the trunk of a network that is applied to the concatenated inputs."""
    return TrunkView(network.trunk, jnp.concatenate(inputs, axis=-1), gradient.trunk)


def global_norm(grads: Any) -> Float[Array, ""]:
    """L2 norm of all leaves together."""
    return jnp.sqrt(sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)), jnp.zeros(())))

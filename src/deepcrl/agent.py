"""A trained agent, loaded from its run folder: act, value, embeddings, fresh episodes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from deepcrl import checkpoint
from deepcrl.algorithms.base import TrunkView
from deepcrl.config import Config, ConfigError, override
from deepcrl.envs.protocol import Env
from deepcrl.evaluate import Episodes, make_evaluate, summarise
from deepcrl.program import Program, build, make_envs, run_key
from deepcrl.train import load_config
from deepcrl.types import Metrics

Which = Literal["latest", "best"]

# Evaluations asked for from outside draw from a stream of their own, apart from the run's.
OUTSIDE = 100


class LoadedAgent(NamedTuple):
    """What a run has learnt. States, actions and goals may be single vectors or batches of rows."""

    config: Config
    env: Env
    """The evaluation environment."""
    env_steps: int
    """Env steps the agent was trained for."""
    act: Callable[..., Float[np.ndarray, "*batch A"]]
    """(state, goal, *, mode="mean", seed=0) to actions in [-1, 1]; the modes are those of `evaluation.mode`."""
    value: Callable[[Array, Array, Array], Float[np.ndarray, "*batch"]]
    """(state, action, goal) to the critic's value, f(phi(s, a), psi(g))."""
    embed_state_action: Callable[[Array, Array], Float[np.ndarray, "*batch R"]]
    embed_goal: Callable[[Array], Float[np.ndarray, "*batch R"]]
    trunks: Callable[..., dict[str, TrunkView]] | None
    """(states, actions, goals) to the networks' trunks; None where the algorithm shows none."""
    episodes: Callable[..., Episodes]
    """(num_episodes, *, mode="mean", seed=0) to that many fresh episodes."""


def load_agent(run_dir: str | Path, which: Which | int = "latest", env: str | None = None) -> LoadedAgent:
    """Load an agent from a run folder: the latest or the best checkpoint, or that of a number of collections.

    Args:
        env: evaluate in this environment instead of the configured one; sizes must agree.

    Raises:
        ConfigError: when the folder holds no run or `env` does not fit it.
        CheckpointError: when no checkpoint can be used.
    """
    run_dir = Path(run_dir)
    config = load_config(run_dir)
    if env is not None:
        config = override(config, {"evaluation.env": env})
    program = build(config)
    folder = run_dir / "checkpoints"
    step = _step(folder, which)
    like = jax.eval_shape(program.algorithm.init, jax.random.key(0))
    agent, _ = checkpoint.restore(folder, step, like, part="agent")
    return wrap(program, agent, program.plan.env_steps(step))


def wrap(program: Program, agent: Any, env_steps: int) -> LoadedAgent:
    """The functions of `LoadedAgent` around an agent pytree."""
    algorithm, (_, env) = program.algorithm, make_envs(program.config, program.engine)
    probes = algorithm.probes
    act_jit = jax.jit(algorithm.act, static_argnums=4)

    def act(state: Array, goal: Array, *, mode: str = "mean", seed: int = 0) -> np.ndarray:
        rows, single = _rows(state, goal)
        action = np.asarray(act_jit(agent, *rows, jax.random.key(seed), mode))
        return action[0] if single else action

    def probe(function: Callable | None, name: str) -> Callable[..., np.ndarray]:
        if function is None:

            def missing(*inputs: Array) -> np.ndarray:
                raise ConfigError(f"agent.algorithm = {program.config.agent.algorithm!r} has no {name}")

            return missing
        compiled = jax.jit(function)

        def call(*inputs: Array) -> np.ndarray:
            rows, single = _rows(*inputs)
            found = np.asarray(compiled(agent, *rows))
            return found[0] if single else found

        return call

    def episodes(num_episodes: int, *, mode: str = "mean", seed: int = 0) -> Episodes:
        return make_evaluate(env, algorithm, mode, num_episodes)(agent, run_key(seed, OUTSIDE, 0))

    return LoadedAgent(
        config=program.config,
        env=env,
        env_steps=env_steps,
        act=act,
        value=probe(probes.value, "value"),
        embed_state_action=probe(probes.embed_state_action, "embed_state_action"),
        embed_goal=probe(probes.embed_goal, "embed_goal"),
        trunks=probes.trunks and partial(probes.trunks, agent),
        episodes=episodes,
    )


def evaluate(
    run_dir: str | Path,
    *,
    env: str | None = None,
    num_episodes: int = 128,
    mode: str = "mean",
    which: Which | int = "latest",
    seed: int = 0,
) -> Metrics:
    """Evaluate a run's agent on fresh episodes: time at goal, success, final distance, episode length, env steps.

    Raises as `load_agent` does, and ConfigError for a bad number of episodes.
    """
    if num_episodes < 1:
        raise ConfigError(f"num_episodes = {num_episodes} must be at least 1")
    agent = load_agent(run_dir, which, env)
    return {"env_steps": agent.env_steps, **summarise(agent.episodes(num_episodes, mode=mode, seed=seed))}


def _step(folder: Path, which: Which | int) -> int:
    if which == "latest":
        return checkpoint.newest(folder)
    if which == "best":
        return checkpoint.best(folder)
    if which not in checkpoint.steps(folder):
        raise checkpoint.CheckpointError(f"no checkpoint {which} in {folder}; there are {checkpoint.steps(folder)}")
    return int(which)


def _rows(*inputs: Array) -> tuple[list[np.ndarray], bool]:
    arrays = [np.asarray(value, np.float32) for value in inputs]
    single = all(array.ndim == 1 for array in arrays)
    if single:
        return [array[None] for array in arrays], True
    count = max(array.shape[0] for array in arrays if array.ndim > 1)
    return [np.broadcast_to(array, (count, array.shape[-1])) for array in arrays], False

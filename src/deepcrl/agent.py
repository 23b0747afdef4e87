"""A trained agent, loaded from its run folder: act, value, embeddings, fresh episodes."""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from deepcrl import checkpoint, machine
from deepcrl.algorithms import ALGORITHMS
from deepcrl.algorithms.base import Probes, TrunkView
from deepcrl.config import Config, ConfigError, override
from deepcrl.envs import registry
from deepcrl.envs.protocol import Env, EnvSpec
from deepcrl.evaluate import Episodes, Evaluate, make_evaluate, summarise
from deepcrl.folder import load_config
from deepcrl.plan import check_memory, check_seed
from deepcrl.program import Program, build, check_unchanged, run_key
from deepcrl.types import Metrics

Which = Literal["latest", "best"]

# Purpose of the keys of `LoadedAgent.episodes`, different from those of the run itself (program.py).
OUTSIDE = 100


class LoadedAgent(NamedTuple):
    """A run's trained agent. States, actions and goals may be single vectors or batches of rows.

    The functions, `trunks` apart, raise ConfigError for inputs that are not finite or not of the sizes in `env.spec`,
    for seeds outside 0 .. 2**32 - 1 and for what the algorithm does not have.
    """

    config: Config
    env: Env
    """The evaluation environment."""
    env_steps: int
    """Env steps the agent was trained for."""
    act: Callable[..., Float[np.ndarray, "*batch A"]]
    """(state, goal, *, mode="mean", seed=0) to actions in [-1, 1]; the modes are those of `evaluation.mode`."""
    value: Callable[[Array, Array, Array], Float[np.ndarray, "*batch"]]
    """(state, action, goal) to the critic's value: f(phi(s, a), psi(g)) in CRL, the smaller Q in SAC and TD3, minus the
    distance in QRL."""
    embed_state_action: Callable[[Array, Array], Float[np.ndarray, "*batch R"]]
    embed_goal: Callable[[Array], Float[np.ndarray, "*batch R"]]
    trunks: Callable[..., dict[str, TrunkView]] | None
    """(states, actions, goals) to the networks' trunks; None where the algorithm shows none."""
    episodes: Callable[..., Episodes]
    """(num_episodes, *, mode="mean", seed=0) to that many fresh episodes."""


def load_agent(run_dir: str | Path, which: Which | int = "latest", env: str | None = None) -> LoadedAgent:
    """Load an agent from a run folder: its latest or best checkpoint, or the one after `which` collections.

    Args:
        env: evaluate in this environment instead of the configured one; sizes must agree.

    Raises:
        ConfigError: when the folder holds no run, its configuration is not the checkpoint's, or `env` does not fit it.
        CheckpointError: when no checkpoint can be used.
    """
    run_dir = Path(run_dir)
    own = config = load_config(run_dir)
    if env is not None:
        config = override(own, {"evaluation.env": env})
    parts = _parts(config)
    program = parts.program
    folder = run_dir / "checkpoints"
    step = _step(folder, which)
    like = jax.eval_shape(program.algorithm.init, jax.random.key(0))
    agent, info = checkpoint.restore(folder, step, like, part="agent")
    check_unchanged(own, info, run_dir, step)
    return _wrap(parts, config, agent, program.plan.env_steps(step))


class _Parts(NamedTuple):
    """What agents of one configuration share, whatever their seeds, so that nothing is compiled twice."""

    program: Program
    env: Env
    act: Callable[..., Array]
    probes: Probes
    """Jitted, except `trunks`."""
    evaluate: Callable[[str, int], Evaluate]
    """(mode, number of episodes) to their evaluation."""
    made_of: tuple[Any, ...]
    """Rows of the environment and algorithm tables it was built from: a name may be registered anew."""


_latest: list[_Parts] = []
"""The last agent's, kept only if its environment is on the device: two agents must not step the same host environment.
"""


def _parts(config: Config) -> _Parts:
    """Build the parts, or reuse the last agent's if only the seed differs: reports of several seeds compile once."""
    config = dataclasses.replace(config, seed=0)
    engine = registry.resolve_engine(config.env.name, config.env.engine)
    evaluated = registry.lookup(config.evaluation.env or config.env.name, "evaluation.env")
    made_of = (registry.lookup(config.env.name), evaluated, ALGORITHMS.get(config.agent.algorithm))
    for latest in _latest:
        same = all(a is b for a, b in zip(made_of, latest.made_of, strict=True))
        if same and (config, engine) == (latest.program.config, latest.program.engine):
            return latest
    program = build(config, to_train=False)
    algorithm, env = program.algorithm, program.eval_env
    probes = algorithm.probes
    parts = _Parts(
        program,
        env,
        jax.jit(algorithm.act, static_argnums=4),
        Probes(
            probes.value and jax.jit(probes.value),
            probes.embed_state_action and jax.jit(probes.embed_state_action),
            probes.embed_goal and jax.jit(probes.embed_goal),
            probes.trunks,
        ),
        functools.cache(partial(make_evaluate, env, algorithm)),
        made_of,
    )
    _latest[:] = [parts] if env.on_device else []
    return parts


def _wrap(parts: _Parts, config: Config, agent: Any, env_steps: int) -> LoadedAgent:
    """Make the `LoadedAgent` of an agent pytree."""
    env, probes = parts.env, parts.probes
    sizes = {"state": env.spec.state_size, "action": env.spec.action_size, "goal": env.spec.goal_size}
    owner = config.evaluation.env or config.env.name

    def rows_of(inputs: dict[str, Any]) -> tuple[list[np.ndarray], bool]:
        return _rows([_array(name, value, sizes[name], owner) for name, value in inputs.items()], list(inputs))

    def act(state: Array, goal: Array, *, mode: str = "mean", seed: int = 0) -> np.ndarray:
        check_seed(seed)
        rows, single = rows_of({"state": state, "goal": goal})
        action = np.asarray(parts.act(agent, *rows, jax.random.key(seed), mode))
        return action[0] if single else action

    def probe(function: Callable | None, name: str, names: tuple[str, ...]) -> Callable[..., np.ndarray]:
        if function is None:

            def missing(*inputs: Array) -> np.ndarray:
                raise ConfigError(f"agent.algorithm = {config.agent.algorithm!r} has no {name}")

            return missing

        def call(*inputs: Array) -> np.ndarray:
            rows, single = rows_of(dict(zip(names, inputs, strict=True)))
            found = np.asarray(function(agent, *rows))
            return found[0] if single else found

        return call

    def episodes(num_episodes: int, *, mode: str = "mean", seed: int = 0) -> Episodes:
        check_episodes(num_episodes, env.spec)
        check_seed(seed)
        return parts.evaluate(mode, num_episodes)(agent, run_key(seed, OUTSIDE, 0))

    return LoadedAgent(
        config=config,
        env=env,
        env_steps=env_steps,
        act=act,
        value=probe(probes.value, "value", ("state", "action", "goal")),
        embed_state_action=probe(probes.embed_state_action, "embed_state_action", ("state", "action")),
        embed_goal=probe(probes.embed_goal, "embed_goal", ("goal",)),
        trunks=probes.trunks and partial(probes.trunks, agent),
        episodes=episodes,
    )


def evaluate(
    run_dir: str | Path,
    *,
    env: str | None = None,
    num_episodes: int = 128,
    mode: str | None = None,
    which: Which | int = "latest",
    seed: int = 0,
) -> Metrics:
    """Evaluate a run's agent on fresh episodes: time at goal, success, final distance, episode length, env steps.

    Args:
        mode: how it acts; None acts as in the run's own evaluations.

    Raises as `load_agent` does, and ConfigError for a bad number of episodes or seed.
    """
    check_episodes(num_episodes)
    check_seed(seed)
    agent = load_agent(run_dir, which, env)
    mode = mode or agent.config.evaluation.mode
    return {"env_steps": agent.env_steps, **summarise(agent.episodes(num_episodes, mode=mode, seed=seed))}


def check_episodes(count: int, spec: EnvSpec | None = None) -> None:
    """Raise ConfigError unless `count` is a positive whole number of episodes that, given `spec`, fit into memory."""
    if not isinstance(count, Integral) or count < 1:
        raise ConfigError(f"episodes = {count!r} must be a whole number, at least 1")
    if spec is not None:
        check_memory(f"episodes = {count}", 4 * count * spec.episode_length * spec.goal_size, machine.memory())


def _step(folder: Path, which: Which | int) -> int:
    if which == "latest":
        return checkpoint.newest(folder)
    if which == "best":
        return checkpoint.best(folder)
    if not isinstance(which, Integral):
        raise ConfigError(f"which = {which!r} must be 'latest', 'best' or a number of collections")
    if which not in checkpoint.steps(folder):
        raise checkpoint.CheckpointError(f"no checkpoint {which} in {folder}; there are {checkpoint.steps(folder)}")
    if problem := checkpoint.damage(folder, int(which)):
        raise checkpoint.CheckpointError(f"checkpoint {which} in {folder} is damaged ({problem})")
    return int(which)


def _array(name: str, value: Any, size: int, owner: str) -> np.ndarray:
    """Convert an input, a vector or rows of vectors, to float32. Raises ConfigError for wrong shapes or entries."""
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} = {value!r} must be numbers") from None
    if array.ndim not in (1, 2) or len(array) == 0:
        raise ConfigError(f"{name} has shape {array.shape}; it must be ({size},) or (rows, {size}), not empty")
    if array.shape[-1] != size:
        raise ConfigError(f"{name} has {array.shape[-1]} entries, {owner}'s has {size}")
    if not np.isfinite(array).all():
        raise ConfigError(f"{name} has an entry that is not finite")
    return array


def _rows(arrays: list[np.ndarray], names: list[str]) -> tuple[list[np.ndarray], bool]:
    """Broadcast arrays to equally many rows; returns them and whether all were single vectors. Raises ConfigError."""
    single = all(array.ndim == 1 for array in arrays)
    rows = [np.atleast_2d(array) for array in arrays]
    count = max(map(len, rows))
    if wrong := [f"{name} {len(array)}" for name, array in zip(names, rows) if len(array) not in (1, count)]:
        raise ConfigError(f"of {count} rows, {' and '.join(wrong)} are given; all must have as many, or one")
    return [np.broadcast_to(array, (count, array.shape[1])) for array in rows], single

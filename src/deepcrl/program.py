"""Builds the parts of a run from its configuration: its state, its random keys and its jitted functions.

Every random number comes from the seed and a counter, so checkpoints need no generator state, and a resumed run
continues to the same numbers.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from deepcrl import algorithms, machine
from deepcrl.algorithms import Algorithm
from deepcrl.algorithms.base import Agent
from deepcrl.collect import Collect, make_collect
from deepcrl.config import Config, ConfigError, config_id
from deepcrl.envs import registry
from deepcrl.envs.protocol import Env, EnvSpec, EnvState
from deepcrl.evaluate import EvaluateRuns, make_evaluate_runs
from deepcrl.plan import Plan, check_memory, plan
from deepcrl.replay import buffer
from deepcrl.types import Metrics, Transition

# Purposes of keys: every key of a run is made from the seed, a purpose and a counter.
INIT, RESET, COLLECT, LEARN, EVALUATE = range(5)


class TrainState(NamedTuple):
    """Everything that changes during a run, and nothing else: this is what a checkpoint holds."""

    agent: Agent
    env: EnvState
    replay: buffer.Replay
    sums: Metrics
    """Training metrics, summed over the collections since the last evaluation."""
    behind: Agent | None
    """The agent that does the next collection when collections and updates overlap; else None: `agent` does it."""


class Program(NamedTuple):
    """The jitted functions and fixed objects of one run. Functions are compiled at their first call."""

    config: Config
    engine: str
    """Physics engine in use: `env.engine`, or what "auto" resolved to."""
    plan: Plan
    algorithm: Algorithm
    env: Env
    eval_env: Env
    collect: Collect
    insert: Callable[[buffer.Replay, Transition], buffer.Replay]
    learn: Callable[[Agent, buffer.Replay, PRNGKeyArray], tuple[Agent, Metrics]]
    evaluate: tuple[EvaluateRuns, ...]
    """One function for the agent and one for each of its learners; each returns the episodes of every run."""
    seeds: tuple[int, ...]
    """Seeds of the runs trained together. With more than one, `collect`, `insert`, `learn` and `evaluate` are
    vectorised over runs: all their inputs, and the outputs of the first three, have a leading axis [runs]."""


def build(config: Config, seeds: Sequence[int] = (), engine: str | None = None, *, to_train: bool = True) -> Program:
    """Check the configuration and make the functions of its run; compiles nothing. Raises ConfigError.

    Args:
        seeds: one for each run to train at once; several need an environment on the device. Empty: the configured seed.
        engine: engine that the run began on; None: `env.engine`, with "auto" resolved on this machine.
        to_train: check that training fits into memory; to act, an agent needs no replay.
    """
    seeds = tuple(seeds) or (config.seed,)
    the_plan = plan(config)
    engine = registry.resolve_engine(config.env.name, engine or config.env.engine)
    env, eval_env = make_envs(config, engine)
    if config.train.overlap and env.on_device:
        raise ConfigError(
            f"train.overlap = True needs a host engine, such as mujoco; {config.env.name} runs on the device, "
            "where nothing is left to overlap"
        )
    if len(seeds) > 1 and not env.on_device:
        raise ConfigError(
            f"{config.env.name} steps on the host, one run after another: seeds cannot be trained at once"
        )

    def each(function: Any, donated: tuple[int, ...] = ()) -> Any:
        return function if len(seeds) == 1 else jax.jit(jax.vmap(function), donate_argnums=donated)

    algorithm = algorithms.build(config, env.spec)
    if to_train:
        _check_memory(config, the_plan, algorithm, env.spec, len(seeds))
    return Program(
        config=config,
        engine=engine,
        plan=the_plan,
        algorithm=algorithm,
        env=env,
        eval_env=eval_env,
        collect=make_collect(env, algorithm, config.agent.explore, config.train.unroll_length, len(seeds)),
        insert=each(buffer.jit_insert, (0,)),
        learn=each(make_learn(algorithm, the_plan.updates_per_collection, config.train.batch_size), (0,)),
        evaluate=tuple(
            make_evaluate_runs(eval_env, member, config.evaluation.mode, config.evaluation.num_envs, len(seeds))
            for member in algorithms.members(config, env.spec)
        ),
        seeds=seeds,
    )


def _check_memory(config: Config, the_plan: Plan, algorithm: Algorithm, spec: EnvSpec, runs: int) -> None:
    """Raise ConfigError if a part of known size (replay, networks, batch, candidates, episodes), times `runs`, exceeds
    all memory. Intermediate results are not counted, so what passes may still be too much."""
    train, evaluation, num_envs = config.train, config.evaluation, config.env.num_envs
    sizes = buffer.column_sizes(algorithm.columns, transition_sizes(spec))
    agent = jax.tree.leaves(jax.eval_shape(lambda: algorithm.init(jax.random.key(0))))
    network = [f"{name} {n}" for name, n in dataclasses.asdict(config.network).items() if type(n) is int]
    # Indices (time, environment) of every example of a collection's updates, and the rows of one batch.
    examples = train.batch_size * (8 * the_plan.updates_per_collection + 4 * sum(sizes.values()))
    episodes = 4 * spec.episode_length * evaluation.num_envs * (spec.goal_size + 1)

    def ranked(mode: str, count: int) -> int:
        match = re.fullmatch(r"best_of_(\d+)", mode)
        return 4 * int(match[1]) * count * spec.action_size if match else 0

    for settings, need in (
        (
            f"train.replay_capacity = {train.replay_capacity} with env.num_envs = {num_envs}",
            runs * buffer.nbytes(sizes, train.replay_capacity, num_envs),
        ),
        (f"network of {', '.join(network)}", runs * sum(leaf.size * leaf.dtype.itemsize for leaf in agent)),
        (f"train.batch_size = {train.batch_size}", runs * examples),
        (f"agent.explore = {config.agent.explore!r}", runs * ranked(config.agent.explore, num_envs)),
        (f"evaluation.mode = {evaluation.mode!r}", runs * ranked(evaluation.mode, evaluation.num_envs)),
        (f"evaluation.num_envs = {evaluation.num_envs}", runs * episodes),
    ):
        check_memory(settings, need, machine.memory())


def reseed(program: Program, seed: int) -> Program:
    """The program with another seed, for a single run; both share what is compiled."""
    assert len(program.seeds) == 1
    return program._replace(config=dataclasses.replace(program.config, seed=seed), seeds=(seed,))


def make_envs(config: Config, engine: str | None = None) -> tuple[Env, Env]:
    """Training and evaluation environment. Raises ConfigError when they do not fit together.

    Args:
        engine: physics engine; None: the configuration's.
    """
    name = config.evaluation.env or config.env.name
    row = registry.lookup(name, "evaluation.env")
    options = {"engine": engine or config.env.engine, "episode_length": config.env.episode_length}
    env = registry.make_env(config.env.name, auto_reset=config.env.auto_reset, **options)
    if options["engine"] not in ("auto", *row.engines):
        raise ConfigError(
            f"evaluation.env = {name!r} is not stepped by {options['engine']!r}, the engine of {config.env.name}"
        )
    eval_env = registry.make_env(name, **options)
    if eval_env.spec != env.spec:
        raise ConfigError(f"evaluation.env = {name!r} differs from {config.env.name} in sizes or rules")
    return env, eval_env


def init_state(program: Program) -> TrainState:
    """The state before the first collection; decided by the seeds."""
    agent, env, replay = stack([_start(program, seed) for seed in program.seeds])
    # Only traced, not run; the first updates reuse the trace.
    metrics = jax.eval_shape(program.learn, agent, replay, run_keys(program, LEARN, 0))[1]
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)
    return TrainState(agent, env, replay, sums, to_host(agent) if program.config.train.overlap else None)


def _start(program: Program, seed: int) -> tuple[Agent, EnvState, buffer.Replay]:
    config, env, algorithm = program.config, program.env, program.algorithm
    agent = jax.jit(lambda key: _strong(algorithm.init(key)))(run_key(seed, INIT, 0))
    return agent, env.reset(run_key(seed, RESET, 0), config.env.num_envs), init_replay(program)


def _strong(agent: Agent) -> Agent:
    """Remove weak types from an agent. An array made from a Python number is weakly typed until the first update, so
    that the updates would be compiled a second time."""

    def strong(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return jax.lax.convert_element_type(leaf, leaf.dtype)
        return leaf

    return jax.tree.map(strong, agent)


def check_start(program: Program, env: EnvState) -> None:
    """Raise ConfigError if an environment, such as a user's own, starts from NaN or infinity, which would spread."""
    if not (jnp.isfinite(env.state).all() and jnp.isfinite(env.goal).all()):
        raise ConfigError(f"env.name = {program.config.env.name!r} starts from a state or a goal that is not finite")


def init_replay(program: Program) -> buffer.Replay:
    """An empty replay of one run."""
    return buffer.init(
        buffer.column_sizes(program.algorithm.columns, transition_sizes(program.env.spec)),
        program.config.train.replay_capacity,
        program.config.env.num_envs,
    )


def check_unchanged(config: Config, info: Mapping[str, Any], run_dir: Path, collections: int) -> None:
    """Raise ConfigError if a run folder's configuration is not the one recorded in a checkpoint's `info`."""
    if info["config_id"] != config_id(config):
        raise ConfigError(f"{run_dir / 'config.json'} has changed since checkpoint {collections} was written")


def stack(runs: Sequence[Any]) -> Any:
    """Stack the records of several runs on a leading axis [runs]; a single run's stays as it is."""
    return runs[0] if len(runs) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)


def slot(program: Program, stacked: Any, index: int) -> Any:
    """One run's part of a stacked record."""
    return stacked if len(program.seeds) == 1 else jax.tree.map(lambda leaf: leaf[index], stacked)


def to_host(agent: Agent) -> Agent:
    """Copy an agent to the CPU: a GPU runs one program after the other, so the actions of a collection that overlaps
    with updates would wait for them there. The copy is needed on the CPU too, as updates donate the agent they get."""
    return jax.tree.map(jnp.copy, jax.device_put(agent, jax.devices("cpu")[0]))


def transition_sizes(spec: EnvSpec) -> dict[str, int]:
    """Size of the fields of a Transition that a replay can store; flags are stored as 0 and 1."""
    return {
        "state": spec.state_size,
        "action": spec.action_size,
        "goal": spec.goal_size,
        "next_state": spec.state_size,
        **dict.fromkeys(("success", "terminated", "truncated"), 1),
    }


def run_key(seed: int, purpose: int, counter: int) -> PRNGKeyArray:
    """The key for one purpose at one count."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), counter)


def run_keys(program: Program, purpose: int, counter: int) -> PRNGKeyArray:
    """That key for each run, stacked."""
    return stack([run_key(seed, purpose, counter) for seed in program.seeds])


def make_learn(algorithm: Algorithm, updates: int, batch_size: int) -> Any:
    """A function (agent, replay, key) to (agent, metrics) that does exactly `updates` updates, compiled once.

    Indices of all pairs are drawn together; each update gathers its own rows. The metrics are those of the updates,
    averaged, and the diagnostics of the last batch. `agent` is donated.
    """

    def learn(agent: Agent, replay: buffer.Replay, key: PRNGKeyArray) -> tuple[Agent, Metrics]:
        draw_key, update_key = jax.random.split(key)
        indices = algorithm.draw(draw_key, replay, (updates, batch_size))

        def body(agent: Agent, inputs: tuple[Any, PRNGKeyArray]) -> tuple[Agent, Metrics]:
            batch_indices, batch_key = inputs
            return algorithm.update(agent, algorithm.relabel(replay, batch_indices), batch_key)

        agent, metrics = jax.lax.scan(body, agent, (indices, jax.random.split(update_key, updates)))
        last_batch = algorithm.relabel(replay, jax.tree.map(lambda leaf: leaf[-1], indices))
        averages = {name: jnp.mean(values) for name, values in metrics.items()}
        return agent, averages | algorithm.diagnose(agent, last_batch)

    return jax.jit(learn, donate_argnums=(0,))


@jax.jit
def add(sums: Metrics, metrics: Metrics) -> Metrics:
    """Add the metrics of one more collection to the sums."""
    return jax.tree.map(jnp.add, sums, metrics)

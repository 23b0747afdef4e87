"""The training loop: collect, insert, update, evaluate, log, checkpoint. It knows no algorithm or environment by name.

Every random number comes from the seed and a counter, so the state saved in a checkpoint needs no generator, and a
resumed run continues to the same numbers.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from deepcrl import algorithms, checkpoint, machine
from deepcrl.algorithms import Algorithm
from deepcrl.algorithms.base import Agent
from deepcrl.collect import Collect, make_collect
from deepcrl.config import Config, ConfigError, config_id, from_dict, to_dict
from deepcrl.envs import registry
from deepcrl.envs.protocol import Env, EnvSpec, EnvState
from deepcrl.evaluate import Evaluate, make_evaluate, summarise
from deepcrl.logging import rows
from deepcrl.logging.progress import Progress
from deepcrl.nn.encoder import actor_depth, critic_depth
from deepcrl.plan import Plan, plan
from deepcrl.replay import buffer
from deepcrl.types import Metrics, Transition

# What a key is for; the seed, the purpose and a counter make every key of a run.
INIT, RESET, COLLECT, LEARN, EVALUATE = range(5)


class TrainState(NamedTuple):
    """Everything that changes during a run, and nothing else: this is what a checkpoint holds."""

    agent: Agent
    env: EnvState
    replay: buffer.Replay
    sums: Metrics
    """Training metrics, summed over the collections since the last evaluation."""
    behind: Agent | None
    """The agent that does the next collection when collections and updates overlap; None: it is `agent`."""


class Result(NamedTuple):
    """How a run ended."""

    run_dir: Path
    rows: list[dict[str, Any]]
    finished: bool
    """False when it was interrupted; `resume` continues it."""


class Program(NamedTuple):
    """The compiled pieces of one run."""

    config: Config
    plan: Plan
    algorithm: Algorithm
    env: Env
    collect: Collect
    learn: Callable[[Agent, buffer.Replay, PRNGKeyArray, Metrics], tuple[Agent, Metrics]]
    evaluate: Evaluate


def train(config: Config, run_dir: str | Path) -> Result:
    """Train from scratch in a new folder.

    Raises:
        ConfigError: before anything is compiled, when the configuration or the folder cannot be used.
    """
    run_dir = Path(run_dir)
    program = build(config)
    create_run_dir(config, run_dir)
    return _run(program, run_dir, init_state(program), 0, 0.0)


def resume(run_dir: str | Path) -> Result:
    """Continue an interrupted run from its newest whole checkpoint; a finished run is left as it is.

    Raises:
        ConfigError: when the folder holds no run.
        CheckpointError: when it holds no usable checkpoint, or one of another configuration.
    """
    run_dir = Path(run_dir)
    program = build(load_config(run_dir))
    folder = run_dir / "checkpoints"
    if not checkpoint.steps(folder):
        # Stopped before the first checkpoint: nothing is lost by starting over.
        rows.cut(run_dir, -1)
        return _run(program, run_dir, init_state(program), 0, 0.0)
    collections = checkpoint.newest(folder, warn=lambda text: print(f"warning: {text}", flush=True))
    state, info = checkpoint.restore(folder, collections, init_state(program))
    if info["config_id"] != config_id(program.config):
        raise ConfigError(f"{run_dir / 'config.json'} has changed since checkpoint {collections} was written")
    rows.cut(run_dir, program.plan.env_steps(collections))
    return _run(program, run_dir, state, collections, info["wall_s"])


def build(config: Config) -> Program:
    """Check the configuration and make the functions of its run; compiles nothing. Raises ConfigError."""
    the_plan = plan(config)
    env, eval_env = make_envs(config)
    if config.train.overlap and env.on_device:
        raise ConfigError(
            f"train.overlap = True needs a host engine, such as mujoco; {config.env.name} runs on the device, "
            "where nothing is left to overlap"
        )
    algorithm = algorithms.build(config, env.spec)
    return Program(
        config=config,
        plan=the_plan,
        algorithm=algorithm,
        env=env,
        collect=make_collect(env, algorithm, config.agent.explore, config.train.unroll_length),
        learn=make_learn(algorithm, the_plan.updates_per_collection, config.train.batch_size),
        evaluate=make_evaluate(eval_env, algorithm, config.evaluation.mode, config.evaluation.num_envs),
    )


def make_envs(config: Config) -> tuple[Env, Env]:
    """Training and evaluation environment. Raises ConfigError when they do not fit together."""
    name = config.evaluation.env or config.env.name
    registry.lookup(name, "evaluation.env")
    options = {"engine": config.env.engine, "episode_length": config.env.episode_length}
    env = registry.make_env(config.env.name, auto_reset=config.env.auto_reset, **options)
    eval_env = registry.make_env(name, **options)
    if eval_env.spec != env.spec:
        raise ConfigError(f"evaluation.env = {name!r} differs from {config.env.name} in sizes or rules")
    return env, eval_env


def init_state(program: Program) -> TrainState:
    """The state before the first collection; decided by the seed."""
    config, env, algorithm = program.config, program.env, program.algorithm
    agent = jax.jit(algorithm.init)(run_key(config.seed, INIT, 0))
    replay = buffer.init(
        buffer.column_sizes(algorithm.columns, transition_sizes(env.spec)),
        config.train.replay_capacity,
        config.env.num_envs,
    )
    batch_keys = jax.eval_shape(program.learn, agent, replay, run_key(0, LEARN, 0), None)[1]
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), batch_keys)
    env_state = env.reset(run_key(config.seed, RESET, 0), config.env.num_envs)
    return TrainState(agent, env_state, replay, sums, _to_host(agent) if config.train.overlap else None)


def _to_host(agent: Agent) -> Agent:
    """A copy on the CPU: a GPU does one program after the other, so actions for a collection that overlaps with
    updates would wait for them there. On the CPU it saves the agent from being donated to the updates."""
    return jax.tree.map(jnp.copy, jax.device_put(agent, jax.devices("cpu")[0]))


def transition_sizes(spec: EnvSpec) -> dict[str, int]:
    """Size of the fields of a Transition that a replay can store; flags are stored as 0 and 1."""
    return {
        "state": spec.state_size,
        "action": spec.action_size,
        "goal": spec.goal_size,
        "next_state": spec.state_size,
        "terminated": 1,
    }


def run_key(seed: int, purpose: int, counter: int) -> PRNGKeyArray:
    """The key for one purpose at one count."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), counter)


def make_learn(algorithm: Algorithm, updates: int, batch_size: int) -> Any:
    """A function (agent, replay, key, sums) to (agent, sums) that does exactly `updates` updates, compiled once.

    Indices of all pairs are drawn together; each update gathers its own rows. The metrics of the updates, averaged,
    and the diagnostics of the last batch are added to `sums` (None: returned alone). `agent` and `sums` are donated.
    """

    def learn(agent: Agent, replay: buffer.Replay, key: PRNGKeyArray, sums: Metrics | None) -> tuple[Agent, Metrics]:
        draw_key, update_key = jax.random.split(key)
        indices = algorithm.draw(draw_key, replay, (updates, batch_size))

        def body(agent: Agent, inputs: tuple[Any, PRNGKeyArray]) -> tuple[Agent, Metrics]:
            batch_indices, batch_key = inputs
            return algorithm.update(agent, algorithm.relabel(replay, batch_indices), batch_key)

        agent, metrics = jax.lax.scan(body, agent, (indices, jax.random.split(update_key, updates)))
        last_batch = algorithm.relabel(replay, jax.tree.map(lambda leaf: leaf[-1], indices))
        found = {name: jnp.mean(values) for name, values in metrics.items()} | algorithm.diagnose(agent, last_batch)
        return agent, found if sums is None else jax.tree.map(jnp.add, sums, found)

    return jax.jit(learn, donate_argnums=(0, 3))


def create_run_dir(config: Config, run_dir: Path) -> None:
    """Make the folder and write config.json and machine.json. Raises ConfigError; overwrites nothing."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise ConfigError(
            f"out = {str(run_dir)!r} already exists; choose another folder, or `deepcrl resume {run_dir}`"
        )
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")
        (run_dir / "machine.json").write_text(json.dumps(machine.describe(), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"out = {str(run_dir)!r} cannot be written: {error.strerror}") from error


def load_config(run_dir: Path) -> Config:
    """The configuration of a run folder. Raises ConfigError when there is none."""
    try:
        data = json.loads((run_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(run_dir)!r} is not a run folder: no readable config.json in it") from error
    return from_dict(data)


def headline(program: Program, run_dir: Path) -> str:
    """What is about to run, on what, and where to."""
    config, the_plan, network = program.config, program.plan, program.config.network
    engine = registry.resolve_engine(config.env.name, config.env.engine)
    return (
        f"{config.agent.algorithm} on {config.env.name} (engine {engine}, {config.env.num_envs} environments), "
        f"learning on {jax.devices()[0].device_kind}\n"
        f"actor depth {actor_depth(network)}, critic depth {critic_depth(network)}, batch {config.train.batch_size}; "
        f"{the_plan.total_env_steps:,} env steps, {the_plan.total_updates:,} updates, "
        f"{len(the_plan.eval_after)} evaluations; seed {config.seed}\nfolder {run_dir}"
    )


def _run(program: Program, run_dir: Path, state: TrainState, collections: int, wall_s: float) -> Result:
    """The loop, from `collections` finished ones to the end or to a signal."""
    the_plan, evals = program.plan, program.plan.eval_after
    evals_left = sum(count > collections for count in evals) + (not rows.read(run_dir))
    progress = Progress(the_plan.total_env_steps, the_plan.env_steps(collections), evals_left)
    clock = _Clock(wall_s)
    progress.say(headline(program, run_dir))
    with progress.running(), _stop_on_signal() as stop:
        if not rows.read(run_dir):
            _evaluate_and_save(program, run_dir, state, 0, clock, progress)
        ahead = None
        while collections < the_plan.num_collections and not stop.requested:
            state, ahead = _collection(program, state, collections, ahead, clock, progress)
            collections += 1
            if collections in evals:
                state = _evaluate_and_save(program, run_dir, state, collections, clock, progress)
            elif stop.requested:
                _save(program, run_dir, state, collections, clock, progress)
        if ahead:  # under way for nothing; the state that was saved comes before it
            wait([ahead])
        finished = collections == the_plan.num_collections
        if not finished:
            progress.say(f"interrupted at {the_plan.env_steps(collections):,} env steps; deepcrl resume {run_dir}")
    return Result(run_dir, rows.read(run_dir), finished)


class _Collected(NamedTuple):
    """One collection, and how long it took."""

    env: EnvState
    transitions: Transition
    seconds: float


_background = ThreadPoolExecutor(1, thread_name_prefix="collect")


def _collect(program: Program, agent: Agent, env: EnvState, index: int) -> _Collected:
    started = time.perf_counter()
    env, transitions = program.collect(agent, env, run_key(program.config.seed, COLLECT, index))
    return _Collected(env, jax.block_until_ready(transitions), time.perf_counter() - started)


def _collection(
    program: Program,
    state: TrainState,
    index: int,
    ahead: "Future[_Collected] | None",
    clock: "_Clock",
    progress: Progress,
) -> "tuple[TrainState, Future[_Collected] | None]":
    """One collection, unless it is already under way `ahead`, and, after the prefill, its updates.

    Also returns the next collection, under way, if it may overlap with these updates. What it will do follows from the
    state returned here, which therefore is all that a checkpoint needs.
    """
    seed, the_plan, overlap = program.config.seed, program.plan, program.config.train.overlap
    prefilling = index < the_plan.prefill_collections
    progress.enter(clock.phase("prefilling" if prefilling else "collecting", program.collect))
    started = time.perf_counter()
    agent = state.behind if overlap else state.agent
    done = ahead.result() if ahead else _collect(program, agent, state.env, index)
    replay = jax.block_until_ready(buffer.jit_insert(state.replay, done.transitions))
    collect_s = clock.add("collect", started)
    progress.collected(the_plan.collection_env_steps, done.seconds)
    if prefilling:
        return state._replace(env=done.env, replay=replay), None

    behind = _to_host(state.agent) if overlap else None
    ahead = None
    # No collection runs into an evaluation or the end, so that neither shares the cores with it.
    if overlap and index + 1 not in the_plan.eval_after:
        ahead = _background.submit(_collect, program, behind, done.env, index + 1)
    compiling = not clock.knows(program.learn)
    progress.enter(clock.phase("training", program.learn))
    started = time.perf_counter()
    agent, sums = program.learn(state.agent, replay, run_key(seed, LEARN, index), state.sums)
    jax.block_until_ready(sums)
    update_s = clock.add("compile" if compiling else "update", started)
    if not compiling:
        progress.updated(the_plan.updates_per_collection, update_s)
        progress.looped(the_plan.collection_env_steps, collect_s + update_s)
    return TrainState(agent, done.env, replay, sums, behind), ahead


def _evaluate_and_save(
    program: Program, run_dir: Path, state: TrainState, collections: int, clock: "_Clock", progress: Progress
) -> TrainState:
    """Evaluate, write the row, save. Returns the state with its metric sums cleared."""
    the_plan, evals = program.plan, program.plan.eval_after
    progress.enter(clock.phase("evaluating", program.evaluate))
    started = time.perf_counter()
    index = evals.index(collections)
    found = summarise(program.evaluate(state.agent, run_key(program.config.seed, EVALUATE, index)))
    eval_s = clock.add("eval", started)

    since = collections - max(evals[index - 1], the_plan.prefill_collections) if index else 0
    trained = {f"train/{name}": float(total) / since for name, total in state.sums.items()} if since else {}
    row = {
        "env_steps": the_plan.env_steps(collections),
        "gradient_steps": the_plan.updates(collections),
        "wall_s": round(clock.wall_s(), 3),
        **{f"eval/{name}": value for name, value in found.items()},
        **trained,
        **clock.take(),
    }
    rows.append(run_dir, row)
    progress.evaluated(found["time_at_goal"], found["success_any"], eval_s)
    state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
    _save(program, run_dir, state, collections, clock, progress)
    broken = [name for name, value in trained.items() if not math.isfinite(value)]
    if broken:
        raise FloatingPointError(f"training diverged: {', '.join(broken)} not finite at {row['env_steps']:,} env steps")
    return state


def _save(
    program: Program, run_dir: Path, state: TrainState, collections: int, clock: "_Clock", progress: Progress
) -> None:
    progress.enter("saving")
    started = time.perf_counter()
    score = rows.read(run_dir)[-1]["eval/time_at_goal"]
    info = {"wall_s": clock.wall_s(), "config_id": config_id(program.config)}
    checkpoint.save(run_dir / "checkpoints", collections, state, info, score=score, keep=program.config.checkpoint.keep)
    clock.add("save", started)


class _Clock:
    """Seconds since the run began, over all its sessions, and per phase since the last row."""

    def __init__(self, wall_s: float):
        self._before = wall_s
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._called: set[int] = set()

    def wall_s(self) -> float:
        return self._before + time.perf_counter() - self._started

    def knows(self, function: Callable) -> bool:
        return id(function) in self._called

    def phase(self, name: str, function: Callable) -> str:
        """The phase's name; a function is compiled when it is called for the first time."""
        first = not self.knows(function)
        self._called.add(id(function))
        return f"compiling and {name}" if first else name

    def add(self, phase: str, started: float) -> float:
        seconds = time.perf_counter() - started
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        return seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call, for a metrics row."""
        taken = {f"time/{phase}_s": round(seconds, 3) for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken


class _Stop:
    requested = False


@contextmanager
def _stop_on_signal():
    """Let SIGINT and SIGTERM end the run at the next safe point; a second one ends it at once."""
    stop = _Stop()

    def handler(number: int, frame: Any) -> None:
        del frame
        if stop.requested:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.requested = True

    try:
        previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller's signals are not ours to take
        previous = {}
    try:
        yield stop
    finally:
        for number, old in previous.items():
            signal.signal(number, old)

"""The training loop: collect, insert, update, evaluate, log, checkpoint. No algorithm or environment by name."""

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from deepcrl import checkpoint, machine
from deepcrl.algorithms import learners
from deepcrl.algorithms.base import Agent
from deepcrl.config import Config, ConfigError, config_id, from_dict, to_dict
from deepcrl.envs.protocol import EnvState
from deepcrl.evaluate import summarise
from deepcrl.logging import rows
from deepcrl.logging.clock import Clock
from deepcrl.logging.progress import Progress
from deepcrl.nn.encoder import actor_depth, critic_depth
from deepcrl.program import (
    COLLECT,
    EVALUATE,
    LEARN,
    Program,
    TrainState,
    add,
    build,
    check_start,
    check_unchanged,
    init_state,
    run_key,
    run_keys,
    slot,
    to_host,
)
from deepcrl.types import Metrics, Transition


class Result(NamedTuple):
    """How a run ended."""

    run_dir: Path
    rows: list[dict[str, Any]]
    finished: bool
    """False when it was interrupted; `resume` continues it."""


def train(config: Config, run_dir: str | Path) -> Result:
    """Train from scratch in a new folder.

    Raises:
        ConfigError: before anything is compiled, when the configuration or the folder cannot be used.
    """
    program = build(config)
    create_run_dir(program, Path(run_dir))
    return run(program, [Path(run_dir)], init_state(program))[0]


def resume(run_dir: str | Path) -> Result:
    """Continue an interrupted run from its newest whole checkpoint; a finished run is left as it is.

    On the engine that it began on, also where "auto" would be another one here.

    Raises:
        ConfigError: when the folder holds no run.
        CheckpointError: when it holds no usable checkpoint, or one of another configuration.
    """
    program = build(load_config(Path(run_dir)), engine=engine_of(Path(run_dir)))
    return run(program, [Path(run_dir)], *restore(program, Path(run_dir)))[0]


def restore(program: Program, run_dir: Path) -> tuple[TrainState, int, float]:
    """Where a run stands by its newest whole checkpoint: state, finished collections, seconds taken so far.

    What was written after it is cut off. Raises as `resume` does, and ConfigError when another engine began the run.
    """
    began = engine_of(run_dir)
    if began not in (None, program.engine):
        raise ConfigError(
            f"{str(run_dir)!r} began on the engine {began!r}, and env.engine = {program.config.env.engine!r} is "
            f"{program.engine!r} here; `deepcrl resume {run_dir}` goes on with {began!r}"
        )
    folder = run_dir / "checkpoints"
    if not checkpoint.steps(folder):
        if any(row["env_steps"] > 0 for row in rows.read(run_dir)):
            raise checkpoint.CheckpointError(f"{str(run_dir)!r} holds the numbers of a run whose checkpoints are gone")
        # Stopped before the first checkpoint: nothing is lost by starting over.
        rows.cut(run_dir, -1)
        return init_state(program), 0, 0.0
    collections = checkpoint.newest(folder, warn=lambda text: print(f"warning: {text}", flush=True))
    state, info = checkpoint.restore(folder, collections, init_state(program))
    check_unchanged(program.config, info, run_dir, collections)
    rows.cut(run_dir, program.plan.env_steps(collections))
    return state, collections, info["wall_s"]


def create_run_dir(program: Program, run_dir: Path) -> None:
    """Make the folder and write config.json and machine.json. Raises ConfigError; overwrites nothing."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        begun = f", or `deepcrl resume {run_dir}`" if (run_dir / "config.json").is_file() else ""
        raise ConfigError(f"out = {str(run_dir)!r} already exists; choose another folder{begun}")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.json").write_text(json.dumps(to_dict(program.config), indent=2) + "\n")
        about = machine.describe() | {"engine": program.engine}
        (run_dir / "machine.json").write_text(json.dumps(about, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"out = {str(run_dir)!r} cannot be written: {error.strerror}") from error


def load_config(run_dir: Path) -> Config:
    """The configuration of a run folder. Raises ConfigError when there is none."""
    try:
        data = json.loads((run_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(run_dir)!r} is not a run folder: no readable config.json in it") from error
    return from_dict(data)


def engine_of(run_dir: Path) -> str | None:
    """The engine that a run began on; None where that was not written down."""
    try:
        return json.loads((run_dir / "machine.json").read_text()).get("engine")
    except (OSError, ValueError, AttributeError):
        return None


def headline(program: Program, run_dirs: Sequence[Path]) -> str:
    """What is about to run, on what, and where to."""
    config, the_plan, network = program.config, program.plan, program.config.network
    return (
        f"{config.agent.algorithm} on {config.env.name} (engine {program.engine}, {config.env.num_envs} environments), "
        f"learning on {jax.devices()[0].device_kind}\n"
        f"actor depth {actor_depth(network)}, critic depth {critic_depth(network)}, batch {config.train.batch_size}; "
        f"{the_plan.total_env_steps:,} env steps, {the_plan.total_updates:,} updates, "
        f"{len(the_plan.eval_after)} evaluations; {_seeds(program)}\n"
        + "\n".join(f"folder {run_dir}" for run_dir in run_dirs)
    )


def _seeds(program: Program) -> str:
    many = " ".join(map(str, program.seeds))
    if len(program.seeds) == 1:
        return f"seed {many}"
    return f"seeds {many} at once, the numbers below are for each of them"


def run(
    program: Program, run_dirs: Sequence[Path], state: TrainState, collections: int = 0, wall_s: float = 0.0
) -> list[Result]:
    """The loop, from `collections` finished ones to the end or to a signal; one folder for each of `program.seeds`."""
    the_plan, evals = program.plan, program.plan.eval_after
    if collections == 0:
        check_start(program, state.env)
    begins = not all(rows.read(run_dir) for run_dir in run_dirs)
    evals_left = sum(count > collections for count in evals) + begins
    progress = Progress(the_plan.total_env_steps, the_plan.env_steps(collections), evals_left)
    clock = Clock(wall_s)
    progress.say(headline(program, run_dirs))
    with progress.running(), _stop_on_signal() as stop:
        if begins:
            _evaluate_and_save(program, run_dirs, state, 0, clock, progress)
        ahead = None
        while collections < the_plan.num_collections and not stop.requested:
            state, ahead = _collection(program, state, collections, ahead, clock, progress)
            collections += 1
            if collections in evals:
                state = _evaluate_and_save(program, run_dirs, state, collections, clock, progress)
            elif stop.requested:
                _save(program, run_dirs, state, collections, clock, progress)
        if ahead:  # under way for nothing; the state that was saved comes before it
            wait([ahead])
        finished = collections == the_plan.num_collections
        if not finished:
            for run_dir in run_dirs:
                progress.say(f"interrupted at {the_plan.env_steps(collections):,} env steps; deepcrl resume {run_dir}")
    return [Result(run_dir, rows.read(run_dir), finished) for run_dir in run_dirs]


class _Collected(NamedTuple):
    """One collection, and how long it took."""

    env: EnvState
    transitions: Transition
    seconds: float


_background = ThreadPoolExecutor(1, thread_name_prefix="collect")


def _collect(program: Program, agent: Agent, env: EnvState, index: int) -> _Collected:
    started = time.perf_counter()
    env, transitions = program.collect(agent, env, run_keys(program, COLLECT, index))
    return _Collected(env, jax.block_until_ready(transitions), time.perf_counter() - started)


def _collection(
    program: Program,
    state: TrainState,
    index: int,
    ahead: "Future[_Collected] | None",
    clock: Clock,
    progress: Progress,
) -> "tuple[TrainState, Future[_Collected] | None]":
    """One collection, unless it is already under way `ahead`, and, after the prefill, its updates.

    Also returns the next collection, under way, if it may overlap with these updates. What it will do follows from the
    state returned here, which therefore is all that a checkpoint needs.
    """
    the_plan, overlap = program.plan, program.config.train.overlap
    prefilling = index < the_plan.prefill_collections
    progress.enter(clock.phase("prefilling" if prefilling else "collecting", program.collect))
    started = time.perf_counter()
    agent = state.behind if overlap else state.agent
    done = ahead.result() if ahead else _collect(program, agent, state.env, index)
    replay = jax.block_until_ready(program.insert(state.replay, done.transitions))
    collect_s = clock.add("collect", started)
    progress.collected(the_plan.collection_env_steps, done.seconds)
    if prefilling:
        return state._replace(env=done.env, replay=replay), None

    behind = to_host(state.agent) if overlap else None
    ahead = None
    # No collection runs into an evaluation or the end, so that neither shares the cores with it.
    if overlap and index + 1 not in the_plan.eval_after:
        ahead = _background.submit(_collect, program, behind, done.env, index + 1)
    compiling = not clock.knows(program.learn)
    progress.enter(clock.phase("training", program.learn))
    started = time.perf_counter()
    agent, metrics = program.learn(state.agent, replay, run_keys(program, LEARN, index))
    sums = jax.block_until_ready(add(state.sums, metrics))
    update_s = clock.add("compile" if compiling else "update", started)
    if not compiling:
        progress.updated(the_plan.updates_per_collection, update_s)
        progress.looped(the_plan.collection_env_steps, collect_s + update_s)
    return TrainState(agent, done.env, replay, sums, behind), ahead


def _evaluate_and_save(
    program: Program, run_dirs: Sequence[Path], state: TrainState, collections: int, clock: Clock, progress: Progress
) -> TrainState:
    """Evaluate, write a row for each run, save. Returns the state with its metric sums cleared."""
    the_plan, evals = program.plan, program.plan.eval_after
    progress.enter(clock.phase("evaluating", program.evaluate[0]))
    started = time.perf_counter()
    index = evals.index(collections)
    found = [
        _evaluated(program, slot(program, state.agent, i), run_key(seed, EVALUATE, index))
        for i, seed in enumerate(program.seeds)
    ]
    eval_s = clock.add("eval", started)

    since = collections - max(evals[index - 1], the_plan.prefill_collections) if index else 0
    env_steps, wall_s, times = the_plan.env_steps(collections), round(clock.wall_s(), 3), clock.take()
    broken = []
    for i, (run_dir, scores) in enumerate(zip(run_dirs, found, strict=True)):
        sums = slot(program, state.sums, i)
        trained = {f"train/{name}": float(total) / since for name, total in sums.items()} if since else {}
        counts = {"env_steps": env_steps, "gradient_steps": the_plan.updates(collections), "wall_s": wall_s}
        rows.append(run_dir, counts | scores | trained | times)
        broken += [f"{name} of {run_dir.name}" for name, value in trained.items() if not math.isfinite(value)]
    at_goal, reached = (fmean(scores[f"eval/{name}"] for scores in found) for name in ("time_at_goal", "success_any"))
    progress.evaluated(at_goal, reached, eval_s)
    state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
    _save(program, run_dirs, state, collections, clock, progress)
    if broken:
        raise FloatingPointError(f"training diverged: {', '.join(broken)} not finite at {env_steps:,} env steps")
    return state


def _evaluated(program: Program, agent: Agent, key: PRNGKeyArray) -> Metrics:
    """Scores of one run's agent, and of its learners."""
    found = [summarise(evaluate(agent, key)) for evaluate in program.evaluate]
    return {f"eval/{learners.name(i)}{name}": value for i, own in enumerate(found) for name, value in own.items()}


def _save(
    program: Program, run_dirs: Sequence[Path], state: TrainState, collections: int, clock: Clock, progress: Progress
) -> None:
    progress.enter("saving")
    started = time.perf_counter()
    for i, (run_dir, seed) in enumerate(zip(run_dirs, program.seeds, strict=True)):
        score = rows.read(run_dir)[-1]["eval/time_at_goal"]
        own = dataclasses.replace(program.config, seed=seed)
        info = {"wall_s": clock.wall_s(), "config_id": config_id(own)}
        folder = run_dir / "checkpoints"
        checkpoint.save(folder, collections, slot(program, state, i), info, score=score, keep=own.checkpoint.keep)
    clock.add("save", started)


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

"""The training loop: collect, insert, update, evaluate, log, checkpoint. Names no algorithm or environment."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deepcrl import checkpoint
from deepcrl.algorithms import learners
from deepcrl.algorithms.base import Agent
from deepcrl.config import Config, config_id
from deepcrl.envs.protocol import EnvState
from deepcrl.evaluate import summarise
from deepcrl.folder import Standing, check_new, create_run_dir, diverged, engine_of, load_config, restore
from deepcrl.lock import held
from deepcrl.logging import rows
from deepcrl.logging.clock import Clock, first_call
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
    init_state,
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
    """False if it was interrupted, and `resume` can continue it, or has diverged, and `resume` cannot."""
    already: bool = False
    """True if it had finished before, so that nothing was done."""


class Stop:
    """Whether a signal has asked for the end of the run."""

    requested = False


def train(config: Config, run_dir: str | Path) -> Result:
    """Train from scratch in a new folder.

    Raises:
        ConfigError: before anything is compiled, when the configuration or the folder cannot be used.
        CheckpointError: when no checkpoint can be written.
        FloatingPointError: when training has diverged.
    """
    run_dir = Path(run_dir)
    with stop_on_signal() as stop:
        program = build(config)
        check_new(run_dir)
        with held(run_dir):
            create_run_dir(program, run_dir)
            return raise_if_diverged(run(program, [run_dir], lambda: Standing(init_state(program)), stop)[0])


def resume(run_dir: str | Path) -> Result:
    """Continue an interrupted run from its newest whole checkpoint; a finished run is left as it is.

    It runs on the engine that it began on, even if "auto" would be another one here.

    Raises:
        ConfigError: when the folder holds no run, its configuration is not the checkpoint's, or another process trains
            it.
        CheckpointError: when no checkpoint is usable, the newest has other names, shapes or dtypes than the run's
            state, or metrics rows or checkpoints are missing.
        FloatingPointError: when training has diverged, now or before.
    """
    run_dir = Path(run_dir)
    with stop_on_signal() as stop:
        program = build(load_config(run_dir), engine=engine_of(run_dir))
        with held(run_dir):
            return raise_if_diverged(run(program, [run_dir], lambda: restore(program, run_dir), stop)[0])


def raise_if_diverged(result: Result) -> Result:
    """Return the result. Raises FloatingPointError if training has diverged."""
    if problem := diverged(result.run_dir):
        raise FloatingPointError(problem)
    return result


def headline(program: Program, run_dirs: Sequence[Path]) -> str:
    """Text saying what is about to run, on which device, and into which folders."""
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


def run(program: Program, run_dirs: Sequence[Path], start: Callable[[], Standing], stop: Stop) -> list[Result]:
    """Run the loop from what `start` returns to the end or a signal; one folder for each of `program.seeds`.

    A run that diverges ends with the metrics row that shows it, without a checkpoint; the other runs go on.
    """
    the_plan, evals = program.plan, program.plan.eval_after
    progress = Progress(the_plan.total_env_steps)
    progress.say(headline(program, run_dirs))
    with progress.running():
        progress.enter("preparing")
        state, collections, wall_s = start()
        session = _Session(program, run_dirs, Clock(wall_s), progress)
        already_finished = collections == the_plan.num_collections
        active = list(range(len(run_dirs)))
        new = [i for i in active if collections == 0 and not rows.read(run_dirs[i])]
        progress.stands(the_plan.env_steps(collections), sum(count > collections for count in evals) + bool(new))
        if new:
            check_start(program, state.env)
        if new and not stop.requested:
            state, _ = _evaluate_and_save(session, state, 0, new)
        ahead = None
        while collections < the_plan.num_collections and active and not stop.requested:
            state, ahead = _collection(session, state, collections, ahead)
            collections += 1
            if collections in evals:
                state, active = _evaluate_and_save(session, state, collections, active)
            elif stop.requested:
                _save(session, state, collections, dict.fromkeys(active))
        if ahead:  # started in vain: the state that was saved comes before it
            wait([ahead])
        finished = collections == the_plan.num_collections
        for i, run_dir in enumerate(run_dirs):
            if already_finished:
                progress.say(f"already finished: {run_dir}")
            elif not finished and i in active:
                progress.say(f"interrupted at {the_plan.env_steps(collections):,} env steps; deepcrl resume {run_dir}")
    return [
        Result(run_dir, rows.read(run_dir), finished and i in active, already_finished)
        for i, run_dir in enumerate(run_dirs)
    ]


class _Session(NamedTuple):
    """What stays the same while runs are trained together; slot i of their state belongs to `run_dirs[i]`."""

    program: Program
    run_dirs: Sequence[Path]
    clock: Clock
    progress: Progress

    def enter(self, phase: str, compiling: bool = False) -> None:
        self.progress.enter(f"compiling and {phase}" if compiling else phase)


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
    session: _Session, state: TrainState, index: int, ahead: "Future[_Collected] | None"
) -> "tuple[TrainState, Future[_Collected] | None]":
    """Do one collection, or wait for it if it was started `ahead`, and, after the prefill, its updates.

    Also returns the next collection, started in the background, if it may overlap with these updates. The returned
    state determines what it will do, and so is all that a checkpoint needs.
    """
    program, _, clock, progress = session
    the_plan, overlap = program.plan, program.config.train.overlap
    prefilling = index < the_plan.prefill_collections
    session.enter("prefilling" if prefilling else "collecting", first_call(program.collect))
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
    # None is started before an evaluation or the end, so that neither shares the cores with it.
    if overlap and index + 1 not in the_plan.eval_after:
        ahead = _background.submit(_collect, program, behind, done.env, index + 1)
    compiling = first_call(program.learn)
    session.enter("training", compiling)
    started = time.perf_counter()
    agent, metrics = program.learn(state.agent, replay, run_keys(program, LEARN, index))
    sums = jax.block_until_ready(add(state.sums, metrics))
    update_s = clock.add("compile" if compiling else "update", started)
    if not compiling:
        progress.updated(the_plan.updates_per_collection, update_s)
        progress.looped(the_plan.collection_env_steps, collect_s + update_s)
    return TrainState(agent, done.env, replay, sums, behind), ahead


def _evaluate_and_save(
    session: _Session, state: TrainState, collections: int, slots: Sequence[int]
) -> tuple[TrainState, list[int]]:
    """Evaluate the runs in these slots, write a row for each, save those whose training metrics are finite.

    Returns the state with its metric sums cleared, and the slots of the runs that were saved.
    """
    scores = _evaluate(session, state.agent, collections, slots)
    sound = _write_rows(session, scores, state.sums, collections)
    state = state._replace(sums=jax.tree.map(jnp.zeros_like, state.sums))
    _save(session, state, collections, {i: float(scores[i]["eval/time_at_goal"]) for i in sound})
    return state, sound


def _evaluate(session: _Session, agent: Agent, collections: int, slots: Sequence[int]) -> dict[int, Metrics]:
    """Scores of the agents in these slots, and of their learners, by slot."""
    program, _, clock, progress = session
    session.enter("evaluating", first_call(program.evaluate[0]))
    started = time.perf_counter()
    keys = run_keys(program, EVALUATE, program.plan.eval_after.index(collections))
    found: list[Metrics] = [{} for _ in program.seeds]
    for number, evaluate in enumerate(program.evaluate):
        prefix = f"eval/{learners.metric_prefix(number)}"
        for scores, episodes in zip(found, evaluate(agent, keys), strict=True):
            scores |= {f"{prefix}{name}": value for name, value in summarise(episodes).items()}
    at_goal, reached = (fmean(found[i][f"eval/{name}"] for i in slots) for name in ("time_at_goal", "success_any"))
    progress.evaluated(at_goal, reached, clock.add("eval", started))
    return {i: found[i] for i in slots}


def _write_rows(session: _Session, scores: Mapping[int, Metrics], sums: Metrics, collections: int) -> list[int]:
    """Append a row of metrics to every run in `scores`; returns the slots whose training metrics are finite."""
    program, run_dirs, clock, progress = session
    the_plan, index = program.plan, program.plan.eval_after.index(collections)
    since = collections - max(the_plan.eval_after[index - 1], the_plan.prefill_collections) if index else 0
    env_steps, wall_s, times = the_plan.env_steps(collections), round(clock.wall_s(), 3), clock.take()
    counts = {"env_steps": env_steps, "gradient_steps": the_plan.updates(collections), "wall_s": wall_s}
    sound = []
    for i, own in scores.items():
        totals = slot(program, sums, i)
        trained = {f"train/{name}": float(total) / since for name, total in totals.items()} if since else {}
        rows.append(run_dirs[i], counts | own | trained | times)
        if rows.broken(trained):
            progress.say(diverged(run_dirs[i]))
        else:
            sound.append(i)
    return sound


def _save(session: _Session, state: TrainState, collections: int, scores: Mapping[int, float | None]) -> None:
    """Save the runs in the slots of `scores`, each with its agent's score; None if it was not evaluated."""
    program, run_dirs, clock, _ = session
    session.enter("saving")
    started = time.perf_counter()
    for i, score in scores.items():
        own = dataclasses.replace(program.config, seed=program.seeds[i])
        info = {"wall_s": clock.wall_s(), "config_id": config_id(own)}
        folder = run_dirs[i] / "checkpoints"
        checkpoint.save(folder, collections, slot(program, state, i), info, score=score, keep=own.checkpoint.keep)
    clock.add("save", started)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Let SIGINT and SIGTERM end the run at the next safe point; a second one ends it at once."""
    stop = Stop()

    def handler(number: int, frame: Any) -> None:
        del frame
        if stop.requested:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.requested = True
        with suppress(OSError):  # not `print`, which the signal may have interrupted
            os.write(2, b"\nstopping after this collection; again to stop at once\n")

    try:
        previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # outside the main thread Python sets no handlers
        previous = {}
    try:
        yield stop
    finally:
        for number, old in previous.items():
            signal.signal(number, old)

"""Cost of an experiment before it starts: exact counts; hours and disk space from a short calibration."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from deepcrl.config import Config, ConfigError, config_id, from_dict, to_dict
from deepcrl.experiments.runs import Job
from deepcrl.experiments.worker import pin
from deepcrl.files import replace_file
from deepcrl.plan import plan

UPDATES = 4
"""Updates timed in the calibration."""


class Rates(NamedTuple):
    """What the calibration of one configuration found, in seconds and bytes."""

    compile_s: float
    collection_s: float
    update_s: float
    state_bytes: int
    """Size of a checkpoint."""


class Price(NamedTuple):
    """Cost of the runs that are left to do."""

    runs: int
    env_steps: int
    updates: int
    hours: float
    """Wall-clock hours with all workers busy to the end."""
    disk_bytes: int


def count(work: Sequence[Job]) -> tuple[int, int, int]:
    """Runs, env steps and updates left to do; interrupted runs count in full."""
    runs = env_steps = updates = 0
    for job in work:
        the_plan, seeds = plan(job.cell.config), len(job.folders)
        runs += seeds
        env_steps += seeds * the_plan.total_env_steps
        updates += seeds * the_plan.total_updates
    return runs, env_steps, updates


def price(work: Sequence[Job], workers: int, out: Path) -> Iterator[tuple[Job, Rates | None, float]]:
    """Calibrate the configuration of every job in a process like its worker's; yields (job, rates, seconds of the job).

    Rates are cached in OUT/calibration.json. They are None, and the seconds 0, where the calibration failed.
    """
    path = out / "calibration.json"
    known = _kept(path)
    for job in work:
        key = f"{config_id(replace(job.cell.config, seed=0))}, {workers} at once"
        if key not in known and (measured := _measured(job.cell.config, workers)):
            known[key] = Rates(*measured)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(known, indent=1) + "\n")
        rates = known.get(key)
        yield job, rates, 0.0 if rates is None else job_seconds(job, rates)


def _kept(path: Path) -> dict[str, Rates]:
    """Cached rates; empty where the file is missing or damaged, as measuring again takes seconds."""
    try:
        found = json.loads(path.read_text())
        return {key: Rates(float(c), float(k), float(u), int(n)) for key, (c, k, u, n) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def job_seconds(job: Job, rates: Rates) -> float:
    """Estimated seconds of a job on one worker: its seeds share one compilation."""
    config, the_plan = job.cell.config, plan(job.cell.config)
    evaluated = (config.evaluation.num_evals + 1) * config.evaluation.num_envs * _episode_length(config)
    step_s = rates.collection_s / the_plan.collection_env_steps
    run_s = (
        the_plan.num_collections * rates.collection_s
        + the_plan.total_updates * rates.update_s
        + evaluated * step_s * (1 + len(config.learners))
    )
    return rates.compile_s + len(job.folders) * run_s


def total(work: Sequence[Job], priced: Sequence[tuple[Job, Rates | None, float]], workers: int) -> Price:
    """Total cost; hours assume that all workers are busy to the end."""
    kept = sum(
        len(job.folders) * rates.state_bytes * (job.cell.config.checkpoint.keep + 1)
        for job, rates, _ in priced
        if rates
    )
    return Price(*count(work), sum(seconds for *_, seconds in priced) / workers / 3600, kept)


def _episode_length(config: Config) -> int:
    from deepcrl.program import make_envs

    return make_envs(config)[1].spec.episode_length


def _measured(config: Config, workers: int) -> list | None:
    command = [sys.executable, "-m", "deepcrl.experiments.pricing", json.dumps(to_dict(config)), str(workers)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        print(f"cannot be calibrated: {(found.stderr.strip().splitlines() or ['no message'])[-1]}", flush=True)
        return None
    return json.loads(found.stdout.strip().splitlines()[-1])


def calibrate(config: Config) -> Rates:
    """Measure a configuration: compile, then time one collection and `UPDATES` updates."""
    import jax

    from deepcrl.program import COLLECT, LEARN, build, init_state, make_learn, run_key

    program = build(config)
    started = time.perf_counter()
    state = init_state(program)
    env, transitions = program.collect(state.agent, state.env, run_key(0, COLLECT, 0))
    replay = program.insert(state.replay, transitions)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.agent, replay)) if hasattr(leaf, "nbytes"))
    learn = make_learn(program.algorithm, UPDATES, config.train.batch_size)
    agent, _ = jax.block_until_ready(learn(state.agent, replay, run_key(0, LEARN, 0)))
    compile_s = time.perf_counter() - started
    started = time.perf_counter()
    jax.block_until_ready(program.collect(agent, env, run_key(0, COLLECT, 1)))
    collection_s = time.perf_counter() - started
    started = time.perf_counter()
    jax.block_until_ready(learn(agent, replay, run_key(0, LEARN, 1)))
    return Rates(compile_s, collection_s, (time.perf_counter() - started) / UPDATES, size)


def main() -> int:
    """Calibrate in this process and print the rates as JSON. Arguments: the configuration as JSON, and the number of
    workers that share the cores."""
    pin(0, int(sys.argv[2]))
    try:
        print(json.dumps(calibrate(from_dict(json.loads(sys.argv[1])))))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

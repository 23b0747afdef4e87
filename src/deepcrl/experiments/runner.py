"""Run an experiment's remaining jobs, in processes on this machine or on a cluster. A failed job stops no other."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from deepcrl.config import ConfigError
from deepcrl.experiments import worker
from deepcrl.experiments.runs import Job


class Ended(NamedTuple):
    """How a job ended."""

    job: Job
    problem: str
    """Empty when all its runs are done."""


def in_processes(work: Sequence[Job], out: Path, workers: int) -> Iterator[Ended]:
    """Train each job in a process of its own, `workers` at a time, each on its share of the cores.

    A job's output goes to OUT/logs/. However this process ends, its jobs end too, each with a checkpoint. Several can
    share a GPU: unless the environment says otherwise, JAX does not preallocate its memory then.
    """
    environment = dict(os.environ)
    if workers > 1:
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    slots = list(range(workers))
    lock, stopping = threading.Lock(), threading.Event()

    def one(job: Job) -> Ended:
        if stopping.is_set():
            return Ended(job, "not begun")
        with lock:
            slot = slots.pop()
        log = log_file(job, out)
        try:
            with open(log, "a") as file:
                module, about = "deepcrl.experiments.worker", (worker.write(job), str(slot), str(workers))
                command = [sys.executable, "-m", module, *about]
                # The worker's input is a pipe that closes when this process ends: the worker then ends too.
                pipes = {"stdin": subprocess.PIPE, "stdout": file, "stderr": subprocess.STDOUT}
                with subprocess.Popen(command, env=environment, **pipes) as process:
                    code = process.wait()
        finally:
            with lock:
                slots.append(slot)
        if code == worker.INTERRUPTED:
            stopping.set()
            return Ended(job, "interrupted")
        return Ended(job, "" if code == 0 else f"exit code {code}; {last_line(log)} ({log})")

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, job) for job in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            stopping.set()
            raise


def on_slurm(work: Sequence[Job], out: Path, options: dict[str, Any], cluster: str | None = None) -> Iterator[Ended]:
    """Train jobs on a Slurm cluster through submitit, one Slurm job for each.

    Args:
        options: submitit's own parameters, such as "slurm_partition" or "timeout_min".
        cluster: "local" for processes of this machine; None for Slurm.

    Raises:
        ConfigError: when submitit is not installed, or does not know the options.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("launcher = 'slurm' needs submitit: pip install 'deepcrl[slurm]'") from error
    executor = submitit.AutoExecutor(folder=out / "logs" / "slurm", cluster=cluster)
    try:
        executor.update_parameters(**{"timeout_min": 24 * 60, **options})
    except (NameError, AssertionError, TypeError, ValueError) as error:  # all that submitit raises for bad parameters
        raise ConfigError(f"slurm = {options}: {str(error) or 'submitit takes no such value'}") from error
    submitted = [(job, executor.submit(_train, worker.write(job))) for job in work]
    left = list(submitted)
    while left:
        for job, handle in [pair for pair in left if pair[1].done()]:
            left.remove((job, handle))
            error = handle.exception()
            finished = error is None and handle.result()
            yield Ended(job, "" if finished else str(error or "interrupted").strip().splitlines()[-1])
        time.sleep(0.2)


def _train(text: str) -> bool:
    return worker.train(worker.parse(text))


def log_file(job: Job, out: Path) -> Path:
    folder = out / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{next(iter(job.folders.values())).name}.log"


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "nothing printed"

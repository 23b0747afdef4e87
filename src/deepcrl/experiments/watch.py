"""Progress of an experiment's runs while they train: a line at intervals, with the time that is left."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepcrl.config import ConfigError
from deepcrl.experiments.runs import Job, work_of
from deepcrl.logging import rows
from deepcrl.plan import plan
from deepcrl.report.text import duration

EVERY_S = 60.0
"""Seconds between two lines."""


def share(work: Sequence[Job]) -> float:
    """Share of the work done, 0 to 1, as of every run's last evaluation; a run's work is updates times layers."""
    done = total = 0.0
    for job in work:
        each, env_steps = work_of(job.cell.config), plan(job.cell.config).total_env_steps
        for folder in job.folders.values():
            done += each * _env_steps(folder) / env_steps
            total += each
    return done / total if total else 1.0


def _env_steps(folder: Path) -> int:
    try:
        return rows.read(folder)[-1]["env_steps"]
    except (ConfigError, OSError, IndexError):  # a damaged folder is its own job's failure, and no reason to stop
        return 0


def words(now: float, before: float, seconds: float) -> str:
    """The share done, `now`, in words, and the time left at the rate since it was `before`, `seconds` ago."""
    left = duration(seconds * (1.0 - now) / (now - before)) if now > before else "?"
    return f"{now:.0%} of the work done, left {left}"


@contextmanager
def lines(work: Sequence[Job], every_s: float = EVERY_S) -> Iterator[None]:
    """Print a line of `words` every `every_s` seconds until the block ends."""
    ended, started, before = threading.Event(), time.monotonic(), share(work)

    def watch() -> None:
        while not ended.wait(every_s):
            print(words(share(work), before, time.monotonic() - started), flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

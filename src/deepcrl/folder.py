"""A run's folder: config.json, machine.json, metrics.jsonl and checkpoints/; and how far the run in it has come."""

import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from deepcrl import checkpoint, machine
from deepcrl.config import Config, ConfigError, from_dict, to_dict
from deepcrl.files import replace_file
from deepcrl.logging import rows
from deepcrl.program import Program, TrainState, check_unchanged, init_state


def create_run_dir(program: Program, run_dir: Path) -> None:
    """Create the folder and write machine.json and, last, config.json, which makes it a run folder.

    Raises:
        ConfigError: when the folder is not empty or cannot be written; what has been written is removed again.
    """
    check_new(run_dir)
    there = run_dir.exists()
    about = {"machine.json": machine.describe() | {"engine": program.engine}, "config.json": to_dict(program.config)}
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        for name, content in about.items():
            replace_file(run_dir / name, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        with suppress(OSError):
            for name in about:
                (run_dir / name).unlink(missing_ok=True)
            if not there:
                run_dir.rmdir()
        raise ConfigError(f"out = {str(run_dir)!r} cannot be written: {error.strerror}") from error


def check_new(run_dir: Path) -> None:
    """Raise ConfigError unless the folder is empty or does not exist."""
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        or_resume = f", or `deepcrl resume {run_dir}`" if (run_dir / "config.json").is_file() else ""
        raise ConfigError(f"out = {str(run_dir)!r} already exists; choose another folder{or_resume}")


def load_config(run_dir: Path) -> Config:
    """The configuration of a run folder. Raises ConfigError when there is none."""
    try:
        data = json.loads((run_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(run_dir)!r} is not a run folder: no readable config.json in it") from error
    try:
        return from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{str(run_dir)!r}: {error}") from error


def load_machine(run_dir: Path) -> dict[str, Any]:
    """Contents of a run folder's machine.json; empty if it cannot be read."""
    try:
        found = json.loads((run_dir / "machine.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def engine_of(run_dir: Path) -> str | None:
    """The engine that a run began on; None if it is not recorded."""
    return load_machine(run_dir).get("engine")


def begun(run_dir: Path) -> bool:
    """Whether the folder holds a run: rows of metrics, checkpoints, or a readable configuration. What a process killed
    at start-up leaves does not count."""
    metrics = run_dir / rows.FILE
    if (metrics.exists() and metrics.stat().st_size) or checkpoint.steps(run_dir / "checkpoints"):
        return True
    try:
        load_config(run_dir)
    except ConfigError:
        return False
    return True


def set_aside(run_dir: Path) -> None:
    """Rename a folder with files but no run to NAME.unreadable-N, so that a run can be created in its place."""
    if (run_dir.is_dir() and not any(run_dir.iterdir())) or not run_dir.exists():
        return
    names = (run_dir.with_name(f"{run_dir.name}.unreadable-{count}") for count in itertools.count(1))
    run_dir.rename(next(path for path in names if not path.exists()))


def diverged(run_dir: Path) -> str:
    """Message saying when and in which metrics a run's rows show divergence; empty if they show none or are missing."""
    for row in rows.read(run_dir):
        if names := rows.broken(row):
            return f"{str(run_dir)!r} diverged at {row['env_steps']:,} env steps: {', '.join(names[:4])} not finite"
    return ""


class Standing(NamedTuple):
    """How far a run has come."""

    state: TrainState
    collections: int = 0
    """Collections finished."""
    wall_s: float = 0.0
    """Seconds taken so far."""


def stand(program: Program, run_dir: Path) -> Standing:
    """How far a run has come: `restore` it if it has begun, else create its folder and the initial state.

    Raises as `restore` does, and ConfigError when the configuration of a run that has begun cannot be read.
    """
    if begun(run_dir):
        load_config(run_dir)
        return restore(program, run_dir)
    set_aside(run_dir)
    create_run_dir(program, run_dir)
    return Standing(init_state(program))


def restore(program: Program, run_dir: Path) -> Standing:
    """Restore a run from its newest whole checkpoint and cut off the metrics rows written after it.

    Raises as `resume` does, and ConfigError when the run began on another engine.
    """
    if problem := diverged(run_dir):
        raise FloatingPointError(f"{problem}; it would do so again")
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
        return Standing(init_state(program))
    collections = checkpoint.newest(folder)
    found = {row["env_steps"] for row in rows.read(run_dir)}
    before = (program.plan.env_steps(count) for count in program.plan.eval_after if count <= collections)
    missing = [env_steps for env_steps in before if env_steps not in found]
    if collections and missing:
        raise checkpoint.CheckpointError(
            f"{str(run_dir)!r} holds the checkpoints of a run whose numbers are gone: {rows.FILE} has no row of "
            f"{missing[0]:,} env steps"
        )
    state, info = checkpoint.restore(folder, collections, init_state(program))
    check_unchanged(program.config, info, run_dir, collections)
    rows.cut(run_dir, program.plan.env_steps(collections))
    return Standing(state, collections, info["wall_s"])

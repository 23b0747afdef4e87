"""The one table of environments. Names are opaque keys; a new maze or task is one more row."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from deepcrl.config import AutoReset, ConfigError, near_matches
from deepcrl.envs import point, vector
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.protocol import Engine, Env, Task

Builder = Callable[[int | None], tuple[Task, Engine]]
"""Episode length (None: the task's own) to a task and the engine that steps it."""


class Entry(NamedTuple):
    """One environment: how to build it on each engine, best first, and the settings that suit it."""

    engines: Mapping[str, Builder]
    defaults: Mapping[str, Any]
    """Overrides of the configuration, by dotted path, that `preset` applies."""


def _point(layout_name: str) -> Builder:
    layout = LAYOUTS[layout_name]
    return lambda episode_length: (point.point_task(layout, episode_length), point.point_engine(layout))


POINT_DEFAULTS: dict[str, Any] = {
    "env.num_envs": 128,
    "network.depth": 8,
    "network.width": 64,
    "train.batch_size": 256,
    "train.unroll_length": 50,
    "train.prefill_steps": 200,
    "train.updates_per_env_steps": "1:40",
    "train.total_env_steps": 640_000,
    "evaluation.num_evals": 20,
}

QUICKSTART = "point_j_maze"
"""What `deepcrl train` trains when no environment is named."""


def _entries() -> dict[str, Entry]:
    table = {}
    for name in LAYOUTS:
        maze, _, variant = name.partition("_")
        suffix = f"_{variant}" if variant else ""
        defaults = dict(POINT_DEFAULTS)
        if f"{name}_eval" in LAYOUTS:
            defaults["evaluation.env"] = f"point_{maze}_maze_eval"
        table[f"point_{maze}_maze{suffix}"] = Entry({"jax": _point(name)}, defaults)
    return table


ENVIRONMENTS: dict[str, Entry] = _entries()


def lookup(name: str, field: str = "env.name") -> Entry:
    """The table's row. Raises ConfigError, with near matches, for an unknown name."""
    if name not in ENVIRONMENTS:
        raise ConfigError(f"{field} = {name!r} is not a known environment; {near_matches(name, ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def resolve_engine(name: str, engine: str) -> str:
    """The engine that "auto" means for this environment, or `engine` itself when it has it. Raises ConfigError."""
    engines = lookup(name).engines
    if engine == "auto":
        return next(iter(engines))
    if engine not in engines:
        raise ConfigError(f"env.engine = {engine!r} cannot step {name}; it has: auto, {', '.join(engines)}")
    return engine


def make_env(
    name: str, *, engine: str = "auto", auto_reset: AutoReset = "fresh", episode_length: int | None = None
) -> Env:
    """Build an environment by name. Raises ConfigError for an unknown name or engine."""
    task, physics_engine = lookup(name).engines[resolve_engine(name, engine)](episode_length)
    return vector.build(task, physics_engine, auto_reset)

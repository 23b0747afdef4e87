"""The one table of environments. Names are opaque keys; a new maze or task is one more row."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from deepcrl.config import AutoReset, ConfigError, near_matches
from deepcrl.envs import ant, point, vector
from deepcrl.envs.layouts import LAYOUTS, Layout
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.protocol import Engine, Env, Task

Builder = Callable[[int | None], tuple[Task, Engine]]
"""Episode length (None: the task's own) to a task and the engine that steps it."""


class Entry(NamedTuple):
    """One environment: how to build it on each engine, best first, and the settings that suit it."""

    engines: Mapping[str, Builder]
    defaults: Mapping[str, Any]
    """Overrides of the configuration, by dotted path, that `preset` applies."""


class Maze(NamedTuple):
    """One maze that several bodies run in: its name, its layout, and the layout with the fewer, farther goals."""

    name: str
    layout: Layout
    eval_layout: Layout | None


OWN_MAZES = (Maze("l_maze", LAYOUTS["l"], None), Maze("j_maze", LAYOUTS["j"], None))
PAPER_MAZES = (
    Maze("u_maze", LAYOUTS["u"], LAYOUTS["u_eval"]),
    Maze("u4_maze", LAYOUTS["u4"], LAYOUTS["u4_eval"]),
    Maze("u5_maze", LAYOUTS["u5"], LAYOUTS["u5_eval"]),
    Maze("big_maze", LAYOUTS["big"], LAYOUTS["big_eval"]),
    Maze("hardest_maze", LAYOUTS["hardest"], None),
)

POINT_DEFAULTS: dict[str, Any] = {
    "env.num_envs": 128,
    "network.depth": 8,
    "network.width": 64,
    # Corridors are short beside 1 / (1 - 0.99) = 100 steps: with the paper's discount one step more or less hardly
    # changes a value.
    "agent.discount": 0.95,
    # Hindsight goals lie a few steps ahead; the commanded ones lie behind walls, where another pair's may.
    "agent.random_goals": 0.5,
    # Sixteen thousand updates, where the paper has 2.5 million: larger steps.
    "agent.actor_learning_rate": 1e-3,
    "agent.critic_learning_rate": 1e-3,
    "agent.temperature_learning_rate": 3e-3,
    "train.batch_size": 256,
    "train.unroll_length": 50,
    "train.prefill_steps": 200,
    "train.updates_per_env_steps": "1:40",
    "train.total_env_steps": 640_000,
    "evaluation.num_evals": 20,
    # Without noise the point can come to rest just outside the radius.
    "evaluation.mode": "sample",
}
ANT_DEFAULTS: dict[str, Any] = {
    "env.num_envs": 64,
    "network.depth": 8,
    "network.width": 256,
    "train.batch_size": 256,
    "train.unroll_length": 125,
    "train.prefill_steps": 1000,
    "train.updates_per_env_steps": "1:40",
    # The goal lies farther than the ant has ever been for the first half million steps.
    "agent.random_goals": 0.5,
    # At the paper's 3e-4 the entropy needs 1.2 million env steps to come down to its target.
    "agent.temperature_learning_rate": 3e-3,
    "train.total_env_steps": 3_200_000,
    "evaluation.num_evals": 32,
}

QUICKSTART = "point_l_maze"
"""What `deepcrl train` trains when no environment is named."""


def _point_engines(layout: Layout) -> dict[str, Builder]:
    return {"jax": lambda episode_length: (point.point_task(layout, episode_length), point.point_engine(layout))}


def _ant_engines(layout: Layout | None, link_mass: float | None = ant.LINK_MASS) -> dict[str, Builder]:
    def on_mujoco(episode_length: int | None) -> tuple[Task, Engine]:
        return ant.ant_task(layout, episode_length), mujoco_engine(ant.ant_model(layout, link_mass), ant.SUBSTEPS)

    return {"mujoco": on_mujoco}


def _maze_entries(
    body: str, mazes: Iterable[Maze], engines: Callable[[Layout], dict[str, Builder]], defaults: Mapping[str, Any]
) -> dict[str, Entry]:
    """Rows of one body in some mazes, each followed by its evaluation variant where it has one."""
    table = {}
    for maze in mazes:
        name = f"{body}_{maze.name}"
        if maze.eval_layout is None:
            table[name] = Entry(engines(maze.layout), defaults)
        else:
            table[name] = Entry(engines(maze.layout), {**defaults, "evaluation.env": f"{name}_eval"})
            table[f"{name}_eval"] = Entry(engines(maze.eval_layout), defaults)
    return table


ENVIRONMENTS: dict[str, Entry] = {
    **_maze_entries("point", (*OWN_MAZES, *PAPER_MAZES), _point_engines, POINT_DEFAULTS),
    "ant": Entry(_ant_engines(None), ANT_DEFAULTS),
    "ant_light": Entry(_ant_engines(None, link_mass=None), ANT_DEFAULTS),
    **_maze_entries("ant", PAPER_MAZES, _ant_engines, ANT_DEFAULTS),
}


def register(name: str, engines: Mapping[str, Builder], defaults: Mapping[str, Any] | None = None) -> None:
    """Add a row to the table, for an environment that lives outside of this package.

    Args:
        name: what `env.name` and `--env` will call it.
        engines: builders by the names that `env.engine` may take, best first.
        defaults: settings that suit it, as dotted paths of the configuration; the others are the paper's.

    Raises:
        ConfigError: when the name is taken.
    """
    if name in ENVIRONMENTS:
        raise ConfigError(f"the name {name!r} is taken by another environment")
    ENVIRONMENTS[name] = Entry(engines, dict(defaults or {}))


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

"""Environments by name: look one up, pick its engine, build it, register your own."""

from collections.abc import Mapping
from typing import Any, NoReturn

import jax

from deepcrl.config import AutoReset, ConfigError, near_matches
from deepcrl.envs import gymnasium_env, settings, vector
from deepcrl.envs.mjx_engine import warp_is_installed
from deepcrl.envs.protocol import Engine, Env, Task
from deepcrl.envs.table import ENVIRONMENTS, QUICKSTART, Builder, Entry, Model

__all__ = ["ENVIRONMENTS", "QUICKSTART", "lookup", "make_env", "make_task", "register", "resolve_engine"]


def register(
    name: str,
    engines: Mapping[str, Builder],
    defaults: Mapping[str, Any] | None = None,
    *,
    model: Model | None = None,
    substeps: int = 1,
) -> None:
    """Add a row to the table, for an environment that lives outside of this package.

    Args:
        name: what `env.name` and `--env` will call it.
        engines: builders by the names that `env.engine` may take, best first.
        defaults: settings that suit it, by dotted path of the configuration; all others are the paper's.
        model: builds the MuJoCo model that films and replays draw; its coordinates are the physics' "qpos", optionally
            followed by the goal. None: it cannot be drawn.
        substeps: steps of that model per env step.

    Raises:
        ConfigError: when the name is taken, or no engine is given.
    """
    if name in ENVIRONMENTS:
        raise ConfigError(f"the name {name!r} is taken by another environment")
    if not engines:
        raise ConfigError(f"engines of {name!r} must name at least one")
    ENVIRONMENTS[name] = Entry(engines, dict(defaults or {}), model, substeps)


def _no_task(episode_length: int | None) -> NoReturn:
    raise ConfigError(f"a name that begins with {gymnasium_env.PREFIX!r} is a Gymnasium environment already")


def lookup(name: str, field: str = "env.name") -> Entry:
    """The table's row. Raises ConfigError, with near matches, for an unknown name."""
    if name.startswith(gymnasium_env.PREFIX):
        return Entry({"gymnasium": _no_task}, settings.GYMNASIUM)
    if name not in ENVIRONMENTS:
        raise ConfigError(f"{field} = {name!r} is not a known environment; {near_matches(name, ENVIRONMENTS)}")
    return ENVIRONMENTS[name]


def resolve_engine(name: str, engine: str) -> str:
    """Resolve "auto" to one of this environment's engines. Raises ConfigError for an engine that it does not have."""
    engines = lookup(name).engines
    if engine == "auto":
        for_gpus = [name for name in ("warp", "mjx") if name in engines and (name != "warp" or warp_is_installed())]
        return for_gpus[0] if for_gpus and jax.default_backend() == "gpu" else next(iter(engines))
    if engine not in engines:
        raise ConfigError(f"env.engine = {engine!r} cannot step {name}; it has: auto, {', '.join(engines)}")
    return engine


def make_task(name: str, engine: str, episode_length: int | None) -> tuple[Task, Engine]:
    """Build a row's task and one of its engines. Raises ConfigError for a bad length or an unsupported model."""
    if episode_length is not None and episode_length < 1:
        raise ConfigError(f"env.episode_length = {episode_length} must be at least 1")
    try:
        return lookup(name).engines[engine](episode_length)
    except NotImplementedError as lacking:  # raised by MJX, Brax and our engines for users' models
        raise ConfigError(f"env.engine = {engine!r} cannot step the model of {name}: {lacking}") from lacking


def make_env(
    name: str, *, engine: str = "auto", auto_reset: AutoReset = "fresh", episode_length: int | None = None
) -> Env:
    """Build an environment by name. Raises ConfigError for an unknown name or engine, or an unsupported model."""
    engine = resolve_engine(name, engine)
    if name.startswith(gymnasium_env.PREFIX):
        name = name.removeprefix(gymnasium_env.PREFIX)
        return gymnasium_env.gymnasium_env(name, auto_reset=auto_reset, episode_length=episode_length)
    task, physics_engine = make_task(name, engine, episode_length)
    try:
        return vector.build(task, physics_engine, auto_reset)
    except ConfigError as misfit:
        raise ConfigError(f"{name}: {misfit}") from None

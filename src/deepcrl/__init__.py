"""Deep contrastive reinforcement learning: agents that reach commanded goals without rewards or demonstrations.

>>> import deepcrl
>>> config = deepcrl.override(deepcrl.preset("ant_u4_maze"), {"network.depth": 64})  # doctest: +SKIP
>>> result = deepcrl.train(config, "runs/demo")  # doctest: +SKIP
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcrl.agent import LoadedAgent, evaluate, load_agent
    from deepcrl.config import AgentConfig, Config, ConfigError, EnvConfig, override
    from deepcrl.envs.registry import make_env
    from deepcrl.presets import preset
    from deepcrl.report import report
    from deepcrl.train import Result, resume, train

__all__ = [
    "AgentConfig",
    "Config",
    "ConfigError",
    "EnvConfig",
    "LoadedAgent",
    "Result",
    "evaluate",
    "load_agent",
    "make_env",
    "override",
    "preset",
    "report",
    "resume",
    "train",
]

_HOMES = {
    "agent": ("LoadedAgent", "evaluate", "load_agent"),
    "config": ("AgentConfig", "Config", "ConfigError", "EnvConfig", "override"),
    "envs.registry": ("make_env",),
    "presets": ("preset",),
    "report": ("report",),
    "train": ("Result", "resume", "train"),
}
"""The modules of the public names, imported when one of theirs is first asked for: JAX and Orbax take seconds."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`deepcrl.train` is the function, although importing the module of that name would put the module there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

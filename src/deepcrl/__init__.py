"""Deep contrastive reinforcement learning: agents that reach commanded goals without rewards or demonstrations.

>>> import deepcrl
>>> config = deepcrl.override(deepcrl.preset("ant_u4_maze"), {"network.depth": 64})  # doctest: +SKIP
>>> result = deepcrl.train(config, "runs/demo")  # doctest: +SKIP
"""

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

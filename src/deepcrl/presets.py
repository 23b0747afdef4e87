"""Ready-made configurations: the registry's settings for an environment on top of the paper's defaults."""

from typing import Literal, get_args

from deepcrl.algorithms import DEFAULT_ALGORITHM
from deepcrl.config import Config, ConfigError, EnvConfig, agent_defaults, override
from deepcrl.envs import registry

Scale = Literal["laptop", "paper"]
PAPER_ENGINES = ("spring", "mjx")
"""Engines of the paper's runs: "spring" where an environment has it, else "mjx"."""


def preset(env: str = registry.QUICKSTART, scale: Scale = "laptop", algorithm: str = DEFAULT_ALGORITHM) -> Config:
    """Settings for an environment.

    Args:
        env: its name.
        scale: "laptop" takes the settings of its row in the registry, meant for an hour or so on two cores; "paper"
            those of the paper's runs: 100 million env steps in 512 environments, its engine, its automatic resets,
            which repeat each slot's first start and goal, its distribution of future goals, and its evaluation mazes.
        algorithm: its name. The environment's settings override its defaults where it has such fields.

    Raises:
        ConfigError: for an unknown environment or algorithm, with near matches, or scale.
    """
    row, config = registry.lookup(env), Config(env=EnvConfig(env), agent=agent_defaults(DEFAULT_ALGORITHM))
    if scale == "laptop":
        return override(override(config, row.defaults), {"agent.algorithm": algorithm})
    if scale != "paper":
        raise ConfigError(f"scale = {scale!r} is not one of {', '.join(map(repr, get_args(Scale)))}")
    changed = override(
        config,
        {
            "env.engine": next((engine for engine in PAPER_ENGINES if engine in row.engines), "auto"),
            "env.auto_reset": "cached",
            "agent.goal_sampling": "window",
            "evaluation.env": row.paper_evaluation,
        },
    )
    return override(changed, {"agent.algorithm": algorithm})

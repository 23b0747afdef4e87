"""Ready-made configurations: the registry's settings for an environment on top of the paper's defaults."""

from deepcrl.algorithms import DEFAULT_ALGORITHM
from deepcrl.config import AgentConfig, Config, EnvConfig, override
from deepcrl.envs import registry


def preset(env: str = registry.QUICKSTART) -> Config:
    """The settings that suit an environment. Raises ConfigError, with near matches, for an unknown one."""
    defaults = registry.lookup(env).defaults
    return override(Config(env=EnvConfig(env), agent=AgentConfig(DEFAULT_ALGORITHM)), defaults)

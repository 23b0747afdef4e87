"""Learning algorithms, one file each, and the table of them."""

from collections.abc import Callable

from deepcrl.algorithms import crl
from deepcrl.algorithms.base import Algorithm, Probes
from deepcrl.config import Config, ConfigError, near_matches
from deepcrl.envs.protocol import EnvSpec

ALGORITHMS: dict[str, Callable[[Config, EnvSpec], Algorithm]] = {"crl": crl.build}

DEFAULT_ALGORITHM = "crl"


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """The configured algorithm. Raises ConfigError for an unknown name, with near matches."""
    name = config.agent.algorithm
    if name not in ALGORITHMS:
        raise ConfigError(f"agent.algorithm = {name!r} is not a known algorithm; {near_matches(name, ALGORITHMS)}")
    return ALGORITHMS[name](config, spec)


__all__ = ["ALGORITHMS", "DEFAULT_ALGORITHM", "Algorithm", "Probes", "build"]

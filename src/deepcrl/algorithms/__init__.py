"""Learning algorithms, one file each, and the table of them."""

from collections.abc import Callable
from typing import NamedTuple

from deepcrl.algorithms import crl, gcbc, learners, qrl, sac, td3
from deepcrl.algorithms.base import Algorithm, Probes
from deepcrl.config import AGENTS, AgentConfig, Config, agent_defaults
from deepcrl.envs.protocol import EnvSpec


class Row(NamedTuple):
    """One algorithm of the table."""

    build: Callable[[Config, EnvSpec], Algorithm]
    """Raises ConfigError for settings that it cannot run with."""
    defaults: AgentConfig
    """Instance of its settings class, with the default values of `--algorithm NAME`."""
    summary: str


ALGORITHMS: dict[str, Row] = {}


def register(name: str, build: Callable[[Config, EnvSpec], Algorithm], defaults: AgentConfig, summary: str) -> None:
    """Add an algorithm, or replace it: from here on `agent.algorithm = name` trains it."""
    ALGORITHMS[name] = Row(build, defaults, summary)
    AGENTS[name] = defaults


register("crl", crl.build, crl.CRLConfig("crl"), "contrastive RL: InfoNCE critic, hindsight goals (the paper's)")
register(
    "cmd1",
    crl.build,
    crl.CRLConfig("cmd1", energy="mrn", loss="backward"),
    "contrastive RL with a quasimetric: MRN distance, backward InfoNCE",
)
register("sac", sac.build, sac.SACConfig("sac"), "soft actor-critic on commanded goals and sparse rewards")
register("sac_her", sac.build, sac.SACConfig("sac_her", her_share=0.8), "SAC with hindsight experience replay")
register("td3", td3.build, td3.TD3Config("td3"), "twin delayed DDPG on commanded goals and sparse rewards")
register("td3_her", td3.build, td3.TD3Config("td3_her", her_share=0.8), "TD3 with hindsight experience replay")
register("gcbc", gcbc.build, gcbc.GCBCConfig("gcbc"), "goal-conditioned behavioural cloning of what led there")
register(
    "gcsl",
    gcbc.build,
    gcbc.GCBCConfig("gcsl", goal_sampling="uniform", max_entropy=True),
    "goal-conditioned supervised learning: uniform future goals, an entropy target",
)
register("qrl", qrl.build, qrl.QRLConfig("qrl"), "quasimetric RL: distances pushed apart, held down by single steps")

DEFAULT_ALGORITHM = "crl"


def build(config: Config, spec: EnvSpec) -> Algorithm:
    """The configured algorithm, joined with its learners. Raises ConfigError if it cannot be run."""
    return members(config, spec)[0] if not config.learners else learners.join(_build_all(config, spec))


def members(config: Config, spec: EnvSpec) -> list[Algorithm]:
    """The collector and each learner, as algorithms that act with the joined agent."""
    built = _build_all(config, spec)
    return [learners.member(built, i) for i in range(len(built))] if config.learners else built


def _build_all(config: Config, spec: EnvSpec) -> list[Algorithm]:
    collector, *others = learners.configs(config)
    built = [_build_one(collector, spec)]
    for text, own in zip(config.learners, others, strict=True):
        with learners.naming(text):
            built.append(_build_one(own, spec))
    return built


def _build_one(config: Config, spec: EnvSpec) -> Algorithm:
    agent_defaults(config.agent.algorithm)
    return ALGORITHMS[config.agent.algorithm].build(config, spec)


__all__ = ["ALGORITHMS", "DEFAULT_ALGORITHM", "Algorithm", "Probes", "Row", "build", "members", "register"]

"""Every field of every algorithm's settings, and of the networks, changes the program that is traced from them.

What the traced program does with a number is another test's affair; that an option is read at all is this one's. The
fields of the environment, the schedule and the evaluation are in tests/integration/test_run.py.
"""

import dataclasses
import functools
import re
from typing import Any

import jax
import pytest

from deepcrl import algorithms
from deepcrl.algorithms import ALGORITHMS
from deepcrl.config import Config, EnvConfig, NetworkConfig, TrainConfig, agent_defaults, override
from deepcrl.envs.protocol import EnvSpec
from deepcrl.program import make_learn, transition_sizes
from deepcrl.replay import buffer

SPEC = EnvSpec(state_size=4, goal_size=2, goal_indices=(0, 1), action_size=3, episode_length=20, success_radius=0.5)
NETWORK = NetworkConfig(depth=4, block_size=2, width=8, representation_size=16, remat="none")

# For every field another legal value; BESIDES says what must be set for the field to act.
CHANGES = {
    "network.depth": 8,
    "network.width": 16,
    "network.actor_depth": 8,
    "network.critic_depth": 8,
    "network.actor_width": 16,
    "network.critic_width": 16,
    "network.block_size": 4,
    "network.backbone": "plain",
    "network.norm": "hyper",
    "network.activation": "relu",
    "network.branch_scale": "zero",
    "network.stem_bias": 2.0,
    "network.final_norm": True,
    "network.representation_size": 32,
    "network.remat": "block",
    "network.unroll": 2,
    "agent.actor_learning_rate": 2e-3,
    "agent.max_grad_norm": 1.0,
    "agent.warmup_updates": 10,
    "agent.explore": "mean",
    "agent.energy": "l2",
    "agent.loss": "symmetric",
    "agent.logsumexp_penalty": 0.2,
    "agent.discount": 0.5,
    "agent.goal_sampling": None,
    "agent.end_aversion": 0.5,
    "agent.random_goals": 0.25,
    "agent.window_length": 5,
    "agent.critic_learning_rate": 2e-3,
    "agent.temperature_learning_rate": 2e-3,
    "agent.entropy_coefficient": 1.0,
    "agent.target_rate": 0.1,
    "agent.her_share": 0.5,
    "agent.her": "final",
    "agent.policy_delay": 3,
    "agent.exploration_noise": 0.1,
    "agent.target_noise": 0.1,
    "agent.noise_clip": 0.1,
    "agent.push_offset": 10.0,
    "agent.push_beta": 0.2,
    "agent.epsilon": 0.1,
    "agent.multiplier_learning_rate": 2e-3,
    "agent.dynamics_weight": 0.2,
}
# What stands in CHANGES' place for one algorithm only.
OWN: dict[tuple[str, str], Any] = {
    ("crl", "agent.goal_sampling"): "window",
    ("gcbc", "agent.goal_sampling"): "uniform",
    ("qrl", "agent.goal_sampling"): "final",
    ("qrl", "agent.energy"): "mrn",
    ("gcbc", "agent.max_entropy"): True,
}
BESIDES: dict[str, dict[str, Any]] = {
    "agent.window_length": {"agent.goal_sampling": "window"},
    "agent.end_aversion": {"agent.goal_sampling": "absorbing"},
    "agent.her": {"agent.her_share": 0.5},
}
BESIDES_OWN: dict[tuple[str, str], dict[str, Any]] = {
    ("qrl", "agent.discount"): {"agent.goal_sampling": "geometric"},
    ("gcbc", "agent.temperature_learning_rate"): {"agent.max_entropy": True},
    ("gcbc", "agent.entropy_coefficient"): {"agent.max_entropy": True},
}
# Networks without a critic refuse settings of it, those without embeddings have none of this size.
NO_EMBEDDINGS = {"network.representation_size"}
NO_CRITIC = {"network.representation_size", "network.critic_depth", "network.critic_width"}
WITHOUT = {
    "sac": NO_EMBEDDINGS,
    "td3": NO_EMBEDDINGS,
    "gcbc": NO_CRITIC,
}


def fields(name: str) -> list[str]:
    """Paths of all fields of the algorithm's settings and of the networks; once for rows of the same file, which share
    their fields."""
    own = [f"agent.{f.name}" for f in dataclasses.fields(agent_defaults(name)) if f.name != "algorithm"]
    shared = [f"network.{f.name}" for f in dataclasses.fields(NetworkConfig)]
    alike = [other for other in ALGORITHMS if ALGORITHMS[other].build == ALGORITHMS[name].build]
    return [path for path in own + shared if name == alike[0] and path not in WITHOUT.get(name, set())]


PARTS = ("init", "act", "learn")
"""All that a run traces for an algorithm: first parameters, acting, the updates of a collection."""


@functools.cache
def program(config: Config, part: str) -> str:
    """The text of the part of an algorithm's programs."""
    algorithm = algorithms.build(config, SPEC)
    key = jax.random.key(0)
    if part == "init":
        traced = jax.make_jaxpr(algorithm.init)(key)
    elif part == "act":
        agent = jax.eval_shape(algorithm.init, key)
        state, goal = jax.ShapeDtypeStruct((3, 4), "float32"), jax.ShapeDtypeStruct((3, 2), "float32")
        act = functools.partial(algorithm.act, mode=config.agent.explore)
        traced = jax.make_jaxpr(act)(agent, state, goal, key)
    else:
        agent = jax.eval_shape(algorithm.init, key)
        columns = buffer.column_sizes(algorithm.columns, transition_sizes(SPEC))
        replay = jax.eval_shape(lambda: buffer.init(columns, 50, 3))
        traced = jax.make_jaxpr(make_learn(algorithm, 2, config.train.batch_size))(agent, replay, key)
    return re.sub(r"0x[0-9a-f]+", "", str(traced))  # no addresses


@pytest.mark.parametrize("part", PARTS)
def test_equal_settings_are_equal_programs(part: str):
    config = Config(EnvConfig("none"), agent_defaults("crl"), NETWORK, TrainConfig(batch_size=4))
    assert program.__wrapped__(config, part) == program(config, part)


@pytest.mark.parametrize(("name", "path"), [(name, path) for name in ALGORITHMS for path in fields(name)])
def test_every_option_changes_the_program(name: str, path: str):
    agent = agent_defaults(name)
    base = Config(EnvConfig("none"), agent, NETWORK, TrainConfig(batch_size=4))
    base = override(base, BESIDES_OWN.get((name, path), BESIDES.get(path, {})))
    value = OWN[name, path] if (name, path) in OWN else CHANGES[path]
    if value == getattr(base.agent, path.partition(".")[2], None):
        pytest.fail(f"{path} = {value!r} is the default; choose another value")
    changed = override(base, {path: value})
    # The cheap parts first; most options show in them.
    assert any(program(changed, part) != program(base, part) for part in PARTS)

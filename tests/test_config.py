"""Configuration: override, JSON, names and types in error messages, and the identity of a configuration."""

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from typing import Any

import pytest

from deepcrl.algorithms import ALGORITHMS, qrl
from deepcrl.algorithms.crl import CRLConfig
from deepcrl.config import (
    Config,
    ConfigError,
    EnvConfig,
    config_id,
    from_dict,
    near_matches,
    override,
    to_dict,
)

BASE = Config(env=EnvConfig("a_maze"), agent=CRLConfig("crl"))


def leaves(node: Any = BASE, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(path, type, value) of every field that is not itself a dataclass."""
    found = []
    for name, hint in typing.get_type_hints(type(node)).items():
        value = getattr(node, name)
        if dataclasses.is_dataclass(value):
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", hint, value))
    # Another algorithm brings its own fields: a test of its own.
    return [leaf for leaf in found if leaf[0] != "agent.algorithm"]


def another(hint: Any, value: Any) -> Any:
    """A legal value of this type that differs from `value`."""
    if typing.get_origin(hint) is typing.Literal:
        return next(option for option in typing.get_args(hint) if option != value)
    if typing.get_origin(hint) is tuple:
        return ("network.depth=8",)
    if isinstance(hint, types.UnionType):
        return {int: 8, float: 8.0, str: "another"}[typing.get_args(hint)[0]]
    changes = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value / 2 or 0.5,
        str: lambda: f"{value}x",
    }
    return changes[hint]()


LEAVES = leaves()
CHANGED = override(BASE, {path: another(hint, value) for path, hint, value in LEAVES})


def get(config: Config, path: str) -> Any:
    node: Any = config
    for name in path.split("."):
        node = getattr(node, name)
    return node


def test_defaults_are_the_papers():
    """Table 7 of the paper."""
    assert {path: value for path, _, value in LEAVES if path in PAPER} == PAPER


PAPER = {
    "env.num_envs": 512,
    "network.width": 256,
    "network.block_size": 4,
    "network.backbone": "residual",
    "network.norm": "layer",
    "network.activation": "swish",
    "network.branch_scale": "none",
    "network.final_norm": False,
    "network.representation_size": 64,
    "agent.energy": "norm",
    "agent.loss": "forward",
    "agent.logsumexp_penalty": 0.1,
    "agent.discount": 0.99,
    "agent.actor_learning_rate": 3e-4,
    "agent.critic_learning_rate": 3e-4,
    "agent.temperature_learning_rate": 3e-4,
    "agent.entropy_coefficient": 0.5,
    "agent.random_goals": 0.0,
    "agent.end_aversion": 0.0,
    "agent.explore": "sample",
    "train.unroll_length": 62,
    "train.prefill_steps": 1000,
    "train.updates_per_env_steps": "800:31744",
    "train.batch_size": 512,
    "train.replay_capacity": 10_000,
    "evaluation.num_envs": 128,
    "evaluation.mode": "mean",
}


def test_defaults_of_every_other_algorithm():
    assert set(OTHERS) == set(ALGORITHMS) - {"crl"}
    for name, own in OTHERS.items():
        found = dataclasses.asdict(ALGORITHMS[name].defaults)
        assert found == {"algorithm": name, **SHARED, **own}, name
    assert qrl.FIRST_MULTIPLIER == 0.01


SHARED = {
    "actor_learning_rate": 3e-4,
    "max_grad_norm": None,
    "warmup_updates": 0,
    "explore": "sample",
}
TEMPERATURE = {"temperature_learning_rate": 3e-4, "entropy_coefficient": 0.5}
TEMPORAL_DIFFERENCE = {
    "discount": 0.99,  # JaxGCRL's SAC and TD3 have 0.9; all algorithms are compared at one (docs/baselines.md)
    "critic_learning_rate": 3e-4,  # JaxGCRL's SAC has 1e-4 for all its networks; as above
    "target_rate": 0.005,
    "her": "future",  # JaxGCRL has "final" only
}
TD3 = {
    **TEMPORAL_DIFFERENCE,
    "policy_delay": 2,
    "exploration_noise": 0.4,
    "target_noise": 0.2,
    "noise_clip": 0.5,
}
IMITATION = {**TEMPERATURE, "discount": 0.99}
OTHERS: dict[str, dict[str, Any]] = {
    "cmd1": {
        **TEMPERATURE,
        "energy": "mrn",
        "loss": "backward",
        "logsumexp_penalty": 0.1,
        "discount": 0.99,
        "goal_sampling": "trajectory",  # "window" in the release, where windows cut futures off (docs/fidelity.md)
        "end_aversion": 0.0,
        "random_goals": 0.0,
        "window_length": 1000,
        "critic_learning_rate": 3e-4,
    },
    "sac": {**TEMPORAL_DIFFERENCE, **TEMPERATURE, "her_share": 0.0},
    "sac_her": {**TEMPORAL_DIFFERENCE, **TEMPERATURE, "her_share": 0.8},  # JaxGCRL relabels all (docs/baselines.md)
    "td3": {**TD3, "her_share": 0.0},
    "td3_her": {**TD3, "her_share": 0.8},
    "gcbc": {**IMITATION, "goal_sampling": "geometric", "max_entropy": False},
    "gcsl": {**IMITATION, "goal_sampling": "uniform", "max_entropy": True},
    "qrl": {
        **TEMPERATURE,
        "energy": "iqe",
        "push_offset": 15.0,
        "push_beta": 0.1,
        "epsilon": 0.25,
        "multiplier_learning_rate": 1e-2,
        "dynamics_weight": 0.1,
        # The authors' are 1e-4, and 3e-5 for the actor; ours are those of all algorithms (qrl.py).
        "critic_learning_rate": 3e-4,
        "random_goals": 0.5,
        "goal_sampling": "uniform",
        "discount": 0.99,
    },
}
"""By algorithm, the fields beyond SHARED."""


@pytest.mark.parametrize(("path", "hint", "value"), LEAVES, ids=[path for path, _, _ in LEAVES])
def test_override_changes_one_field_and_the_identity(path, hint, value):
    changed = override(BASE, {path: another(hint, value)})
    assert get(changed, path) == another(hint, value) != value
    assert [p for p, _, _ in LEAVES if get(changed, p) != get(BASE, p)] == [path]
    assert config_id(changed) != config_id(BASE)
    assert get(BASE, path) == value
    assert override(changed, {path: value}) == BASE


def test_identities_of_all_single_changes_differ():
    ids = {config_id(override(BASE, {path: another(hint, value)})) for path, hint, value in LEAVES}
    assert len(ids | {config_id(BASE), config_id(CHANGED)}) == len(LEAVES) + 2


def test_another_algorithm_brings_its_defaults_and_keeps_what_was_changed():
    changed = override(BASE, {"agent.discount": 0.9, "agent.energy": "dot", "agent.algorithm": "cmd1"})
    assert changed.agent == dataclasses.replace(ALGORITHMS["cmd1"].defaults, discount=0.9, energy="dot")
    assert override(BASE, {"agent.algorithm": "cmd1"}).agent == ALGORITHMS["cmd1"].defaults
    assert override(BASE, {"agent.algorithm": "cmd1", "agent.loss": "forward"}).agent.loss == "forward"
    assert override(changed, {"agent.algorithm": "crl"}).agent == dataclasses.replace(
        ALGORITHMS["crl"].defaults, discount=0.9, energy="dot"
    )
    # What is said together is about the algorithm that is said, also where the other one's default is the same.
    both = {"agent.random_goals": 0.0, "agent.algorithm": "qrl"}
    for changes in (both, dict(reversed(both.items()))):
        assert override(BASE, changes).agent == dataclasses.replace(ALGORITHMS["qrl"].defaults, random_goals=0.0)
    with pytest.raises(ConfigError, match=r"unknown field 'agent\.loss'"):
        override(BASE, {"agent.loss": "binary", "agent.algorithm": "sac"})
    # A word that the other one does not know is not kept.
    windows = override(BASE, {"agent.goal_sampling": "window", "agent.discount": 0.9})
    assert override(windows, {"agent.algorithm": "gcbc"}).agent == dataclasses.replace(
        ALGORITHMS["gcbc"].defaults, discount=0.9
    )
    assert from_dict({"env": {"name": "a_maze"}, "agent": {"algorithm": "cmd1"}}).agent == ALGORITHMS["cmd1"].defaults
    for wrong in ("crll", 3):
        with pytest.raises(ConfigError, match=f"agent.algorithm = {wrong!r} is not a known algorithm"):
            override(BASE, {"agent.algorithm": wrong})
        with pytest.raises(ConfigError, match=f"agent.algorithm = {wrong!r} is not a known algorithm"):
            from_dict({"env": {"name": "a_maze"}, "agent": {"algorithm": wrong}})


def test_several_overrides_apply_together_and_the_last_one_wins():
    changed = override(BASE, {"network.depth": 64, "seed": 3, "network": {"depth": 16}})
    assert (changed.network.depth, changed.network.width, changed.seed) == (16, 256, 3)


@pytest.mark.parametrize("config", [BASE, CHANGED], ids=["defaults", "changed"])
def test_json_round_trip_is_exact(config):
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert {path: type(get(again, path)) for path, _, _ in LEAVES} == {
        path: type(get(config, path)) for path, _, _ in LEAVES
    }
    assert config_id(again) == config_id(config)


def test_identity_is_a_hash_of_canonical_json():
    text = json.dumps(dataclasses.asdict(CHANGED), sort_keys=True, separators=(",", ":"))
    assert config_id(CHANGED) == hashlib.sha256(text.encode()).hexdigest()[:12]
    backwards = dict(reversed(to_dict(CHANGED).items()))
    assert config_id(from_dict(backwards)) == config_id(CHANGED)


def test_options_that_came_later_do_not_rename_older_runs():
    """A younger field counts from the value on that older runs did not have."""
    older = dataclasses.asdict(BASE)
    assert older["network"].pop("stem_bias") == 0.0
    text = json.dumps(older, sort_keys=True, separators=(",", ":"))
    assert config_id(BASE) == config_id(from_dict(older)) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_float_given_as_an_int_is_the_same_configuration():
    given = dataclasses.replace(BASE, agent=dataclasses.replace(BASE.agent, logsumexp_penalty=1))
    said = override(BASE, {"agent.logsumexp_penalty": 1})
    assert type(said.agent.logsumexp_penalty) is float
    assert config_id(given) == config_id(said) == config_id(override(BASE, {"agent.logsumexp_penalty": 1.0}))


def test_missing_fields_take_their_defaults_unless_they_have_none():
    assert from_dict({"env": {"name": "a_maze"}, "agent": {"algorithm": "crl"}}) == BASE
    with pytest.raises(ConfigError, match="config lacks agent"):
        from_dict({"env": {"name": "a_maze"}})
    with pytest.raises(ConfigError, match=r"config\.env lacks name"):
        from_dict({"env": {}, "agent": {"algorithm": "crl"}})
    with pytest.raises(ConfigError, match="config must be a mapping, not 3"):
        from_dict(3)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("network.dept", r"unknown field 'network\.dept': did you mean (.*, )?depth"),
        ("netwrk.depth", r"unknown field 'netwrk\.depth': did you mean network\?"),
        ("agent.learning_rate", r"unknown field 'agent\.learning_rate': did you mean .*actor_learning_rate"),
        (
            "depth.network",
            r"unknown field 'depth\.network': known: agent, checkpoint, env, evaluation, learners, network, seed",
        ),
        ("seed.value", r"unknown field 'seed\.value': seed has no fields of its own"),
        ("", r"unknown field '': known: agent, checkpoint"),
    ],
)
def test_unknown_paths_are_refused_with_near_matches(path, message):
    with pytest.raises(ConfigError, match=message):
        override(BASE, {path: 1})


def test_unknown_fields_in_json_are_refused_with_near_matches():
    data = to_dict(BASE)
    data["train"]["batchsize"] = 3
    with pytest.raises(ConfigError, match=r"unknown field 'config\.train\.batchsize': did you mean batch_size"):
        from_dict(data)


def test_near_matches_name_the_closest_or_everything():
    assert near_matches("ant_u4_mase", ["ant_u4_maze", "humanoid", "reach"]) == "did you mean ant_u4_maze?"
    assert near_matches("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("network.depth", "8", "network.depth = '8' must be of type int"),
        ("network.depth", 8.0, "network.depth = 8.0 must be of type int"),
        ("network.depth", True, "network.depth = True must be of type int"),
        ("network.depth", None, "network.depth = None must be of type int"),
        ("network.final_norm", 1, "network.final_norm = 1 must be of type bool"),
        ("network.actor_depth", "8", "network.actor_depth = '8' must be of type int or None"),
        ("env.name", 3, "env.name = 3 must be of type str"),
        ("evaluation.env", False, "evaluation.env = False must be of type str or None"),
        ("agent.discount", "0.9", "agent.discount = '0.9' must be of type float"),
        ("agent.discount", True, "agent.discount = True must be of type float"),
        ("agent.loss", "forwards", "agent.loss = 'forwards' is not one of 'forward', 'backward', 'symmetric'"),
        ("agent.loss", ["forward"], "agent.loss = \\['forward'\\] is not one of"),
        ("network", {"depth": "8"}, "network.depth = '8' must be of type int"),
        ("network", 3, "network must be a mapping, not 3"),
    ],
)
def test_wrong_types_are_refused_by_path_value_and_type(path, value, message):
    with pytest.raises(ConfigError, match=message):
        override(BASE, {path: value})


@pytest.mark.parametrize("path", [path for path, hint, _ in LEAVES if float in (hint, *typing.get_args(hint))])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "int"])
def test_every_number_is_finite(path, value):
    with pytest.raises(ConfigError, match=rf"^{re.escape(path)} = {value!r} must be finite$"):
        override(BASE, {path: value})
    data = to_dict(BASE)
    data[path.split(".")[0]][path.split(".")[1]] = value
    with pytest.raises(ConfigError, match=rf"{re.escape(path)} = {value!r} must be finite$"):
        from_dict(data)


@pytest.mark.parametrize(("path", "hint", "value"), LEAVES, ids=[path for path, _, _ in LEAVES])
def test_every_field_refuses_what_is_not_of_its_type(path, hint, value):
    for wrong in ([3], {}, b"8"):
        with pytest.raises(ConfigError, match=path.replace(".", r"\.")):
            override(BASE, {path: wrong})


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.seed = 1  # pyright: ignore[reportAttributeAccessIssue]

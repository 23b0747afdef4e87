"""The configuration: frozen dataclasses, one `override`, JSON in and out. Nothing here imports jax.

Every field changes the plan, the network, the data or the numbers; a field that changes nothing is a bug. Types and
words are checked here; ranges where they matter: `plan.py`, `nn/encoder.py` and each algorithm's `check`.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AutoReset = Literal["fresh", "cached"]
Remat = Literal["none", "dots", "block"]
Backbone = Literal["residual", "preactivation", "plain"]
Norm = Literal["layer", "rms", "hyper", "both", "none"]
Activation = Literal["swish", "relu", "gelu"]
BranchScale = Literal["none", "depth", "zero"]


LATER = {"later": True}
"""Marks a field that is younger than runs that exist: `config_id` leaves it out while it has its default."""


class ConfigError(ValueError):
    """A value that no run can be made from. The message names the field, the value and what is allowed."""


@dataclass(frozen=True)
class EnvConfig:
    """What the agent acts in while it trains."""

    name: str
    """Training environment; `deepcrl list envs` prints them all."""
    engine: str = "auto"
    """Physics engine; "auto" takes the first one in the environment's row of the registry, on a GPU "warp" or "mjx"."""
    num_envs: int = 512
    """Parallel environments N."""
    episode_length: int | None = None
    """Steps after which an episode is truncated; None takes the environment's own."""
    auto_reset: AutoReset = "fresh"
    """What follows the end of an episode: "fresh" draws a new start and goal; "cached" repeats each slot's first one
    for the whole run, as the paper's code does."""


@dataclass(frozen=True)
class NetworkConfig:
    """The trunk of all networks: stem, residual blocks, head (paper, section 3)."""

    depth: int = 4
    """Dense layers inside residual blocks, for actor and critic alike; a multiple of the block size."""
    width: int = 256
    """Features of every hidden layer, for actor and critic alike."""
    actor_depth: int | None = None
    """Depth of the actor alone; None takes `depth`."""
    critic_depth: int | None = None
    """Depth of the critic's networks alone; None takes `depth`."""
    actor_width: int | None = None
    """Width of the actor alone; None takes `width`."""
    critic_width: int | None = None
    """Width of the critic's networks alone; None takes `width`."""
    block_size: int = 4
    """Dense layers per residual block."""
    backbone: Backbone = "residual"
    """How blocks are joined: "residual" adds a block's input to its output, after the last activation, as the paper;
    "preactivation" is Dense after normalisation and activation, so that nothing but sums lies on the way through;
    "plain" adds nothing."""
    norm: Norm = "layer"
    """What goes with every Dense layer of stem and blocks: LayerNorm, RMSNorm, "hyper" (weights on the unit sphere
    and a learnt scale per feature), "both" (LayerNorm, and weights on the unit sphere) or nothing."""
    activation: Activation = "swish"
    """Nonlinearity after every normalisation."""
    branch_scale: BranchScale = "none"
    """Factor of a block's output before it is added: "depth" is 1 / number of blocks; "zero" is learnt for each
    feature and starts at 0, so that every block starts as the identity."""
    stem_bias: float = field(default=0.0, metadata=LATER)
    """Biases of the stem start uniform(±stem_bias), in the units of its inputs. At 0, the paper's value, the norm after
    the stem hides how far from the origin an input lies until training has grown the biases."""
    final_norm: bool = False
    """LayerNorm between the last block and the heads."""
    representation_size: int = 64
    """Size of the two critic embeddings, in algorithms whose critic is an energy of two: CRL, CMD-1 and QRL."""
    remat: Remat = "dots"
    """What the backward pass recomputes: "none" stores all, "dots" stores matrix products only, "block" stores one
    vector per block. Changes speed and memory, and values by rounding only."""
    unroll: int = 1
    """Blocks per iteration of the scan over depth. Changes compile time and speed, and values by rounding only."""


@dataclass(frozen=True)
class AgentConfig:
    """What is learnt, and how the agent acts: what all algorithms share. Each algorithm's file adds its own fields."""

    algorithm: str
    """Learning algorithm; `deepcrl list algorithms` prints them all. Another one brings its own fields and defaults."""
    actor_learning_rate: float = 3e-4
    """Adam learning rate of the actor."""
    max_grad_norm: float | None = None
    """Scale down gradients whose global norm, over all that one optimiser steps, is larger; None leaves them."""
    warmup_updates: int = 0
    """Steps of an optimiser over which its learning rate rises linearly to the configured one: step k of n uses k/n."""
    explore: str = "sample"
    """Actions while collecting: "mean", "sample", or "best_of_K" (K samples ranked by the critic), K >= 2."""


AGENTS: dict[str, AgentConfig] = {}
"""The settings of every algorithm, by name: its class of fields and their defaults. Filled by `deepcrl.algorithms`."""


@dataclass(frozen=True)
class TrainConfig:
    """How much data, how much learning, in which portions."""

    total_env_steps: int = 99_993_600
    """Env steps of the whole run, prefill included; met exactly or refused."""
    unroll_length: int = 62
    """Env steps per environment and collection, T."""
    prefill_steps: int = 1000
    """Env steps per environment, at least, before the first update; whole collections."""
    updates_per_env_steps: str = "800:31744"
    """Gradient updates per env steps as an exact ratio; "800:31744" is the paper's, called 1:40 there."""
    batch_size: int = 512
    """Pairs per update, B."""
    replay_capacity: int = 10_000
    """Steps kept per environment."""
    overlap: bool = False
    """Collect the next unroll on the host while the learner updates: the agent that collects is one collection's
    updates behind, and acts on the CPU. Host engines only."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Fresh episodes with the current policy, at even distances through the run (paper, appendix)."""

    env: str | None = None
    """Evaluation environment; None takes the training environment."""
    num_evals: int = 100
    """Evaluations after training has begun; one more, of the untrained policy, comes first."""
    num_envs: int = 128
    """Episodes per evaluation."""
    mode: str = "mean"
    """Actions while evaluating: "mean", "sample" or "best_of_K"."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Whole-state checkpoints, written after every evaluation and when a run is interrupted."""

    keep: int = 2
    """Newest checkpoints kept; the best one so far is kept besides."""


@dataclass(frozen=True)
class Config:
    """One run. From this alone it can be repeated."""

    env: EnvConfig
    agent: AgentConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    learners: tuple[str, ...] = ()
    """Further networks, each given by its changes of agent and network fields, "network.depth=4 agent.energy=dot":
    they learn from the replay that the main one collects, and are evaluated beside it (paper, Figure 8). A depth or
    width so given is also that of actor and critic where the main one's have their own."""
    seed: int = 0
    """Decides every random number of the run."""


def near_matches(name: str, known: typing.Iterable[str]) -> str:
    """Text for an error message: the known names closest to `name`, or all of them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known)}"


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return `config` with dotted paths replaced, e.g. `{"network.depth": 64, "seed": 3}`.

    Another `agent.algorithm` comes first and brings its own defaults; what `config` has changed of a field that both
    have stays changed, where the other one allows that value.

    Raises:
        ConfigError: on an unknown path (naming near matches) or a value of the wrong type.
    """
    for path, value in sorted(changes.items(), key=lambda change: change[0] != "agent.algorithm"):
        if path == "agent.algorithm" and value != config.agent.algorithm:
            config = dataclasses.replace(config, agent=_switch(config.agent, value))
        else:
            config = _replace(config, path.split("."), value, path)
    return config


def agent_defaults(name: Any) -> AgentConfig:
    """The settings that an algorithm starts from. Raises ConfigError for an unknown name, with near matches."""
    if not isinstance(name, str) or name not in AGENTS:
        raise ConfigError(f"agent.algorithm = {name!r} is not a known algorithm; {near_matches(str(name), AGENTS)}")
    return AGENTS[name]


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain dictionary, ready for JSON."""
    return dataclasses.asdict(config)


def flatten(config: Config) -> dict[str, Any]:
    """Values by dotted path, as `override` takes them."""

    def leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(leaves(to_dict(config), ""))


def from_dict(data: Mapping[str, Any]) -> Config:
    """Inverse of `to_dict`. Raises ConfigError on unknown, missing or mistyped fields."""
    return _build(Config, data, "config")


def config_id(config: Config) -> str:
    """Twelve hexadecimal digits that name this configuration: a hash of its canonical JSON.

    Fields marked `LATER` are in it only where they differ from their defaults: older runs keep their names.
    """
    canonical = from_dict(to_dict(config))  # a float given as an int is a float
    text = json.dumps(_named(canonical), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _named(node: Any) -> Any:
    """The settings that decide a configuration's id."""
    if not dataclasses.is_dataclass(node):
        return node
    values = {f: getattr(node, f.name) for f in dataclasses.fields(node)}
    return {f.name: _named(value) for f, value in values.items() if "later" not in f.metadata or value != f.default}


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of a dataclass's fields."""
    return typing.get_type_hints(cls)


def _switch(agent: AgentConfig, name: Any) -> AgentConfig:
    """Another algorithm's settings, with the fields that both have, that `agent` has changed, to what both allow."""
    new, old = agent_defaults(name), agent_defaults(agent.algorithm)
    changed = {f.name: getattr(agent, f.name) for f in dataclasses.fields(agent)}
    changed = {key: value for key, value in changed.items() if value != getattr(old, key) and _fits(new, key, value)}
    return dataclasses.replace(new, **changed | {"algorithm": name})


def _fits(agent: AgentConfig, name: str, value: Any) -> bool:
    """Whether these settings have such a field, and it may have this value."""
    hints = _hints(type(agent))
    try:
        return name in hints and _coerce(hints[name], value, name) == value
    except ConfigError:
        return False


def _replace(node: Any, path: list[str], value: Any, full_path: str) -> Any:
    hints = _hints(type(node))
    name = path[0]
    if name not in hints:
        raise ConfigError(f"unknown field {full_path!r}: {near_matches(name, hints)}")
    if len(path) == 1:
        new = _coerce(hints[name], value, full_path)
    elif dataclasses.is_dataclass(hints[name]):
        new = _replace(getattr(node, name), path[1:], value, full_path)
    else:
        raise ConfigError(f"unknown field {full_path!r}: {name} has no fields of its own")
    return dataclasses.replace(node, **{name: new})


def _build(cls: type, data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path} must be a mapping, not {data!r}")
    defaults = {}
    if cls is AgentConfig and "algorithm" in data:
        agent = agent_defaults(data["algorithm"])
        cls, defaults = type(agent), {f.name: getattr(agent, f.name) for f in dataclasses.fields(agent)}
    hints = _hints(cls)
    for name in data:
        if name not in hints:
            raise ConfigError(f"unknown field '{path}.{name}': {near_matches(name, hints)}")
    required = {f.name for f in dataclasses.fields(cls) if _is_required(f)}
    if missing := sorted(required - set(data)):
        raise ConfigError(f"{path} lacks {', '.join(missing)}")
    return cls(**defaults | {name: _coerce(hints[name], value, f"{path}.{name}") for name, value in data.items()})


def _is_required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """Check `value` against a field's type; ints pass for floats, which are finite; nothing else is converted."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else _build(hint, value, path)
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ConfigError(f"{path} = {value!r} is not one of {', '.join(map(repr, allowed))}")
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{path} = {value!r} must be a list of strings")
        return tuple(value)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in options and type(value) in (int, float):
        return _finite(value, path)
    if any(type(value) is option for option in options):
        return value
    names = " or ".join("None" if o is type(None) else o.__name__ for o in options)
    raise ConfigError(f"{path} = {value!r} must be of type {names}")


def _finite(value: float, path: str) -> float:
    try:
        if math.isfinite(value):
            return float(value)
    except OverflowError:  # an int beyond all floats
        pass
    raise ConfigError(f"{path} = {value!r} must be finite")

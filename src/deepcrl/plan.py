"""Derives every integer of a run's schedule exactly, or raises an error that names the nearest legal values."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral

from deepcrl.config import Config, ConfigError


@dataclass(frozen=True)
class Plan:
    """The schedule of one run. Collections are counted from 0; evaluation k follows collection `eval_after[k] - 1`."""

    collection_env_steps: int
    """Env steps of one collection, N * T."""
    num_collections: int
    """Collections of the whole run, prefill included."""
    prefill_collections: int
    """Collections before the first update."""
    updates_per_collection: int
    """Updates after every collection that is not prefill, U."""
    eval_after: tuple[int, ...]
    """Numbers of finished collections at which the policy is evaluated; the first is 0, the last is all of them."""

    @property
    def total_env_steps(self) -> int:
        return self.num_collections * self.collection_env_steps

    @property
    def total_updates(self) -> int:
        return (self.num_collections - self.prefill_collections) * self.updates_per_collection

    def env_steps(self, collections: int) -> int:
        """Env steps done after that many collections."""
        return collections * self.collection_env_steps

    def updates(self, collections: int) -> int:
        """Gradient updates done after that many collections."""
        return max(0, collections - self.prefill_collections) * self.updates_per_collection


def nearest_multiples(value: int, factor: int, least: int = 1) -> str:
    """The multiples of `factor` on both sides of `value`, as text for a message; none below `least` times `factor`."""
    low = value // factor
    legal = [count for count in (low, low + 1) if count >= least] or [least]
    return " and ".join(f"{count * factor:,}" for count in legal)


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise ConfigError unless a seed is an unsigned 32-bit integer."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ConfigError(f"{name} = {seed!r} must be between 0 and {2**32 - 1}")


def check_memory(settings: str, need: int, available: int) -> None:
    """Raise ConfigError, naming the settings responsible, if a part of a run needs more bytes than are available."""
    if need > available:
        gib = [f"{amount / 2**30:,.1f} GiB" for amount in (need, available)]
        raise ConfigError(f"{settings} needs at least {gib[0]} of memory, and there are {gib[1]} here")


def plan(config: Config) -> Plan:
    """Derive the schedule from a configuration.

    Raises:
        ConfigError: when a count is not positive, the budget is not a whole number of collections, or the ratio of
            updates to env steps is not a whole number of updates per collection.
    """
    _check_counts(config)
    train, num_envs = config.train, config.env.num_envs
    per_collection = num_envs * train.unroll_length
    prefill = math.ceil(train.prefill_steps / train.unroll_length)
    evals = config.evaluation.num_evals
    if train.total_env_steps % per_collection:
        raise ConfigError(
            f"train.total_env_steps = {train.total_env_steps:,} is not a whole number of collections of "
            f"{per_collection:,} env steps ({num_envs} environments x {train.unroll_length} steps); "
            f"nearest: {nearest_multiples(train.total_env_steps, per_collection, least=prefill + evals)}"
        )
    collections = train.total_env_steps // per_collection
    if prefill >= collections:
        raise ConfigError(
            f"train.total_env_steps = {train.total_env_steps:,} leaves nothing to train on after the prefill of "
            f"{prefill * per_collection:,} env steps; with {evals} evaluations at least "
            f"{(prefill + evals) * per_collection:,}"
        )
    learning = collections - prefill
    if evals > learning:
        raise ConfigError(
            f"evaluation.num_evals = {evals} must be between 1 and {learning}, "
            "the number of collections after the prefill"
        )
    return Plan(
        collection_env_steps=per_collection,
        num_collections=collections,
        prefill_collections=prefill,
        updates_per_collection=_updates_per_collection(config, per_collection),
        eval_after=(0, *(prefill + learning * k // evals for k in range(1, evals + 1))),
    )


def _updates_per_collection(config: Config, per_collection: int) -> int:
    text = config.train.updates_per_env_steps
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[1]) == 0 or int(match[2]) == 0:
        raise ConfigError(
            f"train.updates_per_env_steps = {text!r} must be two positive integers, updates:env_steps, such as 1:40"
        )
    ratio = Fraction(int(match[1]), int(match[2]))
    updates = per_collection * ratio
    if updates.denominator != 1:
        step = ratio.denominator // math.gcd(ratio.denominator, config.env.num_envs)
        raise ConfigError(
            f"train.updates_per_env_steps = {text} gives {float(updates):.3f} updates per collection of "
            f"{per_collection:,} env steps, not a whole number; with {config.env.num_envs} environments the nearest "
            f"train.unroll_length: {nearest_multiples(config.train.unroll_length, step)}"
        )
    return int(updates)


def _check_counts(config: Config) -> None:
    positive = {
        "env.num_envs": config.env.num_envs,
        "train.total_env_steps": config.train.total_env_steps,
        "train.unroll_length": config.train.unroll_length,
        "train.prefill_steps": config.train.prefill_steps,
        "evaluation.num_envs": config.evaluation.num_envs,
        "evaluation.num_evals": config.evaluation.num_evals,
        "checkpoint.keep": config.checkpoint.keep,
    }
    if config.env.episode_length is not None:
        positive["env.episode_length"] = config.env.episode_length
    for path, value in positive.items():
        if value < 1:
            raise ConfigError(f"{path} = {value} must be at least 1")
    if config.train.batch_size < 2:
        raise ConfigError(
            f"train.batch_size = {config.train.batch_size} must be at least 2: a contrastive loss needs a negative"
        )
    if config.train.replay_capacity < config.train.unroll_length:
        raise ConfigError(
            f"train.replay_capacity = {config.train.replay_capacity} must hold one collection of "
            f"train.unroll_length = {config.train.unroll_length} steps"
        )
    check_seed(config.seed)

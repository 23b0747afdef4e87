"""Checks that a task's spec, its functions and its callers' arrays fit together; errors are one line each.

Shapes are checked while tracing, or where a check costs only a microsecond; nothing here runs the task again.
"""

from typing import Any

import numpy as np
from jaxtyping import Array

from deepcrl.config import ConfigError
from deepcrl.envs.protocol import EnvSpec, EnvState


def check_spec(spec: EnvSpec) -> None:
    """Raise ConfigError, naming the field, for an invalid spec."""
    for name in ("state_size", "goal_size", "action_size", "episode_length"):
        if (value := getattr(spec, name)) < 1:
            raise ConfigError(f"spec.{name} = {value} must be at least 1")
    if not spec.success_radius >= 0.0:
        raise ConfigError(f"spec.success_radius = {spec.success_radius} must be at least 0")
    if len(spec.goal_indices) != spec.goal_size:
        raise ConfigError(f"spec.goal_indices = {spec.goal_indices} must be {spec.goal_size} entries, spec.goal_size")
    if outside := [index for index in spec.goal_indices if not 0 <= index < spec.state_size]:
        raise ConfigError(
            f"spec.goal_indices = {spec.goal_indices} must be entries of a state, 0 to {spec.state_size - 1}; "
            f"{outside[0]} is not"
        )


def check_rows(what: str, rows: Array, size: int) -> None:
    """Raise ConfigError unless these are single-precision vectors [N, size]."""
    if rows.shape[1:] != (size,) or rows.dtype != np.float32:
        raise ConfigError(
            f"the environment's spec says {size} entries for {what}, float32; its function gives "
            f"{rows.shape[1:]}, {rows.dtype}"
        )


def check_action(spec: EnvSpec, state: EnvState, action: Any) -> None:
    """Raise ConfigError unless there is one action for each environment, of the spec's size."""
    expected = (state.goal.shape[0], spec.action_size)
    if np.shape(action) != expected:
        raise ConfigError(f"actions of shape {np.shape(action)} must have {expected}: environments, action_size")

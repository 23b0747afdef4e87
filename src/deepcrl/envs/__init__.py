"""Environments: tasks written once, stepped by a physics engine of choice. The only room that steps a simulator."""

from deepcrl.envs.registry import make_env, register

__all__ = ["make_env", "register"]

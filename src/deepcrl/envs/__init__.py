"""Environments: tasks written once, stepped by a choice of engines. Only this package steps a simulator."""

from deepcrl.envs.registry import make_env, register

__all__ = ["make_env", "register"]

"""For tests of rollouts: tasks whose steps are plain sums, on the device and on the host, and algorithms of stubs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepcrl.algorithms.base import Algorithm, Probes
from deepcrl.envs import vector
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.point import point_engine, point_task
from deepcrl.envs.protocol import Engine, Env, EnvSpec, Task


def stub(**functions: Any) -> Algorithm:
    """An algorithm that has only these functions, or columns."""
    return Algorithm(**(dict.fromkeys(Algorithm._fields) | {"columns": (), "probes": Probes()} | functions))


CHANCE = stub(act=lambda agent, state, goal, key, mode: jax.random.uniform(key, (len(state), 2)))
"""Two new random numbers are each action."""


def cliff(edge: float, episode_length: int, on_device: bool = True) -> Env:
    """The u maze's first corridor, along +y from (4, 4), that ends in a fall beyond y = `edge`."""
    task = point_task(LAYOUTS["u"], episode_length)
    spec = dataclasses.replace(task.spec, success_radius=0.6, easy_radius=1.0, hard_radius=0.25)
    task = task._replace(spec=spec, terminated=lambda physics: physics["qpos"][1] > edge)
    return build(task, point_engine(LAYOUTS["u"]), on_device)


def teleport(episode_length: int, on_device: bool = True) -> Env:
    """Every action is the position that it leads to."""
    task = Task(
        EnvSpec(2, 2, (0, 1), 2, episode_length, success_radius=0.1),
        reset=lambda key: ({"qpos": jnp.zeros(2)}, jnp.ones(2)),
        observe=lambda physics: physics["qpos"],
    )
    return build(task, Engine(on_device=True, step=lambda physics, control: {"qpos": control}), on_device)


def build(task: Task, engine: Engine, on_device: bool) -> Env:
    """The task with this engine of a device, or with the same physics on the host."""
    return vector.build(task, engine if on_device else Engine(False, _on_host(engine.step), _start), "fresh")


def _on_host(step: Callable[..., Any]) -> Callable[..., Any]:
    advance = jax.jit(jax.vmap(step))

    def step_active(physics: Any, control: Any, active: Any = None) -> Any:
        after = jax.tree.map(np.asarray, advance(physics, control))
        return after if active is None else vector.select(np.asarray(active), after, physics, np)

    return step_active


def _start(physics: Any, active: Any = None) -> Any:
    return physics

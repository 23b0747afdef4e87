"""Joins a task and an engine into a batch of environments: success, episode ends, automatic resets, episode ids.

`_judge` and `_restart` do all this for every engine: on the device traced into the caller's program; on the host
`_judge` is jitted once per environment, and `_restart` is numpy. Only the stepping of the physics differs.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deepcrl.config import AutoReset, ConfigError
from deepcrl.envs.check import check_action, check_rows, check_spec
from deepcrl.envs.protocol import Engine, Env, EnvState, Options, Physics, Task, direct, grade

Resets = AutoReset | Literal["never"]
"""What happens at the end of an episode; with "never" the caller has to reset."""

LARGEST = 1e10
"""Largest magnitude of a valid state's entries, as in MuJoCo (mjMAXVAL); squares of larger ones may overflow."""


def build(task: Task, engine: Engine, auto_reset: Resets) -> Env:
    """Build a batch of environments, stepped by `engine`.

    Raises ConfigError for an invalid spec; the functions of the `Env` raise it for arrays that do not fit the spec.
    """
    check_spec(task.spec)
    make = _device_functions if engine.on_device else _host_functions
    reset, step = make(task, engine, auto_reset)
    mark = task.mark_goal and jax.jit(jax.vmap(task.mark_goal))
    return Env(task.spec, task.scene, engine.on_device, reset, step, engine.compiler_options, mark)


def _draw_starts(task: Task, key: Array, episode_id: Array, auto_reset: Resets) -> tuple[Physics, Array]:
    """Start and goal of every slot's episode, determined by the slot's key and, unless "cached", the episode id."""

    def draw(key_data: Array, episode: Array) -> tuple[Physics, Array]:
        slot_key = jax.random.wrap_key_data(key_data)
        return task.reset(slot_key if auto_reset == "cached" else jax.random.fold_in(slot_key, episode))

    physics, goal = jax.vmap(draw)(key, episode_id)
    check_rows("a goal that it draws", goal, task.spec.goal_size)
    return physics, goal


def _observe(task: Task, physics: Physics) -> Array:
    """States [N, S]."""
    state = jax.vmap(task.observe)(physics)
    check_rows("what it observes", state, task.spec.state_size)
    return state


def _control(task: Task, action: Array, physics: Physics) -> Array:
    """The simulator's control for N actions."""
    return jax.vmap(task.control)(jnp.clip(action, -1.0, 1.0), physics)


def _begin(task: Task, key: Array, physics: Physics, goal: Array) -> EnvState:
    """EnvState of fresh episodes."""
    num_envs = goal.shape[0]
    state = _observe(task, physics)
    achieved = task.spec.achieved_goal(state)
    distance, success, grades = grade(task.spec, achieved, goal)
    no, zero = jnp.zeros(num_envs, bool), jnp.zeros(num_envs, jnp.int32)
    return EnvState(
        physics=physics,
        state=state,
        achieved_goal=achieved,
        goal=goal,
        next_state=state,
        success=success,
        grades=grades,
        distance=distance,
        terminated=no,
        truncated=no,
        episode_id=zero,
        episode_step=zero,
        key=key,
    )


def _judge(task: Task, before: EnvState, physics: Physics) -> EnvState:
    """The EnvState that one step leads to, before any reset."""
    spec = task.spec
    next_state = _observe(task, physics)
    # A diverged simulation ends its episode here instead of poisoning the replay and the metrics. Comparisons with NaN
    # are false, so NaN counts as diverged.
    finite = jnp.all(jnp.abs(next_state) <= LARGEST, axis=-1)
    next_state = jnp.where(finite[:, None], next_state, before.state)
    achieved = spec.achieved_goal(next_state)
    goal = before.goal
    if task.move_goal is not None:
        goal = jnp.where(finite[:, None], jax.vmap(task.move_goal)(physics, goal), goal)
    distance, success, grades = grade(spec, achieved, goal)
    terminated = jax.vmap(task.terminated)(physics) | ~finite
    step = before.episode_step + 1
    truncated = (step >= spec.episode_length) & ~terminated
    return EnvState(
        physics=physics,
        state=next_state,
        achieved_goal=achieved,
        goal=goal,
        next_state=next_state,
        success=success & finite,
        grades={name: reached & finite for name, reached in grades.items()},
        distance=distance,
        terminated=terminated,
        truncated=truncated,
        episode_id=before.episode_id + (terminated | truncated),
        episode_step=step,
        key=before.key,
    )


def _restart(task: Task, after: EnvState, states: Array, goals: Array, xp: Any) -> EnvState:
    """Put fresh states and goals where an episode has ended; the caller replaces the physics. `xp` is numpy or
    jax.numpy."""
    done = after.terminated | after.truncated
    state = xp.where(done[:, None], states, after.state)
    return after._replace(
        state=state,
        achieved_goal=task.spec.achieved_goal(state),
        goal=xp.where(done[:, None], goals, after.goal),
        episode_step=xp.where(done, 0, after.episode_step),
    )


def _arrays(options: Options | None) -> Options:
    """Convert to arrays: a jitted function takes a list for a tree of scalars."""
    return {name: jnp.asarray(value) for name, value in (options or {}).items()}


def _apply_options(task: Task, physics: Physics, goal: Array, options: Options) -> tuple[Physics, Array]:
    """Replace drawn starts and goals by those in `options`; the goal marker or a moving goal follows."""
    for name, value in options.items():
        drawn = goal if name == "goal" else physics.get(name)
        if drawn is None:
            raise ConfigError(f"options[{name!r}] is not one of {', '.join(map(repr, ['goal', *physics]))}")
        if value.shape not in (drawn.shape, drawn.shape[1:]):
            raise ConfigError(f"options[{name!r}] of shape {value.shape} must have {drawn.shape[1:]}, or {drawn.shape}")
        rows = jnp.broadcast_to(value.astype(drawn.dtype), drawn.shape)
        if name == "goal":
            goal = rows
        else:
            physics = {**physics, name: rows}
    given = "goal" in options
    if options and not given and task.move_goal is not None:
        goal, given = jax.vmap(task.move_goal)(physics, goal), True
    if given and task.mark_goal is not None:
        physics = jax.vmap(task.mark_goal)(physics, goal)
    return physics, goal


def _reset_inputs(task: Task, key: Array, num_envs: int, auto_reset: Resets, options: Options):
    keys = jax.random.key_data(jax.random.split(key, num_envs))
    physics, goal = _draw_starts(task, keys, jnp.zeros(num_envs, jnp.int32), auto_reset)
    return keys, *_apply_options(task, physics, goal, options)


def select(mask: Array, yes: Any, no: Any, xp: Any) -> Any:
    """Rows of the tree `yes` where `mask` [N], else of `no`; `xp` is numpy or jax.numpy."""
    return jax.tree.map(lambda a, b: xp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b), yes, no)


def _device_functions(task: Task, engine: Engine, auto_reset: Resets):
    start = jax.vmap(engine.start)

    @functools.partial(jax.jit, static_argnums=1)
    def fresh(key: Array, num_envs: int, options: Options) -> EnvState:
        keys, physics, goal = _reset_inputs(task, key, num_envs, auto_reset, options)
        return _begin(task, keys, start(physics), goal)

    def reset(key: Array, num_envs: int, options: Options | None = None) -> EnvState:
        return fresh(key, num_envs, _arrays(options))

    def restart(after: EnvState) -> EnvState:
        starts, goals = _draw_starts(task, after.key, after.episode_id, auto_reset)
        starts = start(starts)
        physics = select(after.terminated | after.truncated, starts, after.physics, jnp)
        return _restart(task, after, _observe(task, starts), goals, jnp)._replace(physics=physics)

    def step(state: EnvState, action: Array, active: Array | None = None) -> EnvState:
        del active  # a traced program steps all rows at once
        check_action(task.spec, state, action)
        control = _control(task, action, state.physics)
        after = _judge(task, state, jax.vmap(engine.step)(state.physics, control))
        if auto_reset == "never":
            return after
        return jax.lax.cond(jnp.any(after.terminated | after.truncated), restart, lambda same: same, after)

    return reset, step


def _jit_to_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jit a function that returns a tree of float, integer and bool arrays [N, ...], for callers that want numpy.

    Each array that leaves a jitted call costs microseconds, so the outputs are packed as columns of two arrays, one of
    floats and one of all else, and unpacked in numpy.
    """
    # Set while tracing: the tree's structure and, for each leaf, its side (1 for floats), columns, row shape and dtype.
    tree, leaves = None, []

    @jax.jit
    def columns(*args: Any) -> list[Array | None]:
        nonlocal tree
        found, tree = jax.tree.flatten(function(*args))
        sides, taken = ([], []), [0, 0]
        leaves.clear()
        for leaf in found:
            side = int(jnp.issubdtype(leaf.dtype, jnp.floating))
            row, start = leaf.shape[1:], taken[side]
            taken[side] += math.prod(row)
            leaves.append((side, slice(start, taken[side]), row, leaf.dtype))
            sides[side].append(leaf.reshape(len(leaf), -1))
        return [jnp.concatenate(side, axis=1) if side else None for side in sides]

    def call(*args: Any) -> Any:
        sides: Any = [None if array is None else np.asarray(array) for array in columns(*args)]
        found = [
            sides[side][:, place].reshape(len(sides[side]), *row).astype(kind, copy=False)
            for side, place, row, kind in leaves
        ]
        return jax.tree.unflatten(tree, found)

    return call


def _host_functions(task: Task, engine: Engine, auto_reset: Resets):
    """Host environments keep physics in numpy at the simulator's precision; the rest is computed on the CPU backend."""
    cpu = jax.devices("cpu")[0]
    # Each array that enters or leaves a jitted call costs microseconds, and a small robot's step takes few: inputs that
    # `_judge` does not need, and outputs that the caller already has, are left out.
    known = {"physics": {}, "state": None, "key": None}
    of_last_step = ("achieved_goal", "next_state", "success", "grades", "distance", "terminated", "truncated")
    not_needed = {"physics": {}, "key": None, **dict.fromkeys(of_last_step)}
    judge = _jit_to_host(lambda before, physics: _judge(task, before, physics)._replace(**known))
    control_of = jax.jit(lambda action, physics: _control(task, action, physics))
    draw = _jit_to_host(lambda key, episode: _draw_starts(task, key, episode, auto_reset))
    observe = _jit_to_host(lambda physics: _observe(task, physics))
    inputs = jax.jit(lambda key, num, options: _reset_inputs(task, key, num, auto_reset, options), static_argnums=1)
    begin = jax.jit(lambda key, physics, goal: _begin(task, key, physics, goal)._replace(physics={}))

    def single(physics: Physics) -> Physics:
        return {name: np.asarray(value, np.float32) for name, value in physics.items()}

    def on_host(tree: Any) -> Any:
        return jax.tree.map(np.asarray, tree)

    def reset(key: Array, num_envs: int, options: Options | None = None) -> EnvState:
        with jax.default_device(cpu):
            keys, physics, goal = on_host(inputs(jax.device_put(key, cpu), num_envs, _arrays(options)))
            physics = engine.start(physics)
            fresh = on_host(begin(keys, single(physics), goal))
        return fresh._replace(physics=physics)

    def step(state: EnvState, action: Array, active: Array | None = None) -> EnvState:
        check_action(task.spec, state, action)
        with jax.default_device(cpu):
            if task.control is direct:
                control = np.clip(action, -1.0, 1.0)
            else:
                control = np.asarray(control_of(np.asarray(action), single(state.physics)))
            physics = engine.step(state.physics, control, active)
            after = judge(state._replace(**not_needed), single(physics))
            after = after._replace(state=after.next_state, key=state.key)
            done = after.terminated | after.truncated
            if auto_reset != "never" and done.any():
                starts, goals = draw(after.key, after.episode_id)
                starts = engine.start(starts, done)
                physics = select(done, starts, physics, np)
                after = _restart(task, after, observe(single(starts)), goals, np)
        return after._replace(physics=physics)

    return reset, step

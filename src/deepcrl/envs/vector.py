"""Join a task and an engine to a batch of environments: success, episode ends, automatic resets, episode ids.

One function, `_finish`, does all this for every engine: traced into the caller's program on the device, jitted once
per environment on the host. All that differs is who moves the physics.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deepcrl.config import AutoReset, ConfigError
from deepcrl.envs.protocol import Engine, Env, EnvState, Options, Physics, Task


def build(task: Task, engine: Engine, auto_reset: AutoReset) -> Env:
    """A batch of environments, stepped by `engine`."""
    make = _device_functions if engine.on_device else _host_functions
    reset, step = make(task, engine, auto_reset)
    return Env(task.spec, task.scene, engine.on_device, reset, step)


def _draw_starts(task: Task, key: Array, episode_id: Array, auto_reset: AutoReset) -> tuple[Physics, Array]:
    """Start and goal of every slot's episode: a function of the slot's key, and for fresh resets of the episode."""

    def draw(key_data: Array, episode: Array) -> tuple[Physics, Array]:
        slot_key = jax.random.wrap_key_data(key_data)
        return task.reset(slot_key if auto_reset == "cached" else jax.random.fold_in(slot_key, episode))

    return jax.vmap(draw)(key, episode_id)


def _begin(task: Task, key: Array, physics: Physics, goal: Array) -> EnvState:
    """EnvState of fresh episodes."""
    num_envs = goal.shape[0]
    state = jax.vmap(task.observe)(physics)
    achieved = state[:, np.array(task.spec.goal_indices)]
    distance = jnp.linalg.norm(achieved - goal, axis=-1)
    no, zero = jnp.zeros(num_envs, bool), jnp.zeros(num_envs, jnp.int32)
    return EnvState(
        physics=physics,
        state=state,
        achieved_goal=achieved,
        goal=goal,
        next_state=state,
        success=distance < task.spec.success_radius,
        distance=distance,
        terminated=no,
        truncated=no,
        episode_id=zero,
        episode_step=zero,
        key=key,
    )


def _finish(task: Task, auto_reset: AutoReset, before: EnvState, physics: Physics) -> tuple[EnvState, Physics]:
    """Judge one step that led to `physics`, and reset what has ended.

    Returns the next state, its `physics` left as given, and the fresh starts, meaningful where an episode ended.
    """
    spec = task.spec
    next_state = jax.vmap(task.observe)(physics)
    # A diverged simulation ends its episode here instead of poisoning the replay and the metrics.
    finite = jnp.all(jnp.isfinite(next_state), axis=-1)
    next_state = jnp.where(finite[:, None], next_state, before.state)
    achieved = next_state[:, np.array(spec.goal_indices)]
    distance = jnp.linalg.norm(achieved - before.goal, axis=-1)
    terminated = jax.vmap(task.terminated)(physics) | ~finite
    step = before.episode_step + 1
    truncated = (step >= spec.episode_length) & ~terminated
    done = terminated | truncated
    episode_id = before.episode_id + done

    def draw() -> tuple[Physics, Array, Array]:
        starts, goals = _draw_starts(task, before.key, episode_id, auto_reset)
        return starts, goals, jax.vmap(task.observe)(starts)

    def skip() -> tuple[Physics, Array, Array]:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(draw))

    starts, goals, first_states = jax.lax.cond(jnp.any(done), draw, skip)
    state = jnp.where(done[:, None], first_states, next_state)
    after = EnvState(
        physics=physics,
        state=state,
        achieved_goal=state[:, np.array(spec.goal_indices)],
        goal=jnp.where(done[:, None], goals, before.goal),
        next_state=next_state,
        success=(distance < spec.success_radius) & finite,
        distance=distance,
        terminated=terminated,
        truncated=truncated,
        episode_id=episode_id,
        episode_step=jnp.where(done, 0, step),
        key=before.key,
    )
    return after, starts


def _apply_options(physics: Physics, goal: Array, options: Options | None) -> tuple[Physics, Array]:
    given = dict(options or {})
    goal = jnp.broadcast_to(jnp.asarray(given.pop("goal", goal), goal.dtype), goal.shape)
    for name, value in given.items():
        if name not in physics:
            raise ConfigError(f"options[{name!r}] is not one of {', '.join(map(repr, ['goal', *physics]))}")
        physics = {**physics, name: jnp.broadcast_to(jnp.asarray(value, physics[name].dtype), physics[name].shape)}
    return physics, goal


def _reset_inputs(task: Task, key: Array, num_envs: int, auto_reset: AutoReset, options: Options | None):
    keys = jax.random.key_data(jax.random.split(key, num_envs))
    physics, goal = _draw_starts(task, keys, jnp.zeros(num_envs, jnp.int32), auto_reset)
    return keys, *_apply_options(physics, goal, options)


def _select(mask: Array, yes: Any, no: Any, xp: Any) -> Any:
    return jax.tree.map(lambda a, b: xp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b), yes, no)


def _device_functions(task: Task, engine: Engine, auto_reset: AutoReset):
    @functools.partial(jax.jit, static_argnums=1)
    def reset(key: Array, num_envs: int, options: Options | None = None) -> EnvState:
        keys, physics, goal = _reset_inputs(task, key, num_envs, auto_reset, options)
        return _begin(task, keys, jax.vmap(engine.start)(physics), goal)

    def step(state: EnvState, action: Array, active: Array | None = None) -> EnvState:
        del active  # a traced program steps all rows at once
        control = jax.vmap(task.control)(jnp.clip(action, -1.0, 1.0))
        after, starts = _finish(task, auto_reset, state, jax.vmap(engine.step)(state.physics, control))
        physics = _select(after.terminated | after.truncated, jax.vmap(engine.start)(starts), after.physics, jnp)
        return after._replace(physics=physics)

    return reset, step


def _host_functions(task: Task, engine: Engine, auto_reset: AutoReset):
    """Host environments keep physics in numpy at the simulator's precision; the rest is computed on the CPU backend."""
    cpu = jax.devices("cpu")[0]
    finish = jax.jit(lambda before, physics: _finish(task, auto_reset, before, physics))
    control_of = jax.jit(lambda action: jax.vmap(task.control)(jnp.clip(action, -1.0, 1.0)))

    @functools.partial(jax.jit, static_argnums=1)
    def begin(key: Array, num_envs: int, options: Options | None) -> EnvState:
        keys, physics, goal = _reset_inputs(task, key, num_envs, auto_reset, options)
        return _begin(task, keys, physics, goal)

    def reset(key: Array, num_envs: int, options: Options | None = None) -> EnvState:
        with jax.default_device(cpu):
            fresh = jax.tree.map(np.asarray, begin(jax.device_put(key, cpu), num_envs, options))
        return fresh._replace(physics=engine.start(fresh.physics))

    def step(state: EnvState, action: Array, active: Array | None = None) -> EnvState:
        with jax.default_device(cpu):
            control = np.asarray(control_of(np.asarray(action)))
            physics = engine.step(state.physics, control, active)
            single = {name: np.asarray(value, np.float32) for name, value in physics.items()}
            after, starts = jax.tree.map(np.asarray, finish(state._replace(physics={}), single))
        done = after.terminated | after.truncated
        if done.any():
            physics = _select(done, engine.start(starts), physics, np)
        return after._replace(physics=physics)

    return reset, step

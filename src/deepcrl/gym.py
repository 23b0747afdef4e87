"""Every task of the registry as a Gymnasium goal environment, for other libraries' agents.

>>> import gymnasium
>>> env = gymnasium.make("deepcrl.gym:deepcrl/ant_u_maze-v0")  # doctest: +SKIP
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float

from deepcrl.config import ConfigError
from deepcrl.envs import registry, vector
from deepcrl.envs.protocol import EnvSpec, EnvState, Physics, grade
from deepcrl.render.frames import Frame, Painter
from deepcrl.render.geometry import drawn_qpos
from deepcrl.render.run import scene

RENDER_MODES = ("rgb_array",)
Observation = dict[str, np.ndarray]
"""float32: "observation" is the task's state, "achieved_goal" and "desired_goal" are goals."""


def make_gymnasium(
    name: str,
    *,
    engine: str = "auto",
    episode_length: int | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    width: int = 480,
    height: int = 480,
) -> "GoalEnv":
    """Build one task as a `gymnasium.Env`.

    The reward is 1 at the goal and 0 elsewhere, so an episode's return is its number of steps at the goal. An episode
    terminates only on failure, such as a fall, and is truncated at its length.

    Args:
        name: an environment of the registry.
        engine: physics engine; "auto" takes the environment's first, which suits small batches on any machine.
        episode_length: env steps; None takes the task's default.
        seed: used by the first `reset` if that is given none; None draws one.
        render_mode: "rgb_array": `render` draws the current state with MuJoCo's renderer; None: it draws nothing.
        width, height: size of rendered pictures, in pixels.

    Raises:
        ConfigError: for an unknown name, engine or mode; with a mode, when the environment has no model to draw, or
            this machine cannot draw.
    """
    return GoalEnv(name, engine, episode_length, seed, _Camera.make(name, render_mode, width, height))


def make_gymnasium_vec(
    name: str,
    num_envs: int = 1,
    *,
    engine: str = "auto",
    episode_length: int | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    width: int = 480,
    height: int = 480,
) -> "GoalVectorEnv":
    """Build `num_envs` instances of one task, stepped together, as a `gymnasium.vector.VectorEnv`.

    For the arguments see `make_gymnasium`. An environment whose episode has ended is reset by the next step
    (`AutoresetMode.NEXT_STEP`). `render` returns one picture per environment.
    """
    if num_envs < 1:
        raise ConfigError(f"num_envs = {num_envs} must be at least 1")
    return GoalVectorEnv(name, num_envs, engine, episode_length, seed, _Camera.make(name, render_mode, width, height))


def register_all() -> None:
    """Register the registry's environments with Gymnasium, as "deepcrl/NAME-v0"; importing this module does it."""
    for name in registry.ENVIRONMENTS:
        if (id := f"deepcrl/{name}-v0") not in gymnasium.registry:
            gymnasium.register(
                id,
                entry_point="deepcrl.gym:make_gymnasium",
                vector_entry_point="deepcrl.gym:make_gymnasium_vec",
                kwargs={"name": name},
            )


class _Functions(NamedTuple):
    """One task on one engine, compiled, without automatic resets."""

    spec: EnvSpec
    on_device: bool
    reset: Callable[..., EnvState]
    step: Callable[..., EnvState]
    succeeded: Callable[..., Any]
    """(achieved, desired) goals [N, G] -> whether each is reached [N]."""
    mark_goal: Callable[[Physics, Any], Physics] | None
    """(physics, goals) -> physics with the goal markers moved there; None: the model has no marker."""


def _functions(name: str, engine: str, episode_length: int | None) -> _Functions:
    engine = next(iter(registry.lookup(name).engines)) if engine == "auto" else registry.resolve_engine(name, engine)
    task, physics_engine = registry.make_task(name, engine, episode_length)
    env = vector.build(task, physics_engine, "never").compiled()
    succeeded = jax.jit(lambda achieved, desired: grade(task.spec, achieved, desired)[1])
    return _Functions(env.spec, env.on_device, env.reset, env.step, succeeded, env.mark_goal)


class _Camera(NamedTuple):
    """Draws a task's states."""

    model: Any
    painter: Painter
    frames_per_second: float

    @classmethod
    def make(cls, name: str, render_mode: str | None, width: int, height: int) -> "_Camera | None":
        if render_mode is None:
            return None
        if render_mode not in RENDER_MODES:
            raise ConfigError(f"render_mode = {render_mode!r} must be None or {' or '.join(map(repr, RENDER_MODES))}")
        for size, pixels in (("width", width), ("height", height)):
            if pixels < 1:
                raise ConfigError(f"{size} = {pixels} must be at least 1")
        model, step_seconds = scene(name)
        return cls(model, Painter(model, width, height), 1 / step_seconds)

    def pictures(self, task: _Functions, state: EnvState) -> tuple[Frame, ...]:
        """Draw one picture per environment."""
        physics = state.physics if task.mark_goal is None else task.mark_goal(state.physics, state.goal)
        qpos = drawn_qpos(self.model, np.asarray(physics["qpos"]), np.asarray(state.goal))
        drawn = (self.painter.draw(*one) for one in zip(qpos, np.asarray(state.success), strict=True))
        return tuple(frame.copy() for frame in drawn)  # writable, because wrappers may draw on it


def _spaces(spec: EnvSpec) -> tuple[Dict, Box]:
    def vectors(size: int) -> Box:
        return Box(-np.inf, np.inf, (size,), np.float32)

    sizes = {"observation": spec.state_size, "achieved_goal": spec.goal_size, "desired_goal": spec.goal_size}
    return Dict({name: vectors(size) for name, size in sizes.items()}), Box(-1.0, 1.0, (spec.action_size,), np.float32)


def _observe(state: EnvState) -> Observation:
    return {
        "observation": np.array(state.state),
        "achieved_goal": np.array(state.achieved_goal),
        "desired_goal": np.array(state.goal),
    }


def _first(observation: Observation) -> Observation:
    return {name: rows[0] for name, rows in observation.items()}


class _Goals:
    """Gymnasium's goal-environment methods and rendering, shared by `GoalEnv` and `GoalVectorEnv`."""

    _task: _Functions
    _state: EnvState | None
    _camera: _Camera | None

    def _begin(self, name: str, engine: str, episode_length: int | None, seed: int | None, camera: _Camera | None):
        self._task = _functions(name, engine, episode_length)
        self._first_seed, self._state, self._camera = seed, None, camera
        self.render_mode = None if camera is None else RENDER_MODES[0]
        rate = {} if camera is None else {"render_fps": camera.frames_per_second}
        self.metadata = type(self).metadata | rate

    def _pictures(self) -> tuple[Frame, ...]:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("reset must be called before render")
        return () if self._camera is None else self._camera.pictures(self._task, self._state)

    def _shut(self) -> None:
        if self._camera is not None:
            self._camera.painter.close()

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any = None) -> Any:
        """Return rewards [...] for goals [..., G]: 1.0 where the goal is reached, else 0.0. `info` is ignored.

        Raises ConfigError for goals of the wrong size.
        """
        del info
        size = self._task.spec.goal_size
        for name, goal in (("achieved_goal", achieved_goal), ("desired_goal", desired_goal)):
            if np.shape(goal)[-1:] != (size,):
                raise ConfigError(f"{name} of shape {np.shape(goal)} must end in {size}, the size of a goal")
        achieved, desired = np.broadcast_arrays(np.asarray(achieved_goal), np.asarray(desired_goal))
        count = achieved.size // size
        # Padded to a power of two, so that few batch sizes are ever compiled.
        rows = np.zeros((2, 1 << max(count - 1, 0).bit_length(), size), np.float32)
        rows[:, :count] = achieved.reshape(count, size), desired.reshape(count, size)
        reached = np.asarray(self._task.succeeded(*rows))[:count]
        return reached.reshape(achieved.shape[:-1]).astype(np.float64)[()]

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: dict[str, Any]) -> Any:
        """Whether the episode has failed, read from `info`: goals alone do not tell."""
        return info["failed"]

    def compute_truncated(self, achieved_goal: Any, desired_goal: Any, info: dict[str, Any]) -> Any:
        """Whether the episode has reached its length, read from `info`."""
        return info["timed_out"]


class GoalEnv(_Goals, gymnasium.Env):
    """See `make_gymnasium`. `reset` takes `options` "qpos", "qvel" and "goal" to start from."""

    metadata = {"render_modes": [*RENDER_MODES]}

    def __init__(self, name: str, engine: str, episode_length: int | None, seed: int | None, camera: _Camera | None):
        self._begin(name, engine, episode_length, seed, camera)
        self.observation_space, self.action_space = _spaces(self._task.spec)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        seed, self._first_seed = self._first_seed if seed is None else seed, None
        super().reset(seed=seed)
        self._state = self._task.reset(_key(self.np_random), 1, options or None)
        return _first(_observe(self._state)), {"is_success": bool(self._state.success[0])}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("reset must be called before step")
        self._state = after = self._task.step(self._state, np.asarray(action, np.float32)[None])
        success, failed, timed_out = (bool(x[0]) for x in (after.success, after.terminated, after.truncated))
        info = {"is_success": success, "failed": failed, "timed_out": timed_out}
        return _first(_observe(after)), float(success), failed, timed_out, info

    def render(self) -> Frame | None:
        """A picture [height, width, 3] of the present state; None without a render mode."""
        return next(iter(self._pictures()), None)

    def close(self) -> None:
        """Stop the renderer."""
        self._shut()


class GoalVectorEnv(_Goals, gymnasium.vector.VectorEnv):
    """See `make_gymnasium_vec`. Each value in `options` of `reset` is shared by all instances, or is [N, ...]."""

    metadata = {"render_modes": [*RENDER_MODES], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        name: str,
        num_envs: int,
        engine: str,
        episode_length: int | None,
        seed: int | None,
        camera: _Camera | None,
    ):
        self._begin(name, engine, episode_length, seed, camera)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = _spaces(self._task.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        seed, self._first_seed = self._first_seed if seed is None else seed, None
        super().reset(seed=seed)
        self._state = self._task.reset(_key(self.np_random), self.num_envs, options or None)
        return _observe(self._state), self._infos(is_success=self._state.success)

    def step(self, actions: Float[np.ndarray, "N A"]) -> tuple[Observation, Any, Any, Any, dict[str, Any]]:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("reset must be called before step")
        ended: Any = np.asarray(self._state.terminated | self._state.truncated)
        after = self._task.step(self._state, np.asarray(actions, np.float32))
        if ended.any():
            fresh = self._task.reset(_key(self.np_random), self.num_envs)
            after = vector.select(ended, fresh, after, jnp if self._task.on_device else np)
        self._state = after
        success, failed, timed_out = (np.array(x) for x in (after.success, after.terminated, after.truncated))
        rewards = np.where(ended, 0.0, success)
        infos = self._infos(is_success=success, failed=failed, timed_out=timed_out)
        return _observe(after), rewards, failed, timed_out, infos

    def render(self) -> tuple[Frame, ...] | None:
        """A picture [height, width, 3] of every environment; None without a render mode."""
        return self._pictures() or None

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the renderer."""
        del kwargs
        self._shut()

    def _infos(self, **values: Bool[Any, "N"]) -> dict[str, np.ndarray]:
        """Gymnasium's batched info: each value with a mask "_NAME" of the environments that report it."""
        masks = {f"_{name}": np.ones(self.num_envs, bool) for name in values}
        return {**{name: np.array(value) for name, value in values.items()}, **masks}


def _key(rng: np.random.Generator) -> jax.Array:
    return jax.random.key(int(rng.integers(2**31)))


register_all()

"""The contract between environments and everything else.

A `Task` (one instance, pure jnp) says what is asked of an agent; an `Engine` moves the physics; `vector.build` joins
the two to an `Env`, a batch of N environments with automatic resets. Callers see only `Env`, and need to know of it
only whether its step may be traced (`on_device`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

Physics = dict[str, Any]
"""The simulator's whole state, arrays by name, jax or numpy. Tasks read "qpos", "qvel" and, where the model has
sensors, "sensordata": what they showed at the last simulator step, before its integration, as MuJoCo leaves it."""


@dataclass(frozen=True)
class EnvSpec:
    """Sizes and rules that the learner needs to know."""

    state_size: int
    goal_size: int
    goal_indices: tuple[int, ...]
    """The achieved goal is `state[goal_indices]`, in metres."""
    action_size: int
    """Actions lie in [-1, 1]."""
    episode_length: int
    """Env steps after which an episode is truncated."""
    success_radius: float
    """Metres between achieved and commanded goal that count as success."""
    easy_radius: float | None = None
    """A wider radius to report the time within, or None; likewise the narrower one."""
    hard_radius: float | None = None
    grades: Callable[[Float[Array, "G"], Float[Array, "G"]], dict[str, Bool[Array, ""]]] | None = None
    """(achieved, commanded) goal to whether this is "success" and perhaps "easy" and "hard"; None: by the radii."""
    goal_copies: tuple[tuple[int, ...], ...] = ()
    """Of each entry of the achieved goal the further entries of the state that repeat it; empty where none does."""


def grade(
    spec: EnvSpec, achieved: Float[Array, "*N G"], goal: Float[Array, "*N G"]
) -> tuple[Float[Array, "*N"], Bool[Array, "*N"], dict[str, Bool[Array, "*N"]]]:
    """Distance in metres, success, and success by the task's other measures."""
    distance = jnp.linalg.norm(achieved - goal, axis=-1)
    if spec.grades is None:
        radii = {"success": spec.success_radius, "easy": spec.easy_radius, "hard": spec.hard_radius}
        grades = {name: distance < radius for name, radius in radii.items() if radius is not None}
    else:
        judge = spec.grades
        for _ in distance.shape:
            judge = jax.vmap(judge)
        grades = dict(judge(achieved, goal))
    return distance, grades.pop("success"), grades


@dataclass(frozen=True)
class Scene:
    """What a map of the task shows, seen from above. Rows of the layout grow along +x, columns along +y."""

    layout: tuple[str, ...] | None = None
    """Maze as text ('#' wall, 'R' start, 'G' goal), or None for an open plane."""
    cell_size: float = 1.0
    """Metres per cell; the centre of cell (i, j) is (i, j) * cell_size."""


def direct(action: Float[Array, "A"], physics: Physics) -> Float[Array, "A"]:
    """The `control` of a task whose motors take the action as it is; the host then has nothing to compute."""
    return action


def never(physics: Physics) -> Bool[Array, ""]:
    """The `terminated` of a task that cannot fail."""
    return jnp.zeros((), bool)


class Task(NamedTuple):
    """One goal-reaching task as pure functions of a single instance."""

    spec: EnvSpec
    reset: Callable[[PRNGKeyArray], tuple[Physics, Float[Array, "G"]]]
    """Key to a start and a commanded goal."""
    observe: Callable[[Physics], Float[Array, "S"]]
    """Physics to state, the goal not included."""
    control: Callable[[Float[Array, "A"], Physics], Float[Array, "C"]] = direct
    """Action in [-1, 1], and the physics it is taken in, to the simulator's control."""
    terminated: Callable[[Physics], Bool[Array, ""]] = never
    """Whether the episode fails here (a fall); success never ends an episode."""
    scene: Scene = Scene()
    move_goal: Callable[[Physics, Float[Array, "G"]], Float[Array, "G"]] | None = None
    """The commanded goal after a step, and of a start whose coordinates are given without a goal, for goals that move
    with an object; None: it stays."""
    mark_goal: Callable[[Physics, Float[Array, "G"]], Physics] | None = None
    """The physics with the goal's marker at this goal, where the model has one among its coordinates."""


def as_it_is(physics: Physics) -> Physics:
    """The `start` of an engine that carries nothing of its own."""
    return physics


class Engine(NamedTuple):
    """What moves the physics by one control step."""

    on_device: bool
    """True: `step` is jnp on one instance, to be vmapped. False: `step` is batched numpy on the host."""
    step: Callable[..., Physics]
    """(physics, control) to physics one control step later; on the host also `active` [N], rows worth stepping."""
    start: Callable[..., Physics] = as_it_is
    """Add what the engine itself carries from step to step (solver warm starts, sensors) to a fresh start; on the host
    also `active` [N], rows that will be used."""
    compiler_options: Mapping[str, Any] = {}
    """What XLA should know when it compiles a program with `step` in it."""


class EnvState(NamedTuple):
    """N environments between two steps. Plain arrays throughout, so that saving them saves the environments."""

    physics: Physics
    state: Float[Array, "N S"]
    achieved_goal: Float[Array, "N G"]
    goal: Float[Array, "N G"]
    next_state: Float[Array, "N S"]
    """True state after the last step; differs from `state` where that step ended an episode."""
    success: Bool[Array, "N"]
    """Of the last step, as are the next four."""
    grades: dict[str, Bool[Array, "N"]]
    """The same by other measures, "easy" and "hard", where the task has them."""
    distance: Float[Array, "N"]
    """Metres from achieved to commanded goal."""
    terminated: Bool[Array, "N"]
    truncated: Bool[Array, "N"]
    episode_id: Int[Array, "N"]
    """Episodes begun in this slot before the present one."""
    episode_step: Int[Array, "N"]
    """Steps done in the present episode."""
    key: UInt32[Array, "N 2"]
    """Raw key data; with the episode id it decides every start and goal of its slot."""


class Env(NamedTuple):
    """A batch of environments. `step` resets what has ended: the state it returns always continues."""

    spec: EnvSpec
    scene: Scene
    on_device: bool
    reset: Callable[..., EnvState]
    """(key, num_envs, options=None) to N fresh environments. `options` may give "qpos", "qvel" and "goal", each of one
    instance or [N, ...], to start from; a marker among the coordinates moves to a given goal. Resets that follow draw
    as usual, "cached" ones what the first would have been without options. Raises ConfigError for what does not fit."""
    step: Callable[..., EnvState]
    """(state, action [N, A]) to state; on the host also `active` [N]: environments whose results matter."""
    compiler_options: Mapping[str, Any] = {}
    """Of the engine."""
    mark_goal: Callable[[Physics, Float[Array, "N G"]], Physics] | None = None
    """The task's, for N of them."""

    def jit(self, program: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        """`jax.jit` for a program that steps this environment on the device, as its engine wants to be compiled.

        Not inside of another program: JAX raises ValueError where options of the compiler are nested.
        """
        return jax.jit(program, compiler_options=dict(self.compiler_options) or None, **how)

    def compiled(self) -> Self:
        """The same environment for callers that step it from Python, one call after another."""
        return self._replace(step=self.jit(self.step)) if self.on_device else self


Options = Mapping[str, Any]

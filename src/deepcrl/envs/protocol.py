"""The contract between environments and everything else.

A `Task` (one instance, pure jnp) defines what the agent has to do; an `Engine` steps the physics; `vector.build` joins
the two into an `Env`, a batch of N environments with automatic resets. Callers see only the `Env`, and need to know
only whether its step may be traced (`on_device`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

Physics = dict[str, Any]
"""The simulator's whole state: JAX or numpy arrays by name. Tasks read "qpos", "qvel" and, where the model has sensors,
"sensordata": their readings at the last simulator step, before its integration, as MuJoCo leaves them."""


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
    """Wider radius within which time is also reported, or None; `hard_radius` likewise, but narrower."""
    hard_radius: float | None = None
    grades: Callable[[Float[Array, "G"], Float[Array, "G"]], dict[str, Bool[Array, ""]]] | None = None
    """(achieved, commanded) goal -> whether it is a "success", optionally "easy" and "hard"; None: by the radii."""
    goal_copies: tuple[tuple[int, ...], ...] = ()
    """For each achieved-goal entry, the indices of other state entries that repeat it; empty if none does."""

    def achieved_goal(self, state: Any) -> Any:
        """The achieved goals [..., G] of states [..., S], of JAX or numpy; no view of these."""
        first = self.goal_indices[0]
        if isinstance(state, jax.Array) and self.goal_indices == tuple(range(first, first + self.goal_size)):
            return state[..., first : first + self.goal_size]  # where a gather would be a kernel of its own
        return state[..., np.array(self.goal_indices)]


def grade(
    spec: EnvSpec, achieved: Float[Array, "*N G"], goal: Float[Array, "*N G"]
) -> tuple[Float[Array, "*N"], Bool[Array, "*N"], dict[str, Bool[Array, "*N"]]]:
    """Distance in metres, success, and the other grades ("easy", "hard") that the task has, by name."""
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
    """What a top-down map of the task shows. The layout's row index grows along +x, its column index along +y."""

    layout: tuple[str, ...] | None = None
    """Maze as text ('#' wall, 'R' start, 'G' goal), or None for an open plane."""
    cell_size: float = 1.0
    """Metres per cell; the centre of cell (i, j) is (i, j) * cell_size."""

    def cell_of(self, position: Any) -> np.ndarray:
        """Cells [..., 2] in which positions [..., 2 or more], in metres, lie; those of no maze may be negative."""
        return np.round(np.asarray(position)[..., :2] / self.cell_size).astype(int)


def direct(action: Float[Array, "A"], physics: Physics) -> Float[Array, "A"]:
    """`Task.control` that passes the action on as it is; on the host no computation is then needed."""
    return action


def never(physics: Physics) -> Bool[Array, ""]:
    """`Task.terminated` of a task that cannot fail."""
    return jnp.zeros((), bool)


class Task(NamedTuple):
    """One goal-reaching task as pure functions of a single instance."""

    spec: EnvSpec
    reset: Callable[[PRNGKeyArray], tuple[Physics, Float[Array, "G"]]]
    """Key -> physics at the start, commanded goal."""
    observe: Callable[[Physics], Float[Array, "S"]]
    """Physics -> state, without the goal."""
    control: Callable[[Float[Array, "A"], Physics], Float[Array, "C"]] = direct
    """(action in [-1, 1], current physics) -> the simulator's control."""
    terminated: Callable[[Physics], Bool[Array, ""]] = never
    """Whether the episode fails here (a fall); success never ends an episode."""
    scene: Scene = Scene()
    move_goal: Callable[[Physics, Float[Array, "G"]], Float[Array, "G"]] | None = None
    """(physics, goal) -> the commanded goal after a step, or after a reset whose options give coordinates but no goal,
    for goals that move with an object; None: the goal stays."""
    mark_goal: Callable[[Physics, Float[Array, "G"]], Physics] | None = None
    """(physics, goal) -> physics with the goal marker moved there; None: the model's coordinates include no marker."""


def as_it_is(physics: Physics) -> Physics:
    """`Engine.start` of an engine that adds nothing to a fresh start."""
    return physics


class Engine(NamedTuple):
    """Advances the physics by one control step."""

    on_device: bool
    """True: `step` is jnp on one instance, to be vmapped. False: `step` is batched numpy on the host."""
    step: Callable[..., Physics]
    """(physics, control) -> physics one control step later; on the host also takes `active` [N], the rows to step."""
    start: Callable[..., Physics] = as_it_is
    """Add what the engine itself carries from step to step (solver warm starts, sensors) to a fresh start; on the host
    it also takes `active` [N], the rows that will be used."""
    compiler_options: Mapping[str, Any] = {}
    """XLA compiler options for programs that contain `step`."""


class EnvState(NamedTuple):
    """N environments between two steps. Plain arrays throughout, so that saving them saves the environments."""

    physics: Physics
    state: Float[Array, "N S"]
    achieved_goal: Float[Array, "N G"]
    goal: Float[Array, "N G"]
    next_state: Float[Array, "N S"]
    """True state after the last step; differs from `state` where that step ended an episode."""
    success: Bool[Array, "N"]
    """Success at the last step; the next four fields are also of that step."""
    grades: dict[str, Bool[Array, "N"]]
    """The task's other grades, "easy" and "hard", where it has them."""
    distance: Float[Array, "N"]
    """Metres from achieved to commanded goal."""
    terminated: Bool[Array, "N"]
    truncated: Bool[Array, "N"]
    episode_id: Int[Array, "N"]
    """Number of earlier episodes in this slot."""
    episode_step: Int[Array, "N"]
    """Steps done in the present episode."""
    key: UInt32[Array, "N 2"]
    """Raw key data; with the episode id it decides every start and goal of its slot."""


class Env(NamedTuple):
    """A batch of environments. `step` resets those that have ended, so the state it returns can always be stepped."""

    spec: EnvSpec
    scene: Scene
    on_device: bool
    reset: Callable[..., EnvState]
    """(key, num_envs, options=None) -> N fresh environments. `options` may give "qpos", "qvel" and "goal", each for
    one instance or [N, ...], to start from; the goal marker moves to a given goal. Later automatic resets ignore them:
    "cached" ones repeat what this reset would have drawn without. Raises ConfigError for options that do not fit."""
    step: Callable[..., EnvState]
    """(state, action [N, A]) -> next state; on the host also takes `active` [N], environments whose results matter."""
    compiler_options: Mapping[str, Any] = {}
    """The engine's XLA compiler options."""
    mark_goal: Callable[[Physics, Float[Array, "N G"]], Physics] | None = None
    """`Task.mark_goal`, for N instances."""

    def jit(self, program: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        """`jax.jit` a program that steps this environment on the device, with its engine's compiler options.

        Do not call the result inside another jitted program: JAX raises ValueError for nested compiler options.
        """
        return jax.jit(program, compiler_options=dict(self.compiler_options) or None, **how)

    def compiled(self) -> Self:
        """The same environment with a jitted `step`, if on the device, for callers that step it from Python."""
        return self._replace(step=self.jit(self.step)) if self.on_device else self


Options = Mapping[str, Any]

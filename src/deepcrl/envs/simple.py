"""A ball driven through the ant's mazes: the ant's task without the gait (docs/fidelity.md)."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs import ant
from deepcrl.envs.draws import draw_cell
from deepcrl.envs.layouts import Layout, start_cell
from deepcrl.envs.parts import BODY_RGBA, add_marker, add_motor, add_surroundings, mark_last
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

RADIUS = 0.25
HEIGHT = 0.75
"""Metres above the floor at which the ball slides."""
GEAR = 5.0
"""Newtons at full action."""
VELOCITY_NOISE = 0.1
SUBSTEPS = ant.SUBSTEPS


def simple_task(layout: Layout, episode_length: int | None) -> Task:
    """Bring the ball to the centre of a goal cell.

    State [4]: x, y and their velocities. Action [2]: forces along x and y as fractions of the largest.
    """
    spec = EnvSpec(
        state_size=4,
        goal_size=2,
        goal_indices=(0, 1),
        action_size=2,
        episode_length=episode_length or 1000,
        success_radius=ant.SUCCESS_RADIUS,
        easy_radius=ant.EASY_RADIUS,
    )
    start = jnp.asarray(start_cell(layout) * ant.CELL_SIZE, jnp.float32)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        velocity_key, goal_key = jax.random.split(key)
        velocity = VELOCITY_NOISE * jax.random.normal(velocity_key, (2,))
        goal = draw_cell(goal_key, layout, ant.CELL_SIZE, "G")
        # The last two coordinates are the goal marker's.
        return {"qpos": jnp.concatenate([start, goal]), "qvel": jnp.concatenate([velocity, jnp.zeros(2)])}, goal

    return Task(
        spec=spec,
        scene=Scene(layout, ant.CELL_SIZE),
        reset=reset,
        observe=lambda physics: jnp.concatenate([physics["qpos"][:2], physics["qvel"][:2]]),
        mark_goal=mark_last,
    )


def simple_model(layout: Layout) -> "mujoco.MjModel":
    """Compile ball and maze. Coordinates: ball x, y, then goal marker x, y."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "simple"
    ant.set_options(mujoco, spec)
    add_surroundings(mujoco, spec, layout, ant.CELL_SIZE)
    ball = spec.worldbody.add_body(name="ball", pos=(0, 0, HEIGHT))
    slide, sphere = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtGeom.mjGEOM_SPHERE
    for name, axis in (("ball_x", (1, 0, 0)), ("ball_y", (0, 1, 0))):
        ball.add_joint(name=name, type=slide, axis=axis, range=(-100, 100), armature=1.0)
        add_motor(mujoco, spec, name, GEAR, limit=None)
    ball.add_geom(name="ball", type=sphere, size=(RADIUS, 0, 0), contype=1, conaffinity=1, rgba=BODY_RGBA)
    add_marker(mujoco, spec, ant.MARKER_HEIGHT, 100.0, ant.SUCCESS_RADIUS)
    return spec.compile()

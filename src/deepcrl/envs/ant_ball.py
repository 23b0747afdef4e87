"""The ant that has to push a ball to a goal, on an open plane or in a maze (docs/fidelity.md)."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs import ant
from deepcrl.envs.draws import draw_cell, draw_on_circle
from deepcrl.envs.layouts import Layout, start_cell
from deepcrl.envs.parts import OBJECT_RGBA, add_marker, add_surroundings, mark_last
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

GOAL_DISTANCE = 5.0
"""Metres from the origin to the goal on the open plane."""
BALL_ADVANCE = 0.2
"""On the open plane the ball starts on a circle, centred at this fraction of the way from origin to goal."""
BALL_DISTANCE = 1.0
"""Radius of that circle, in metres."""
BALL_RADIUS = 0.5
SUBSTEPS = ant.SUBSTEPS

TOUCH = ant.Touch(torso=(0, 1), hips=(0, 0), feet=(1, 1))
"""Torso and feet touch the ball, walls and each other."""


def ant_ball_task(layout: Layout | None, episode_length: int | None) -> Task:
    """Bring the ball to the goal: 5 m away on the open plane, or the centre of a goal cell of a maze.

    State [31]: the ant's own (29), then the ball's x and y. Action [8]: torques as fractions of the largest.
    """
    spec = EnvSpec(
        state_size=31,
        goal_size=2,
        goal_indices=(29, 30),
        action_size=8,
        episode_length=episode_length or 1000,
        success_radius=ant.SUCCESS_RADIUS,
        easy_radius=ant.EASY_RADIUS,
    )

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        position_key, velocity_key, ball_key, goal_key = jax.random.split(key, 4)
        if layout is None:
            pose, velocity = ant.draw_body(position_key, velocity_key, jnp.zeros(2))
            goal = draw_on_circle(goal_key, GOAL_DISTANCE)
            ball = BALL_ADVANCE * goal + draw_on_circle(ball_key, BALL_DISTANCE)
        else:
            start = jnp.asarray(start_cell(layout) * ant.CELL_SIZE, jnp.float32)
            pose, velocity = ant.draw_body(position_key, velocity_key, start)
            # In these mazes, as in the stitching ones, the torso's x and y have no noise; the rest of the pose has.
            pose = pose.at[:2].set(start)
            ball = draw_cell(ball_key, layout, ant.CELL_SIZE, "B")
            goal = draw_cell(goal_key, layout, ant.CELL_SIZE, "G")
        # The last two coordinates are the goal marker's.
        qpos = jnp.concatenate([pose, ball, goal])
        return {"qpos": qpos, "qvel": jnp.concatenate([velocity, jnp.zeros(4)])}, goal

    return Task(
        spec=spec,
        scene=Scene(layout, ant.CELL_SIZE),
        reset=reset,
        observe=lambda physics: jnp.concatenate([ant.observe_body(physics), physics["qpos"][15:17]]),
        terminated=ant.has_fallen,
        mark_goal=mark_last,
    )


def ant_ball_model(layout: Layout | None, link_mass: float | None = None) -> "mujoco.MjModel":
    """Compile ant, ball and surroundings; each link of the ant weighs `link_mass` kilograms, if given.

    Coordinates: ant (15 positions, 14 velocities), ball x, y, goal marker x, y.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "ant_ball"
    ant.set_options(mujoco, spec)
    add_surroundings(mujoco, spec, layout, ant.CELL_SIZE)
    ant.add_ant(mujoco, spec, TOUCH)
    _add_ball(mujoco, spec, reach=(-10.3213, 10.3) if layout is None else (-100.0, 100.0))
    add_marker(mujoco, spec, ant.MARKER_HEIGHT, 20.0 if layout is None else 100.0, ant.SUCCESS_RADIUS)
    model = spec.compile()
    if link_mass is not None:
        ant.weigh(mujoco, model, link_mass)
    return model


def _add_ball(mujoco, spec: "mujoco.MjSpec", reach: tuple[float, float]) -> None:
    """Add a ball that slides without turning, with the armature of the ant's joints."""
    ball = spec.worldbody.add_body(name="ball", pos=(0, 0, BALL_RADIUS))
    for name, axis in (("ball_x", (1, 0, 0)), ("ball_y", (0, 1, 0))):
        ball.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, range=reach, armature=1.0)
    # Sum of the densities of the two concentric spheres in the original model files.
    sphere, size = mujoco.mjtGeom.mjGEOM_SPHERE, (BALL_RADIUS, 0, 0)
    ball.add_geom(name="ball", type=sphere, size=size, density=1.1, contype=1, rgba=OBJECT_RGBA)

"""The ant that has to push a box out of its way to reach the goal (docs/fidelity.md)."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs import ant
from deepcrl.envs.parts import WALL_RGBA, add_marker, add_surroundings, mark_last
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

GOAL_CORNER = (16.0, 8.0)
"""Corner, nearest to the origin, of the square that goals are drawn from; x and y are swapped at random."""
GOAL_SPREAD = 2.0
"""Side of that square, in metres."""
START_HEIGHT = 0.75
WALLS = (
    ((-4.0, 20.0), (8.0, 8.0)),
    ((8.0, 24.0), (4.0, 4.0)),
    ((20.0, 20.0), (8.0, 8.0)),
    ((-8.0, 4.0), (4.0, 8.0)),
    ((24.0, 8.0), (4.0, 4.0)),
    ((20.0, -4.0), (8.0, 8.0)),
    ((0.0, -8.0), (12.0, 4.0)),
)
"""Centre (x, y) and half-sizes along x and y, in metres."""
WALL_HEIGHT = 4.0
BOX_START = (8.0, 8.0, 2.0)
"""The box starts 0.2 m above the floor."""
BOX_HALF_SIZE = (3.6, 3.6, 1.8)
BOX_MASS = 2e-4
DENSITY = 40.0
SOLVER_IMPEDANCE = (0.995, 0.995, 0.01)
SOLVER_ITERATIONS = 4
LINE_SEARCH_ITERATIONS = 8
SUBSTEPS = ant.SUBSTEPS

TOUCH = ant.Touch(torso=(1, 0), hips=(0, 0), feet=(1, 0))
"""Torso and feet touch floor, walls and box."""

_BOX_RGBA = (0.75, 0.35, 0.3, 1.0)


def ant_push_task(episode_length: int | None) -> Task:
    """Bring the torso to the goal, behind the box.

    State [31]: the ant's own (29), then the box's x and y. Action [8]: torques as fractions of the largest.
    """
    spec = EnvSpec(
        state_size=31,
        goal_size=2,
        goal_indices=(0, 1),
        action_size=8,
        episode_length=episode_length or 1000,
        success_radius=ant.SUCCESS_RADIUS,
        easy_radius=ant.EASY_RADIUS,
    )

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        position_key, velocity_key, box_key, side_key, spread_key = jax.random.split(key, 5)
        pose, velocity = ant.draw_body(position_key, velocity_key, jnp.zeros(2), START_HEIGHT)
        box = jax.random.uniform(box_key, (3,), minval=-ant.POSITION_NOISE, maxval=ant.POSITION_NOISE)
        corner = jax.random.permutation(side_key, jnp.array(GOAL_CORNER))
        goal = corner + jax.random.uniform(spread_key, (2,), maxval=GOAL_SPREAD)
        # The last two coordinates are the goal marker's.
        qpos = jnp.concatenate([pose, box, goal])
        return {"qpos": qpos, "qvel": jnp.concatenate([velocity, jnp.zeros(5)])}, goal

    def observe(physics: Physics) -> Float[Array, "31"]:
        return jnp.concatenate([ant.observe_body(physics), jnp.array(BOX_START[:2]) + physics["qpos"][15:17]])

    return Task(
        spec=spec,
        scene=Scene(None, ant.CELL_SIZE),
        reset=reset,
        observe=observe,
        terminated=ant.has_fallen,
        mark_goal=mark_last,
    )


def ant_push_model() -> "mujoco.MjModel":
    """Compile ant, walls and box.

    Coordinates: ant (15 positions, 14 velocities), box x, y, z relative to BOX_START, goal marker x, y.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "ant_push"
    ant.set_options(mujoco, spec)
    spec.option.iterations, spec.option.ls_iterations = SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS
    spec.default.geom.density = DENSITY
    spec.default.geom.solimp[:3] = SOLVER_IMPEDANCE
    add_surroundings(mujoco, spec, None, ant.CELL_SIZE)
    ant.add_ant(mujoco, spec, TOUCH)
    _add_walls_and_box(mujoco, spec)
    add_marker(mujoco, spec, ant.MARKER_HEIGHT, 20.0, ant.SUCCESS_RADIUS)
    return spec.compile()


def _add_walls_and_box(mujoco, spec: "mujoco.MjSpec") -> None:
    box = mujoco.mjtGeom.mjGEOM_BOX
    for number, (centre, half) in enumerate(WALLS):
        place = {"pos": (*centre, WALL_HEIGHT / 2), "size": (*half, WALL_HEIGHT / 2)}
        spec.worldbody.add_geom(name=f"wall_{number}", type=box, conaffinity=1, rgba=WALL_RGBA, **place)
    body = spec.worldbody.add_body(name="box", pos=BOX_START)
    for name, axis in (("box_x", (1, 0, 0)), ("box_y", (0, 1, 0)), ("box_z", (0, 0, 1))):
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
    masks = {"contype": 1, "conaffinity": 1}
    body.add_geom(name="box", type=box, size=BOX_HALF_SIZE, mass=BOX_MASS, rgba=_BOX_RGBA, **masks)

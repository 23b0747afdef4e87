"""The four-legged ant on an open plane or in a maze, built from scratch (docs/fidelity.md)."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from deepcrl.envs.draws import draw_cell, draw_on_circle
from deepcrl.envs.layouts import Layout, start_cell, stitching_pairs
from deepcrl.envs.parts import BODY_RGBA, END_RGBA, add_marker, add_motor, add_surroundings, mark_last, set_newton
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

CELL_SIZE = 4.0
"""Metres per maze cell."""
GOAL_DISTANCE = 10.0
"""Metres from the origin to the goal on the open plane."""
SUCCESS_RADIUS = 0.5
MARKER_HEIGHT = 0.01
EASY_RADIUS = 2.0
HEALTHY_HEIGHT = (0.2, 1.0)
"""Lowest and highest healthy torso heights, in metres; outside them the ant has fallen, or flown."""
START_HEIGHT = 0.55
START_JOINTS = (0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
"""Hip and ankle angles of legs 1 to 4 in radians, with the feet below the knees."""
POSITION_NOISE = 0.1
VELOCITY_NOISE = 0.1
TIME_STEP = 0.01
"""Seconds per simulator step."""
SUBSTEPS = 5
SOLVER_ITERATIONS = 1
LINE_SEARCH_ITERATIONS = 4

LEG_SIDES = ((1, 1), (-1, 1), (-1, -1), (1, -1))
"""Signs of x and y of legs 1 to 4."""
ANKLE_AXES = ((-1, 1, 0), (1, 1, 0), (-1, 1, 0), (1, 1, 0))
ANKLE_RANGES = ((30, 70), (-70, -30), (-70, -30), (30, 70))
"""Degrees."""
ACTUATED_LEGS = (4, 1, 2, 3)
"""Order of the legs in the action; each has its hip, then its ankle."""
GEAR = 150.0
DENSITY = 5.0
LINK_MASS = 1.0
"""Kilograms of each of the nine links, as on Brax's spring engine, which the paper's ants ran on. With the model file's
masses, a tenth of that in total, the same motors throw the ant above its healthy height within two seconds."""
LEG_PARTS = ("hip", "ankle")
LIMB_RADIUS = 0.08
TORSO_RADIUS = 0.25
SEGMENT = 0.2
"""Metres along x and y from torso to hip and from hip to ankle; the foot is twice as far from the ankle."""

Masks = tuple[int, int]
"""Contact bitmasks of a geom: MuJoCo's contype and conaffinity."""


class Touch(NamedTuple):
    """Contact masks of the ant's parts; its legs and ankles touch nothing."""

    torso: Masks
    hips: Masks
    """The four short limbs on the torso."""
    feet: Masks


ON_PLANE = Touch(torso=(0, 0), hips=(0, 0), feet=(1, 0))
"""Feet touch the floor."""
IN_MAZE = Touch(torso=(0, 1), hips=(0, 1), feet=(1, 1))
"""Torso, hips and feet also touch walls and each other."""


def ant_task(layout: Layout | None, episode_length: int | None) -> Task:
    """Bring the torso to the goal: 10 m away on the open plane, or the centre of a goal cell of a maze.

    State [29]: torso position (3), quaternion (4), joint angles (8), then the velocities of all these (6 + 8), in
    metres, radians and seconds. Action [8]: torques as fractions of the largest.
    """
    spec = EnvSpec(
        state_size=29,
        goal_size=2,
        goal_indices=(0, 1),
        action_size=8,
        episode_length=episode_length or 1000,
        success_radius=SUCCESS_RADIUS,
        easy_radius=EASY_RADIUS,
    )
    start = jnp.zeros(2) if layout is None else jnp.asarray(start_cell(layout) * CELL_SIZE)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        position_key, velocity_key, goal_key = jax.random.split(key, 3)
        pose, velocity = draw_body(position_key, velocity_key, start)
        goal = draw_goal(layout, goal_key)
        # The last two coordinates are the goal marker's.
        return {"qpos": jnp.concatenate([pose, goal]), "qvel": jnp.concatenate([velocity, jnp.zeros(2)])}, goal

    return Task(
        spec=spec,
        scene=Scene(layout, CELL_SIZE),
        reset=reset,
        observe=observe_body,
        terminated=has_fallen,
        mark_goal=mark_last,
    )


def ant_random_start_task(episode_length: int | None) -> Task:
    """The open-plane task, started at a random point 10 m from the goal instead of at the origin."""
    task = ant_task(None, episode_length)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        task_key, start_key = jax.random.split(key)
        physics, goal = task.reset(task_key)
        start = goal + draw_on_circle(start_key, GOAL_DISTANCE)
        return {**physics, "qpos": physics["qpos"].at[:2].set(start)}, goal

    return task._replace(reset=reset)


def ant_stitching_task(layout: Layout, distances: tuple[int, ...], episode_length: int | None) -> Task:
    """A corridor maze whose starts and goals are cell centres one of `distances` cells apart (paper, Figure 11)."""
    task = ant_task(layout, episode_length)
    pairs, probabilities = stitching_pairs(layout, distances)
    centres = jnp.asarray(pairs * CELL_SIZE, jnp.float32)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        task_key, pair_key = jax.random.split(key)
        physics, _ = task.reset(task_key)
        start, goal = centres[jax.random.choice(pair_key, len(centres), p=jnp.asarray(probabilities))]
        return {**physics, "qpos": physics["qpos"].at[:2].set(start).at[-2:].set(goal)}, goal

    return task._replace(reset=reset)


def draw_body(
    position_key: PRNGKeyArray, velocity_key: PRNGKeyArray, start: Float[Array, "2"], height: float = START_HEIGHT
) -> tuple[Float[Array, "15"], Float[Array, "14"]]:
    """Noisy start pose and velocity of an ant with its torso at `start` (x, y) and `height`."""
    centre = jnp.concatenate([start, jnp.array([height, 1.0, 0.0, 0.0, 0.0, *START_JOINTS])])
    pose = centre + jax.random.uniform(position_key, (15,), minval=-POSITION_NOISE, maxval=POSITION_NOISE)
    quaternion = pose[3:7] / jnp.linalg.norm(pose[3:7])
    velocity = VELOCITY_NOISE * jax.random.normal(velocity_key, (14,))
    return jnp.concatenate([pose[:3], quaternion, pose[7:]]), velocity


def draw_goal(layout: Layout | None, key: PRNGKeyArray) -> Float[Array, "2"]:
    return draw_on_circle(key, GOAL_DISTANCE) if layout is None else draw_cell(key, layout, CELL_SIZE, "G")


def observe_body(physics: Physics) -> Float[Array, "29"]:
    """Positions (15) and velocities (14) of the ant alone, without other bodies."""
    return jnp.concatenate([physics["qpos"][:15], physics["qvel"][:14]])


def has_fallen(physics: Physics) -> Bool[Array, ""]:
    """Whether the torso is outside of HEALTHY_HEIGHT."""
    height = physics["qpos"][2]
    return (height < HEALTHY_HEIGHT[0]) | (height > HEALTHY_HEIGHT[1])


def ant_model(layout: Layout | None, link_mass: float | None = None) -> "mujoco.MjModel":
    """Compile the ant and its surroundings. Coordinates: ant (15 positions, 14 velocities), then goal marker x, y.

    Args:
        layout: the maze, or None for an open plane.
        link_mass: kilograms of every link, see LINK_MASS; None keeps the masses of the model file, 0.91 kg in all.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "ant"
    set_options(mujoco, spec)
    add_surroundings(mujoco, spec, layout, CELL_SIZE)
    add_ant(mujoco, spec, ON_PLANE if layout is None else IN_MAZE)
    add_marker(mujoco, spec, MARKER_HEIGHT, 20.0 if layout is None else 100.0, SUCCESS_RADIUS)
    model = spec.compile()
    if link_mass is not None:
        weigh(mujoco, model, link_mass)
    return model


def weigh(mujoco, model: "mujoco.MjModel", link_mass: float) -> None:
    """Set the mass of torso, hips and ankles to `link_mass` kilograms each, and scale their inertias in proportion."""
    links = [
        model.body(name).id for name in ("torso", *(f"{part}_{leg}" for leg in (1, 2, 3, 4) for part in LEG_PARTS))
    ]
    model.body_inertia[links] *= link_mass / model.body_mass[links, None]
    model.body_mass[links] = link_mass
    mujoco.mj_setConst(model, mujoco.MjData(model))


def set_options(mujoco, spec: "mujoco.MjSpec") -> None:
    """Set solver, time step and geom defaults, common to all ant models."""
    spec.compiler.degree = True
    set_newton(mujoco, spec, TIME_STEP, SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS)
    spec.default.geom.density, spec.default.geom.friction = DENSITY, (1.0, 0.5, 0.5)


def add_ant(mujoco, spec: "mujoco.MjSpec", touch: Touch) -> None:
    """Add torso, legs and motors."""
    sphere, hinge = mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtJoint.mjJNT_HINGE
    torso_masks, hip_masks, foot_masks = (dict(zip(("contype", "conaffinity"), masks)) for masks in touch)
    motion = {"armature": 1.0, "damping": 1.0}

    def add_limb(body, sides: tuple[int, int], length: float, **masks) -> None:
        end = (length * sides[0], length * sides[1], 0)
        capsule = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "fromto": (0, 0, 0, *end), "size": (LIMB_RADIUS, 0, 0)}
        body.add_geom(rgba=BODY_RGBA, **capsule, **masks)

    torso = spec.worldbody.add_body(name="torso", pos=(0, 0, 0.75))
    torso.add_freejoint(name="root")
    torso.add_geom(name="torso", type=sphere, size=(TORSO_RADIUS, 0, 0), rgba=BODY_RGBA, **torso_masks)
    torso.add_camera(name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=(0, -6, 5), euler=(50, 0, 0))
    for leg, sides in enumerate(LEG_SIDES, start=1):
        joint_at = (SEGMENT * sides[0], SEGMENT * sides[1], 0)
        add_limb(torso, sides, SEGMENT, **hip_masks)
        hip = torso.add_body(name=f"hip_{leg}", pos=joint_at)
        hip.add_joint(name=f"hip_{leg}", type=hinge, axis=(0, 0, 1), range=(-30, 30), **motion)
        add_limb(hip, sides, SEGMENT)
        ankle = hip.add_body(name=f"ankle_{leg}", pos=joint_at)
        axis, limits = ANKLE_AXES[leg - 1], ANKLE_RANGES[leg - 1]
        ankle.add_joint(name=f"ankle_{leg}", type=hinge, axis=axis, range=limits, **motion)
        add_limb(ankle, sides, 2 * SEGMENT)
        foot_at = (2 * SEGMENT * sides[0], 2 * SEGMENT * sides[1], 0)
        size = (LIMB_RADIUS, 0, 0)
        ankle.add_geom(name=f"foot_{leg}", type=sphere, size=size, pos=foot_at, mass=0, rgba=END_RGBA, **foot_masks)
    for name in (f"{joint}_{leg}" for leg in ACTUATED_LEGS for joint in LEG_PARTS):
        add_motor(mujoco, spec, name, GEAR)

"""The humanoid on an open plane or in a maze, built from scratch (docs/fidelity.md)."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from deepcrl.envs.draws import draw_cell, draw_on_circle
from deepcrl.envs.layouts import Layout, start_cell
from deepcrl.envs.parts import BODY_RGBA, END_RGBA, add_marker, add_motor, add_surroundings, mark_last, set_newton
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

CELL_SIZE = 2.0
"""Metres per maze cell."""
GOAL_DISTANCES = (1.0, 5.0)
"""Metres from the origin to the goal on the open plane, least and largest."""
GOAL_HEIGHT = 1.25
"""Height of all commanded goals, in metres; achieved goals have the torso's true height."""
SUCCESS_RADIUS = 0.5
EASY_RADIUS = 2.0
HEALTHY_HEIGHT = (1.0, 2.0)
"""Lowest and highest healthy torso heights, in metres; outside them the humanoid has fallen, or flown."""
START_HEIGHT = 1.4
MAX_CONTROL = 0.4
"""Motor control at action 1."""

TIME_STEP = 0.003
"""Seconds per simulator step, also of the paper's humanoid on the open plane with the spring engine."""
SHORT_TIME_STEP = 0.0015
"""Seconds per simulator step of the spring engine in the paper's mazes, and in all of JaxGCRL."""
SUBSTEPS = 5
SOLVER_ITERATIONS = 1
LINE_SEARCH_ITERATIONS = 4

NUM_JOINTS = 17
NUM_LINKS = 12
"""Eleven of the body, torso first, then the goal marker."""

_TRUNK_RGBA = (0.30, 0.42, 0.60, 1.0)


class Hinge(NamedTuple):
    name: str
    axis: tuple[float, float, float]
    limits: tuple[float, float]
    """Degrees."""
    stiffness: float
    damping: float
    armature: float
    gear: float


class Solid(NamedTuple):
    """A capsule, or a sphere if both ends are the same point, in metres."""

    name: str
    ends: tuple[tuple[float, float, float], tuple[float, float, float]]
    radius: float
    rgba: tuple[float, float, float, float] = BODY_RGBA


class Segment(NamedTuple):
    """One body with the hinges that join it to its parent, all through one point."""

    name: str
    parent: str
    at: tuple[float, float, float]
    """Metres in the parent's frame."""
    hinges: tuple[Hinge, ...]
    solids: tuple[Solid, ...]
    hinge_height: float = 0.0
    """z of the hinges in the body's own frame."""
    tilt: float = 0.0
    """y of the unnormalised quaternion (1, 0, y, 0) that rotates the body in its parent's frame."""


def _ball(name: str, at: tuple[float, float, float], radius: float, rgba=BODY_RGBA) -> Solid:
    return Solid(name, (at, at), radius, rgba)


def _across(name: str, half: float, radius: float, x: float = 0.0, z: float = 0.0) -> Solid:
    return Solid(name, ((x, -half, z), (x, half, z)), radius, _TRUNK_RGBA)


TORSO = (_across("torso", 0.07, 0.07), _ball("head", (0, 0, 0.19), 0.09), _across("waist", 0.06, 0.06, -0.01, -0.12))


def _leg(side: str, y: int) -> tuple[Segment, Segment]:
    """Thigh, and shin with foot, of the leg on the side of +y or -y."""
    armature, knee_stiffness = (0.008, 0.0) if side == "right" else (0.01, 1.0)
    hips = (
        Hinge(f"{side}_hip_x", (-y, 0, 0), (-25, 5), 10, 5, 0.01, 100),
        Hinge(f"{side}_hip_z", (0, 0, -y), (-60, 35), 10, 5, 0.01, 100),
        Hinge(f"{side}_hip_y", (0, 1, 0), (-110, 20), 20, 5, armature, 300),
    )
    knee = Hinge(f"{side}_knee", (0, -1, 0), (-160, -2), knee_stiffness, 1, 0.006, 200)
    thigh = Solid(f"{side}_thigh", ((0, 0, 0), (0, -0.01 * y, -0.34)), 0.06)
    shin = Solid(f"{side}_shin", ((0, 0, 0), (0, 0, -0.3)), 0.049)
    foot = _ball(f"{side}_foot", (0, 0, -0.35), 0.075, END_RGBA)
    return (
        Segment(f"{side}_thigh", "pelvis", (0, 0.1 * y, -0.04), hips, (thigh,)),
        Segment(f"{side}_shin", f"{side}_thigh", (0, -0.01 * y, -0.403), (knee,), (shin, foot), hinge_height=0.02),
    )


def _arm(side: str, y: int) -> tuple[Segment, Segment]:
    """Upper arm, and lower arm with hand, on the side of +y or -y."""
    limits = (-85, 60) if side == "right" else (-60, 85)
    shoulders = (
        Hinge(f"{side}_shoulder1", (2, -y, 1), limits, 1, 1, 0.0068, 25),
        Hinge(f"{side}_shoulder2", (0, y, 1), limits, 1, 1, 0.0051, 25),
    )
    elbow = Hinge(f"{side}_elbow", (0, -1, -y), (-90, 50), 0, 1, 0.0028, 25)
    upper = Solid(f"{side}_upper_arm", ((0, 0, 0), (0.16, 0.16 * y, -0.16)), 0.04)
    lower = Solid(f"{side}_lower_arm", ((0.01, -0.01 * y, 0.01), (0.17, -0.17 * y, 0.17)), 0.031)
    hand = _ball(f"{side}_hand", (0.18, -0.18 * y, 0.18), 0.04, END_RGBA)
    return (
        Segment(f"{side}_upper_arm", "torso", (0, 0.17 * y, 0.06), shoulders, (upper,)),
        Segment(f"{side}_lower_arm", f"{side}_upper_arm", (0.18, 0.18 * y, -0.18), (elbow,), (lower, hand)),
    )


SEGMENTS = (
    Segment(
        "lwaist",
        "torso",
        (-0.01, 0, -0.26),
        (
            Hinge("abdomen_z", (0, 0, 1), (-45, 45), 20, 5, 0.02, 100),
            Hinge("abdomen_y", (0, 1, 0), (-75, 30), 10, 5, 0.02, 100),
        ),
        (_across("lwaist", 0.06, 0.06),),
        hinge_height=0.065,
        tilt=-0.002,
    ),
    Segment(
        "pelvis",
        "lwaist",
        (0, 0, -0.165),
        (Hinge("abdomen_x", (1, 0, 0), (-35, 35), 10, 5, 0.02, 100),),
        (_across("pelvis", 0.07, 0.09, x=-0.02),),
        hinge_height=0.1,
        tilt=-0.002,
    ),
    *_leg("right", -1),
    *_leg("left", 1),
    *_arm("right", -1),
    *_arm("left", 1),
)
"""All bodies but the torso, parents first; also the order of joints."""


class Links(NamedTuple):
    """Mass distribution of each link, goal marker last."""

    mass: Float[np.ndarray, "L"]
    centre: Float[np.ndarray, "L 3"]
    """Centre of mass in the link's frame."""
    inertia: Float[np.ndarray, "L 3 3"]
    """About the centre of mass, along the link frame's axes."""


def links_of(model: "mujoco.MjModel", unit_inertia: bool) -> Links:
    """The model's links, with their own inertia or, as on the spring engine, all with unit inertia."""
    import mujoco

    inertia = np.tile(np.eye(3), (NUM_LINKS, 1, 1))
    if not unit_inertia:
        for link in range(NUM_LINKS):
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, model.body_iquat[link + 1])
            axes = rotation.reshape(3, 3)
            inertia[link] = axes * model.body_inertia[link + 1] @ axes.T
    return Links(model.body_mass[1:].copy(), model.body_ipos[1:].copy(), inertia)


def humanoid_task(layout: Layout | None, episode_length: int | None, links: Links, clean: bool = False) -> Task:
    """Bring the torso to the goal: 1 to 5 m away on the open plane, or the centre of a goal cell of a maze.

    State [268]: positions (26: torso position and quaternion, joint angles, marker x, y) and their velocities (25);
    inertia (9) about the total centre of mass and mass (1) of each of the 12 links; velocity (3), scaled by its share
    of the total mass, and angular velocity (3) of each link; actuator force on each coordinate (25). Metres, radians,
    seconds. Action [17]: torques as fractions of the largest. The goal [3] is a position of the torso.

    Args:
        layout: a maze, or None for the open plane.
        episode_length: env steps; None is 1000.
        links: mass distribution of the model's links.
        clean: leave the goal marker's entries out of the state, which then has 246 entries. Otherwise, as in the
            paper, the state contains the commanded goal.
    """
    spec = EnvSpec(
        state_size=246 if clean else 268,
        goal_size=3,
        goal_indices=(0, 1, 2),
        action_size=NUM_JOINTS,
        episode_length=episode_length or 1000,
        success_radius=SUCCESS_RADIUS,
        easy_radius=EASY_RADIUS,
    )
    start = jnp.zeros(2) if layout is None else jnp.asarray(start_cell(layout) * CELL_SIZE, jnp.float32)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "3"]]:
        goal = _draw_goal(layout, key)
        pose = jnp.array([START_HEIGHT, 1.0, 0.0, 0.0, 0.0, *(0.0,) * NUM_JOINTS])
        # The last two coordinates are the goal marker's.
        physics = {"qpos": jnp.concatenate([start, pose, goal]), "qvel": jnp.zeros(8 + NUM_JOINTS)}
        return physics, jnp.append(goal, GOAL_HEIGHT)

    return Task(
        spec=spec,
        scene=Scene(layout, CELL_SIZE),
        reset=reset,
        observe=lambda physics: observe(physics, links, clean),
        control=lambda action, physics: MAX_CONTROL * action,
        terminated=_has_fallen,
        mark_goal=mark_last,
    )


def _draw_goal(layout: Layout | None, key: PRNGKeyArray) -> Float[Array, "2"]:
    if layout is not None:
        return draw_cell(key, layout, CELL_SIZE, "G")
    radius_key, angle_key = jax.random.split(key)
    radius = jax.random.uniform(radius_key, (), minval=GOAL_DISTANCES[0], maxval=GOAL_DISTANCES[1])
    return draw_on_circle(angle_key, radius)


def _has_fallen(physics: Physics) -> Bool[Array, ""]:
    height = physics["qpos"][2]
    return (height < HEALTHY_HEIGHT[0]) | (height > HEALTHY_HEIGHT[1])


def observe(physics: Physics, links: Links, clean: bool) -> Float[Array, "S"]:
    """The state, in the order that `humanoid_task` documents."""
    sizes = np.array([3, 4, 3, 3]) * NUM_LINKS
    *frames, torques = jnp.split(physics["sensordata"], np.cumsum(sizes))
    poses = [part.reshape(NUM_LINKS, -1) for part in frames]
    qpos, qvel = physics["qpos"], physics["qvel"]
    forces = jnp.concatenate([jnp.zeros(6), torques, jnp.zeros(2)])
    if clean:
        links, poses = jax.tree.map(lambda part: part[:-1], (links, poses))
        qpos, qvel, forces = qpos[:-2], qvel[:-2], forces[:-2]
    inertias, velocities = mass_distribution(links, *poses)
    masses = jnp.asarray(links.mass, jnp.float32)[:, None]
    inertias = jnp.concatenate([inertias.reshape(len(masses), 9), masses], axis=1)
    return jnp.concatenate([qpos, qvel, inertias.ravel(), velocities.ravel(), forces])


def mass_distribution(
    links: Links,
    position: Float[Array, "L 3"],
    quaternion: Float[Array, "L 4"],
    velocity: Float[Array, "L 3"],
    angular_velocity: Float[Array, "L 3"],
) -> tuple[Float[Array, "L 3 3"], Float[Array, "L 6"]]:
    """Each link's inertia about the total centre of mass; its share of that centre's velocity, and angular velocity.

    Positions and velocities are of the links' frames, in the world's axes.
    """
    mass, centre, inertia = (jnp.asarray(part, jnp.float32) for part in links)
    rotation = _rotation(quaternion)
    lever = jnp.einsum("lij,lj->li", rotation, centre)
    share = (mass / mass.sum())[:, None]
    offset = position + lever
    offset -= (share * offset).sum(axis=0)
    spread = jnp.sum(offset**2, axis=1)[:, None, None] * jnp.eye(3) - offset[:, :, None] * offset[:, None, :]
    own = jnp.einsum("lij,ljk,lmk->lim", rotation, inertia, rotation)
    linear = share * (velocity + jnp.cross(angular_velocity, lever))
    return own + mass[:, None, None] * spread, jnp.concatenate([linear, angular_velocity], axis=1)


def _rotation(quaternion: Float[Array, "L 4"]) -> Float[Array, "L 3 3"]:
    """Rotation matrices of unit quaternions."""
    w, x, y, z = quaternion.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return jnp.moveaxis(jnp.array(rows), -1, 0)


def humanoid_model(layout: Layout | None) -> "mujoco.MjModel":
    """Compile the humanoid and its surroundings.

    Coordinates: torso position and quaternion, 17 joints, then goal marker x, y.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "humanoid"
    spec.compiler.degree = True
    set_newton(mujoco, spec, TIME_STEP, SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS)
    floor = add_surroundings(mujoco, spec, layout, CELL_SIZE)
    floor.friction = (1.0, 0.1, 0.1)
    _add_humanoid(mujoco, spec)
    add_marker(mujoco, spec, GOAL_HEIGHT, 20.0 if layout is None else 100.0, SUCCESS_RADIUS)
    _add_sensors(mujoco, spec)
    return spec.compile()


def _add_humanoid(mujoco, spec: "mujoco.MjSpec") -> None:
    """Add bodies and motors. All solids collide with floor and walls, but not with each other."""
    sphere, capsule = mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE

    def add_solid(body, solid: Solid) -> None:
        start, end = solid.ends
        shape = {"type": sphere, "pos": start} if start == end else {"type": capsule, "fromto": (*start, *end)}
        body.add_geom(name=solid.name, size=(solid.radius, 0, 0), rgba=solid.rgba, contype=1, **shape)

    torso = spec.worldbody.add_body(name="torso", pos=(0, 0, START_HEIGHT))
    torso.add_freejoint(name="root")
    torso.add_camera(name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=(0, -4, 1), euler=(80, 0, 0))
    for solid in TORSO:
        add_solid(torso, solid)
    bodies = {"torso": torso}
    for segment in SEGMENTS:
        body = bodies[segment.parent].add_body(name=segment.name, pos=segment.at, quat=(1, 0, segment.tilt, 0))
        for hinge in segment.hinges:
            body.add_joint(
                name=hinge.name,
                type=mujoco.mjtJoint.mjJNT_HINGE,
                pos=(0, 0, segment.hinge_height),
                axis=hinge.axis,
                range=hinge.limits,
                stiffness=hinge.stiffness,
                damping=hinge.damping,
                armature=hinge.armature,
            )
        for solid in segment.solids:
            add_solid(body, solid)
        bodies[segment.name] = body
    hinges = [hinge for segment in SEGMENTS for hinge in segment.hinges]
    hinges[0], hinges[1] = hinges[1], hinges[0]  # the one difference between the orders of actuators and joints
    for hinge in hinges:
        add_motor(mujoco, spec, hinge.name, hinge.gear, MAX_CONTROL)


def _add_sensors(mujoco, spec: "mujoco.MjSpec") -> None:
    """Add what `observe` needs beyond the coordinates: all links' frames, quantity by quantity, then joint torques."""
    kinds = mujoco.mjtSensor
    links = ["torso", *(segment.name for segment in SEGMENTS), "target"]
    for quantity, kind in (
        ("position", kinds.mjSENS_FRAMEPOS),
        ("quaternion", kinds.mjSENS_FRAMEQUAT),
        ("velocity", kinds.mjSENS_FRAMELINVEL),
        ("angular_velocity", kinds.mjSENS_FRAMEANGVEL),
    ):
        for link in links:
            spec.add_sensor(name=f"{link}_{quantity}", type=kind, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=link)
    for name in (hinge.name for segment in SEGMENTS for hinge in segment.hinges):
        spec.add_sensor(
            name=f"{name}_torque", type=kinds.mjSENS_JOINTACTFRC, objtype=mujoco.mjtObj.mjOBJ_JOINT, objname=name
        )

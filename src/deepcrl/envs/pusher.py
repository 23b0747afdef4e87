"""A seven-joint arm that pushes objects to goal discs on a table, or reaches for one (docs/fidelity.md)."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from deepcrl.envs.parts import BODY_RGBA, END_RGBA, OBJECT_RGBA, add_motor, add_surroundings
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

Interval = tuple[float, float]


class Region(NamedTuple):
    """Rectangle from which a start position is drawn uniformly: metres from the base along y and x."""

    y: Interval
    x: Interval


class Setup(NamedTuple):
    """Objects and goal discs on the table. The k-th object belongs on the k-th disc."""

    base: tuple[float, float]
    """x and y of the origin of object and disc coordinates."""
    objects: tuple[Region, ...]
    goals: tuple[Region, ...]
    reach: bool = False
    """The wrist itself has to reach the disc; the object plays no role."""


EASY = Setup((0.45, -0.05), objects=(Region((-0.3, 0.0), (-0.2, 0.2)),), goals=(Region((-0.55, -0.25), (-0.2, 0.2)),))
HARD = EASY._replace(goals=(Region((-0.65, 0.35), (-0.55, 0.45)),))
REACH = Setup(
    (0.45, -0.05), objects=(Region((1.0, 1.0), (1.0, 1.0)),), goals=(Region((-0.3, 0.0), (-0.2, 0.2)),), reach=True
)
TWO_OBJECTS = Setup(
    (0.0, 0.0),
    objects=(Region((-0.35, -0.05), (0.25, 0.45)), Region((-0.35, -0.05), (0.45, 0.65))),
    goals=(Region((-0.7, 0.3), (-0.15, 0.375)), Region((-0.7, 0.3), (0.375, 0.9))),
)

OBJECT_HEIGHT = -0.275
GOAL_HEIGHT = -0.323
"""The discs lie 48 mm below the objects' centres, so no distance is ever smaller."""
TABLE_HEIGHT = -0.325
MIN_GAP = 0.17
"""Metres; objects drawn nearer than this to their discs are moved away from the base."""
SUCCESS_RADIUS = 0.1
HARD_RADIUS = 0.05
VELOCITY_NOISE = 0.005
TIME_STEP = 0.01
SUBSTEPS = 5
SOLVER_ITERATIONS = 20


class Link(NamedTuple):
    """One link of the arm and the joint that holds it. Metres and radians."""

    name: str
    at: tuple[float, float, float]
    """Origin of its frame in the previous link's frame."""
    axis: tuple[int, int, int]
    limits: Interval
    damping: float
    capsules: tuple[tuple[tuple[float, ...], float], ...]
    """Both ends (6) and the radius."""
    spheres: tuple[tuple[tuple[float, float, float], float], ...] = ()
    """Centre and radius."""
    touches: bool = False
    """Whether its capsules collide with the table and the objects."""


EYES = (((-0.06, 0.05, 0.2), 0.05), ((0.06, 0.05, 0.2), 0.05), ((-0.06, 0.09, 0.2), 0.03), ((0.06, 0.09, 0.2), 0.03))
FORK = (
    ((0.0, -0.1, 0.0, 0.0, 0.1, 0.0), 0.02),
    ((0.0, -0.1, 0.0, 0.1, -0.1, 0.0), 0.02),
    ((0.0, 0.1, 0.0, 0.1, 0.1, 0.0), 0.02),
)
ROLL = ((-0.1, 0.0, 0.0, 0.1, 0.0, 0.0), 0.02)
LINKS = (
    Link("shoulder_pan", (0, -0.6, 0), (0, 0, 1), (-2.2854, 1.714602), 1.0, (((0, 0, -0.4, 0, 0, 0.2), 0.1),), EYES),
    Link("shoulder_lift", (0.1, 0, 0), (0, 1, 0), (-0.5236, 1.3963), 1.0, (((0, -0.1, 0, 0, 0.1, 0), 0.1),)),
    Link("upper_arm_roll", (0, 0, 0), (1, 0, 0), (-1.5, 1.7), 0.1, (ROLL, ((0, 0, 0, 0.4, 0, 0), 0.06))),
    Link("elbow_flex", (0.4, 0, 0), (0, 1, 0), (-2.3213, 0), 0.1, (((0, -0.02, 0, 0, 0.02, 0), 0.06),)),
    Link("forearm_roll", (0, 0, 0), (1, 0, 0), (-1.5, 1.5), 0.1, (ROLL, ((0, 0, 0, 0.291, 0, 0), 0.05))),
    Link("wrist_flex", (0.321, 0, 0), (0, 1, 0), (-1.094, 0), 0.1, (((0, -0.02, 0, 0, 0.02, 0), 0.01),)),
    Link(
        name="wrist_roll",
        at=(0, 0, 0),
        axis=(1, 0, 0),
        limits=(-1.5, 1.5),
        damping=0.1,
        capsules=FORK,
        spheres=(((0.1, -0.1, 0.0), 0.01), ((0.1, 0.1, 0.0), 0.01)),
        touches=True,
    ),
)
JOINTS = len(LINKS)

_GOAL_RGBA = (0.15, 0.75, 0.35, 1.0)


def pusher_task(setup: Setup, episode_length: int | None) -> Task:
    """Bring every object to its disc, or the wrist to the disc.

    State [17 + 3 objects]: arm angles (7), wrist position (3), object positions (3 each), arm velocities (7); if
    the wrist has to reach, [17]: arm angles, arm velocities, wrist position. Action [7]: torques in newton metres.
    """
    count = len(setup.objects)
    size = 3 * len(setup.goals)
    first = 14 if setup.reach else 10
    spec = EnvSpec(
        state_size=17 if setup.reach else 17 + 3 * count,
        goal_size=size,
        goal_indices=tuple(range(first, first + size)),
        action_size=JOINTS,
        episode_length=episode_length or 1000,
        success_radius=SUCCESS_RADIUS,
        hard_radius=HARD_RADIUS if count == 1 else None,
        grades=None if count == 1 else _grade_each,
    )

    def positions(offsets: Float[Array, "K 2"], height: float) -> Float[Array, "3K"]:
        x, y = setup.base[0] + offsets[:, 1], setup.base[1] + offsets[:, 0]
        return jnp.stack([x, y, jnp.full_like(x, height)], axis=1).reshape(-1)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "G"]]:
        object_key, goal_key, velocity_key = jax.random.split(key, 3)
        objects, goals = _draw(object_key, setup.objects), _draw(goal_key, setup.goals)
        gap = jnp.linalg.norm(objects - goals, axis=1, keepdims=True)
        # Away from the base, not from the disc: a near pair may stay near.
        objects = jnp.where(gap < MIN_GAP, objects * MIN_GAP / jnp.maximum(gap, 1e-6), objects)
        velocity = jax.random.uniform(velocity_key, (JOINTS,), minval=-VELOCITY_NOISE, maxval=VELOCITY_NOISE)
        things = jnp.concatenate([objects, goals], axis=1).reshape(-1)
        qpos = jnp.concatenate([jnp.zeros(JOINTS), things])
        return {"qpos": qpos, "qvel": jnp.append(velocity, jnp.zeros_like(things))}, positions(goals, GOAL_HEIGHT)

    def mark_goal(physics: Physics, goal: Float[Array, "G"]) -> Physics:
        offsets = goal.reshape(count, 3)[:, 1::-1] - jnp.array(setup.base[::-1])
        things = physics["qpos"][JOINTS:].reshape(count, 4).at[:, 2:].set(offsets)
        return {**physics, "qpos": physics["qpos"].at[JOINTS:].set(things.reshape(-1))}

    def observe(physics: Physics) -> Float[Array, "S"]:
        angles, velocities = physics["qpos"][:JOINTS], physics["qvel"][:JOINTS]
        wrist = physics["sensordata"]
        if setup.reach:
            return jnp.concatenate([angles, velocities, wrist])
        offsets = physics["qpos"][JOINTS:].reshape(count, 4)[:, :2]
        return jnp.concatenate([angles, wrist, positions(offsets, OBJECT_HEIGHT), velocities])

    return Task(
        spec=spec,
        scene=Scene(None, 1.0),
        reset=reset,
        observe=observe,
        mark_goal=mark_goal,
    )


def _draw(key: PRNGKeyArray, regions: tuple[Region, ...]) -> Float[Array, "K 2"]:
    low, high = jnp.moveaxis(jnp.array(regions), -1, 0)
    return jax.random.uniform(key, low.shape, minval=low, maxval=high)


def _grade_each(achieved: Float[Array, "G"], goal: Float[Array, "G"]) -> dict[str, Bool[Array, ""]]:
    """Success: every object is on its disc. Easy: at least one is."""
    on_disc = jnp.linalg.norm((achieved - goal).reshape(-1, 3), axis=1) < SUCCESS_RADIUS
    return {"success": on_disc.all(), "easy": on_disc.any()}


def pusher_model(setup: Setup) -> "mujoco.MjModel":
    """Compile arm, table, objects and discs. There is no gravity.

    Coordinates: the seven joints, then of each object y, x and of its disc y, x. Sensor: "wrist", its position.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "pusher"
    spec.compiler.degree = False
    spec.option.timestep, spec.option.iterations = TIME_STEP, SOLVER_ITERATIONS
    spec.option.gravity = (0, 0, 0)
    geom = spec.default.geom
    geom.density, geom.friction, geom.margin = 300.0, (0.8, 0.1, 0.1), 0.002
    # By default nothing collides; each geom opts in.
    geom.contype, geom.conaffinity = 0, 0
    spec.default.joint.armature = 0.04
    table = add_surroundings(mujoco, spec, None, cell_size=0.2)
    table.pos, table.contype, table.conaffinity = (0, 0, TABLE_HEIGHT), 1, 0
    spec.worldbody.add_camera(name="track", pos=(0.6, -2.0, 1.2), xyaxes=(1, 0, 0, 0, 0.65, 0.75))
    _add_arm(mujoco, spec)
    for number in range(1, len(setup.objects) + 1):
        _add_object(mujoco, spec, f"object_{number}", setup.base)
        _add_disc(mujoco, spec, f"target_{number}", setup.base)
    return spec.compile()


def _add_arm(mujoco, spec: "mujoco.MjSpec") -> None:
    capsule, sphere = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
    body = spec.worldbody
    for link in LINKS:
        body = body.add_body(name=link.name, pos=link.at)
        hinge = {"type": mujoco.mjtJoint.mjJNT_HINGE, "axis": link.axis, "range": link.limits}
        body.add_joint(name=link.name, damping=link.damping, **hinge)
        look = {"rgba": END_RGBA if link.touches else BODY_RGBA}
        for ends, radius in link.capsules:
            body.add_geom(type=capsule, fromto=ends, size=(radius, 0, 0), conaffinity=int(link.touches), **look)
        for centre, radius in link.spheres:
            body.add_geom(type=sphere, pos=centre, size=(radius, 0, 0), **look)
        add_motor(mujoco, spec, link.name, 1.0, limit=2.0)
    spec.add_sensor(
        name="wrist",
        type=mujoco.mjtSensor.mjSENS_FRAMEPOS,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname="wrist_flex",
    )


def _add_thing(mujoco, spec: "mujoco.MjSpec", name: str, base: tuple[float, float], height: float) -> Any:
    """Add a body that slides along y, then x."""
    body = spec.worldbody.add_body(name=name, pos=(*base, height))
    slide = {"type": mujoco.mjtJoint.mjJNT_SLIDE, "range": (-10.3213, 10.3), "damping": 0.5}
    body.add_joint(name=f"{name}_y", axis=(0, 1, 0), **slide)
    body.add_joint(name=f"{name}_x", axis=(1, 0, 0), **slide)
    return body


def _add_object(mujoco, spec: "mujoco.MjSpec", name: str, base: tuple[float, float]) -> None:
    """Add an upright capsule that the fork can push, and inside it a ball that only adds mass."""
    body = _add_thing(mujoco, spec, name, base, OBJECT_HEIGHT)
    capsule, sphere = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
    body.add_geom(type=sphere, size=(0.05, 0, 0), density=1.0, rgba=OBJECT_RGBA)
    body.add_geom(name=name, type=capsule, size=(0.05, 0.05, 0), density=1.0, contype=1, rgba=OBJECT_RGBA)


def _add_disc(mujoco, spec: "mujoco.MjSpec", name: str, base: tuple[float, float]) -> None:
    body = _add_thing(mujoco, spec, name, base, GOAL_HEIGHT)
    size = (0.08, 0.001, 0)
    body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=size, density=1e-5, rgba=_GOAL_RGBA)

"""The half cheetah: a planar runner that has to reach a goal 5 m away and stay there (docs/fidelity.md)."""

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs.parts import BODY_RGBA, END_RGBA, add_marker, add_motor, add_surroundings, set_newton
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

GOAL = 5.0
"""Metres along x, for every episode."""
SUCCESS_RADIUS = 0.5
EASY_RADIUS = 2.0
POSITION_NOISE = 0.1
VELOCITY_NOISE = 0.1
TIME_STEP = 0.01
SUBSTEPS = 5
SOLVER_ITERATIONS = 4
LINE_SEARCH_ITERATIONS = 50
TOTAL_MASS = 14.0
"""Kilograms of cheetah and goal marker together: the cheetah alone has 13.37."""
RADIUS = 0.046
"""Radius of all capsules, in metres."""


class Segment(NamedTuple):
    """One link of a leg, hinged to its parent about y: a capsule in the x-z plane. Metres, radians, newtons."""

    name: str
    parent: str
    at: tuple[float, float]
    """x and z of the hinge in the parent's frame."""
    centre: tuple[float, float]
    """x and z of the capsule's centre, relative to the hinge."""
    tilt: float
    """Rotation of the capsule about y; upright at 0."""
    half_length: float
    limits: tuple[float, float]
    stiffness: float
    damping: float
    gear: float
    touches: bool
    """Whether it collides with the floor."""


SEGMENTS = (
    Segment("bthigh", "torso", (-0.5, 0.0), (0.1, -0.13), -3.8, 0.145, (-0.52, 1.05), 240, 6.0, 120, True),
    Segment("bshin", "bthigh", (0.16, -0.25), (-0.14, -0.07), -2.03, 0.15, (-0.785, 0.785), 180, 4.5, 90, False),
    Segment("bfoot", "bshin", (-0.28, -0.14), (0.03, -0.097), -0.27, 0.094, (-0.4, 0.785), 120, 3.0, 60, True),
    Segment("fthigh", "torso", (0.5, 0.0), (-0.07, -0.12), 0.52, 0.133, (-1.0, 0.7), 180, 4.5, 120, True),
    Segment("fshin", "fthigh", (-0.14, -0.24), (0.065, -0.09), -0.6, 0.106, (-1.2, 0.87), 120, 3.0, 60, False),
    Segment("ffoot", "fshin", (0.13, -0.18), (0.045, -0.07), -0.6, 0.07, (-0.5, 0.5), 60, 1.5, 30, True),
)
"""Back leg, then front leg, from the torso outwards; also the order of joints and actuators."""


def cheetah_task(episode_length: int | None) -> Task:
    """Bring the torso to x = 5 m, from x = 0.

    State [18]: torso x, z and pitch, joint angles (6), then the velocities of all these. Action [6]: torques as
    fractions of the largest. The goal [1] is x.
    """
    spec = EnvSpec(
        state_size=18,
        goal_size=1,
        goal_indices=(0,),
        action_size=6,
        episode_length=episode_length or 1000,
        success_radius=SUCCESS_RADIUS,
        easy_radius=EASY_RADIUS,
    )

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "1"]]:
        position_key, velocity_key = jax.random.split(key)
        position = jax.random.uniform(position_key, (9,), minval=-POSITION_NOISE, maxval=POSITION_NOISE)
        velocity = VELOCITY_NOISE * jax.random.normal(velocity_key, (9,))
        goal = jnp.array([GOAL])
        # The last coordinate is the goal marker's.
        return {"qpos": jnp.append(position, goal), "qvel": jnp.append(velocity, 0.0)}, goal

    return Task(
        spec=spec,
        scene=Scene(None, GOAL),
        reset=reset,
        observe=lambda physics: jnp.concatenate([physics["qpos"][:9], physics["qvel"][:9]]),
        mark_goal=lambda physics, goal: {**physics, "qpos": physics["qpos"].at[-1:].set(goal)},
    )


def cheetah_model() -> "mujoco.MjModel":
    """Compile the cheetah on its floor. Coordinates: torso x, z, pitch, the six joints, then goal marker x."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "cheetah"
    _set_options(mujoco, spec)
    add_surroundings(mujoco, spec, None, cell_size=1.0)
    _add_cheetah(mujoco, spec)
    add_marker(mujoco, spec, 0.01, 20.0, SUCCESS_RADIUS, axes="x")
    model = spec.compile()
    mujoco.mj_setTotalmass(model, TOTAL_MASS)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _set_options(mujoco, spec: "mujoco.MjSpec") -> None:
    spec.compiler.degree = False
    set_newton(mujoco, spec, TIME_STEP, SOLVER_ITERATIONS, LINE_SEARCH_ITERATIONS, euler_damping=True)
    geom = spec.default.geom
    geom.friction = (0.4, 0.1, 0.1)
    geom.solimp[:3] = (0.0, 0.8, 0.01)
    spec.default.joint.solimp_limit[:3] = (0.0, 0.8, 0.03)


def _add_cheetah(mujoco, spec: "mujoco.MjSpec") -> None:
    """Add torso with head, two legs and their motors."""
    hinge, slide, capsule = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtGeom.mjGEOM_CAPSULE

    def add_capsule(body, centre: tuple[float, float], tilt: float, half_length: float, **more) -> None:
        position, quaternion = (centre[0], 0, centre[1]), (math.cos(tilt / 2), 0, math.sin(tilt / 2), 0)
        body.add_geom(type=capsule, pos=position, quat=quaternion, size=(RADIUS, half_length, 0), **more)

    torso = spec.worldbody.add_body(name="torso", pos=(0, 0, 0.7))
    for name, kind, axis in (("rootx", slide, (1, 0, 0)), ("rootz", slide, (0, 0, 1)), ("rooty", hinge, (0, 1, 0))):
        torso.add_joint(name=name, type=kind, axis=axis)
    add_capsule(torso, (0.0, 0.0), math.pi / 2, 0.5, name="torso", rgba=BODY_RGBA)
    add_capsule(torso, (0.6, 0.1), 0.87, 0.15, name="head", rgba=BODY_RGBA, contype=1)
    torso.add_camera(
        name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=(0, -4, 0.5), xyaxes=(1, 0, 0, 0, 0.1, 1)
    )
    bodies = {"torso": torso}
    for segment in SEGMENTS:
        body = bodies[segment.parent].add_body(name=segment.name, pos=(segment.at[0], 0, segment.at[1]))
        spring = {"stiffness": segment.stiffness, "damping": segment.damping, "armature": 0.1}
        body.add_joint(name=segment.name, type=hinge, axis=(0, 1, 0), range=segment.limits, **spring)
        rgba = END_RGBA if segment.name.endswith("foot") else BODY_RGBA
        look = {"name": segment.name, "rgba": rgba, "contype": int(segment.touches)}
        add_capsule(body, segment.centre, segment.tilt, segment.half_length, **look)
        add_motor(mujoco, spec, segment.name, segment.gear)
        bodies[segment.name] = body

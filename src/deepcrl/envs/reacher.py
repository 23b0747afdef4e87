"""A planar arm of two joints whose tip has to reach a point (docs/fidelity.md)."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs.draws import draw_on_circle
from deepcrl.envs.parts import BODY_RGBA, END_RGBA, add_marker, add_motor, add_surroundings, mark_last
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

if TYPE_CHECKING:
    import mujoco

UPPER_ARM = 0.1
"""Metres from the first joint to the second."""
TIP = 0.11
"""Metres from the second joint to the tip."""
HEIGHT = 0.01
"""Height in metres of the arm and of all goals."""
GOAL_RADIUS = 0.2
"""Largest distance of a goal from the first joint, in metres."""
SUCCESS_RADIUS = 0.05
START_JOINTS = (0.0, 0.0)
POSITION_NOISE = 0.1
VELOCITY_NOISE = 0.005
GEAR = 25.0
"""Torque at full action, as in the paper's release. Its links have unit inertia; ours get it from their armature."""
TIME_STEP = 0.01
SUBSTEPS = 4


def reacher_task(episode_length: int | None) -> Task:
    """Bring the tip to a point within 0.2 m of the first joint.

    State [10]: cosines (2) and sines (2) of the joints, position (3) and velocity (3) of the tip. Action [2]: torques
    as fractions of the largest.
    """
    spec = EnvSpec(
        state_size=10,
        goal_size=3,
        goal_indices=(4, 5, 6),
        action_size=2,
        episode_length=episode_length or 1000,
        success_radius=SUCCESS_RADIUS,
    )

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "3"]]:
        position_key, velocity_key, radius_key, angle_key = jax.random.split(key, 4)
        noise = jax.random.uniform(position_key, (2,), minval=-POSITION_NOISE, maxval=POSITION_NOISE)
        velocity = jax.random.uniform(velocity_key, (2,), minval=-VELOCITY_NOISE, maxval=VELOCITY_NOISE)
        radius = jax.random.uniform(radius_key, (), maxval=GOAL_RADIUS)
        goal = jnp.append(draw_on_circle(angle_key, radius), HEIGHT)
        # The last two coordinates are the goal marker's.
        qpos = jnp.concatenate([jnp.array(START_JOINTS) + noise, goal[:2]])
        return {"qpos": qpos, "qvel": jnp.concatenate([velocity, jnp.zeros(2)])}, goal

    return Task(
        spec=spec,
        scene=Scene(None, GOAL_RADIUS),
        reset=reset,
        observe=_observe,
        mark_goal=mark_last,
    )


def _observe(physics: Physics) -> Float[Array, "10"]:
    # In closed form rather than by sensors: those would lag the joints by a simulator step.
    joints, rates = physics["qpos"][:2], physics["qvel"][:2]
    angles, turning = (jnp.stack([of[0], of[0] + of[1]]) for of in (joints, rates))
    lengths = jnp.array([UPPER_ARM, TIP])
    cosines, sines = lengths * jnp.cos(angles), lengths * jnp.sin(angles)
    tip = jnp.array([cosines.sum(), sines.sum(), HEIGHT])
    tip_velocity = jnp.array([-(sines * turning).sum(), (cosines * turning).sum(), 0.0])
    return jnp.concatenate([jnp.cos(joints), jnp.sin(joints), tip, tip_velocity])


def reacher_model() -> "mujoco.MjModel":
    """Compile the arm. Coordinates: the two joints, then goal marker x, y. Nothing collides."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "reacher"
    spec.compiler.degree = False
    spec.option.timestep = TIME_STEP
    spec.default.geom.contype, spec.default.geom.conaffinity = 0, 0
    add_surroundings(mujoco, spec, None, cell_size=0.1).conaffinity = 0
    spec.worldbody.add_camera(name="track", pos=(0, -0.35, 0.6), xyaxes=(1, 0, 0, 0, 0.85, 0.5))
    hinge = mujoco.mjtJoint.mjJNT_HINGE
    capsule, sphere = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
    motion = {"type": hinge, "axis": (0, 0, 1), "armature": 1.0, "damping": 1.0}
    link = {"type": capsule, "fromto": (0, 0, 0, 0.1, 0, 0), "size": (0.01, 0, 0), "rgba": BODY_RGBA}

    upper = spec.worldbody.add_body(name="upper_arm", pos=(0, 0, HEIGHT))
    upper.add_joint(name="shoulder", **motion)
    upper.add_geom(**link)
    lower = upper.add_body(name="forearm", pos=(UPPER_ARM, 0, 0))
    lower.add_joint(name="elbow", range=(-3, 3), **motion)
    lower.add_geom(**link)
    lower.add_geom(name="tip", type=sphere, size=(0.01, 0, 0), pos=(TIP, 0, 0), rgba=END_RGBA)
    for name in ("shoulder", "elbow"):
        add_motor(mujoco, spec, name, GEAR)
    add_marker(mujoco, spec, HEIGHT, 0.27, 0.009, mass=None)
    return spec.compile()

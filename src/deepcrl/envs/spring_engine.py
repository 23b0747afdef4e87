"""Brax's spring pipeline, which the paper's ants and humanoids ran on, stepping the same models as `mujoco_engine`.

Stiff springs hold the links together, so the state is the links' own poses and velocities, from which joint coordinates
are computed. Needs the optional package brax.
"""

import copy
import importlib.util
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deepcrl.config import ConfigError
from deepcrl.envs.mjx_engine import import_mjx
from deepcrl.envs.protocol import Engine, Physics

if TYPE_CHECKING:
    import mujoco
    from brax.base import Motion, Transform
    from brax.spring.base import State


@dataclass(frozen=True)
class SpringParameters:
    """Pipeline parameters that a MuJoCo model lacks, as in the release's model files, in SI units."""

    stiffness: float
    """Stiffness of the springs that hold a joint's two links together."""
    limit_stiffness: float
    """Stiffness of the springs that hold a joint within its range."""
    velocity_damping: float
    """Damping of linear motion between the two links."""
    angular_damping: float
    """Damping of rotation between the two links."""
    global_angular_damping: float = 0.0
    """Rate at which every link's angular velocity grows by itself; negative to damp."""
    mass_scale: float = 0.0
    """Masses are raised to the power 1 - mass_scale: at 1 every link weighs one kilogram."""
    inertia_scale: float = 0.0
    """The same for the principal moments of inertia."""
    gears: tuple[float, ...] | None = None
    """Replace the model's gears, one per actuator."""


ANT = SpringParameters(
    stiffness=4000.0,
    limit_stiffness=1000.0,
    velocity_damping=20.0,
    angular_damping=10.0,
    mass_scale=1.0,
    inertia_scale=1.0,
)
"""Also for the ant with a ball and the ball that slides through mazes (`simple`)."""
HUMANOID = SpringParameters(
    stiffness=27000.0,
    limit_stiffness=2500.0,
    velocity_damping=80.0,
    angular_damping=30.0,
    global_angular_damping=-0.05,
    inertia_scale=1.0,
    gears=(350.0,) * 11 + (100.0,) * 6,
)
"""The gears, of trunk and legs, then of arms, are larger than the model's."""

SUBSTEPS = 10


def spring_engine(
    model: "mujoco.MjModel", parameters: SpringParameters, time_step: float, substeps: int = SUBSTEPS
) -> Engine:
    """Build an engine whose control step is `substeps` steps of `time_step` seconds, in single precision.

    Sensors are read after the last step, without MuJoCo's lag of one step: the pipeline keeps all poses up to date.

    Args:
        model: what to simulate; every body must have a joint, and every sensor show a body's frame or a joint's torque.
        parameters: the springs.
        time_step: seconds per simulator step; replaces the model's own.
        substeps: simulator steps per control step.

    Raises:
        ConfigError: Brax is not installed.
        NotImplementedError: the model has features that the pipeline, or this engine, lacks.
    """
    if importlib.util.find_spec("brax") is None:
        raise ConfigError("env.engine = 'spring' needs Brax, which is not installed: pip install \"deepcrl[spring]\"")
    import_mjx()  # before Brax does, which would let it print
    from brax import actuator, com, kinematics
    from brax.base import Motion, Transform
    from brax.spring import pipeline
    from brax.spring.base import State

    system = _system(model, parameters, time_step)
    mass = system.link.inertia.mass ** (1 - parameters.mass_scale)
    read_sensors = _sensor_reader(model)

    def load(physics: Physics) -> "State":
        """Rebuild the pipeline's state from poses and velocities of the centres of mass, which determine the rest."""
        x_i = Transform(pos=physics["com_position"], rot=physics["com_quaternion"])
        xd_i = Motion(vel=physics["com_velocity"], ang=physics["com_angular_velocity"])
        x, xd = com.to_world(system, x_i, xd_i)
        j, jd, a_p, a_c = kinematics.world_to_joint(system, x, xd)
        return State(
            q=physics["qpos"],
            qd=physics["qvel"],
            x=x,
            xd=xd,
            contact=None,
            x_i=x_i,
            xd_i=xd_i,
            j=j,
            jd=jd,
            a_p=a_p,
            a_c=a_c,
            i_inv=com.inv_inertia(system, x),
            mass=mass,
        )

    def keep(state: "State", control: Float[Array, "C"]) -> Physics:
        physics = {
            "qpos": state.q,
            "qvel": state.qd,
            "com_position": state.x_i.pos,
            "com_quaternion": state.x_i.rot,
            "com_velocity": state.xd_i.vel,
            "com_angular_velocity": state.xd_i.ang,
        }
        if model.nsensordata:
            torque = actuator.to_tau(system, control, state.q, state.qd)
            physics["sensordata"] = read_sensors(state.x, state.xd, torque)
        return physics

    def start(physics: Physics) -> Physics:
        qpos, qvel = (jnp.asarray(physics[name], jnp.float32) for name in ("qpos", "qvel"))
        return keep(pipeline.init(system, qpos, qvel), jnp.zeros(model.nu))

    def step(physics: Physics, control: Float[Array, "C"]) -> Physics:
        def substep(_, state: "State") -> "State":
            return pipeline.step(system, state, control)

        return keep(jax.lax.fori_loop(0, substeps, substep, load(physics)), control)

    return Engine(on_device=True, start=start, step=step)


def _system(model: "mujoco.MjModel", parameters: SpringParameters, time_step: float):
    """Convert the model to Brax's System and set the springs."""
    from brax.io import mjcf

    model = copy.copy(model)  # brax writes to it, and so do we
    model.opt.timestep = time_step
    if parameters.gears is not None:
        model.actuator_gear[:, 0] = parameters.gears
    mjcf.validate_model(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Brax System", UserWarning)
        system = mjcf.load_model(model)
    links = jnp.ones(model.nbody - 1)
    return system.replace(
        ang_damping=parameters.global_angular_damping,
        spring_mass_scale=parameters.mass_scale,
        spring_inertia_scale=parameters.inertia_scale,
        link=system.link.replace(
            constraint_stiffness=parameters.stiffness * links,
            constraint_limit_stiffness=parameters.limit_stiffness * links,
            constraint_vel_damping=parameters.velocity_damping * links,
            constraint_ang_damping=parameters.angular_damping * links,
        ),
    )


def _sensor_reader(model: "mujoco.MjModel"):
    """Make a function: (link poses, link velocities, joint torques) -> "sensordata" in the model's order."""
    import mujoco

    kinds = mujoco.mjtSensor
    frames = {
        kinds.mjSENS_FRAMEPOS: lambda x, xd: x.pos,
        kinds.mjSENS_FRAMEQUAT: lambda x, xd: x.rot,
        kinds.mjSENS_FRAMELINVEL: lambda x, xd: xd.vel,
        kinds.mjSENS_FRAMEANGVEL: lambda x, xd: xd.ang,
    }
    sensors = list(zip(map(kinds, model.sensor_type), model.sensor_objid.tolist()))
    in_world = (model.sensor_objtype == mujoco.mjtObj.mjOBJ_XBODY) & (model.sensor_refid == -1)
    for (kind, _), is_frame in zip(sensors, in_world):
        if not ((kind in frames and is_frame) or kind == kinds.mjSENS_JOINTACTFRC):
            raise NotImplementedError(f"the spring engine cannot fill this sensor of kind {kind.name}")

    def read(x: "Transform", xd: "Motion", torque: Float[Array, "nv"]) -> Float[Array, "D"]:
        def one(kind: "mujoco.mjtSensor", index: int) -> Array:
            if kind == kinds.mjSENS_JOINTACTFRC:
                return torque[model.jnt_dofadr[index]][None]
            return frames[kind](x, xd)[index - 1]  # links are all bodies but the world

        return jnp.concatenate([one(kind, index) for kind, index in sensors])

    return read

"""Parts that several models share: solver, motors, goal marker, surroundings, colours."""

from typing import TYPE_CHECKING

from jaxtyping import Array, Float

from deepcrl.envs.layouts import Layout, wall_boxes
from deepcrl.envs.protocol import Physics

if TYPE_CHECKING:
    import mujoco

BODY_RGBA = (0.85, 0.55, 0.25, 1.0)
END_RGBA = (0.35, 0.22, 0.12, 1.0)
"""Colour of feet, hands and tips."""
OBJECT_RGBA = (0.25, 0.45, 0.75, 1.0)
GOAL_RGBA = (0.15, 0.75, 0.35, 0.5)
WALL_RGBA = (0.45, 0.52, 0.62, 1.0)


def set_newton(
    mujoco, spec: "mujoco.MjSpec", time_step: float, iterations: int, line_search: int, euler_damping: bool = False
) -> None:
    """Set Newton's solver with pyramidal cones, and make geoms collide with nothing by default.

    Args:
        time_step: seconds per simulator step.
        iterations: solver iterations per step.
        line_search: line-search steps per solver iteration.
        euler_damping: integrate joint damping implicitly, as MuJoCo does by default.
    """
    spec.option.timestep = time_step
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations, spec.option.ls_iterations = iterations, line_search
    if not euler_damping:
        spec.option.disableflags = mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    spec.default.geom.contype, spec.default.geom.conaffinity = 0, 0


def add_motor(mujoco, spec: "mujoco.MjSpec", joint: str, gear: float, limit: float | None = 1.0) -> None:
    """Add a motor whose torque, or force, is `gear` times the control, clipped to +-`limit` unless that is None."""
    limits = {} if limit is None else {"ctrlrange": (-limit, limit)}
    motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, **limits)
    motor.gear[0] = gear
    motor.set_to_motor()


def add_marker(
    mujoco,
    spec: "mujoco.MjSpec",
    height: float,
    reach: float,
    radius: float,
    mass: float | None = 1.0,
    axes: str = "xy",
) -> None:
    """Add a ghost sphere of `radius` that marks the goal, kept in place by slides that nothing pushes."""
    target = spec.worldbody.add_body(name="target", pos=(0, 0, height))
    for axis in axes:
        direction = tuple(float(axis == name) for name in "xyz")
        slide = {"type": mujoco.mjtJoint.mjJNT_SLIDE, "axis": direction, "range": (-reach, reach)}
        target.add_joint(name=f"target_{axis}", **slide)
    weight = {} if mass is None else {"mass": mass}
    sphere = mujoco.mjtGeom.mjGEOM_SPHERE
    target.add_geom(name="target", type=sphere, size=(radius, 0, 0), rgba=GOAL_RGBA, **weight)


def mark_last(physics: Physics, goal: Float[Array, "G"]) -> Physics:
    """`Task.mark_goal` of models whose last coordinates are the marker's x and y."""
    return {**physics, "qpos": physics["qpos"].at[-2:].set(goal[:2])}


def add_surroundings(mujoco, spec: "mujoco.MjSpec", layout: Layout | None, cell_size: float) -> "mujoco.MjsGeom":
    """Add sky, light, floor and walls, half a cell high, to a model whose geoms collide with nothing by default.

    Returns:
        The floor, for settings particular to one model.
    """
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.35, 0.35, 0.35), (0.45, 0.45, 0.45)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    sky = {"type": mujoco.mjtTexture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_GRADIENT}
    spec.add_texture(name="sky", rgb1=(0.75, 0.83, 0.92), rgb2=(0.95, 0.96, 0.98), width=128, height=768, **sky)
    checks = {"type": mujoco.mjtTexture.mjTEXTURE_2D, "builtin": mujoco.mjtBuiltin.mjBUILTIN_CHECKER}
    spec.add_texture(name="checks", rgb1=(0.86, 0.87, 0.88), rgb2=(0.79, 0.81, 0.83), width=256, height=256, **checks)
    surface = spec.add_material(
        name="floor", texuniform=True, texrepeat=(1 / cell_size, 1 / cell_size), reflectance=0.05
    )
    surface.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checks"
    world = spec.worldbody
    world.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0, 0, 40), dir=(0.3, 0.2, -1.0))
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    floor = world.add_geom(name="floor", type=plane, size=(100, 100, 1), material="floor", conaffinity=1)
    for row, column, rows, columns in wall_boxes(layout or ()):
        world.add_geom(
            name=f"wall_{row}_{column}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=((row + (rows - 1) / 2) * cell_size, (column + (columns - 1) / 2) * cell_size, cell_size / 4),
            size=(rows * cell_size / 2, columns * cell_size / 2, cell_size / 4),
            contype=1,
            conaffinity=1,
            rgba=WALL_RGBA,
        )
    return floor

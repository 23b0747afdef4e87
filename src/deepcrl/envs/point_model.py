"""A MuJoCo model of the point mazes for rendering only, never stepped; their physics are in `point`."""

from typing import TYPE_CHECKING

from deepcrl.envs.layouts import Layout
from deepcrl.envs.parts import GOAL_RGBA, add_surroundings
from deepcrl.envs.point import CELL_SIZE, RADIUS, SUCCESS_RADIUS

if TYPE_CHECKING:
    import mujoco

STEP_SECONDS = 0.1
"""Seconds per env step in films and replays; the point's physics have no time."""

_POINT_RGBA = (0.16, 0.43, 0.82, 1.0)


def point_model(layout: Layout) -> "mujoco.MjModel":
    """Compile disc, goal marker and walls. Coordinates: point x, y, then goal x, y, in metres."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "point"
    spec.option.timestep = STEP_SECONDS
    spec.default.geom.contype, spec.default.geom.conaffinity = 0, 0
    add_surroundings(mujoco, spec, layout, CELL_SIZE)
    point = _add_slider(mujoco, spec, "point")
    point.add_camera(name="track", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK, pos=(0, -9, 11), euler=(39, 0, 0))
    cylinder, sphere = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE
    point.add_geom(name="point", type=cylinder, size=(RADIUS, 0.2, 0), pos=(0, 0, 0.2), rgba=_POINT_RGBA)
    target = _add_slider(mujoco, spec, "target")
    target.add_geom(name="target", type=sphere, size=(SUCCESS_RADIUS, 0, 0), rgba=GOAL_RGBA)
    return spec.compile()


def _add_slider(mujoco, spec: "mujoco.MjSpec", name: str) -> "mujoco.MjsBody":
    body = spec.worldbody.add_body(name=name)
    for joint, axis in ((f"{name}_x", (1, 0, 0)), (f"{name}_y", (0, 1, 0))):
        body.add_joint(name=joint, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
    return body

"""What to draw of a MuJoCo model: shapes fixed to bodies, and the bodies' poses over time."""

from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from deepcrl.config import ConfigError

HIDDEN_GROUP = 3
"""Geoms of this group and above only collide and are not drawn, as in MuJoCo's viewers."""
GOAL_NAMES = ("target", "goal")
"""Name prefixes of bodies that mark a commanded goal."""
KINDS = {
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_MESH: "mesh",
}
"""Geom types that can be drawn, and their `Shape.kind`."""
FEWEST_WALLS = 4
FIXED = -1
"""Body of a shape that never moves."""


class Shape(NamedTuple):
    """One visible geom. Pose in metres and unit quaternion (w, x, y, z), within its body, or the world when FIXED."""

    kind: str
    body: int
    """Row among `moving_bodies`, or FIXED."""
    pos: Float[np.ndarray, "3"]
    quat: Float[np.ndarray, "4"]
    size: Float[np.ndarray, "3"]
    """As in MuJoCo: radii and half lengths."""
    rgba: Float[np.ndarray, "4"]
    goal: bool
    """Whether it marks a commanded goal."""
    mesh: int | None
    """Index of the mesh, if that is its kind."""


def shapes(model: mujoco.MjModel) -> list[Shape]:
    """All visible geoms, in the model's order. Height fields and signed distance fields are left out."""
    rows = {body: row for row, body in enumerate(moving_bodies(model))}
    rest = mujoco.MjData(model)
    mujoco.mj_kinematics(model, rest)
    found = []
    for geom in map(int, np.flatnonzero(_visible(model))):
        body = int(model.geom_bodyid[geom])
        kind = KINDS[mujoco.mjtGeom(model.geom_type[geom])]
        if body in rows:
            pos, quat = model.geom_pos[geom].copy(), model.geom_quat[geom].copy()
        else:
            pos, quat = rest.geom_xpos[geom].copy(), np.empty(4)
            mujoco.mju_mat2Quat(quat, rest.geom_xmat[geom])
        found.append(
            Shape(
                kind=kind,
                body=rows.get(body, FIXED),
                pos=pos,
                quat=quat,
                size=model.geom_size[geom].copy(),
                rgba=_colour(model, geom),
                goal=model.body(body).name.startswith(GOAL_NAMES),
                mesh=int(model.geom_dataid[geom]) if kind == "mesh" else None,
            )
        )
    return found


def moving_bodies(model: mujoco.MjModel) -> list[int]:
    """Indices of the bodies that joints can move and that have a visible geom."""
    shown = set(model.geom_bodyid[_visible(model)].tolist())
    return [body for body in range(model.nbody) if body in shown and model.body_weldid[body] != 0]


def body_poses(model: mujoco.MjModel, qpos: Float[np.ndarray, "T nq"]) -> Float[np.ndarray, "T B 7"]:
    """Position and quaternion of every moving body, with quaternion signs that do not flip between frames."""
    data, bodies = mujoco.MjData(model), moving_bodies(model)
    poses = np.empty((len(qpos), len(bodies), 7))
    for t, row in enumerate(qpos):
        data.qpos = row
        mujoco.mj_kinematics(model, data)
        poses[t, :, :3], poses[t, :, 3:] = data.xpos[bodies], data.xquat[bodies]
    turns = np.sign(np.sum(poses[1:, :, 3:] * poses[:-1, :, 3:], axis=-1, keepdims=True))
    poses[1:, :, 3:] *= np.cumprod(np.where(turns == 0, 1, turns), axis=0)
    return poses


def drawn_qpos(
    model: mujoco.MjModel, qpos: Float[np.ndarray, "T n"], goal: Float[np.ndarray, "T G"]
) -> Float[np.ndarray, "T nq"]:
    """Coordinates of the model to draw: the physics' `qpos`, followed by the goal if the model has that many more.

    Raises:
        ConfigError: when the model has neither number of coordinates.
    """
    if qpos.shape[1] == model.nq:
        return qpos
    if qpos.shape[1] + goal.shape[1] == model.nq:
        return np.concatenate([qpos, goal], axis=1)
    raise ConfigError(
        f"the model to draw has {model.nq} coordinates; the physics have {qpos.shape[1]}, the goal {goal.shape[1]}"
    )


def triangles(model: mujoco.MjModel, mesh: int) -> Float[np.ndarray, "V 3"]:
    """Corners of a mesh's triangles, three by three, counter-clockwise from outside."""
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    corners = model.mesh_face[first : first + count] + model.mesh_vertadr[mesh]
    return model.mesh_vert[corners.ravel()]


def tracked_body(model: mujoco.MjModel) -> int | None:
    """Row among `moving_bodies` of the body that the camera "track" follows; None if there is none."""
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    bodies = moving_bodies(model)
    body = int(model.cam_bodyid[camera]) if camera >= 0 else None
    return bodies.index(body) if body in bodies else None


def walls(model: mujoco.MjModel) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]] | None:
    """Lowest and highest corner of a maze's walls; None without a maze, or without a tracked body in it."""
    boxes = [shape for shape in shapes(model) if shape.kind == "box" and shape.body == FIXED]
    if len(boxes) < FEWEST_WALLS or tracked_body(model) is None:
        return None
    low, high = (np.array([shape.pos + sign * shape.size for shape in boxes]) for sign in (-1, 1))
    return low.min(axis=0), high.max(axis=0)


def _visible(model: mujoco.MjModel) -> Any:
    drawable = np.isin(model.geom_type, [int(kind) for kind in KINDS])
    alpha = np.array([_colour(model, geom)[3] for geom in range(model.ngeom)])
    return drawable & (model.geom_group < HIDDEN_GROUP) & (alpha > 0)


def _colour(model: mujoco.MjModel, geom: int) -> Float[np.ndarray, "4"]:
    """The geom's own colour, else its material's, as MuJoCo draws it."""
    own, material = model.geom_rgba[geom], model.geom_matid[geom]
    unset = np.array_equal(own, np.array([0.5, 0.5, 0.5, 1.0], own.dtype))
    return np.array(model.mat_rgba[material] if material >= 0 and unset else own, float)

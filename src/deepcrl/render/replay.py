"""An interactive 3-D replay as one self-contained HTML page.

Everything that changes over time is a column of numbers, quantised to 1/65535 of its range, differenced frame by frame,
and deflated: a body needs some ten bytes per frame, and its error is below a millimetre in a 40 m maze.
"""

import base64
import html
import json
import re
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from deepcrl.files import replace_file
from deepcrl.render.geometry import (
    FIXED,
    Shape,
    body_poses,
    drawn_qpos,
    moving_bodies,
    shapes,
    tracked_body,
    triangles,
)
from deepcrl.render.rollout import Episode, Recording

MAX_FRAMES = 1000
"""Maximum frames kept per episode; of longer ones only every second, third, ... frame is kept."""
LEVELS = 65535
DIGITS = 4
"""Decimals of static lengths: a tenth of a millimetre."""


class Packed(NamedTuple):
    """Columns [T, C] as text; column c is low[c] + step[c] * whole numbers."""

    text: str
    low: Float[np.ndarray, "C"]
    step: Float[np.ndarray, "C"]


def pack(columns: Float[np.ndarray, "T C"]) -> Packed:
    """Quantise to 16 bits, take differences along time, deflate, and write in base64."""
    low = columns.min(axis=0)
    step = (columns.max(axis=0) - low) / LEVELS
    whole = np.rint((columns - low) / np.where(step == 0, 1, step)).astype(np.uint16)
    # Differences wrap around, and so do the sums that undo them.
    moves = np.diff(whole, axis=0, prepend=np.zeros((1, whole.shape[1]), np.uint16))
    # Low bytes and high bytes apart: the latter are nearly all zero.
    plain = np.ascontiguousarray(moves.T, "<u2").view(np.uint8).reshape(-1, 2).T.tobytes()
    return Packed(base64.b64encode(zlib.compress(plain, 9)).decode(), low, step)


def unpack(packed: Packed) -> Float[np.ndarray, "T C"]:
    """Undo `pack`, as the page does."""
    plain = np.frombuffer(zlib.decompress(base64.b64decode(packed.text)), np.uint8)
    moves = np.ascontiguousarray(plain.reshape(2, -1).T).view("<u2").reshape(len(packed.low), -1)
    return packed.low + packed.step * np.cumsum(moves, axis=1, dtype=np.uint16).T


def replay_html(model: mujoco.MjModel, recording: Recording, title: str, subtitle: str = "") -> str:
    """The whole HTML document: scene, episodes, and camera controls. It needs WebGL 2, but no network.

    Args:
        model: what to draw; its coordinates are the recording's, optionally followed by the goal.
        title: heading, and title of the document.
        subtitle: a few words below the heading.

    Raises:
        ValueError: when the model does not fit the recording.
    """
    source = files("deepcrl.render")
    scene = json.dumps(_scene(model, recording, title, subtitle), separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(title),
        "style": source.joinpath("replay.css").read_text(encoding="utf-8"),
        # Escaped, so that no tag in the data ends its script element.
        "data": scene.replace("<", "\\u003c"),
        "script": source.joinpath("replay.js").read_text(encoding="utf-8"),
    }
    template = source.joinpath("replay.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def write_replay(path: str | Path, page: str) -> Path:
    """Write the page, whole or not at all; returns its path."""
    return replace_file(Path(path), page)


def _scene(model: mujoco.MjModel, recording: Recording, title: str, subtitle: str) -> dict[str, Any]:
    drawn = shapes(model)
    meshes = sorted({shape.mesh for shape in drawn if shape.mesh is not None})
    return {
        "title": title,
        "subtitle": subtitle,
        "radius": recording.success_radius,
        "bodies": len(moving_bodies(model)),
        "follow": tracked_body(model),
        "view": _view(model),
        "shapes": [_shape(shape, meshes) for shape in drawn],
        "meshes": [_mesh(model, mesh) for mesh in meshes],
        "episodes": [_episode(model, episode, recording.step_seconds) for episode in recording.episodes],
    }


def _shape(shape: Shape, meshes: list[int]) -> dict[str, Any]:
    return {
        "kind": shape.kind,
        "body": shape.body if shape.body != FIXED else None,
        "pos": np.round(shape.pos, DIGITS).tolist(),
        "quat": np.round(shape.quat, 6).tolist(),
        "size": np.round(shape.size, DIGITS).tolist(),
        "rgba": np.round(shape.rgba, 3).tolist(),
        "goal": shape.goal,
        "mesh": None if shape.mesh is None else meshes.index(shape.mesh),
    }


def _mesh(model: mujoco.MjModel, mesh: int) -> dict[str, Any]:
    return _plain(pack(triangles(model, mesh).astype(float)))


def _plain(packed: Packed) -> dict[str, Any]:
    return {"text": packed.text, "low": packed.low.tolist(), "step": packed.step.tolist()}


def frame_stride(num_frames: int) -> int:
    """Stride at which frames are kept, so that at most MAX_FRAMES are."""
    return -(-num_frames // MAX_FRAMES)


def frame_columns(model: mujoco.MjModel, episode: Episode) -> Float[np.ndarray, "T C"]:
    """Everything that changes over time: pose (7) of each moving body, achieved xyz, goal xyz, distance."""
    poses = body_poses(model, drawn_qpos(model, episode.qpos, episode.goal))
    places = [_in_space(goals) for goals in (episode.achieved, episode.goal)]
    return np.concatenate([poses.reshape(len(poses), -1), *places, episode.distance[:, None]], axis=1)


def _in_space(goals: Float[np.ndarray, "T G"]) -> Float[np.ndarray, "T 3"]:
    """The first three coordinates; missing ones are zero."""
    flat = np.zeros((len(goals), 3))
    flat[:, : min(goals.shape[1], 3)] = goals[:, :3]
    return flat


def _episode(model: mujoco.MjModel, episode: Episode, step_seconds: float) -> dict[str, Any]:
    stride = frame_stride(len(episode.qpos))
    kept = episode.at(slice(None, None, stride))
    return {
        "frames": len(kept.qpos),
        "stride": stride,
        "seconds": stride * step_seconds,
        "steps": len(episode.qpos),
        "timeAtGoal": int(episode.success.sum()),
        "firstAtGoal": int(np.argmax(episode.success)) if episode.reached else None,
        "failed": episode.failed,
        "goalSize": kept.goal.shape[1],
        "success": _runs(kept.success),
        **_plain(pack(frame_columns(model, kept))),
    }


def _runs(flags: np.ndarray) -> list[list[int]]:
    """First and last index of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [[int(first), int(end) - 1] for first, end in edges.reshape(-1, 2)]


def _view(model: mujoco.MjModel) -> dict[str, Any]:
    """Initial view, in degrees and metres: that of the camera "track", else of MuJoCo's free camera.

    The page chooses the distance or target where it is None.
    """
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if camera < 0:
        free = model.vis.global_
        return {"azimuth": free.azimuth, "elevation": -free.elevation, "distance": None, "target": None}
    x, y, z = ahead = -model.cam_mat0[camera].reshape(3, 3)[:, 2]
    view = {
        "azimuth": float(np.degrees(np.arctan2(y, x))),
        "elevation": float(np.degrees(-np.arcsin(z))),
        "distance": float(np.linalg.norm(model.cam_pos0[camera])),
        "target": None,
    }
    if model.cam_bodyid[camera] == 0:
        eye = model.cam_pos0[camera]
        distance = float((model.stat.center - eye) @ ahead)
        view |= {"distance": distance, "target": (eye + distance * ahead).tolist()}
    return view

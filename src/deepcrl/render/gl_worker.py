"""Draws a model at given positions with MuJoCo's renderer; `frames` runs it as a separate process.

The process is separate because MuJoCo chooses its GL backend at import, and because a broken driver may crash the
process that uses it. It reads JOB/model.mjb and JOB/job.npz, then from stdin positions, each followed by a byte
(whether the goal is reached), and writes a raw RGB frame to stdout for each. Without a job it draws one small picture,
to test whether the backend works.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import mujoco
import numpy as np

HEADLIGHT = 0.15
REACHED_RGBA = (0.2, 0.95, 0.5, 0.75)
"""Colour of goal markers while the goal is reached."""


def draw(
    model: mujoco.MjModel,
    states: Iterable[tuple[np.ndarray, bool]],
    goal_geoms: np.ndarray,
    overview: np.ndarray,
    size: tuple[int, int],
) -> Iterator[np.ndarray]:
    """Yield a picture [height, width, 3] of each state.

    Args:
        states: position [nq], and whether the goal is reached there.
        overview: point to look at, distance and elevation of a camera above it; NaN for the camera "track", or where
            there is none MuJoCo's free camera.
        size: width and height in pixels.
    """
    width, height = size
    model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
    model.vis.global_.offheight = max(height, model.vis.global_.offheight)
    model.vis.quality.offsamples = 8
    # The headlight is for interactive viewers, which look from anywhere; for fixed cameras the sun is enough.
    model.vis.headlight.diffuse[:], model.mat_reflectance[:] = HEADLIGHT, 0.0
    renderer, data = mujoco.Renderer(model, height, width), mujoco.MjData(model)
    usual = model.geom_rgba[goal_geoms].copy()
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if np.isfinite(overview).all():
        camera = mujoco.MjvCamera()
        camera.lookat[:], camera.distance, camera.elevation = overview[:3], overview[3], -overview[4]
    for qpos, there in states:
        data.qpos = qpos
        mujoco.mj_forward(model, data)
        model.geom_rgba[goal_geoms] = REACHED_RGBA if there else usual
        renderer.update_scene(data, camera)
        yield renderer.render()
    renderer.close()


def main() -> None:
    """Serve one job."""
    # Only frames go to stdout, whatever libraries print.
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if len(sys.argv) == 1:
        xml = '<mujoco><worldbody><light pos="0 0 3"/><geom size="1"/></worldbody></mujoco>'
        model = mujoco.MjModel.from_xml_string(xml)
        pictures = draw(model, [(np.zeros(0), False)], np.zeros(0, int), np.full(5, np.nan), (16, 16))
    else:
        folder = Path(sys.argv[1])
        model = mujoco.MjModel.from_binary_path(str(folder / "model.mjb"))
        job = np.load(folder / "job.npz")
        width, height = (int(v) for v in job["size"])
        pictures = draw(model, _states(model.nq), job["goal_geoms"], job["overview"], (width, height))
    for picture in pictures:
        frames.write(picture.tobytes())
        frames.flush()
    frames.close()


def _states(size: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Read positions [size], and whether the goal is reached there, from stdin until it ends."""
    while len(data := sys.stdin.buffer.read(8 * size + 1)) == 8 * size + 1:
        yield np.frombuffer(data, np.float64, size), bool(data[-1])


if __name__ == "__main__":
    main()

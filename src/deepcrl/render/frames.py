"""Pictures and films by MuJoCo's own renderer, on machines that can draw without a display."""

import contextlib
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Bool, Float, UInt8

from deepcrl.config import ConfigError
from deepcrl.render import gl_worker
from deepcrl.render.geometry import GOAL_NAMES, drawn_qpos, walls
from deepcrl.render.rollout import Episode, Recording

PROBE_SECONDS = 60
NO_BACKEND = (
    "no GL backend works here, so MuJoCo cannot draw; install EGL (Debian: libegl1 libgl1-mesa-dri) or OSMesa "
    "(libosmesa6). The HTML replay needs neither"
)
MP4_RATE, GIF_RATE = 30, 15
"""Maximum frames per second."""

OVERVIEW_ELEVATION = 65.0
"""Degrees."""
MARGIN = 1.04

Frame = UInt8[np.ndarray, "H W 3"]


@functools.cache
def gl_backend() -> str | None:
    """The first value of MUJOCO_GL that can draw on this machine, or None. Tries only the user's value, if set."""
    given = os.environ.get("MUJOCO_GL")
    candidates = [given] if given else ["egl", "osmesa", "glfw"] if platform.system() == "Linux" else [""]
    return next((name for name in candidates if _works(name)), None)


def picture(model: mujoco.MjModel, qpos: Float[np.ndarray, "nq"], width: int = 640, height: int = 480) -> Frame:
    """Draw a maze from above, anything else by its camera "track" if any. Raises ConfigError if nothing can draw."""
    with contextlib.closing(Painter(model, width, height)) as painter:
        return painter.draw(qpos, False)


def write_video(
    model: mujoco.MjModel,
    recording: Recording,
    path: str | Path,
    *,
    episode: int | None = None,
    width: int = 960,
    height: int = 640,
    speed: float = 1.0,
) -> Path:
    """Write a film of one episode, or of all in sequence, as MP4 or GIF by the path's suffix; return the path.

    Args:
        model: what to draw; its coordinates are the recording's, optionally followed by the goal.
        speed: simulated seconds per second of the film.

    Raises:
        ConfigError: for another suffix, or where software is missing, naming what to install.
    """
    path = Path(path)
    writers = {".mp4": (_write_mp4, MP4_RATE), ".gif": (_write_gif, GIF_RATE)}
    if path.suffix not in writers:
        raise ConfigError(f"a film is written as {' or '.join(writers)}, not as {path.name!r}")
    write, most = writers[path.suffix]
    rate = min(most, speed / recording.step_seconds)
    chosen = recording.episodes if episode is None else [recording.episodes[episode]]
    shown = [_resample(one, recording.step_seconds, speed / rate) for one in chosen]
    qpos = np.concatenate([drawn_qpos(model, one.qpos, one.goal) for one in shown])
    reached = np.concatenate([one.success for one in shown])
    write(path, _draw(model, qpos, reached, width, height), rate, (width, height))
    return path


def _resample(episode: Episode, step_seconds: float, frame_seconds: float) -> Episode:
    """Keep the states nearest in time to the film's frames."""
    times = np.arange(0, (len(episode.qpos) - 1) * step_seconds + 1e-9, frame_seconds)
    return episode.at(np.rint(times / step_seconds).astype(int))


def _draw(
    model: mujoco.MjModel,
    qpos: Float[np.ndarray, "T nq"],
    reached: Bool[np.ndarray, "T"],
    width: int,
    height: int,
) -> Iterator[Frame]:
    with contextlib.closing(Painter(model, width, height)) as painter:
        states = list(zip(qpos, reached, strict=True))
        painter.send(*states[0])
        for state in states[1:]:
            painter.send(*state)  # drawn while the caller uses the previous frame
            yield painter.receive()
        yield painter.receive()


class Painter:
    """Draws one model at given positions, with MuJoCo's renderer in a separate process that lives until `close`.

    Raises:
        ConfigError: if this machine cannot draw.
    """

    def __init__(self, model: mujoco.MjModel, width: int = 640, height: int = 480):
        backend = gl_backend()
        if backend is None:
            raise ConfigError(NO_BACKEND)
        self._backend, self._nq, self._shape = backend, model.nq, (height, width, 3)
        self._folder = tempfile.TemporaryDirectory()
        self._complaints = Path(self._folder.name) / "complaints"
        self._worker: subprocess.Popen[bytes] | None = None
        marks = [geom for geom in range(model.ngeom) if model.body(model.geom_bodyid[geom]).name.startswith(GOAL_NAMES)]
        mujoco.mj_saveModel(model, f"{self._folder.name}/model.mjb")
        np.savez(
            f"{self._folder.name}/job.npz",
            goal_geoms=np.array(marks, int),
            overview=_overview(model, width / height),
            size=np.array([width, height]),
        )

    def draw(self, qpos: Float[np.ndarray, "nq"], reached: bool) -> Frame:
        """Draw one picture; goal markers change colour while the goal is reached. Raises ConfigError on failure."""
        self.send(qpos, reached)
        return self.receive()

    def send(self, qpos: Float[np.ndarray, "nq"], reached: bool) -> None:
        """Request a picture, which `receive` returns; at most two may be pending."""
        if np.shape(qpos) != (self._nq,):
            raise ConfigError(
                f"a position of shape {np.shape(qpos)} is none of this model's, which have {self._nq} numbers"
            )
        if self._worker is None:
            self._worker = self._start()
        assert self._worker.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `receive` says what was wrong
            self._worker.stdin.write(np.asarray(qpos, np.float64).tobytes() + bytes([bool(reached)]))
            self._worker.stdin.flush()

    def _start(self) -> "subprocess.Popen[bytes]":
        with open(self._complaints, "wb") as complaints:
            return subprocess.Popen(
                [sys.executable, gl_worker.__file__, self._folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=_environment(self._backend),
            )

    def receive(self) -> Frame:
        """Return the oldest pending picture. Raises ConfigError if the renderer has failed."""
        assert self._worker is not None
        assert self._worker.stdout is not None
        data = self._worker.stdout.read(int(np.prod(self._shape)))
        if len(data) < np.prod(self._shape):
            last = self._complaints.read_text(errors="replace").strip().splitlines()[-1:]
            raise ConfigError(f"MuJoCo's renderer ({self._backend}) failed: {' '.join(last)}")
        return np.frombuffer(data, np.uint8).reshape(self._shape)

    def close(self) -> None:
        """End the process; closing twice does nothing."""
        if self._worker is not None:
            self._worker.kill()
            with contextlib.suppress(BrokenPipeError):
                self._worker.communicate()
            self._worker = None
        self._folder.cleanup()


def _overview(model: mujoco.MjModel, aspect: float) -> Float[np.ndarray, "5"]:
    """Centre (3), distance and elevation of a camera that sees the whole maze; NaN without a maze.

    It looks from high up: a low camera sees a wall and nothing behind it.
    """
    extent = walls(model)
    if extent is None:
        return np.full(5, np.nan)
    low, high = extent
    centre = (low + high) / 2
    corners = np.stack(np.meshgrid(*zip(low, high)), axis=-1).reshape(-1, 3) - centre
    sine, cosine = np.sin(np.radians(OVERVIEW_ELEVATION)), np.cos(np.radians(OVERVIEW_ELEVATION))
    depth, height = corners @ [0, cosine, -sine], corners @ [0, sine, cosine]
    tangent = np.tan(np.radians(model.vis.global_.fovy) / 2) / MARGIN
    distance = (np.maximum(np.abs(corners[:, 0]) / aspect, np.abs(height)) / tangent - depth).max()
    return np.array([*centre, distance, OVERVIEW_ELEVATION])


def _works(backend: str) -> bool:
    command = [sys.executable, gl_worker.__file__]
    try:
        found = subprocess.run(
            command, env=_environment(backend), capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return len(found.stdout) == 3 * 16 * 16


def _environment(backend: str) -> dict[str, str]:
    return {**os.environ, "MUJOCO_GL": backend}


def _write_mp4(path: Path, frames: Iterable[Frame], rate: float, size: tuple[int, int]) -> None:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{rate:g}", "-i", "-"]
    # Every player supports this pixel format; it needs even sizes, hence the crop.
    target = ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2"]
    command = [_ffmpeg(), "-y", "-v", "error", *source, *target, "-movflags", "+faststart", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        try:
            for frame in frames:
                encoder.stdin.write(frame.tobytes())
        except BrokenPipeError:
            pass  # ffmpeg has printed why; its exit code is checked below
        finally:
            with contextlib.suppress(BrokenPipeError):
                encoder.stdin.close()
    if encoder.returncode != 0:
        raise ConfigError(f"ffmpeg could not write {path}")


def _ffmpeg() -> str:
    """Path of ffmpeg: the one on PATH, else the package imageio-ffmpeg's. Raises ConfigError without either."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("MP4 needs ffmpeg, or its package: pip install 'deepcrl[video]'") from None
    return imageio_ffmpeg.get_ffmpeg_exe()


def _write_gif(path: Path, frames: Iterable[Frame], rate: float, size: tuple[int, int]) -> None:
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError("GIF needs Pillow: pip install 'deepcrl[video]'") from None
    del size
    # One palette for the whole film, so that still parts do not change and cost nothing; it must cover rare colours,
    # which are those of the small things that move.
    pictures = (Image.fromarray(frame) for frame in frames)
    first = next(pictures).quantize(128, Image.Quantize.MAXCOVERAGE)
    rest = (one.quantize(palette=first, dither=Image.Dither.NONE) for one in pictures)
    # The format stores durations in whole hundredths of a second.
    first.save(path, save_all=True, append_images=rest, duration=10 * round(100 / rate), loop=0)

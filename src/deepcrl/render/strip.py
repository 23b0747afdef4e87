"""One episode as a row of pictures, from its start until it reaches its goal or ends (paper, Figure 3)."""

import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from deepcrl.agent import Which, load_agent
from deepcrl.config import ConfigError
from deepcrl.render.frames import Frame, picture
from deepcrl.render.geometry import drawn_qpos
from deepcrl.render.run import watch

AFTER = 1.1
"""How much of an episode is shown, as a multiple of its time of arrival at the goal."""


def strip(
    run_dir: str | Path,
    *,
    which: Which | int = "latest",
    pictures: int = 6,
    width: int = 240,
    height: int = 180,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "H W 3"], str]:
    """Draw an episode as a row of pictures at equal intervals; return the row and a sentence about the episode.

    The episode is the one, of a few fresh ones, whose goal is farthest from its start.

    Raises:
        ConfigError: when the folder holds no run, its environment has no model, or this machine cannot draw.
        CheckpointError: when no checkpoint can be used.
    """
    if pictures < 2:
        raise ConfigError(f"pictures = {pictures} must be at least 2")
    model, recording = watch(load_agent(run_dir, which), mode="mean", seed=seed)
    episode = recording.episodes[-1]
    last = len(episode.qpos) - 1
    end = last
    if episode.reached:
        arrival = int(np.argmax(episode.success))
        end = min(last, max(pictures, round(AFTER * arrival)))
    rows = np.linspace(0, end, pictures).round().astype(int)
    shown = episode.at(rows)
    qpos = drawn_qpos(model, shown.qpos, shown.goal)
    frames: list[Frame] = [picture(model, one, width, height) for one in qpos]
    times = ", ".join(f"{row * recording.step_seconds:.1f}" for row in rows)
    how = "reaches its goal" if episode.reached else "falls" if episode.failed else "misses its goal"
    return np.concatenate(frames, axis=1), f"An episode that {how}, at {times} s."


def png(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Encode an image as a PNG file."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

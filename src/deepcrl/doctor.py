"""What this machine offers to a run, in plain text."""

import importlib.util
import os
import shutil

from deepcrl import machine
from deepcrl.envs.registry import ENVIRONMENTS

MIN_FREE_GIB = 2.0
"""Disk that the checkpoints of a default ant run fit in, with room to spare."""

OPTIONAL = (
    ("jax-cuda", "jax_cuda13_plugin jax_cuda12_plugin", "learning on NVIDIA GPUs: deepcrl[cuda]"),
    ("warp-lang", "warp", "engine warp, MuJoCo on NVIDIA GPUs: deepcrl[cuda]"),
    ("brax", "brax", "engine spring: deepcrl[spring]"),
    ("pillow", "PIL", "GIFs: deepcrl[video]"),
    ("imageio-ffmpeg", "imageio_ffmpeg", "MP4s, where there is no ffmpeg: deepcrl[video]"),
    ("gymnasium", "gymnasium", "its environments, and ours for it: deepcrl[gym]"),
)
"""(package, its possible modules of which one has to be found, what it is for)."""


def examine() -> str:
    """A few lines: device, cores, memory, engines, optional parts, and what to install for what is missing."""
    try:
        found = machine.describe()
    except RuntimeError as error:  # JAX is set to a platform that is not there
        return f"device      none that JAX can use: {str(error).splitlines()[0]}"
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    engines = {engine for entry in ENVIRONMENTS.values() for engine in entry.engines}
    free_gib = shutil.disk_usage(os.getcwd()).free / 2**30
    lines = [
        f"device      {found['device_count']} x {found['device']} (JAX backend {found['backend']})",
        f"processor   {found['processor']}, {found['cores']} usable cores",
        f"memory      {machine.host_memory() / 2**30:.1f} GiB",
        f"disk        {free_gib:.1f} GiB free here"
        + ("" if free_gib > MIN_FREE_GIB else "  <- little for checkpoints"),
        f"python      {found['python']} on {found['system']}",
        f"packages    {packages}",
        f"engines     {', '.join(sorted(engines))}: {len(ENVIRONMENTS)} environments (deepcrl list envs)",
    ]
    if found["backend"] == "cpu":
        wanted = "an NVIDIA driver is here: pip install 'deepcrl[cuda]'" if shutil.which("nvidia-smi") else "none found"
        lines.append(f"gpu         not used; {wanted}")
    lines.extend(
        f"optional    {name}: {'found' if _found(modules.split()) else 'missing'} ({purpose})"
        for name, modules, purpose in OPTIONAL
    )
    return "\n".join(lines)


def _found(modules: list[str]) -> bool:
    return any(importlib.util.find_spec(module) for module in modules)

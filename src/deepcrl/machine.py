"""The machine a run happened on: versions, device, cores, source revision."""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    *("deepcrl", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy"),
    *("mujoco", "mujoco-mjx", "warp-lang", "brax", "gymnasium", "gymnasium-robotics"),
)
"""Packages whose versions are recorded; None for those of an engine that is not installed."""


def describe() -> dict[str, Any]:
    """A record for machine.json."""
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "processor": _processor(),
        "cores": usable_cores(),
        "device": devices[0].device_kind,
        "backend": jax.default_backend(),
        "device_count": len(devices),
        "packages": {name: _version(name) for name in PACKAGES},
        "git_revision": _git_revision(),
        "date": time.strftime("%Y-%m-%d"),
    }


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory() -> int:
    """Bytes that JAX can use at most: its device's limit, or this machine's memory where the device has none."""
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit") or host_memory()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """Revision of the source tree that the package runs from; None when it is installed without one."""
    source = Path(__file__).resolve().parent
    if "site-packages" in source.parts:
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

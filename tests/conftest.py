"""Strictness for every test: the CPU, and shapes and types checked at each call of the array rooms.

Warnings are errors (pyproject.toml). The compiler optimises little, which halves the time of a suite that compiles a
great deal and computes next to nothing; JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= compiles as a user's run does.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "XLA_FLAGS" not in os.environ:  # in the first process; its workers inherit what it found
    # A quarter faster to compile. A compiler that has dropped the flag ends the process that names it.
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    if subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], capture_output=True).returncode:
        os.environ["XLA_FLAGS"] = ""

import jax
import pytest
from jaxtyping import install_import_hook

from reference.settings import TINY

# Must come before the first import of these packages.
install_import_hook(["deepcrl.nn", "deepcrl.contrastive", "deepcrl.replay"], "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory) -> None:
    """What a worker and its processes have compiled, they do not compile again."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def exact_ranks() -> Iterator[None]:
    """No implicit broadcasting between ranks: [B] against [B, B] raises instead of meaning rows or columns."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def keys_used_once() -> Iterator[None]:
    """A random key that is used twice raises."""
    with jax.debug_key_reuse(True):
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Callable[..., Path]:
    """A function of an environment's and an algorithm's name to the folder of a run that was really trained, for
    seconds."""
    from deepcrl import override, preset, train

    @functools.cache
    def run(name: str, algorithm: str = "crl") -> Path:
        run_dir = tmp_path_factory.mktemp("runs") / "tiny"
        assert train(override(preset(name, algorithm=algorithm), TINY), run_dir).finished
        return run_dir

    return run

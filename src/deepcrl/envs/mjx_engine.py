"""MuJoCo XLA (MJX) on JAX or Warp: steps the models of `mujoco_engine` on the device, in the caller's program."""

import contextlib
import copy
import functools
import importlib.util
import io
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deepcrl.config import ConfigError
from deepcrl.envs.protocol import Engine, Physics

if TYPE_CHECKING:
    import mujoco


Implementation = Literal["jax", "warp"]
WARP_CONTACTS = 2**18
"""Capacity for contacts of all environments together; Warp needs it before the number of environments is known."""
WARP_ITERATIONS, WARP_LINE_SEARCHES = 4, 10
"""Lower bounds of solver and line-search iterations on Warp: with the single iteration of some models its velocities
are off by 1 m/s; with these, native MuJoCo, JAX and Warp agree to 1e-5."""
WARP_ROWS = 256
"""Capacity for constraints of one environment: a lying humanoid with 40 contacts and all joints at their limits."""

CPU_COMPILER_OPTIONS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
"""XLA's fusion emitters recompute values that several elements share: with them, 64 robot arms do 3 env steps a second;
without, hundreds (docs/results/engines.md). From JAX 0.12 on neither the option nor the trouble is there."""


def mjx_engine(
    model: "mujoco.MjModel",
    substeps: int,
    implementation: Implementation = "jax",
    warp_contacts: int = WARP_CONTACTS,
) -> Engine:
    """Build an engine whose control step is `substeps` MJX steps of `model`, in single precision.

    Args:
        model: what to simulate.
        substeps: simulator steps per control step.
        implementation: "jax", or "warp" for MuJoCo Warp, which needs the package warp-lang and is meant for NVIDIA
            GPUs.
        warp_contacts: contacts that Warp can hold at once, all environments together; more are dropped, with a warning.

    Raises:
        ConfigError: where warp-lang is needed and not installed.
        NotImplementedError: from MJX, for a model with features that it lacks.
    """
    if implementation == "warp" and not warp_is_installed():
        raise ConfigError("env.engine = 'warp' needs warp-lang, which is not installed: pip install \"deepcrl[cuda]\"")
    mjx = import_mjx()
    room: dict[str, Any] = {}
    if implementation == "warp":
        room = {"naconmax": warp_contacts, "njmax": WARP_ROWS}
        model = copy.copy(model)
        model.opt.iterations = max(model.opt.iterations, WARP_ITERATIONS)
        model.opt.ls_iterations = max(model.opt.ls_iterations, WARP_LINE_SEARCHES)
    device_model = mjx.put_model(model, impl=implementation)
    if implementation == "warp":
        device_model = device_model.tree_replace({"opt._impl.warn_overflow": _wanted_warnings()})
    blank = mjx.make_data(model, impl=implementation, **room)
    sensed = ("sensordata",) if model.nsensordata else ()
    kept = ("qpos", "qvel", "qacc_warmstart", *sensed)

    def load(physics: Physics):
        return blank.replace(**{name: jnp.asarray(physics[name], jnp.float32) for name in physics})

    def start(physics: Physics) -> Physics:
        """Add a zero solver warm start, and the sensors' values under zero control."""
        data = load({**physics, "qacc_warmstart": jnp.zeros(model.nv)})
        readings = {name: getattr(mjx.forward(device_model, data), name) for name in sensed}
        return {name: readings.get(name, getattr(data, name)) for name in kept}

    def step(physics: Physics, control: Float[Array, "C"]) -> Physics:
        data = load(physics).replace(ctrl=control)
        data = jax.lax.fori_loop(0, substeps, lambda _, data: mjx.step(device_model, data), data)
        return {name: getattr(data, name) for name in kept}

    return Engine(on_device=True, start=start, step=step, compiler_options=_compiler_options())


def warp_is_installed() -> bool:
    return importlib.util.find_spec("warp") is not None


@functools.cache
def _compiler_options() -> dict[str, Any]:
    """CPU_COMPILER_OPTIONS on a CPU whose XLA knows them, else none."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=CPU_COMPILER_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:  # "No such compile option"
        return {}
    return CPU_COMPILER_OPTIONS


def _wanted_warnings() -> int:
    """All of Warp's warnings except those for used-up solver or line-search iterations, which are few on purpose."""
    from mujoco.mjx.third_party.mujoco_warp import OverflowType

    return int(OverflowType.ALL & ~(OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS))


def import_mjx():
    """Import MJX, silencing what it prints where Warp is missing, and what Warp logs for every kernel that it loads."""
    if warp_is_installed():
        import warp  # pyright: ignore[reportMissingImports]

        warp.config.log_level = warp.LOG_WARNING
    with contextlib.redirect_stdout(io.StringIO()):
        from mujoco import mjx
    return mjx

"""MuJoCo XLA: the same models as `mujoco_engine`, stepped on the device inside the caller's program."""

import contextlib
import io
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deepcrl.envs.protocol import Engine, Physics

if TYPE_CHECKING:
    import mujoco


def mjx_engine(model: "mujoco.MjModel", substeps: int) -> Engine:
    """An engine whose control step is `substeps` steps of `model` by MJX's JAX implementation, in single precision.

    Raises NotImplementedError, from MJX, for a model with features that it lacks.
    """
    mjx = _import_mjx()
    device_model = mjx.put_model(model)
    sensed = ("sensordata",) if model.nsensordata else ()
    kept = ("qpos", "qvel", "qacc_warmstart", *sensed)

    def load(physics: Physics):
        return mjx.make_data(model).replace(**{name: jnp.asarray(physics[name], jnp.float32) for name in physics})

    def start(physics: Physics) -> Physics:
        """A fresh start with zero warm start, and with the sensors' values under zero control."""
        data = load({**physics, "qacc_warmstart": jnp.zeros(model.nv)})
        readings = {name: getattr(mjx.forward(device_model, data), name) for name in sensed}
        return {name: readings.get(name, getattr(data, name)) for name in kept}

    def step(physics: Physics, control: Float[Array, "C"]) -> Physics:
        data = load(physics).replace(ctrl=control)
        data = jax.lax.fori_loop(0, substeps, lambda _, data: mjx.step(device_model, data), data)
        return {name: getattr(data, name) for name in kept}

    return Engine(on_device=True, start=start, step=step)


def _import_mjx():
    """MJX, without the lines that it prints where its other implementation, Warp, is not installed."""
    with contextlib.redirect_stdout(io.StringIO()):
        from mujoco import mjx
    return mjx

"""MuJoCo XLA: the same models as `mujoco_engine`, stepped on the device inside the caller's program."""

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
    from mujoco import mjx

    device_model = mjx.put_model(model)
    kept = ("qpos", "qvel", "qacc_warmstart", *(("sensordata",) if model.nsensordata else ()))

    def load(physics: Physics) -> "mjx.Data":
        return mjx.make_data(model).replace(**{name: jnp.asarray(value) for name, value in physics.items()})

    def start(physics: Physics) -> Physics:
        """A fresh start with zero warm start, and with the sensors' values under zero control."""
        fresh = {name: jnp.asarray(physics[name], jnp.float32) for name in ("qpos", "qvel")}
        data = load({**fresh, "qacc_warmstart": jnp.zeros(model.nv)})
        if model.nsensordata:
            data = mjx.forward(device_model, data)
        return {**fresh, "qacc_warmstart": jnp.zeros(model.nv), **{n: data.sensordata for n in kept[3:]}}

    def step(physics: Physics, control: Float[Array, "C"]) -> Physics:
        data = load(physics).replace(ctrl=control)
        data = jax.lax.fori_loop(0, substeps, lambda _, data: mjx.step(device_model, data), data)
        return {name: getattr(data, name) for name in kept}

    return Engine(on_device=True, start=start, step=step)

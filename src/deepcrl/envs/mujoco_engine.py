"""Native MuJoCo, batched: its own thread pool steps N environments without holding the GIL.

An environment's state is plain arrays (positions, velocities, solver warm start), never an MjData, so those arrays
alone determine what follows: results depend neither on the number of threads nor on what was simulated before, and a
resumed run continues exactly.
"""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Bool, Float, Float64

from deepcrl.config import ConfigError
from deepcrl.envs.protocol import Engine, Physics
from deepcrl.machine import usable_cores

if TYPE_CHECKING:
    import mujoco
    from mujoco.batch import Batch


def mujoco_engine(model: "mujoco.MjModel", substeps: int, threads: int | None = None) -> Engine:
    """Build an engine whose control step is `substeps` steps of `model`. Only one caller at a time may step it.

    Args:
        model: what to simulate. This disables its automatic reset of diverged states: they come back as NaN.
        substeps: simulator steps per control step.
        threads: number of threads; None takes one per core that this process may use.

    Raises:
        ConfigError: for substeps below 1. The engine's functions raise it for arrays that do not fit the model.
        NotImplementedError: for a model with more state than positions, velocities and the solver's warm start.
    """
    if substeps < 1:
        raise ConfigError(f"substeps = {substeps} must be at least 1")
    stepper = _Stepper(model, substeps, threads or usable_cores())
    return Engine(on_device=False, start=stepper.start, step=stepper.step)


def _silence(mujoco) -> None:
    """Send MuJoCo's warnings to Python's log instead of stderr and a file in the working directory.

    All of them concern diverged rows, whose episodes end. A handler that someone else has set stays.
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger(__name__).debug)


def sensor_slices(model: "mujoco.MjModel") -> dict[str, slice]:
    """Slice of "sensordata" for each of the model's sensors, by name."""
    sensors = [model.sensor(index) for index in range(model.nsensor)]
    return {sensor.name: slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0])) for sensor in sensors}


_KEPT = ("qpos", "qvel", "qacc_warmstart")
"""What an environment carries from step to step."""


class _Stepper:
    """Steps a model in MuJoCo's batches, one per number of environments; states are copied into and out of them."""

    def __init__(self, model: "mujoco.MjModel", substeps: int, threads: int):
        import mujoco

        if model.na or model.nmocap or model.nuserdata or model.nplugin:
            raise NotImplementedError("it keeps no activations, mocap bodies, user data or plugins")
        _silence(mujoco)
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._model, self._substeps, self._threads = model, substeps, threads
        self._limit = mujoco.mjMAXVAL
        self._batches: dict[int, tuple[Batch, dict[str, np.ndarray]]] = {}

    def start(self, physics: Physics, active: Bool[Array, "N"] | None = None) -> dict[str, Any]:
        """Convert fresh starts, "qpos" [N, nq] and "qvel" [N, nv], to float64 and add zeros as "qacc_warmstart".

        If the model has sensors, add "sensordata" [N, nsensordata] under zero control; rows not `active` get zeros.
        """
        qpos, qvel = np.array(physics["qpos"], np.float64), np.array(physics["qvel"], np.float64)
        for name, rows, size in (("qpos", qpos, self._model.nq), ("qvel", qvel, self._model.nv)):
            if rows.shape[1:] != (size,):
                raise ConfigError(f"the task starts with {name} {rows.shape[1:]}; its model has ({size},)")
        started = {"qpos": qpos, "qvel": qvel, "qacc_warmstart": np.zeros_like(qvel)}
        if self._model.nsensordata:
            batch, fields = self._load(started, np.zeros((len(qpos), self._model.nu)))
            batch.forward(_indices(active))
            started["sensordata"] = _where(active, fields["sensordata"], np.zeros_like(fields["sensordata"]))
        return started

    def step(
        self, physics: Physics, control: Float[Array, "N C"], active: Bool[Array, "N"] | None = None
    ) -> dict[str, Any]:
        """Advance the `active` rows by one control step, keeping the others. Diverged rows become NaN."""
        batch, fields = self._load(physics, control)
        batch.step(_indices(active), self._substeps)
        after = {name: fields[name].copy() for name in _KEPT}
        if not np.abs(batch.state).max(initial=0.0) <= self._limit:
            diverged = ~(np.abs(batch.state) <= self._limit).all(axis=1)
            for rows in after.values():
                rows[diverged] = np.nan
        if "sensordata" in fields:
            after["sensordata"] = _where(active, fields["sensordata"], physics["sensordata"])
        return after

    def _load(self, physics: Physics, control: Any) -> "tuple[Batch, dict[str, np.ndarray]]":
        """The batch for this number of environments, loaded with these states, and views [N, D] of its fields."""
        num_envs = len(control)
        if control.shape != (num_envs, self._model.nu):
            raise ConfigError(f"the task's control is {control.shape[1:]}; its model has {self._model.nu} actuators")
        if num_envs not in self._batches:
            from mujoco.batch import Batch

            batch = Batch(self._model, num_envs, min(self._threads, num_envs))
            names = (*_KEPT, "ctrl", "time") + ("sensordata",) * bool(self._model.nsensordata)
            self._batches[num_envs] = batch, {name: batch.bind(name) for name in names}
        batch, fields = self._batches[num_envs]
        for name in _KEPT:
            fields[name][:] = physics[name]
        fields["ctrl"][:] = control
        fields["time"][:] = 0.0  # not part of the state: must not accumulate
        return batch, fields


def _indices(active: Bool[Array, "N"] | None) -> Any:
    return None if active is None else np.flatnonzero(active)


def _where(active: Bool[Array, "N"] | None, new: Float64[np.ndarray, "N D"], old: Float64[np.ndarray, "N D"]) -> Any:
    """A copy of `new` in active rows, of `old` in the others."""
    return new.copy() if active is None else np.where(np.asarray(active)[:, None], new, old)

"""Native MuJoCo, batched: a pool of threads steps N environments, each thread in an MjData of its own.

An environment lives in plain arrays (positions, velocities, solver warm start), never in an MjData, so those arrays
alone decide what follows: results depend on neither the number of threads nor on what an MjData held before, and a
resumed run goes on exactly.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Bool, Float, Float64

from deepcrl.envs.protocol import Engine, Physics

if TYPE_CHECKING:
    import mujoco


def mujoco_engine(model: "mujoco.MjModel", substeps: int, threads: int | None = None) -> Engine:
    """An engine whose control step is `substeps` steps of `model`. One caller at a time may step it.

    Args:
        model: what to simulate. Its automatic reset of diverged states gets disabled: they come back as NaN.
        substeps: simulator steps per control step.
        threads: how many to use; None takes as many as this process has cores.
    """
    stepper = _Stepper(model, substeps, threads or usable_cores())
    return Engine(on_device=False, start=stepper.start, step=stepper.step)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, shared by all engines that want as many."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mujoco")


def _silence(mujoco) -> None:
    """Send MuJoCo's warnings to Python's log instead of stderr and a file in the working directory.

    All of them are about diverged rows, which end their episodes. A handler that somebody else has set stays.
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger(__name__).debug)


_Work = Callable[[Any, Any, Iterator[int]], None]


def sensor_slices(model: "mujoco.MjModel") -> dict[str, slice]:
    """Where in "sensordata" each of the model's named sensors is."""
    sensors = [model.sensor(index) for index in range(model.nsensor)]
    return {sensor.name: slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0])) for sensor in sensors}


class _Stepper:
    """The model, one MjData per thread, and how a row of numbers maps to MuJoCo's state."""

    def __init__(self, model: "mujoco.MjModel", substeps: int, threads: int):
        import mujoco

        if model.na or model.nmocap or model.nuserdata or model.nplugin:
            raise ValueError("a model with activations, mocap bodies, user data or plugins has more state than is kept")
        _silence(mujoco)
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        parts = mujoco.mjtState
        # MuJoCo packs the parts into a row in this order. Time is written too, always 0, lest it pile up.
        signature = parts.mjSTATE_TIME | parts.mjSTATE_QPOS | parts.mjSTATE_QVEL | parts.mjSTATE_WARMSTART
        self._model, self._substeps, self._threads = model, substeps, threads
        self._signature = int(signature | parts.mjSTATE_CTRL)
        self._sizes = {"time": 1, "qpos": model.nq, "qvel": model.nv, "qacc_warmstart": model.nv, "ctrl": model.nu}
        stops = np.cumsum(list(self._sizes.values())).tolist()
        self._places = {name: slice(stop - size, stop) for (name, size), stop in zip(self._sizes.items(), stops)}
        self._limit = mujoco.mjMAXVAL
        self._mj_set, self._mj_step, self._mj_get = mujoco.mj_setState, mujoco.mj_step, mujoco.mj_getState
        self._mj_forward = mujoco.mj_forward
        # One caller, at most `threads` tasks at once: there is always one left to take.
        self._free = [mujoco.MjData(model) for _ in range(threads)]

    def start(self, physics: Physics, active: Bool[Array, "N"] | None = None) -> dict[str, Any]:
        """Fresh starts, "qpos" [N, nq] and "qvel" [N, nv], in double precision, with zeros as "qacc_warmstart".

        Where the model has sensors, with their values [N, nsensordata] under zero control, in rows that are `active`.
        """
        qpos, qvel = np.array(physics["qpos"], np.float64), np.array(physics["qvel"], np.float64)
        started = {"qpos": qpos, "qvel": qvel, "qacc_warmstart": np.zeros_like(qvel)}
        if self._model.nsensordata:
            started["sensordata"] = np.zeros((len(qpos), self._model.nsensordata))
            self._run(started, np.zeros((len(qpos), self._model.nu)), active, self._read)
        return started

    def step(
        self, physics: Physics, control: Float[Array, "N C"], active: Bool[Array, "N"] | None = None
    ) -> dict[str, Any]:
        """All rows one control step later; rows not `active` as they were. A diverged row is NaN throughout."""
        physics = dict(physics)
        if "sensordata" in physics:
            physics["sensordata"] = np.array(physics["sensordata"])
        table = self._run(physics, control, active, self._advance)
        if not np.abs(table).max(initial=0.0) <= self._limit:
            table[~(np.abs(table) <= self._limit).all(axis=1)] = np.nan
        return physics | {name: table[:, place].copy() for name, place in self._places.items() if name in physics}

    def _run(self, physics: Physics, control: Any, active: Bool[Array, "N"] | None, work: "_Work"):
        """Let `work` do the active rows of (state table, sensors), both in place; returns the table."""
        num_envs = len(control)
        rows = {"time": np.zeros((num_envs, 1)), **physics, "ctrl": control}
        table = np.concatenate([np.asarray(rows[name], np.float64) for name in self._sizes], axis=1)
        sensors = physics.get("sensordata")
        chosen = range(num_envs) if active is None else np.flatnonzero(active).tolist()
        # Threads draw rows one by one: contacts make some rows far slower.
        queue = iter(chosen)
        helpers = min(self._threads, len(chosen)) - 1
        tasks = [_pool(self._threads - 1).submit(work, table, sensors, queue) for _ in range(helpers)]
        work(table, sensors, queue)
        for task in tasks:
            task.result()
        return table

    def _advance(
        self, table: Float64[np.ndarray, "N _"], sensors: Float64[np.ndarray, "N _"] | None, queue: Iterator[int]
    ) -> None:
        model, signature, substeps = self._model, self._signature, self._substeps
        mj_set, mj_step, mj_get = self._mj_set, self._mj_step, self._mj_get
        data = self._free.pop()
        try:
            readings = data.sensordata
            for index in queue:
                row = table[index]
                mj_set(model, data, row, signature)
                mj_step(model, data, substeps)  # without Python's lock
                mj_get(model, data, row, signature)
                if sensors is not None:
                    sensors[index] = readings
        finally:
            self._free.append(data)

    def _read(
        self, table: Float64[np.ndarray, "N _"], sensors: Float64[np.ndarray, "N _"], queue: Iterator[int]
    ) -> None:
        """Sensors of states as they are."""
        data = self._free.pop()
        try:
            for index in queue:
                self._mj_set(self._model, data, table[index], self._signature)
                self._mj_forward(self._model, data)
                sensors[index] = data.sensordata
        finally:
            self._free.append(data)

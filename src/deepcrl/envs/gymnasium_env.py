"""N instances of any Gymnasium goal environment, stepped by a few worker processes.

Gymnasium has no way to read an environment's full state. But its seed and its actions reproduce an episode, so an
`EnvState` holds these as its physics: "seed" [N] and "actions" [N, episode length, A]. An environment that is not in
the given state, as after loading a checkpoint, is reset and replays the actions. So results follow from the arrays
alone, and depend neither on the number of processes nor on what these did before.
"""

import contextlib
import functools
import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from deepcrl.config import AutoReset, ConfigError
from deepcrl.envs.check import check_action
from deepcrl.envs.protocol import Env, EnvSpec, EnvState, Options, Scene
from deepcrl.machine import usable_cores

PREFIX = "gymnasium:"
"""Prefix of these environments' names in a configuration."""
PATIENCE_S = 5.0
"""Seconds a process has to exit by itself before it is killed."""
WORKER = Path(__file__).with_name("gymnasium_worker.py")
RESULT = (
    ("state", np.float32),
    ("goal", np.float32),
    ("next_state", np.float32),
    ("success", np.bool_),
    ("distance", np.float32),
    ("terminated", np.bool_),
    ("truncated", np.bool_),
)
"""Fields of an EnvState, in the order in which a process reports them."""


def gymnasium_env(
    name: str, *, auto_reset: AutoReset = "fresh", episode_length: int | None = None, processes: int | None = None
) -> Env:
    """Build an `Env` of the Gymnasium environment `name`: "ID", or "MODULE:ID" for one that a module registers.

    The state is the environment's observation followed by its achieved goal. Actions in [-1, 1] are scaled to its
    bounds. Success is "is_success" or "success" in its info; where neither is there, a reward as high as at the goal
    itself. The success radius is its `distance_threshold`, or 0 if it has none.

    Args:
        name: what `gymnasium.make` takes; Gymnasium-Robotics is imported first, where installed.
        auto_reset: "cached" gives every episode of a slot the same seed.
        episode_length: env steps; None keeps the environment's own time limit.
        processes: number of worker processes; None starts one per core that this process may use.

    Raises:
        ConfigError: when the environment cannot be made, or is not a goal environment with vector observations and
            bounded actions. Later, the functions of the `Env` raise it for any exception of the environment.
    """
    if importlib.util.find_spec("gymnasium") is None:
        raise ConfigError(f"env.name = {PREFIX + name!r} needs Gymnasium: pip install 'deepcrl[gym]'")
    about = dict(_describe(name, episode_length))
    if not about.pop("repeats"):
        warnings.warn(
            f"{PREFIX}{name} does not repeat an episode from its seed and actions: a resumed run, or one with another "
            "number of processes, will differ",
            stacklevel=2,
        )
    first = about["state_size"] - about["goal_size"]
    spec = EnvSpec(goal_indices=tuple(range(first, about["state_size"])), **about)
    reset, step = _functions(spec, _Pool(name, episode_length, processes or usable_cores()), auto_reset)
    return Env(spec, Scene(layout=None, cell_size=1.0), on_device=False, reset=reset, step=step)


@functools.cache
def _describe(name: str, episode_length: int | None) -> dict[str, Any]:
    pool = _Pool(name, episode_length, 1)
    try:
        return pool.call({0: ("describe",)})[0]
    finally:
        pool.close()


class _Place(NamedTuple):
    """Progress of N environments: `steps` steps into the episodes given by `seed` and `actions`."""

    seed: UInt32[np.ndarray, "N"]
    actions: Float[np.ndarray, "N T A"]
    steps: Int[np.ndarray, "N"]


def _same(a: _Place, b: _Place) -> Bool[np.ndarray, "N"]:
    return (a.seed == b.seed) & (a.steps == b.steps) & (a.actions == b.actions).all(axis=(1, 2))


def _functions(spec: EnvSpec, pool: "_Pool", auto_reset: AutoReset):
    cpu = jax.devices("cpu")[0]
    held: _Place | None = None  # the state the workers' environments are in; None: unknown

    @jax.jit
    def draw_seeds(key_data: UInt32[Array, "N 2"], episode_id: Int[Array, "N"]) -> UInt32[Array, "N"]:
        def draw(data: Array, episode: Array) -> Array:
            key = jax.random.wrap_key_data(data)
            return jax.random.bits(key if auto_reset == "cached" else jax.random.fold_in(key, episode))

        return jax.vmap(draw)(key_data, episode_id)

    def seeds(key_data: Any, episode_id: Any) -> np.ndarray:
        with jax.default_device(cpu):
            return np.asarray(draw_seeds(key_data, episode_id))

    def begin(place: _Place, rows: Int[np.ndarray, "n"]) -> list[tuple]:
        logs = [place.actions[row, : place.steps[row]] for row in rows]
        return pool.run("begin", rows, place.seed[rows].tolist(), logs)

    def reset(key: Array, num_envs: int, options: Options | None = None) -> EnvState:
        nonlocal held
        if options:
            raise ConfigError(f"options {', '.join(map(repr, options))}: a Gymnasium environment draws its own starts")
        with jax.default_device(cpu):
            keys: Any = np.asarray(jax.random.key_data(jax.random.split(jax.device_put(key, cpu), num_envs)))
        zeros: Any = np.zeros(num_envs, np.int32)
        actions = np.zeros((num_envs, spec.episode_length, spec.action_size), np.float32)
        place, held = _Place(seeds(keys, zeros), actions, zeros), None
        columns = _columns(begin(place, np.arange(num_envs)), spec.goal_size)
        held = place
        physics = {"seed": place.seed, "actions": actions}
        return EnvState(physics=physics, grades={}, episode_id=zeros, episode_step=zeros, key=keys, **columns)

    def step(state: EnvState, action: Any, active: Bool[Array, "N"] | None = None) -> EnvState:
        """Step the `active` rows, by default all; the others stay as they were."""
        nonlocal held
        check_action(spec, state, action)
        num_envs = len(state.goal)
        rows = np.arange(num_envs) if active is None else np.flatnonzero(active)
        if not rows.size:
            return state
        action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        place = _Place(state.physics["seed"], state.physics["actions"], np.asarray(state.episode_step))
        fits = np.zeros(num_envs, bool) if held is None or len(held.seed) != num_envs else _same(held, place)
        held = None  # and stays None if a process fails
        begin(place, rows[~fits[rows]])
        fits[rows] = True

        next_seeds = seeds(state.key, state.episode_id + 1)
        columns = _columns(pool.run("step", rows, list(action[rows]), next_seeds[rows].tolist()), spec.goal_size)
        done = columns["terminated"] | columns["truncated"]
        columns["episode_id"] = state.episode_id[rows] + done
        columns["episode_step"] = np.where(done, 0, place.steps[rows] + 1)
        seed, actions = place.seed.copy(), place.actions.copy()
        actions[rows, place.steps[rows]] = action[rows]
        actions[rows[done]] = 0.0
        seed[rows[done]] = next_seeds[rows[done]]
        after = state._replace(
            physics={"seed": seed, "actions": actions},
            **{name: _put(getattr(state, name), rows, values) for name, values in columns.items()},
        )
        held = _Place(seed, actions, np.where(fits, after.episode_step, -1))
        return after

    return reset, step


def _columns(results: list[tuple], goal_size: int) -> dict[str, Any]:
    """Convert the workers' results for n environments to fields of an EnvState."""
    columns = {name: np.array(values, dtype) for (name, dtype), values in zip(RESULT, zip(*results))}
    return {**columns, "achieved_goal": columns["state"][:, -goal_size:]}


def _put(array: Any, rows: Int[np.ndarray, "n"], values: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array[rows] = values
    return array


class _Pool:
    """Processes that run gymnasium_worker.py: started when first called, ended with this object."""

    def __init__(self, name: str, episode_length: int | None, size: int):
        self._name, self._size = name, size
        self._greeting = (name, episode_length)
        self._processes: dict[int, subprocess.Popen] = {}
        weakref.finalize(self, _end, self._processes)

    def run(self, method: str, rows: Int[np.ndarray, "n"], *columns: list[Any]) -> list[tuple]:
        """Call `method` for all rows, each in its assigned worker, in parallel; results are in row order."""
        parts = {worker: np.flatnonzero(rows % self._size == worker) for worker in range(self._size)}
        parts = {worker: part for worker, part in parts.items() if part.size}
        found = self.call(
            {w: (method, rows[part].tolist(), *([c[i] for i in part] for c in columns)) for w, part in parts.items()}
        )
        results: list[tuple] = [()] * len(rows)
        for worker, part in parts.items():
            for index, result in zip(part, found[worker], strict=True):
                results[index] = result
        return results

    def call(self, requests: dict[int, tuple]) -> dict[int, Any]:
        """Send each worker its request and return their results. If one fails, end all and raise ConfigError."""
        try:
            for worker, request in requests.items():
                self._send(worker, request)
            replies = {worker: pickle.load(_pipe(self._processes[worker].stdout)) for worker in requests}
            for status, result in replies.values():
                if status == "error":
                    raise ConfigError(f"env.name = {PREFIX + self._name!r} {result}")
        except BaseException as error:  # interrupts too: else the late reply would answer the next request
            processes = list(self._processes.values())
            self.close()
            if isinstance(error, OSError | EOFError | pickle.UnpicklingError):
                codes = {process.returncode for process in processes} - {0}
                died = f"ended its process with exit code {', '.join(map(str, sorted(codes)))}"
                raise ConfigError(f"env.name = {PREFIX + self._name!r} {died}") from None
            raise
        return {worker: result for worker, (_, result) in replies.items()}

    def close(self) -> None:
        """End the processes; a later call starts new ones."""
        _end(self._processes)

    def _send(self, worker: int, request: tuple) -> None:
        if worker not in self._processes:
            self._processes[worker] = subprocess.Popen(
                [sys.executable, "-P", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if worker == 0 else subprocess.DEVNULL,  # all print the same: show it once
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )
            pickle.dump((sys.path, *self._greeting), _pipe(self._processes[worker].stdin))
        pipe = _pipe(self._processes[worker].stdin)
        pickle.dump(request, pipe)
        pipe.flush()


def _pipe(stream: Any) -> Any:
    assert stream is not None
    return stream


def _end(processes: dict[int, subprocess.Popen]) -> None:
    """Close the processes' inputs, which makes them exit; kill those that do not within PATIENCE_S."""
    for process in processes.values():
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
    for process in processes.values():
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()
    processes.clear()

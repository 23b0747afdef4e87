"""Env steps per second of every environment, whole steps, beside the bare simulator's rate in the same run.

    python benchmarks/env_throughput.py                                  # native MuJoCo, all bodies and mazes
    python benchmarks/env_throughput.py --envs ant --engines mujoco mjx spring --num-envs 64
    python benchmarks/env_throughput.py --envs ant ant_big_maze --jaxgcrl old-stack/
    python benchmarks/env_throughput.py --envs ant --engines mjx warp --num-envs 512 4096

A whole step is the action map, the physics, observation, success, episode end and automatic reset. The bare rate is
`mujoco.rollout`'s, for the same model, threads, environments, substeps and actions, from the same states, all steps in
one call; the two are timed in turns, and the best of each counts. It resets nothing: fallen bodies go on lying there,
touching more. As a policy must see each step before the next, it is called once per step besides ("stepwise").
With `--jaxgcrl FOLDER`, JaxGCRL's environment of the same name, on the engine that it chose for it, is stepped by a
process of its own right after ours; it is installed into that folder when it is not there. `--turns FILE` lets several
such commands compile at once and time in turns.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import mujoco.rollout
import numpy as np

import jaxgcrl_stack
from deepcrl.envs import vector
from deepcrl.envs.registry import ENVIRONMENTS, lookup, make_env
from deepcrl.machine import usable_cores
from turns import turn

ENVS = [name for name, entry in ENVIRONMENTS.items() if "mujoco" in entry.engines and entry.variant_of is None]
"""All bodies and mazes; variants differ in starts and goals only."""
JAXGCRL_NAMES = {"humanoid_short_step": "humanoid"}
"""What JaxGCRL calls it, where it has another name: its humanoid takes the short time step."""
STEPS = 40
"""Env steps per timing."""
REPEATS = 5
"""At least; of small batches as many as SECONDS allow, as other users of the machine disturb short timings."""
SECONDS = 8.0
WARM_UP = 60
"""Random env steps before the first timing, so that bodies have fallen and touch what they will."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=ENVS)
    parser.add_argument("--engines", nargs="+", default=["mujoco"])
    parser.add_argument("--num-envs", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--jaxgcrl", type=Path, metavar="FOLDER", help="time its environments too; installed there")
    parser.add_argument("--jaxgcrl-steps", type=int, default=20)
    parser.add_argument("--turns", type=Path, metavar="FILE", help="time while holding this file's lock")
    args = parser.parse_args()
    for name in args.envs:
        for engine in (e for e in args.engines if e in lookup(name).engines):
            for num_envs in args.num_envs:
                row: dict[str, Any] = {"env": name, "engine": engine, "num_envs": num_envs}
                if engine == "mujoco":
                    row |= native_rates(name, num_envs, args.turns)
                else:
                    row |= device_rates(name, engine, num_envs, args.turns)
                if args.jaxgcrl:
                    their_name = str(JAXGCRL_NAMES.get(name, name))
                    peer = jaxgcrl_stack.rate(args.jaxgcrl, their_name, num_envs, args.jaxgcrl_steps)
                    row |= {"jaxgcrl_per_s": peer["rate"], "times_jaxgcrl": row["env_steps_per_s"] / peer["rate"]}
                print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def native_rates(name: str, num_envs: int, turns: Path | None) -> dict[str, float]:
    """Env steps per second, whole, bare and bare step by step, and the whole as a share of the bare."""
    entry = lookup(name)
    assert entry.model is not None
    task, engine = entry.engines["mujoco"](None)
    env, model, threads = vector.build(task, engine, "fresh"), entry.model(), usable_cores()
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, num_envs, env.spec.action_size)).astype(np.float32)
    control = jax.jit(jax.vmap(task.control))
    state = env.reset(jax.random.key(0), num_envs)
    for index in range(WARM_UP):
        state = env.step(state, actions[index % STEPS])
    datas = [mujoco.MjData(model) for _ in range(threads)]
    whole, bare, stepwise = [], [], []
    with turn(turns), mujoco.rollout.Rollout(nthread=threads) as rollout:
        begun = time.perf_counter()
        while len(whole) < REPEATS or time.perf_counter() - begun < SECONDS:
            physics = {key: np.asarray(value, np.float32) for key, value in state.physics.items()}
            controls = np.stack([np.asarray(control(action, physics)) for action in actions], axis=1)
            controls = np.repeat(controls.astype(np.float64), entry.substeps, axis=1)
            steps = [np.ascontiguousarray(step) for step in np.split(controls, STEPS, axis=1)]
            initial = np.concatenate([np.zeros((num_envs, 1)), state.physics["qpos"], state.physics["qvel"]], axis=1)
            with timed(bare):
                rollout.rollout(model, datas, initial, controls)
            with timed(stepwise):
                for step in steps:
                    states, _ = rollout.rollout(model, datas, initial, step)
                    initial = np.asarray(states)[:, -1]
            with timed(whole):
                for action in actions:
                    state = env.step(state, action)
    total = STEPS * num_envs
    return {
        "env_steps_per_s": total / min(whole),
        "bare_per_s": total / min(bare),
        "bare_stepwise_per_s": total / min(stepwise),
        "share_of_bare": min(bare) / min(whole),
    }


def device_rates(name: str, engine: str, num_envs: int, turns: Path | None) -> dict[str, float | str]:
    """Whole env steps per second of an environment on the device, and what its first step and reset took to compile.

    Steps are dispatched one by one: that costs 0.1 ms of several, where to compile a scan of an arm's takes minutes.
    """
    env = make_env(name, engine=engine).compiled()
    actions = jax.random.uniform(jax.random.key(1), (STEPS // 4, num_envs, env.spec.action_size), minval=-1.0)
    started = time.perf_counter()
    state = jax.block_until_ready(env.step(env.reset(jax.random.key(0), num_envs), actions[0]))
    compile_s = time.perf_counter() - started
    seconds = []
    with turn(turns):
        started = time.perf_counter()
        state = jax.block_until_ready(env.step(state, actions[1]))
        # 512 robot arms of MJX take seconds for a step on a CPU: about two seconds of steps for each timing.
        actions = actions[: max(1, int(2.0 / (time.perf_counter() - started)))]
        for _ in range(REPEATS):
            with timed(seconds):
                for action in actions:
                    state = env.step(state, action)
                jax.block_until_ready(state)
    return {
        "env_steps_per_s": len(actions) * num_envs / min(seconds),
        "first_step_s": compile_s,
        "device": jax.devices()[0].device_kind,
    }


@contextlib.contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Add what the block took."""
    started = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - started)


if __name__ == "__main__":
    main()

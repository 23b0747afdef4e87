"""Milliseconds per update and env steps per second of several seeds trained at once, beside one seed alone.

    python benchmarks/seeds.py                                # point_u_maze, depths 4 and 16, 1 and 5 seeds
    python benchmarks/seeds.py --depths 4 32 --seeds 1 5 10 --algorithm sac_her

A collection and its updates, by the pieces that training calls, after compilation; "per run" divides by the number of
seeds. The gain is how many times the env steps per second, updates included, of one seed alone.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax

from deepcrl import override, preset
from deepcrl.program import COLLECT, LEARN, build, init_state, run_keys
from turns import turn

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="point_u_maze")
    parser.add_argument("--algorithm", default="crl")
    parser.add_argument("--depths", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 5], help="how many at once")
    parser.add_argument("--turns", type=Path, metavar="FILE", help="time while holding this file's lock")
    args = parser.parse_args()
    for depth in args.depths:
        alone = None
        for number in args.seeds:
            row = measure(args.env, args.algorithm, depth, number, args.turns)
            if number == 1:
                alone = row["env_steps_per_s"]
            if alone:
                row["gain"] = row["env_steps_per_s"] / alone
            print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def measure(env: str, algorithm: str, depth: int, number: int, turns: Path | None) -> dict[str, Any]:
    """One row: so many seeds of one configuration, at once."""
    config = override(preset(env, algorithm=algorithm), {"network.depth": depth})
    program = build(config, range(number))
    state = init_state(program)
    agent, env_state, replay = state.agent, state.env, state.replay
    del state  # what is donated below
    prefill = program.plan.prefill_collections
    for index in range(prefill + 1):
        env_state, transitions = program.collect(agent, env_state, run_keys(program, COLLECT, index))
        replay = jax.block_until_ready(program.insert(replay, transitions))
    started = time.perf_counter()
    agent, metrics = program.learn(agent, replay, run_keys(program, LEARN, prefill))
    jax.block_until_ready(metrics)
    first_s = time.perf_counter() - started
    times: dict[str, list[float]] = {"collect": [], "update": []}
    with turn(turns):
        for index in range(prefill + 1, prefill + 1 + ROUNDS):
            started = time.perf_counter()
            env_state, transitions = program.collect(agent, env_state, run_keys(program, COLLECT, index))
            replay = jax.block_until_ready(program.insert(replay, transitions))
            collected = time.perf_counter()
            agent, metrics = program.learn(agent, replay, run_keys(program, LEARN, index))
            jax.block_until_ready(metrics)
            times["collect"].append(collected - started)
            times["update"].append(time.perf_counter() - collected)
    collect_s, update_s = (statistics.median(times[name]) for name in ("collect", "update"))
    update_ms = update_s / program.plan.updates_per_collection * 1e3
    return {
        "env": env,
        "algorithm": algorithm,
        "depth": depth,
        "seeds": number,
        "first_updates_s": first_s,
        "update_ms": update_ms,
        "update_ms_per_run": update_ms / number,
        "collect_ms": collect_s * 1e3,
        "env_steps_per_s": number * program.plan.collection_env_steps / (collect_s + update_s),
        "device": jax.devices()[0].device_kind,
    }


if __name__ == "__main__":
    main()

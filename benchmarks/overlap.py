"""Env steps per second of training with and without `train.overlap`: collecting on the host while the device updates.

    python benchmarks/overlap.py                                        # ant, 64 environments
    python benchmarks/overlap.py --env ant --num-envs 512 --depth 16    # for a machine with many cores and a GPU

Two short trainings by `deepcrl.train`, one without and one with; the rates are of the second half of each, collections
and updates, evaluations left out. The floor is the longer of the two phases without overlap, which a machine comes to
on which they share nothing.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import jax

from deepcrl import override, preset, train
from deepcrl.plan import plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ant")
    parser.add_argument("--engine", default="mujoco")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--unroll-length", type=int, default=60)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--collections", type=int, default=16, help="after the prefill, half of them timed")
    args = parser.parse_args()
    rows = [measure(args, overlap) for overlap in (False, True)]
    rows[1]["gain"] = rows[1]["env_steps_per_s"] / rows[0]["env_steps_per_s"]
    rows[1]["of_floor"] = max(rows[0]["collect_s"], rows[0]["update_s"]) / (rows[1]["collect_s"] + rows[1]["update_s"])
    for row in rows:
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def measure(args: argparse.Namespace, overlap: bool) -> dict[str, Any]:
    """One training; seconds are per collection, those of "collect_s" spent waiting for it."""
    collection = args.num_envs * args.unroll_length
    config = override(
        preset(args.env),
        {
            "env.engine": args.engine,
            "env.num_envs": args.num_envs,
            "network.depth": args.depth,
            "train.unroll_length": args.unroll_length,
            "train.prefill_steps": args.unroll_length,
            "train.total_env_steps": collection * (1 + args.collections),
            "train.overlap": overlap,
            "evaluation.num_evals": 2,
            "evaluation.num_envs": 2,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        *_, before, last = train(config, Path(folder) / "run").rows
    collections = (last["env_steps"] - before["env_steps"]) / collection
    collect_s, update_s = last["time/collect_s"] / collections, last["time/update_s"] / collections
    return {
        "env": args.env,
        "engine": args.engine,
        "num_envs": args.num_envs,
        "depth": args.depth,
        "overlap": overlap,
        "collect_s": collect_s,
        "update_s": update_s,
        "updates_per_collection": plan(config).updates_per_collection,
        "env_steps_per_s": collection / (collect_s + update_s),
        "device": jax.devices()[0].device_kind,
    }


if __name__ == "__main__":
    main()

"""Env steps per second of whole training, everything in, after compilation.

    python benchmarks/training.py                       # ant, depth 4, width 256, batch 256, 64 environments, 1:40

Runs `deepcrl.train` in a temporary folder and reads the run's own clock: from the end of the first learning collection
(all programs compiled by then) to the end of the run, evaluations and checkpoints included. The paper's release,
measured on a 2-core machine without a GPU, did 270 to 300 env steps per second with these settings.
"""

import argparse
import json
import tempfile
from pathlib import Path

from deepcrl import override, preset, train
from deepcrl.plan import plan

RELEASE = 300.0
"""Env steps per second of the paper's release on this kind of machine, at its best."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ant")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--total-env-steps", type=int, default=240_000)
    parser.add_argument("--num-evals", type=int, default=4)
    args = parser.parse_args()
    config = override(
        preset(args.env),
        {
            "network.depth": args.depth,
            "network.width": 256,
            "train.batch_size": 256,
            "env.num_envs": 64,
            "train.updates_per_env_steps": "1:40",
            "train.total_env_steps": args.total_env_steps,
            "evaluation.num_evals": args.num_evals,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = train(config, Path(folder) / "run").rows
    # The row after the prefill's evaluation is the first that was written with everything compiled.
    first, last = rows[1], rows[-1]
    steps, wall = last["env_steps"] - first["env_steps"], last["wall_s"] - first["wall_s"]
    phases = {key: sum(row.get(key, 0.0) for row in rows[2:]) for key in last if key.startswith("time/")}
    learning = phases["time/collect_s"] + phases["time/update_s"]
    result = {
        "env": args.env,
        "depth": args.depth,
        "updates_per_collection": plan(config).updates_per_collection,
        "env_steps_per_s": steps / wall,
        "env_steps_per_s_without_evaluation": steps / learning,
        "times_the_release": steps / wall / RELEASE,
        "seconds": {**phases, "wall_s": wall},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

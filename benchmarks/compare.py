"""Scores of algorithms and depths on several environments and seeds, at equal env steps: the tables of docs/results.

    python benchmarks/compare.py --envs point_u_maze point_u4_maze --algorithms crl sac_her gcbc --depths 4 8 \\
        --seeds 0 1 2 --set train.total_env_steps=320000 --out runs/compare --record docs/results/compare.jsonl

Each worker process has one core of its own and trains the seeds of a cell one after another. Runs that the record
holds are not run again, so that an interrupted comparison goes on, and a larger one adds to it. `--table` prints the
record as Markdown and trains nothing.
"""

import argparse
import ast
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

CURVES = ("eval/time_at_goal", "eval/success_any", "eval/final_distance")
Cell = tuple[str, str, int, int]
"""Environment, algorithm, depth, seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=["point_u_maze"])
    parser.add_argument("--algorithms", nargs="+", default=["crl"])
    parser.add_argument("--depths", nargs="+", type=int, default=[4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE", help="changes of every configuration")
    parser.add_argument("--label", default="", help="what to call these changes in the table")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first-core", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(table(read(args.record)))
        return
    changes = dict(parse(word) for word in args.set)
    done = {(r["env"], r["algorithm"], r["depth"], r["seed"], r["label"]) for r in read(args.record)}
    groups = [
        [cell for seed in args.seeds if (*(cell := (env, algorithm, depth, seed)), args.label) not in done]
        for env in args.envs
        for depth in args.depths
        for algorithm in args.algorithms
    ]
    tasks = [(group, changes, args.label, args.out, args.record) for group in groups if group]
    print(f"{sum(len(task[0]) for task in tasks)} runs in {len(tasks)} groups", flush=True)
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in range(args.first_core, args.first_core + args.jobs):
        cores.put(core)
    failed = 0
    with context.Pool(args.jobs, initializer=pin, initargs=(cores,)) as pool:
        for text in pool.imap_unordered(run_group, tasks, chunksize=1):
            print(text, flush=True)
            failed += text.startswith("FAILED")
    sys.exit(1 if failed else 0)


def parse(word: str) -> tuple[str, Any]:
    path, _, value = word.partition("=")
    try:
        return path, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return path, value


def read(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def pin(cores: Any) -> None:
    """Give this worker a core; before JAX counts them."""
    os.sched_setaffinity(0, {cores.get()})


def run_group(task: tuple[list[Cell], dict[str, Any], str, Path, Path]) -> str:
    """Train the seeds of one configuration; one line to the record for each. Returns what to print."""
    cells, changes, label, out, record = task
    env, algorithm, depth, _ = cells[0]
    name = "-".join(filter(None, (env, algorithm, f"depth{depth}", label.replace(" ", "_"))))
    started = time.perf_counter()
    try:
        import deepcrl
        from deepcrl import seeds

        config = deepcrl.override(
            deepcrl.preset(env, algorithm=algorithm), {"network.depth": depth, "checkpoint.keep": 1, **changes}
        )
        out.mkdir(parents=True, exist_ok=True)
        with open(out / f"{name}.log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        results = seeds.train_seeds(config, [cell[3] for cell in cells], out / name, together=False)
        for (*_, seed), result in zip(cells, results, strict=True):
            rows = result.rows
            line = {
                "env": env,
                "algorithm": algorithm,
                "depth": depth,
                "seed": seed,
                "label": label,
                "changes": changes,
                "env_steps": [row["env_steps"] for row in rows],
                **{key.removeprefix("eval/"): [round(row[key], 3) for row in rows] for key in CURVES},
                "gradient_steps": rows[-1]["gradient_steps"],
                "wall_s": rows[-1]["wall_s"],
                "date": time.strftime("%Y-%m-%d"),
                "revision": revision(),
            }
            with open(record, "a") as file:
                file.write(json.dumps(line) + "\n")
    except Exception as error:
        return f"FAILED {name}: {type(error).__name__}: {error}"
    return f"{name}: {len(cells)} runs in {time.perf_counter() - started:.0f} s"


def revision() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def table(records: list[dict[str, Any]]) -> str:
    """Mean over seeds of each run's score, the mean of its last five evaluations, with 95% bootstrap intervals. By
    environment, in the order of the record, depth and algorithm, in the order of the registry."""
    from deepcrl.algorithms import ALGORITHMS
    from deepcrl.analysis.statistics import LAST, estimate

    envs, algorithms = list(dict.fromkeys(r["env"] for r in records)), list(ALGORITHMS)
    cells = defaultdict(list)
    for r in records:
        cells[r["env"], r["label"], r["depth"], r["algorithm"]].append(r)
    lines = [
        "| environment | algorithm | depth | seeds | env steps | updates | time at goal | episodes that reach it | "
        "wall s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(cells, key=lambda cell: (envs.index(cell[0]), cell[2], algorithms.index(cell[3]), cell[1]))
    for env, label, depth, algorithm in ordered:
        runs = cells[env, label, depth, algorithm]
        scores = [np.mean(r["time_at_goal"][1:][-LAST:]) for r in runs]
        reach = [np.mean(r["success_any"][1:][-LAST:]) for r in runs]
        wall = np.mean([r["wall_s"] for r in runs])
        lines.append(
            f"| `{env}` | {algorithm}{f', {label}' if label else ''} | {depth} | {len(runs)} | "
            f"{runs[0]['env_steps'][-1]:,} | {runs[0]['gradient_steps']:,} | {estimate(scores, np.mean)} | "
            f"{np.mean(reach):.0%} | {wall:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

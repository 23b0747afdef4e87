"""Compile seconds, milliseconds per update and peak memory by depth, beside the machine's matrix-product rate.

    python benchmarks/depth.py                          # depths 4 16 64 256 1024, width 256, batch 512
    python benchmarks/depth.py --depths 4 64 --json out.json

Every depth runs in a process of its own, so that its peak memory is its own. One update is CRL's whole update (actor,
temperature, critic, three Adam steps, metrics) on a scan of updates, as in training. Its flops are counted as 11
network passes, a pass being 2 * batch * (Dense weights of one network's stem, blocks and head):

    actor   forward 1, backward 2 (inputs and weights)
    phi     on the actor's action: forward 1, backward 1 (inputs only); on the data: forward 1, backward 2
    psi     forward 1, backward 2

Recomputation is not counted as useful work, nor are normalisation, activations, the B x B logits or Adam. Efficiency
is those flops per second over the rate of a chain of 512 x 256 x 256 products measured in the same process, before
and after the updates.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

DEPTHS = (4, 16, 64, 256, 1024)


def measure(depth: int, width: int, batch: int, updates: int, repeats: int, remat: str, turns: Path | None) -> dict:
    """One row of the table, in this process."""
    import jax

    from deepcrl import Config, EnvConfig, algorithms, override
    from deepcrl.envs.protocol import EnvSpec
    from deepcrl.program import make_learn, transition_sizes
    from deepcrl.replay import buffer
    from deepcrl.types import Transition
    from machine_rate import matmul_rate, seconds
    from turns import turn

    base = Config(env=EnvConfig("none"), agent=algorithms.ALGORITHMS[algorithms.DEFAULT_ALGORITHM].defaults)
    changes = {"network.depth": depth, "network.width": width, "network.remat": remat, "train.batch_size": batch}
    # The sizes of the paper's ant.
    spec = EnvSpec(29, 2, (0, 1), 8, 1000, 0.5)
    algorithm = algorithms.build(override(base, changes), spec)
    started = time.perf_counter()
    agent = jax.block_until_ready(jax.jit(algorithm.init)(jax.random.key(0)))
    init_s = time.perf_counter() - started

    steps, envs = 100, 64
    replay = buffer.init(buffer.column_sizes(algorithm.columns, transition_sizes(spec)), steps, envs)
    key = jax.random.key(1)
    rows = {name: jax.random.normal(key, (steps, envs, size)) for name, size in transition_sizes(spec).items()}
    names = ("success", "terminated", "truncated", "episode_id")
    rows |= dict.fromkeys(names, jax.numpy.zeros((steps, envs), bool))
    replay = buffer.insert(replay, Transition(**rows))

    learn = make_learn(algorithm, updates, batch)
    started = time.perf_counter()
    compiled = learn.lower(agent, replay, key).compile()
    compile_s = time.perf_counter() - started
    state = {"agent": agent}

    def run() -> object:
        state["agent"], metrics = compiled(state["agent"], replay, key)
        return metrics

    with turn(turns):
        rate_before = matmul_rate()
        times = seconds(run, repeats)
        rate = 0.5 * (rate_before + matmul_rate())
    update_s = times[len(times) // 2] / updates
    actor, phi, psi = kernel_size(agent.actor), kernel_size(agent.critic.phi), kernel_size(agent.critic.psi)
    flops = 2.0 * batch * (3 * actor + 5 * phi + 3 * psi)
    memory, device = compiled.memory_analysis(), jax.devices()[0]
    return {
        "depth": depth,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves((agent.actor, agent.critic))),
        "init_s": init_s,
        "compile_s": compile_s,
        "update_ms": update_s * 1e3,
        "update_ms_min": times[0] / updates * 1e3,
        "gflops_per_update": flops / 1e9,
        "rate_gflops": flops / update_s / 1e9,
        "matmul_gflops": rate / 1e9,
        "efficiency": flops / update_s / rate,
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        # A CPU keeps no account of its own.
        "peak_device_mib": (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20,
        "device": device.device_kind,
    }


def kernel_size(net: object) -> int:
    """Dense weights of one network: its leaves of rank 2 (stem, heads) and 4 (blocks); the others have rank 1 or 3."""
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(net) if leaf.ndim in (2, 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--remat", default="dots", choices=("none", "dots", "block"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--updates", type=int, default=None, help="updates per call; default: about 256 layers' worth")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--turns", type=Path, metavar="FILE", help="time while holding this file's lock")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row is not None:
        updates = args.updates or max(2, 256 // args.row)
        print(json.dumps(measure(args.row, args.width, args.batch, updates, args.repeats, args.remat, args.turns)))
        return

    rows = []
    print("depth  parameters  compile s  update ms  GFLOP/s  of matmul  temporary MiB  peak RSS MiB", flush=True)
    for depth in args.depths:
        own = ["--row", str(depth), "--width", str(args.width), "--batch", str(args.batch), "--remat", args.remat]
        own += ["--repeats", str(args.repeats)] + (["--updates", str(args.updates)] if args.updates else [])
        own += ["--turns", str(args.turns)] if args.turns else []
        done = subprocess.run([sys.executable, __file__, *own], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{row['depth']:>5}  {row['parameters']:>10,}  {row['compile_s']:>9.1f}  {row['update_ms']:>9.1f}  "
            f"{row['rate_gflops']:>7.1f}  {row['efficiency']:>9.0%}  {row['temporary_mib']:>13.0f}  "
            f"{row['peak_rss_mib']:>12.0f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

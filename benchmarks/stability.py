"""Losses and gradient norms over the first updates of very deep networks, for the paper's network and its remedies.

    python benchmarks/stability.py                                   # depths 256 512 1024, width 32, 300 updates
    python benchmarks/stability.py --depths 1024 --remedies paper final_norm depth+final_norm

The paper kept its actor at 512 layers because the actor's loss exploded at 1024. Here actor, phi and psi all have the
given depth. Every run makes CRL's whole update on the same batches: pairs from a replay that the untrained policy of a
network of 4 layers has filled in a point maze. Gradient norms are taken before clipping. The table is Markdown: a row
for each quantity, with its value at some updates (the first is 1), and the largest of all.
"""

import argparse
import sys
import time

import jax
import numpy as np

from deepcrl import Config, override, preset
from deepcrl.program import COLLECT, INIT, LEARN, build, init_state, run_key
from deepcrl.replay import buffer

REMEDIES = {
    "paper": {},
    "final_norm": {"network.final_norm": True},
    "depth": {"network.branch_scale": "depth"},
    "zero": {"network.branch_scale": "zero"},
    "depth+final_norm": {"network.branch_scale": "depth", "network.final_norm": True},
    "zero+final_norm": {"network.branch_scale": "zero", "network.final_norm": True},
    "preactivation": {"network.backbone": "preactivation"},
    "clip": {"agent.max_grad_norm": 1.0},
    "warmup": {"agent.warmup_updates": 300},
    "clip+warmup": {"agent.max_grad_norm": 1.0, "agent.warmup_updates": 300},
    "depth+warmup": {"network.branch_scale": "depth", "agent.warmup_updates": 300},
}
DEPTHS = (256, 512, 1024)
SHOWN = ("actor_loss", "critic_loss", "actor_grad_norm", "phi_grad_norm", "psi_grad_norm")
STEPS = 124
"""Env steps per environment in the replay."""


def base(width: int, batch: int) -> Config:
    return override(
        preset("point_u_maze"),
        {
            "env.num_envs": 64,
            "network.depth": 4,
            "network.width": width,
            "train.batch_size": batch,
            "train.unroll_length": STEPS,
            "train.prefill_steps": STEPS,
            "train.replay_capacity": STEPS,
            "train.total_env_steps": 2 * 64 * STEPS,
            "train.updates_per_env_steps": f"1:{64 * STEPS}",
            "evaluation.num_evals": 1,
        },
    )


def experience(config: Config) -> buffer.Replay:
    """A replay filled by the untrained policy."""
    program = build(config)
    state = init_state(program)
    _, transitions = program.collect(state.agent, state.env, run_key(config.seed, COLLECT, 0))
    return buffer.jit_insert(state.replay, transitions)


def trace(config: Config, replay: buffer.Replay, updates: int) -> dict[str, np.ndarray]:
    """The metrics of every update, [updates] each."""
    algorithm = build(config).algorithm

    def run(agent, replay, key):
        draw_key, update_key = jax.random.split(key)
        indices = algorithm.draw(draw_key, replay, (updates, config.train.batch_size))

        def body(agent, inputs):
            batch_indices, key = inputs
            return algorithm.update(agent, algorithm.relabel(replay, batch_indices), key)

        return jax.lax.scan(body, agent, (indices, jax.random.split(update_key, updates)))[1]

    agent = jax.jit(algorithm.init)(run_key(config.seed, INIT, 0))
    metrics = jax.jit(run)(agent, replay, run_key(config.seed, LEARN, 0))
    return {name: np.asarray(values) for name, values in metrics.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--remedies", nargs="+", default=list(REMEDIES), choices=list(REMEDIES))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    start = override(base(args.width, args.batch), {"seed": args.seed})
    replay = experience(start)
    marks = sorted({update for update in (1, 10, 100, 300) if update < args.updates} | {args.updates})
    print("| depth | remedy | quantity | " + " | ".join(map(str, marks)) + " | max |")
    print("|---|---|---|" + "---|" * (len(marks) + 1), flush=True)
    for depth in args.depths:
        for remedy in args.remedies:
            began = time.perf_counter()
            config = override(start, {"network.depth": depth} | REMEDIES[remedy])
            values = trace(config, replay, args.updates)
            for name in SHOWN:
                row = [*(values[name][mark - 1] for mark in marks), values[name].max()]
                print(f"| {depth} | {remedy} | {name} | " + " | ".join(f"{value:.3g}" for value in row) + " |")
            print(f"{depth} {remedy}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

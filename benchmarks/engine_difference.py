"""How far native MuJoCo and MJX part under the same actions from the same states, with contacts.

    python benchmarks/engine_difference.py
    python benchmarks/engine_difference.py --envs ant ant_u_maze --steps 1 20 --starts 16

Each environment first lives through random actions on the native engine, so that bodies stand, lean and push as they do
in training. From there both engines do the same random actions,
each from a cold solver. A line gives, after each number of env steps, the median and the largest difference in any
entry of the state (metres, radians and their rates; forces and masses in a humanoid's), over all starts.
"""

import argparse
import json

import jax
import mujoco
import numpy as np

from deepcrl.envs import vector
from deepcrl.envs.registry import lookup

ENVS = (
    "ant", "ant_u_maze", "ant_ball", "ant_push", "humanoid", "cheetah", "arm_reach", "arm_grasp", "arm_push_easy",
    "arm_binpick_easy", "arm_binpick_easy_EEF", "pusher_easy", "reacher", "simple_u_maze",
)  # fmt: skip
WARM_UP = 60
"""Env steps on the native engine before the comparison."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=ENVS)
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 5, 20], help="env steps after which to compare")
    parser.add_argument("--starts", type=int, default=8)
    args = parser.parse_args()
    for name in args.envs:
        print(json.dumps({"env": name} | differences(name, args.starts, args.steps)), flush=True)


def differences(name: str, starts: int, steps: list[int]) -> dict[str, object]:
    """Differences between the engines' states after each of `steps`, and the contacts at the start."""
    entry = lookup(name)
    assert entry.model is not None
    envs = {e: vector.build(*entry.engines[e](None), "never").compiled() for e in ("mujoco", "mjx")}
    rng = np.random.default_rng(0)
    size = envs["mujoco"].spec.action_size
    state = envs["mujoco"].reset(jax.random.key(0), starts)
    for _ in range(WARM_UP):
        state = envs["mujoco"].step(state, rng.uniform(-1, 1, (starts, size)).astype(np.float32))
    # Both begin at what single precision holds of it.
    options = {key: np.asarray(state.physics[key], np.float32) for key in ("qpos", "qvel")} | {"goal": state.goal}
    states = {e: env.reset(jax.random.key(1), starts, options) for e, env in envs.items()}
    found: dict[str, object] = {"contacts": contacts(entry.model(), state.physics["qpos"])}
    for step in range(1, max(steps) + 1):
        action = rng.uniform(-1, 1, (starts, size)).astype(np.float32)
        states = {e: envs[e].step(state, action) for e, state in states.items()}
        if step in steps:
            both = [np.asarray(states[e].next_state) for e in ("mujoco", "mjx")]
            apart = np.abs(both[0] - both[1]).max(axis=1)
            found[f"after_{step}"] = [float(f"{value:.2g}") for value in (np.median(apart), apart.max())]
    return found


def contacts(model: "mujoco.MjModel", qpos: np.ndarray) -> float:
    """Mean number of contacts in these positions."""
    data, counts = mujoco.MjData(model), []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_forward(model, data)
        counts.append(data.ncon)
    return float(np.mean(counts))


if __name__ == "__main__":
    main()

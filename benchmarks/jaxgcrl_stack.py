"""JaxGCRL 0.2.8 with the libraries of its time, in an environment of its own, to be timed beside us.

python benchmarks/jaxgcrl_stack.py DIR ENV NUM_ENVS STEPS    # installs into DIR when that is missing
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = (
    "jax==0.4.25", "jaxlib==0.4.25", "brax==0.12.1", "mujoco==3.2.7", "mujoco-mjx==3.2.7", "flax==0.8.4",
    "jaxopt==0.8.5", "optax==0.2.2", "numpy==1.26.4", "scipy==1.12.0", "trimesh",
)  # fmt: skip
"""What its environments import; the newest of these do not work with it."""

PROGRAM = """
import json, sys, time, types

class Unused(types.ModuleType):  # what it logs and plots with; no environment does
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

for name in ("wandb", "wandb_osh", "wandb_osh.hooks", "matplotlib", "matplotlib.pyplot"):
    sys.modules[name] = Unused(name)

import jax
from brax.envs.wrappers.training import wrap
from jaxgcrl.utils.env import create_env

name, num_envs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
env = wrap(create_env(name), episode_length=1000, action_repeat=1)
state = jax.jit(env.reset)(jax.random.split(jax.random.PRNGKey(0), num_envs))
actions = jax.random.uniform(jax.random.PRNGKey(1), (steps, num_envs, env.action_size), minval=-1.0)
unroll = jax.jit(lambda s, a: jax.lax.scan(lambda s, a: (env.step(s, a), None), s, a)[0])
started = time.perf_counter()
compiled = unroll.lower(state, actions).compile()
compile_s = time.perf_counter() - started
seconds = []
while len(seconds) < 3 and sum(seconds) < 60:
    started = time.perf_counter()
    state = jax.block_until_ready(compiled(state, actions))
    seconds.append(time.perf_counter() - started)
print(json.dumps({"rate": steps * num_envs / min(seconds), "compile_s": compile_s, "timings": len(seconds)}))
"""


def install(folder: Path) -> Path:
    """The environment's Python, made when it is missing. Raises CalledProcessError when pip fails."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", "jaxgcrl==0.2.8"], check=True)
    return python


def rate(folder: Path, env: str, num_envs: int, steps: int) -> dict[str, float]:
    """Env steps per second of the best of up to three unrolls of `steps` steps, and compile seconds.

    Raises RuntimeError with the process's last words.
    """
    command = [str(install(folder).absolute()), "-c", PROGRAM, env, str(num_envs), str(steps)]
    # It looks for some of its files from the working directory.
    package = next(folder.glob("lib/*/site-packages/jaxgcrl"))
    done = subprocess.run(command, capture_output=True, text=True, cwd=package)
    if done.returncode:
        raise RuntimeError(f"JaxGCRL on {env}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(rate(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

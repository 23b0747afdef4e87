"""Replays and films of runs, and pictures of environments."""

from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from deepcrl.agent import LoadedAgent, Which, check_episodes, load_agent
from deepcrl.config import ConfigError
from deepcrl.envs.registry import lookup, make_env
from deepcrl.nn.encoder import network_words
from deepcrl.plan import check_seed
from deepcrl.render.frames import Frame, picture, write_video
from deepcrl.render.geometry import drawn_qpos
from deepcrl.render.replay import replay_html, write_replay
from deepcrl.render.rollout import Recording, record_agent

if TYPE_CHECKING:
    import mujoco

FORMATS = ("html", "mp4", "gif")


def render(
    run_dir: str | Path,
    formats: tuple[str, ...] = ("html",),
    *,
    env: str | None = None,
    episodes: int = 4,
    mode: str | None = None,
    which: Which | int = "latest",
    seed: int = 0,
) -> list[Path]:
    """Write `replay.html`, `replay.mp4` or `replay.gif` into a run folder and return their paths.

    Args:
        formats: some of FORMATS.
        env: play in this environment instead of the run's own.
        episodes: how many to show.
        mode: how the agent acts; None means as in the run's evaluations.
        which: checkpoint to load.
        seed: decides starts, goals and sampled actions.

    Raises:
        ConfigError: for no formats or unknown ones, a bad number of episodes or seed; when the folder holds no run, the
            environment has no model to draw, or software that a format needs is missing; then the formats after it
            are not written either.
        CheckpointError: when no checkpoint can be used.
    """
    if not formats:
        raise ConfigError(f"formats must be one or more of {', '.join(FORMATS)}")
    if wrong := sorted(set(formats) - set(FORMATS)):
        raise ConfigError(f"format {wrong[0]!r} is none of {', '.join(FORMATS)}")
    check_episodes(episodes)
    check_seed(seed)
    agent = load_agent(run_dir, which, env)
    model, recording = watch(agent, episodes=episodes, mode=mode, seed=seed)
    written = []
    for kind in formats:
        path = Path(run_dir) / f"replay.{kind}"
        if kind == "html":
            written.append(write_replay(path, replay_html(model, recording, *titles(agent))))
        else:
            written.append(write_video(model, recording, path))
    return written


def watch(
    agent: LoadedAgent, *, episodes: int = 4, mode: str | None = None, seed: int = 0
) -> tuple["mujoco.MjModel", Recording]:
    """Record fresh episodes of an agent; return the model to draw and the recording. Raises ConfigError without one."""
    name = agent.config.evaluation.env or agent.config.env.name
    model, step_seconds = scene(name)
    check_episodes(episodes, agent.env.spec)
    mode = mode or agent.config.evaluation.mode
    return model, record_agent(agent, step_seconds, episodes=episodes, mode=mode, seed=seed)


def titles(agent: LoadedAgent) -> tuple[str, str]:
    """Title and subtitle of an agent's replay."""
    config = agent.config
    return (
        config.evaluation.env or config.env.name,
        f"{config.agent.algorithm}, {network_words(config.network)}, after {agent.env_steps:,} env steps",
    )


def scene(name: str) -> tuple["mujoco.MjModel", float]:
    """The model to draw an environment with, and seconds per env step. Raises ConfigError if it has no model."""
    entry = lookup(name)
    if entry.model is None:
        raise ConfigError(f"{name} has no model to draw")
    model = entry.model()
    return model, float(model.opt.timestep) * entry.substeps


def environment_picture(name: str, *, seed: int = 0, width: int = 640, height: int = 480) -> Frame:
    """Draw a fresh start. Raises ConfigError without a model, or if this machine cannot draw."""
    model, _ = scene(name)
    state = make_env(name).reset(jax.random.key(seed), 1)
    qpos = drawn_qpos(model, np.asarray(state.physics["qpos"]), np.asarray(state.goal))
    return picture(model, qpos[0], width, height)

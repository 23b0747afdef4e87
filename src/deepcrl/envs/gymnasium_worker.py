"""A process that steps Gymnasium environments for `gymnasium_env`: requests come in on stdin, replies go to stdout.

It runs this file alone. It loads neither JAX nor the caller's script, so it starts at once, needs no
`if __name__ == "__main__"` in that script, and leaves the accelerator to the learner. It ends when its stdin does.

Requests and replies are pickled tuples: (name of a method of `_Worker`, arguments...) to ("ok", result), or to
("error", one line of text).
"""

import contextlib
import importlib
import importlib.util
import io
import math
import os
import pickle
import signal
import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

GOAL_SPACES = ("observation", "achieved_goal", "desired_goal")
PROBE_STEPS = 5
"""Steps per episode of the test whether a seed and actions reproduce an episode."""

Result = tuple[np.ndarray, np.ndarray, np.ndarray, bool, float, bool, bool]
"""State and goal to continue from; then the last step's true state, success, distance, terminated, truncated."""


class _Refused(Exception):
    """The environment runs, but cannot be used here. The message completes a sentence that names it."""


class _Worker:
    def __init__(self, name: str, episode_length: int | None):
        self._name, self._episode_length = name, episode_length
        self._envs: dict[int, Any] = {}
        self._shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        """State and goal that each environment showed last."""

    def describe(self) -> dict[str, Any]:
        """The fields of its EnvSpec, and whether episodes are reproducible. Raises _Refused."""
        env, other = _make(self._name, self._episode_length), _make(self._name, self._episode_length)
        _check(env)
        size = math.prod(env.action_space.shape)
        sizes = {name: math.prod(env.observation_space[name].shape) for name in GOAL_SPACES}
        threshold = getattr(env.unwrapped, "distance_threshold", None)
        if hasattr(env.unwrapped, "rotation_threshold"):  # goals are poses, which one distance cannot grade
            threshold = None
        first = _probe(env, size, seed=0)
        _probe(env, size, seed=1)
        repeats = first == _probe(env, size, seed=0) == _probe(other, size, seed=0)
        env.close()
        other.close()
        return {
            "state_size": sizes["observation"] + sizes["achieved_goal"],
            "goal_size": sizes["achieved_goal"],
            "action_size": size,
            "episode_length": env.spec.max_episode_steps,
            "success_radius": float(threshold) if isinstance(threshold, int | float | np.number) else 0.0,
            "goal_copies": _copies(np.frombuffer(first, np.float32), *sizes.values()),
            "repeats": repeats,
        }

    def close(self) -> None:
        """Close all environments, even if closing one of them fails."""
        for env in self._envs.values():
            with contextlib.suppress(Exception):
                env.close()

    def begin(self, slots: list[int], seeds: list[int], logs: list[np.ndarray]) -> list[Result]:
        """Reset each environment with its seed, and replay the actions [t, A] of its log."""
        return [self._begin(*row) for row in zip(slots, seeds, logs)]

    def step(self, slots: list[int], actions: np.ndarray, next_seeds: list[int]) -> list[Result]:
        """Step each environment; where an episode ends, begin the next one with the next seed."""
        return [self._step(*row) for row in zip(slots, actions, next_seeds)]

    def _begin(self, slot: int, seed: int, log: np.ndarray) -> Result:
        if slot not in self._envs:
            self._envs[slot] = _make(self._name, self._episode_length)
        env = self._envs[slot]
        observation, info = env.reset(seed=seed)
        for action in log:
            observation, _, _, _, info = env.step(_scaled(env, action))
        state, goal = self._shown[slot] = _seen(env, observation)
        if not (np.isfinite(state).all() and np.isfinite(goal).all()):
            raise _Refused("starts from an observation or a goal that is not finite")
        return state, goal, state, _succeeded(env, observation, info), _distance(state, goal), False, False

    def _step(self, slot: int, action: np.ndarray, next_seed: int) -> Result:
        env = self._envs[slot]
        observation, _, terminated, truncated, info = env.step(_scaled(env, action))
        state, goal = _seen(env, observation)
        if np.isfinite(state).all() and np.isfinite(goal).all():
            success = _succeeded(env, observation, info)
        else:  # a diverged simulation ends its episode here instead of poisoning the replay
            (state, goal), success, terminated = self._shown[slot], False, True
        self._shown[slot] = state, goal
        result = (state, success, _distance(state, goal), bool(terminated), bool(truncated and not terminated))
        if terminated or truncated:
            state, goal, *_ = self._begin(slot, next_seed, np.empty((0, action.size), np.float32))
        return state, goal, *result


def _make(name: str, episode_length: int | None) -> Any:
    """Make the environment "ID", or "MODULE:ID" for one that a module registers."""
    if importlib.util.find_spec("gymnasium_robotics"):
        with contextlib.redirect_stderr(io.StringIO()):  # hide notices about other environments
            importlib.import_module("gymnasium_robotics")
        _equal_enums()
    return gymnasium.make(name, max_episode_steps=episode_length, disable_env_checker=True)


def _equal_enums() -> None:
    """Let MuJoCo's joint types equal numpy integers, which they no longer do since MuJoCo 3.12.

    Gymnasium-Robotics 1.4 expects it: without this, none of its Fetch and Hand environments can be made.
    """
    import mujoco

    joint_type: Any = mujoco.mjtJoint
    hinge = joint_type.mjJNT_HINGE
    if hinge != np.int32(int(hinge)):
        strict = joint_type.__eq__
        joint_type.__eq__ = lambda self, other: strict(self, int(other) if isinstance(other, np.integer) else other)


def _check(env: Any) -> None:
    """Raise _Refused unless this is a goal environment of vectors, with bounded actions and a time limit."""
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, Dict) or not set(GOAL_SPACES) <= set(observations):
        raise _Refused(f"is not a goal environment: it observes no dictionary of {', '.join(GOAL_SPACES)}")
    for name in GOAL_SPACES:
        space = observations[name]
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise _Refused(f"cannot be used: its {name} is no vector, but {_kind(space)}")
    achieved, desired = (observations[name].shape for name in GOAL_SPACES[1:])
    if achieved != desired:
        raise _Refused(f"cannot be used: its achieved_goal has shape {achieved}, its desired_goal {desired}")
    if not isinstance(actions, Box) or len(actions.shape) != 1 or not actions.is_bounded():
        raise _Refused(f"cannot be used: its actions are no bounded vectors, but {_kind(actions)}")
    if not env.has_wrapper_attr("compute_reward"):
        raise _Refused("is not a goal environment: it has no compute_reward")
    if env.spec is None or env.spec.max_episode_steps is None:
        raise _Refused("has no time limit; set env.episode_length")


def _kind(space: gymnasium.Space) -> str:
    return f"{type(space).__name__}{space.shape or ''}"


def _probe(env: Any, action_size: int, seed: int) -> bytes:
    """All states and goals of one short episode of random actions, as bytes."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    seen = [*_seen(env, observation)]
    for _ in range(PROBE_STEPS):
        observation, _, terminated, truncated, _ = env.step(_scaled(env, rng.uniform(-1, 1, action_size)))
        seen += _seen(env, observation)
        if terminated or truncated:
            break
    return b"".join(row.tobytes() for row in seen)


def _copies(seen: np.ndarray, observation_size: int, achieved_size: int, desired_size: int) -> tuple:
    """For each achieved-goal entry, the indices of the observation entries that have always equalled it.

    A goal entry that has never changed gets none.
    """
    rows = seen.reshape(-1, observation_size + achieved_size + desired_size)
    observed, achieved, _ = np.split(rows, [observation_size, observation_size + achieved_size], axis=1)
    same = (observed[:, :, None] == achieved[:, None, :]).all(axis=0) & (np.ptp(achieved, axis=0) > 0)
    return tuple(tuple(map(int, np.flatnonzero(column))) for column in same.T)


def _scaled(env: Any, action: np.ndarray) -> np.ndarray:
    """Scale an action from [-1, 1] to the bounds of the action space."""
    space = env.action_space
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return np.clip((low + high) / 2 + action * (high - low) / 2, low, high).astype(space.dtype)


def _seen(env: Any, observation: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """State and goal of an observation. Raises _Refused for shapes other than their spaces'."""
    parts = []
    for name in GOAL_SPACES:
        part, expected = np.asarray(observation[name], np.float32), env.observation_space[name].shape
        if part.shape != expected:
            raise _Refused(f"shows {name} of shape {part.shape}; its space has {expected}")
        parts.append(part)
    return np.concatenate(parts[:2]), parts[2]


def _distance(state: np.ndarray, goal: np.ndarray) -> float:
    return float(np.linalg.norm(state[-goal.size :] - goal))


def _succeeded(env: Any, observation: dict[str, np.ndarray], info: dict[str, Any]) -> bool:
    """Success as `info` reports it; if it does not, whether the reward is at least that at the goal itself."""
    for name in ("is_success", "success"):
        if name in info:
            return bool(info[name])
    compute_reward, goal = env.get_wrapper_attr("compute_reward"), observation["desired_goal"]
    return bool(compute_reward(observation["achieved_goal"], goal, info) >= compute_reward(goal, goal, info))


def _reply(worker: _Worker, request: tuple) -> tuple[str, Any]:
    method, *arguments = request
    try:
        return "ok", getattr(worker, method)(*arguments)
    except _Refused as error:
        return "error", str(error)
    except Exception as error:
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        return "error", f"failed: {type(error).__name__}: {first_line}"


def main() -> None:
    # The caller, who gets the same signals, decides when this ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep what environments print out of the replies
    sys.path[:], *arguments = pickle.load(requests)
    worker = _Worker(*arguments)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            worker.close()
            return
        pickle.dump(_reply(worker, request), replies)
        replies.flush()


if __name__ == "__main__":
    main()

"""Gymnasium both ways: its environments as ours, held against the environments themselves, and ours as its."""

import contextlib
import dataclasses
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium.utils.env_checker import check_env

import deepcrl.gym
from deepcrl import checkpoint
from deepcrl.config import ConfigError
from deepcrl.envs import gymnasium_env as module
from deepcrl.envs import point, registry
from deepcrl.envs.gymnasium_env import gymnasium_env
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.render import gl_backend, picture, scene

NUM_ENVS, LENGTH = 5, 7

TOYS = '''
import os

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class Toy(gymnasium.Env):
    """A point in a plane, pushed by the action and by noise. `kind` says what is odd about it."""

    def __init__(self, kind="plain"):
        self.kind = kind
        shape = (2, 2) if kind == "image" else (3,)
        spaces = {"observation": Box(-9, 9, shape), "achieved_goal": Box(-9, 9, (2,)), "desired_goal": Box(-9, 9, (2,))}
        if kind == "uneven":
            spaces["desired_goal"] = Box(-9, 9, (3,))
        self.observation_space = Dict(spaces)
        self.action_space = Box(np.array([-2.0, 0.0]), np.array([0.0, 0.5]), dtype=np.float64)
        if kind == "discrete":
            self.action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time = self.np_random.uniform(-1, 1, 2), 0
        self.goal = self.np_random.uniform(-1, 1, 2)
        if self.kind == "nowhere":
            self.at = self.at * np.nan
        print("printed", flush=True)
        return self._look(), {}

    def close(self):
        if "TOYS_CLOSED" in os.environ:
            with open(os.environ["TOYS_CLOSED"], "a") as file:
                file.write("closed\\n")

    def _look(self):
        return {
            "observation": self._observation(),
            "achieved_goal": self.at.copy(),
            "desired_goal": self.goal.copy(),
        }

    def _observation(self):
        if self.kind == "repeating":
            return np.array([self.at[1], self.time, self.at[0]])
        return np.array([*(10 * self.at), self.time][: 2 if self.kind == "short" else 3])

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        self.at = self.at + [1, -1] * (action + [1, -0.25]) + 0.1 * self.np_random.normal(size=2)
        if self.kind == "unrepeatable":
            self.at = self.at + 1e-6 * os.urandom(1)[0]
        if self.kind == "raising" and action[1] > 0.49:
            raise ArithmeticError("first line\\nsecond line")
        if self.kind == "dying" and action[1] > 0.49:
            os._exit(7)
        if self.kind == "diverging" and self.time == 3:
            self.at = self.at * np.nan
        if self.kind == "moving":
            self.goal = self.goal + 0.01
        close = self.compute_reward(self.at, self.goal, {}) == 0.0
        info = {} if self.kind == "silent" else {"success": close} if self.kind == "moving" else {"is_success": close}
        return self._look(), -1.0, bool(abs(self.at[0]) > 2), False, info

    def compute_reward(self, achieved, goal, info):
        return -(np.linalg.norm(achieved - goal, axis=-1) > 0.6).astype(float)


class Told(Toy):
    distance_threshold = np.float32(0.5)


class Turned(Told):
    rotation_threshold = 0.1


KINDS = "plain silent moving repeating diverging unrepeatable raising dying image discrete uneven nowhere short"
for kind in KINDS.split():
    gymnasium.register(f"Toy-{kind}-v0", Toy, max_episode_steps=7, kwargs={"kind": kind})
gymnasium.register("Toy-endless-v0", Toy)
gymnasium.register("Toy-told-v0", Told, max_episode_steps=7)
gymnasium.register("Toy-turned-v0", Turned, max_episode_steps=7)
'''


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory):
    """An importable module of environments, outside of this package."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toys.py").write_text(TOYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


def toy(kind="plain", **options):
    return gymnasium_env(f"toys:Toy-{kind}-v0", **{"processes": 2, **options})


def random_actions(steps, num_envs=NUM_ENVS, size=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, num_envs, size)).astype(np.float32)


def roll(env, state, actions):
    """The states after every step."""
    path = []
    for action in actions:
        state = env.step(state, action)
        path.append(state)
    return path


def assert_same(first, second):
    """Bitwise equality of two trees."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# Theirs as ours


@pytest.mark.parametrize("kind", ["plain", "silent", "moving"])
def test_follows_the_environment(kind):
    """Every field of every step, against the environments stepped here."""
    env = toy(kind)
    assert dataclasses.astuple(env.spec) == (5, 2, (3, 4), 2, LENGTH, 0.0, None, None, None, ((), ()))
    assert not env.on_device
    assert env.scene.layout is None
    state = env.reset(jax.random.key(0), NUM_ENVS)
    mirrors = [gymnasium.make(f"toys:Toy-{kind}-v0", disable_env_checker=True) for _ in range(NUM_ENVS)]
    seen = [mirror.reset(seed=int(seed))[0] for mirror, seed in zip(mirrors, state.physics["seed"])]
    ends = {"terminated": 0, "truncated": 0, "success": 0}
    for action in random_actions(25):
        before, state = state, env.step(state, action)
        for row, mirror in enumerate(mirrors):
            np.testing.assert_allclose(before.state[row, :3], seen[row]["observation"], rtol=1e-6)
            np.testing.assert_allclose(before.state[row, 3:], seen[row]["achieved_goal"], rtol=1e-6)
            np.testing.assert_array_equal(before.achieved_goal[row], before.state[row, 3:])
            np.testing.assert_allclose(before.goal[row], seen[row]["desired_goal"], rtol=1e-6)
            low, high = np.array([-2.0, 0.0]), np.array([0.0, 0.5])
            scaled = low + (action[row].astype(np.float64) + 1) / 2 * (high - low)
            seen[row], _, terminated, truncated, _ = mirror.step(scaled)
            gap = np.linalg.norm(seen[row]["achieved_goal"] - seen[row]["desired_goal"])
            np.testing.assert_allclose(state.next_state[row, :3], seen[row]["observation"], rtol=1e-6)
            np.testing.assert_allclose(state.next_state[row, 3:], seen[row]["achieved_goal"], rtol=1e-6)
            np.testing.assert_allclose(state.distance[row], gap, rtol=1e-5)
            assert state.success[row] == (gap <= 0.6)
            assert state.terminated[row] == terminated
            assert state.truncated[row] == (truncated and not terminated)
            done = terminated or truncated
            assert state.episode_id[row] == before.episode_id[row] + done
            assert state.episode_step[row] == (0 if done else before.episode_step[row] + 1)
            if done:
                assert state.physics["seed"][row] != before.physics["seed"][row]
                seen[row], _ = mirror.reset(seed=int(state.physics["seed"][row]))
        np.testing.assert_array_equal(state.key, before.key)
        for name in ends:
            ends[name] += int(getattr(state, name).sum())
    assert min(ends.values()) > 3, ends
    assert state.state.dtype == state.goal.dtype == state.distance.dtype == np.float32


def test_the_success_radius_is_the_threshold_where_there_is_one():
    assert toy("told").spec.success_radius == 0.5
    assert toy("turned").spec.success_radius == 0.0


def test_entries_that_repeat_the_achieved_goal_are_known():
    assert toy("repeating").spec.goal_copies == ((2,), (0,))
    assert toy().spec.goal_copies == ((), ())


def test_independent_of_the_number_of_processes():
    paths = []
    for processes in (1, 2, 4):
        env = toy(processes=processes)
        paths.append(roll(env, env.reset(jax.random.key(1), NUM_ENVS), random_actions(20)))
    assert_same(paths[0], paths[1])
    assert_same(paths[0], paths[2])


def test_resumes_exactly_from_a_checkpoint(tmp_path):
    first = toy()
    state, actions = first.reset(jax.random.key(2), NUM_ENVS), random_actions(20)
    path = roll(first, state, actions)
    checkpoint.save(tmp_path, 4, path[4], {}, score=0.0, keep=1)
    second = toy()
    saved, _ = checkpoint.restore(tmp_path, 4, second.reset(jax.random.key(0), NUM_ENVS))
    assert_same(path[4], saved)
    assert_same(path[5:], roll(second, saved, actions[5:]))


def test_any_state_can_be_stepped_at_any_time():
    """Two rollouts in turn, a smaller batch between them, and back to a state that has long been left."""
    env = toy()
    actions = random_actions(16)
    starts = [env.reset(jax.random.key(seed), NUM_ENVS) for seed in (3, 4)]
    alone = [roll(env, start, actions) for start in starts]
    both = [list(starts), []]
    for action in actions:
        both.append([env.step(state, action) for state in (both[-1] or both[0])])
        env.reset(jax.random.key(9), 2)
    for index in range(2):
        assert_same(alone[index], [pair[index] for pair in both[2:]])
    assert_same(alone[0][9], env.step(alone[0][8], actions[9]))


def test_step_leaves_its_input_alone():
    env = toy()
    state = env.reset(jax.random.key(0), NUM_ENVS)
    copy = jax.tree.map(np.array, state)
    path = roll(env, state, random_actions(9))
    assert_same(state, copy)
    assert not np.array_equal(path[0].state, path[1].state)


def test_inactive_rows_stay():
    env, active = toy(), np.array([True, False, True, False, False])
    state = env.step(env.reset(jax.random.key(5), NUM_ENVS), random_actions(1)[0])
    action = random_actions(2)[1]
    part = env.step(state, action, active)
    full = env.step(state, action)  # the active rows are brought back
    assert_same(jax.tree.map(lambda leaf: leaf[active], part), jax.tree.map(lambda leaf: leaf[active], full))
    assert_same(jax.tree.map(lambda leaf: leaf[~active], part), jax.tree.map(lambda leaf: leaf[~active], state))
    assert_same(state, env.step(state, action, np.zeros(NUM_ENVS, bool)))
    # A row that has never been brought here is not taken to be here.
    other = toy()
    other.reset(jax.random.key(0), NUM_ENVS)
    assert_same(env.step(part, action), other.step(other.step(state, action, active), action))


def test_seeds_follow_from_key_slot_and_episode():
    env = toy()
    first, again, other = (env.reset(jax.random.key(seed), NUM_ENVS).physics["seed"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len({*first.tolist(), *other.tolist()}) == 2 * NUM_ENVS
    path = roll(env, env.reset(jax.random.key(0), NUM_ENVS), random_actions(3 * LENGTH))
    assert len({int(seed) for state in path for seed in state.physics["seed"]}) == NUM_ENVS + path[-1].episode_id.sum()


def test_cached_resets_repeat_each_slots_episode():
    env = toy(auto_reset="cached")
    first = env.reset(jax.random.key(0), NUM_ENVS)
    for state in roll(env, first, random_actions(2 * LENGTH)):
        fresh = state.episode_step == 0
        np.testing.assert_array_equal(state.state[fresh], first.state[fresh])
        np.testing.assert_array_equal(state.goal[fresh], first.goal[fresh])
    assert state.episode_id.min() >= 2


def test_actions_are_clipped():
    env = toy()
    state = env.reset(jax.random.key(0), NUM_ENVS)
    over, full = (env.step(state, np.full((NUM_ENVS, 2), value, np.float32)) for value in (3.0, 1.0))
    assert_same(over, full)


def test_the_episode_length_can_be_set():
    env = toy("endless", episode_length=4)
    assert env.spec.episode_length == 4
    path = roll(env, env.reset(jax.random.key(0), NUM_ENVS), np.zeros((4, NUM_ENVS, 2), np.float32))
    assert [state.truncated.all() for state in path] == [False, False, False, True]


def test_a_diverged_environment_ends_its_episode():
    env = toy("diverging")
    path = roll(env, env.reset(jax.random.key(0), NUM_ENVS), np.zeros((3, NUM_ENVS, 2), np.float32))
    assert not path[1].terminated.any()
    assert path[2].terminated.all()
    assert not path[2].success.any()
    np.testing.assert_array_equal(path[2].next_state, path[1].state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(path[2]))


REFUSED = {
    "CartPole-v1": "is not a goal environment: it observes no dictionary of observation, achieved_goal, desired_goal",
    "toys:Toy-image-v0": r"cannot be used: its observation is no vector, but Box\(2, 2\)$",
    "toys:Toy-discrete-v0": "cannot be used: its actions are no bounded vectors, but Discrete$",
    "toys:Toy-uneven-v0": r"cannot be used: its achieved_goal has shape \(2,\), its desired_goal \(3,\)$",
    "toys:Toy-short-v0": r"shows observation of shape \(2,\); its space has \(3,\)$",
    "toys:Toy-endless-v0": r"has no time limit; set env\.episode_length",
    "toys:Toy-plane-v0": r"failed: NameNotFound: .*Toy-plane.*did you mean: `Toy-plain`",
    "no_such_module:Toy-v0": "failed: ModuleNotFoundError: .*no_such_module",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_is_refused_in_one_line(name):
    with pytest.raises(ConfigError, match=f"(?i)^env.name = 'gymnasium:{name}' {REFUSED[name]}") as caught:
        gymnasium_env(name)
    assert "\n" not in str(caught.value)


def test_without_gymnasium(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gymnasium:Any-v0' needs Gymnasium: pip install 'deepcrl\[gym\]'"):
        gymnasium_env("Any-v0")


def test_starts_cannot_be_given():
    with pytest.raises(ConfigError, match="options 'goal': a Gymnasium environment draws its own starts"):
        toy().reset(jax.random.key(0), 2, {"goal": np.zeros(2)})


def test_an_unrepeatable_environment_is_warned_of():
    with pytest.warns(UserWarning, match="Toy-unrepeatable-v0 does not repeat an episode .* resumed run"):
        toy("unrepeatable")


@pytest.mark.parametrize(
    ("kind", "says"),
    [("raising", "failed: ArithmeticError: first line$"), ("dying", "ended its process with exit code 7$")],
)
def test_a_failing_step_is_one_line_and_harms_no_other(kind, says):
    """The environment fails at full action; afterwards it goes on from the state it was given."""
    env, expected = toy(kind), toy()
    state = env.reset(jax.random.key(0), NUM_ENVS)
    bad = np.zeros((NUM_ENVS, 2), np.float32)
    bad[3, 1] = 1.0
    with pytest.raises(ConfigError, match=f"^env.name = 'gymnasium:toys:Toy-{kind}-v0' {says}"):
        env.step(state, bad)
    expected.reset(jax.random.key(0), NUM_ENVS)
    assert_same(env.step(state, 0 * bad), expected.step(state, 0 * bad))


def test_a_start_that_is_not_finite_is_refused():
    with pytest.raises(ConfigError, match=r"starts from an observation or a goal that is not finite$"):
        toy("nowhere").reset(jax.random.key(0), 2)


def test_every_environment_is_closed_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)  # a busy machine is no failure
    module._describe.cache_clear()
    monkeypatch.setenv("TOYS_CLOSED", str(tmp_path / "closed"))
    env = toy(processes=2)
    assert (tmp_path / "closed").read_text() == "closed\n" * 2  # of the two that were tried out
    env.reset(jax.random.key(0), NUM_ENVS)
    del env
    gc.collect()
    assert (tmp_path / "closed").read_text() == "closed\n" * (2 + NUM_ENVS)


def test_processes_end_with_their_environment(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    env = toy(processes=3)
    pool = next(cell.cell_contents for cell in env.step.__closure__ if isinstance(cell.cell_contents, module._Pool))
    state = env.reset(jax.random.key(0), NUM_ENVS)
    processes = list(pool._processes.values())
    assert [process.poll() for process in processes] == [None] * 3
    for process in processes:  # what a terminal or a scheduler sends to all
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
    env.step(state, random_actions(1)[0])
    del env, pool
    gc.collect()
    assert [process.poll() for process in processes] == [0, 0, 0]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processes_end_with_a_killed_caller_and_need_no_main_guard(toys):
    script = toys / "script.py"
    script.write_text(
        "import os, signal, jax\n"
        "from deepcrl.envs.gymnasium_env import *\n"
        "from deepcrl.envs.gymnasium_env import _Pool\n"
        "env = gymnasium_env('toys:Toy-plain-v0', processes=2)\n"
        "env.reset(jax.random.key(0), 4)\n"
        "pool = next(c.cell_contents for c in env.step.__closure__ if isinstance(c.cell_contents, _Pool))\n"
        "print(*(process.pid for process in pool._processes.values()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 300
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


@pytest.mark.parametrize(("name", "sizes"), [("FetchReach-v4", (13, 3, 4)), ("FetchPush-v4", (28, 3, 4))])
def test_fetch_goes_on_exactly(name, sizes):
    """A robot with mocap welds and solver warm starts: its whole state is repeated by seed and actions."""
    pytest.importorskip("gymnasium_robotics")
    one, two = gymnasium_env(name, processes=1), gymnasium_env(name, processes=2)
    spec = one.spec
    assert (spec.state_size, spec.goal_size, spec.action_size) == sizes
    assert (spec.episode_length, spec.success_radius) == (50, 0.05)
    actions = random_actions(60, 3, 4)
    path = roll(one, one.reset(jax.random.key(0), 3), actions)
    assert_same(path, roll(two, two.reset(jax.random.key(0), 3), actions))
    assert_same(path[31:], roll(two, path[30], actions[31:]))
    for state in path:
        achieved = state.next_state[:, spec.goal_indices]
        if name == "FetchReach-v4":
            np.testing.assert_array_equal(achieved, state.next_state[:, :3])  # the gripper comes first
        if not state.truncated.any():
            np.testing.assert_allclose(state.distance, np.linalg.norm(achieved - state.goal, axis=1), rtol=1e-5)
        np.testing.assert_array_equal(state.success, state.distance < 0.05)
    assert path[49].truncated.all()


# Ours as theirs

QUIET = pytest.mark.filterwarnings("ignore:.*A Box observation space")


def chase_task(episode_length):
    """A point on the plane after a goal that runs away from it along x, reached when left of it and near along y."""
    base = point.point_task(LAYOUTS["u"], episode_length)

    def grades(achieved, goal):
        return {"success": (achieved[0] < goal[0]) & (jnp.abs(achieved[1] - goal[1]) < 1.0), "easy": achieved[0] > 0}

    spec = dataclasses.replace(base.spec, grades=grades)
    return base._replace(spec=spec, move_goal=lambda physics, goal: goal.at[0].set(physics["qpos"][0] + goal[1]))


@pytest.fixture
def chase(monkeypatch):
    monkeypatch.setattr(registry, "ENVIRONMENTS", dict(registry.ENVIRONMENTS))
    registry.register("chase", {"jax": lambda length: (chase_task(length), point.point_engine(LAYOUTS["u"]))})


BODIES_AND_TASKS = [
    *("point_u_maze", "ant_u_maze", "ant_ball", "ant_push", "humanoid", "simple_u_maze", "reacher", "cheetah"),
    *("pusher_easy", "pusher2", "arm_reach", "arm_grasp", "arm_push_easy", "arm_binpick_easy_EEF"),
]


@QUIET
@pytest.mark.parametrize("name", BODIES_AND_TASKS)
def test_passes_gymnasiums_checker(name):
    env = gymnasium.make(f"deepcrl.gym:deepcrl/{name}-v0", disable_env_checker=True).unwrapped
    check_env(env, skip_render_check=gl_backend() is None)


needs_gl = pytest.mark.skipif(gl_backend() is None, reason="no GL backend here")


@needs_gl
def test_a_picture_is_of_the_present_state():
    with contextlib.closing(
        deepcrl.gym.make_gymnasium("point_u_maze", seed=0, render_mode="rgb_array", width=96, height=64)
    ) as env:
        with pytest.raises(gymnasium.error.ResetNeeded, match="before render"):
            env.render()
        env.reset(options={"qpos": [4.0, 4.0], "goal": [12.0, 4.0]})
        first = env.render()
        assert (first.shape, first.dtype, first.flags.writeable) == ((64, 96, 3), np.uint8, True)
        np.testing.assert_array_equal(env.render(), first)
        assert env.metadata["render_fps"] == pytest.approx(1 / scene("point_u_maze")[1])
        env.reset(options={"qpos": [4.0, 8.0], "goal": [12.0, 4.0]})
        moved = np.abs(env.render().astype(int) - first).max(axis=-1) > 30
        assert 4 < moved.sum() < 600, "the point alone"
        env.reset(options={"qpos": [4.0, 4.0], "goal": [12.0, 12.0]})
        assert 4 < (np.abs(env.render().astype(int) - first).max(axis=-1) > 30).sum() < 600, "its goal's marker alone"
        np.testing.assert_array_equal(
            env.render(), picture(scene("point_u_maze")[0], np.array([4.0, 4.0, 12.0, 12.0]), 96, 64)
        )


@needs_gl
def test_a_batch_has_a_picture_for_each():
    id = "deepcrl.gym:deepcrl/humanoid-v0"  # whose goal is a part of its state
    with contextlib.closing(gymnasium.make_vec(id, num_envs=2, render_mode="rgb_array", width=48, height=32)) as envs:
        envs.reset(seed=0)
        one, other = envs.render()
        assert one.shape == other.shape == (32, 48, 3)
        assert (one != other).any()


def test_pictures_are_asked_for_by_a_mode():
    env = deepcrl.gym.make_gymnasium("point_u_maze")
    env.reset()
    assert (env.render_mode, env.render()) == (None, None)
    env.close()
    with pytest.raises(ConfigError, match="render_mode = 'human' must be None or 'rgb_array'"):
        deepcrl.gym.make_gymnasium("point_u_maze", render_mode="human")
    with pytest.raises(ConfigError, match="height = 0 must be at least 1"):
        deepcrl.gym.make_gymnasium_vec("point_u_maze", 2, render_mode="rgb_array", height=0)


def test_what_has_no_model_has_no_pictures(chase):
    with pytest.raises(ConfigError, match="chase has no model to draw"):
        deepcrl.gym.make_gymnasium("chase", render_mode="rgb_array")


def test_observations_are_the_tasks_state_and_goals():
    env = deepcrl.gym.make_gymnasium("ant_u_maze", seed=3)
    observation, info = env.reset()
    assert {name: space.shape[0] for name, space in env.observation_space.items()} == {
        "observation": 29,
        "achieved_goal": 2,
        "desired_goal": 2,
    }
    assert info == {"is_success": False}
    assert all(value in env.observation_space[name] for name, value in observation.items())
    for _ in range(5):
        np.testing.assert_array_equal(observation["achieved_goal"], observation["observation"][:2])
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        gap = np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"])
        assert reward == float(gap < 0.5) == env.compute_reward(*goals(observation), info)
        assert terminated == env.compute_terminated(*goals(observation), info)
        assert truncated == env.compute_truncated(*goals(observation), info)


def goals(observation):
    return observation["achieved_goal"], observation["desired_goal"]


def test_seeds_decide_starts_and_goals():
    first, second = (deepcrl.gym.make_gymnasium("point_u_maze", seed=5) for _ in range(2))
    starts = [first.reset()[0], second.reset()[0], first.reset(seed=5)[0], first.reset()[0], second.reset()[0]]
    for other in starts[1:3]:
        for name in other:
            np.testing.assert_array_equal(starts[0][name], other[name])
    np.testing.assert_array_equal(starts[3]["observation"], starts[4]["observation"])
    assert not np.array_equal(starts[0]["observation"], starts[3]["observation"])


def test_starts_can_be_given_and_only_falls_terminate():
    env = deepcrl.gym.make_gymnasium("ant_u_maze", episode_length=3)
    qpos = np.array([5.0, 4.0, 0.55, 1, 0, 0, 0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0, 0])
    options = {"qpos": qpos, "qvel": np.zeros(16), "goal": [5.1, 4.0]}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_allclose(observation["observation"], [*qpos[:15], *np.zeros(14)], rtol=1e-6)
    np.testing.assert_allclose(observation["desired_goal"], [5.1, 4.0], rtol=1e-6)
    assert info["is_success"]
    ends = [env.step(np.zeros(8, np.float32))[1:4] for _ in range(3)]
    assert ends == [(1.0, False, False), (1.0, False, False), (1.0, False, True)]
    env.reset(seed=0, options={**options, "qpos": np.where(np.arange(17) == 2, 1.5, qpos)})
    assert env.step(np.zeros(8, np.float32))[2:4] == (True, False)
    with pytest.raises(ConfigError, match="options\\['pose'\\] is not one of 'goal', 'qpos'"):
        env.reset(options={"pose": 0})


def test_rewards_of_many_goals_at_once():
    env = deepcrl.gym.make_gymnasium("point_u_maze")
    rng = np.random.default_rng(0)
    achieved, desired = rng.uniform(-0.5, 0.5, (2, 4, 6, 2))
    expected = (np.linalg.norm(achieved - desired, axis=-1) < 0.5).astype(float)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(env.compute_reward(achieved, desired, [{}] * 4), expected)
    np.testing.assert_array_equal(
        env.compute_reward(achieved[0, 0], desired, {}),
        env.compute_reward(np.broadcast_to(achieved[0, 0], desired.shape), desired, {}),
    )
    assert env.compute_reward(achieved[0, 0], desired[0, 0], {}) == expected[0, 0]


# What the specification of the environments calls a success, of achieved and desired goals [..., G] in metres.


def within(radius):
    return lambda achieved, desired: np.linalg.norm(achieved - desired, axis=-1) < radius


def grasped(achieved, desired):
    """The fingertips' midpoint is at the cube, and they are as far apart as around it."""
    middle, cube = (achieved[..., :3] + achieved[..., 3:6]) / 2, (desired[..., :3] + desired[..., 3:6]) / 2
    return (np.linalg.norm(middle - cube, axis=-1) < 0.05) & (np.abs(achieved[..., 6] - 0.075) < 0.02)


def both_on_their_discs(achieved, desired):
    return within(0.1)(achieved[..., :3], desired[..., :3]) & within(0.1)(achieved[..., 3:], desired[..., 3:])


# Where these goals are in the simulator's coordinates and sensors.


def fingertips(sensors):
    left, right = sensors[6:9], sensors[9:12]
    return [*left, *right, np.linalg.norm(left - right)]


ASIDE = np.array([0.0375, 0.0, 0.0])
"""From a cube that is held to the left fingertip, in metres."""


def around_the_cube(cube):
    return [*(cube + ASIDE), *(cube - ASIDE), 0.075]


# Starts near success, as options of `reset`, from what is achieved at a start and its coordinates.


def goals_beside(*places, height=None):
    """Goals at these places from what is achieved, or at this height."""

    def options(achieved, qpos):
        for place in places:
            goal = achieved + place
            if height is not None:
                goal[2::3] = height
            yield {"goal": goal}

    return options


def cubes_below_the_fingertips(achieved, qpos):
    for down in (0.0, 0.02, 0.04, 0.06):
        yield {"qpos": [*((achieved[:3] + achieved[3:6]) / 2 - [0, 0, down]), *qpos[3:]]}


class Rewards(NamedTuple):
    """How one environment's rewards follow from its coordinates and sensors."""

    success: Callable
    achieved: Callable
    """(qpos, sensors) to the achieved goal."""
    desired: Callable
    """qpos to the desired goal: where the marker is, or where a moving goal has to be."""
    starts: Callable


ON_THE_TABLE = goals_beside([0.05, 0, -0.04], [0.09, 0, -0.04], [0, 0.11, -0.04], [0.05, 0, 0.05])
REWARDS = {
    "arm_reach": Rewards(
        within(0.1),
        lambda qpos, sensors: sensors[:3],
        lambda qpos: qpos[:3],
        goals_beside([0.05, 0, 0], [0, 0.06, 0.06], [0.07, 0.07, 0.07], [0, 0, 0.15]),
    ),
    "arm_push_easy": Rewards(within(0.1), lambda qpos, sensors: qpos[:3], lambda qpos: qpos[7:10], ON_THE_TABLE),
    "arm_binpick_easy_EEF": Rewards(within(0.1), lambda qpos, sensors: qpos[:3], lambda qpos: qpos[7:10], ON_THE_TABLE),
    "arm_grasp": Rewards(
        grasped,
        lambda qpos, sensors: fingertips(sensors),
        lambda qpos: around_the_cube(qpos[:3]),
        cubes_below_the_fingertips,
    ),
    # The torso starts at 1.4 m: at 0.49 m in the plane the goal is out of reach.
    "humanoid": Rewards(
        within(0.5),
        lambda qpos, sensors: qpos[:3],
        lambda qpos: [*qpos[-2:], 1.25],
        goals_beside([0.3, 0, 0], [0, 0.45, 0], [0.49, 0, 0], [0, -0.6, 0], height=1.25),
    ),
    "ant_ball": Rewards(
        within(0.5),
        lambda qpos, sensors: qpos[15:17],
        lambda qpos: qpos[17:19],
        goals_beside([0.3, 0], [0, 0.45], [0.4, 0.4], [-0.6, 0]),
    ),
    # Slides go along y, then x. An object lies 48 mm above its disc: at 95 mm in the plane it is out of reach.
    "pusher2": Rewards(
        both_on_their_discs,
        lambda qpos, sensors: [qpos[8], qpos[7], -0.275, qpos[12], qpos[11], -0.275],
        lambda qpos: [qpos[10], qpos[9], -0.323, qpos[14], qpos[13], -0.323],
        goals_beside(
            *([0.08, 0, 0, 0, 0.08, 0], [0.095, 0, 0, 0, 0.05, 0], [0.05, 0, 0, 0, 0.095, 0], [0.2, 0, 0, 0.2, 0, 0]),
            height=-0.323,
        ),
    ),
}


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_follow_from_the_coordinates(name):
    case, env = REWARDS[name], deepcrl.gym.make_gymnasium(name)

    def now():
        physics = env._state.physics
        qpos = physics["qpos"][0]
        sensors = physics["sensordata"][0] if "sensordata" in physics else None
        return np.array(case.achieved(qpos, sensors)), np.array(case.desired(qpos)), qpos

    env.action_space.seed(0)
    env.reset(seed=0)
    achieved, _, qpos = now()
    seen = []
    for options in case.starts(achieved, qpos):
        observation, info = env.reset(seed=0, options=options)
        for step in range(5):
            if step:
                observation, reward, _, _, info = env.step(env.action_space.sample())
            achieved, desired, _ = now()
            np.testing.assert_allclose(observation["achieved_goal"], achieved, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(observation["desired_goal"], desired, rtol=1e-5, atol=1e-6)
            expected = bool(case.success(achieved, desired))
            assert info["is_success"] is expected
            assert env.compute_reward(*goals(observation), info) == float(expected)
            if step:
                assert reward == float(expected)
                seen.append(expected)
    assert set(seen) == {False, True}


SOME = (4, 60)
"""Leading axes of the goals of `near_the_threshold`."""


def beside(rng, radius, size=3):
    """Steps [*SOME, size] in random directions, half of them shorter and half longer than a radius."""
    way = rng.normal(size=(*SOME, size))
    return radius * rng.choice([0.5, 0.98, 1.02, 1.5], (*SOME, 1)) * way / np.linalg.norm(way, axis=-1, keepdims=True)


def near_the_threshold(name):
    """Achieved and desired goals [*SOME, G]."""
    rng = np.random.default_rng(0)
    if name == "arm_grasp":
        cube, lean = rng.uniform(-0.5, 0.5, (*SOME, 3)), rng.normal(size=(*SOME, 3))
        middle, apart = cube + beside(rng, 0.05), 0.075 + beside(rng, 0.02, 1)
        desired = [cube + ASIDE, cube - ASIDE, np.full((*SOME, 1), 0.075)]
        # Where a tip is by itself does not count.
        return np.concatenate([middle + lean, middle - lean, apart], -1), np.concatenate(desired, -1)
    if name == "pusher2":
        desired = rng.uniform(-0.5, 0.5, (*SOME, 6))
        return desired + np.concatenate([beside(rng, 0.1), beside(rng, 0.1)], -1), desired
    size, radius = {"humanoid": (3, 0.5), "ant_ball": (2, 0.5)}.get(name, (3, 0.1))
    desired = rng.uniform(-1.0, 1.0, (*SOME, size))
    return desired + beside(rng, radius, size), desired


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_of_many_goals_are_the_tasks_own(name):
    achieved, desired = near_the_threshold(name)
    expected = REWARDS[name].success(achieved, desired).astype(float)
    assert 0.15 < expected.mean() < 0.85
    found = deepcrl.gym.make_gymnasium(name).compute_reward(achieved, desired, [{}] * len(achieved))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@QUIET
def test_own_grades_and_moving_goals(chase):
    """Also at the last step of an episode: its goal is the moved one, not the next episode's."""
    env = deepcrl.gym.make_gymnasium("chase", episode_length=12)
    check_env(env, skip_render_check=True)
    env.reset(seed=1, options={"qpos": [6.0, 4.0], "goal": [0.0, 4.5]})
    rewards = []
    for step in range(12):
        action = np.array([0.5, 0.4], np.float32)
        observation, reward, _, truncated, info = env.step(action)
        x, y = observation["achieved_goal"]
        np.testing.assert_allclose(observation["desired_goal"], [x + 4.5, 4.5], rtol=1e-6)
        assert reward == float(abs(y - 4.5) < 1.0) == env.compute_reward(*goals(observation), info)
        assert truncated == (step == 11)
        rewards.append(reward)
    assert 0 < np.mean(rewards) < 1


@pytest.mark.parametrize("name", ["point_u_maze", "ant_u_maze"])
def test_a_batch_steps_as_its_rows_do_and_resets_what_has_ended(name):
    envs, one = deepcrl.gym.make_gymnasium_vec(name, 3, episode_length=4), deepcrl.gym.make_gymnasium(name)
    assert envs.single_observation_space == one.observation_space
    starts = {"point_u_maze": [[4.0, 4.0], [4.1, 4.0], [4.0, 4.1]]}
    options = {"goal": [4.5, 4.0]} | ({"qpos": starts[name]} if name in starts else {})
    observations, infos = envs.reset(seed=0, options=options)
    assert observations in envs.observation_space
    actions = random_actions(5, 3, one.action_space.shape[0])
    if name in starts:
        for row in range(3):
            alone, _ = one.reset(options={"goal": [4.5, 4.0], "qpos": starts[name][row]})
            np.testing.assert_allclose(observations["observation"][row], alone["observation"], rtol=1e-6)
    for step, action in enumerate(actions):
        first = observations
        observations, rewards, terminated, truncated, infos = envs.step(action)
        assert observations in envs.observation_space
        gap = np.linalg.norm(observations["achieved_goal"] - observations["desired_goal"], axis=1)
        np.testing.assert_array_equal(truncated, [step == 3] * 3)
        if step < 4:
            np.testing.assert_array_equal(rewards, gap < 0.5)
            np.testing.assert_array_equal(rewards, envs.compute_reward(*goals(observations), infos))
            np.testing.assert_allclose(observations["desired_goal"], [[4.5, 4.0]] * 3)
        if name in starts and step < 4:
            qpos = first["observation"]
            for row in range(3):
                one.reset(options={"goal": [4.5, 4.0], "qpos": qpos[row]})
                alone = one.step(action[row])
                np.testing.assert_allclose(observations["observation"][row], alone[0]["observation"], rtol=1e-6)
                assert rewards[row] == alone[1]
    # The step after an episode's end is its reset: a start, near the maze's, with a goal of the maze's.
    assert not terminated.any()
    assert (np.abs(observations["achieved_goal"] - 4.0) <= 0.1001).all()
    assert not (observations["desired_goal"] == [4.5, 4.0]).all(axis=1).any()
    np.testing.assert_array_equal(rewards, [0.0] * 3)


def test_only_the_row_that_has_fallen_is_reset():
    """Row 1 starts too high. The others go on as alone, and so does it from its new start, with a time of its own."""
    envs = deepcrl.gym.make_gymnasium_vec("ant_u_maze", 3, episode_length=4)
    one = deepcrl.gym.make_gymnasium("ant_u_maze", episode_length=4)
    pose = np.array([5.0, 4.0, 0.55, 1, 0, 0, 0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0, 0])
    qpos = np.tile(pose, (3, 1))
    qpos[1, 2], qpos[2, 0] = 1.5, 5.3
    begin = {"qvel": np.zeros(16), "goal": [5.1, 4.0]}
    envs.reset(seed=0, options={**begin, "qpos": qpos})
    actions, found, states = random_actions(6, 3, 8), [], []
    for action in actions:
        found.append(envs.step(action))
        states.append(envs._state)
    observations, rewards, terminated, truncated, _ = zip(*found)
    assert np.array(terminated).tolist() == [[False, True, False], *[[False] * 3] * 5]
    assert np.array(truncated).tolist() == [*[[False] * 3] * 3, [True, False, True], [False] * 3, [False, True, False]]

    def goes_on_as_alone(row, steps, options):
        one.reset(options=options)
        for step in steps:
            observation, *expected, _ = one.step(actions[step, row])
            for name, value in observation.items():
                np.testing.assert_allclose(observations[step][name][row], value, rtol=1e-5, atol=1e-5)
            assert [values[step][row] for values in (rewards, terminated, truncated)] == expected

    goes_on_as_alone(0, range(4), {**begin, "qpos": qpos[0]})
    goes_on_as_alone(2, range(4), {**begin, "qpos": qpos[2]})
    goes_on_as_alone(1, range(1), {**begin, "qpos": qpos[1]})
    fresh = {name: states[1].physics[name][1] for name in ("qpos", "qvel")}
    goes_on_as_alone(1, range(2, 6), {**fresh, "goal": observations[1]["desired_goal"][1]})
    assert rewards[0].tolist() == [1.0, 1.0, 1.0]
    for step, row in ((1, 1), (4, 0), (4, 2)):  # the step after an end: a start and a goal of the maze, for no reward
        assert rewards[step][row] == 0.0
        start = observations[step]["observation"][row]
        np.testing.assert_allclose(start[:3], [4.0, 4.0, 0.55], atol=0.1001)
        np.testing.assert_allclose(start[7:15], pose[7:15], atol=0.1001)
        cell = tuple(observations[step]["desired_goal"][row] / 4.0)
        assert cell in [(1, 2), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3)]


def test_every_environment_is_registered():
    deepcrl.gym.register_all()
    for name in registry.ENVIRONMENTS:
        assert gymnasium.spec(f"deepcrl/{name}-v0").kwargs == {"name": name}
    envs = gymnasium.make_vec("deepcrl/point_u_maze-v0", num_envs=2, episode_length=9)
    assert type(envs).__name__ == "GoalVectorEnv"
    assert envs.num_envs == 2
    with pytest.raises(ConfigError, match=r"did you mean.*point_u_maze"):
        deepcrl.gym.make_gymnasium("point_umaze")


def test_importing_deepcrl_loads_neither_gymnasium_nor_mujoco():
    code = "import sys, deepcrl, deepcrl.envs.gymnasium_env; sys.exit(bool({'gymnasium', 'mujoco'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0


# Registering


def test_a_registered_environment_is_made_like_any_other(chase):
    env = registry.make_env("chase", episode_length=3)
    assert env.spec.episode_length == 3
    assert registry.resolve_engine("chase", "auto") == "jax"
    with pytest.raises(ConfigError, match="the name 'chase' is taken by another environment"):
        registry.register("chase", {})

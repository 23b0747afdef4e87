"""From a run folder to its replay, with an agent that was really trained, for seconds."""

import json
import re

import numpy as np
import pytest

from deepcrl.agent import load_agent
from deepcrl.config import ConfigError
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.render import gl_backend, render, watch


@pytest.fixture(scope="module")
def run_dir(tiny_run):
    return tiny_run("point_u_maze")


def test_replay_of_a_run(run_dir):
    assert render(run_dir, episodes=2) == [run_dir / "replay.html"]
    page = (run_dir / "replay.html").read_text(encoding="utf-8")
    scene = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    # The preset evaluates on the layout with the fewer goals.
    assert scene["title"] == "point_u_maze_eval"
    assert scene["subtitle"] == "crl, depth 4, width 16, after 400 env steps"
    assert [episode["steps"] for episode in scene["episodes"]] == [20, 20]


def test_the_agent_acts(run_dir):
    """Each move is what the agent does in that state, as far as walls let it."""
    agent = load_agent(run_dir)
    _, recording = watch(agent, episodes=2, mode="mean")
    checked = 0
    for one in recording.episodes:
        moves = np.diff(one.qpos, axis=0)
        wished = agent.act(one.qpos[:-1], one.goal[:-1], mode="mean")
        wished = 0.6 * wished / np.maximum(1, np.linalg.norm(wished, axis=1, keepdims=True))
        # Walls around the start cell are 2 m from its centre, and the point's radius is 0.5 m.
        free = np.abs(one.qpos[1:] - 4).max(axis=1) < 1.4
        np.testing.assert_allclose(moves[free], wished[free], atol=1e-4)
        checked += free.sum()
    assert checked >= 4
    assert LAYOUTS["u_eval"][1][1] == "R"


@pytest.mark.skipif(gl_backend() is None, reason="no GL backend here")
def test_film_of_a_run(run_dir):
    pytest.importorskip("PIL")
    (path,) = render(run_dir, ("gif",), episodes=1)
    assert path.read_bytes()[:6] == b"GIF89a"


def test_refusals(run_dir):
    with pytest.raises(ConfigError, match="format 'avi' is none of html, mp4, gif"):
        render(run_dir, ("html", "avi"))
    with pytest.raises(ConfigError, match="episodes = 0"):
        render(run_dir, episodes=0)

"""What the agent of a run does and believes: the part of a report that needs its checkpoint."""

from pathlib import Path
from typing import NamedTuple

from deepcrl import agent as agent_lib
from deepcrl.analysis import Behaviour, ValueMap, choose, farthest_goal, value_map
from deepcrl.analysis.value_map import check_planar
from deepcrl.config import ConfigError
from deepcrl.envs.protocol import Env
from deepcrl.evaluate import Episodes, summarise

DRAWN = 16
"""Episodes drawn, at most."""


class Look(NamedTuple):
    """Fresh episodes of the latest agent, and its critic's values for the farthest of their goals."""

    env: Env
    env_steps: int
    """That the agent was trained for."""
    mode: str
    """How it acted."""
    episodes: Episodes
    chosen: list[Behaviour]
    """Episodes to draw; empty where goals have no position in a plane."""
    share_reached: float
    values: ValueMap | None
    no_map: str
    """Why there is no map or no value; empty if there is."""
    replay: str | None
    """The interactive replay, a page of its own; None where the environment has no model that draws it."""


def look(run_dir: Path, num_episodes: int, seed: int) -> Look:
    """Load the latest agent and watch it. Raises ConfigError and CheckpointError as `load_agent` does."""
    agent = agent_lib.load_agent(run_dir)
    spec, scene = agent.env.spec, agent.env.scene
    mode = agent.config.evaluation.mode
    episodes = agent.episodes(num_episodes, mode=mode, seed=seed)
    chosen, values, no_map = [], None, ""
    # Paths can be drawn from two coordinates on; a value map needs that goals mean positions.
    if spec.goal_size >= 2:
        chosen = choose(episodes, DRAWN)
    try:
        check_planar(spec, scene)
        far = farthest_goal(scene, episodes.start[0], episodes.goal)
        values = value_map(agent, episodes.goal[far], seed=seed)
    except ConfigError as error:
        no_map = str(error)
    share = summarise(episodes)["success_any"]
    return Look(agent.env, agent.env_steps, mode, episodes, chosen, share, values, no_map, _replay(agent, seed))


def _replay(agent: agent_lib.LoadedAgent, seed: int) -> str | None:
    from deepcrl.render import replay_html, titles, watch  # loads MuJoCo

    try:
        model, recording = watch(agent, seed=seed)
        return replay_html(model, recording, *titles(agent))
    except ConfigError:
        return None

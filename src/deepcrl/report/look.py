"""An agent's behaviour and its critic's values: the part of a report that needs a checkpoint."""

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
    """Env steps that the agent was trained for."""
    mode: str
    """Mode in which it chose its actions."""
    episodes: Episodes
    chosen: list[Behaviour]
    """Episodes to draw; empty where goals have no position in a plane."""
    share_reached: float
    values: ValueMap | None
    no_map: str
    """Why `values` is None; empty otherwise."""
    replay: str | None
    """The interactive replay as an HTML page; None where the environment has no model to render."""


def look(run_dir: Path, num_episodes: int, seed: int) -> Look:
    """Load the latest agent and play episodes with it. Raises ConfigError and CheckpointError as `load_agent` does."""
    agent = agent_lib.load_agent(run_dir)
    spec, scene = agent.env.spec, agent.env.scene
    mode = agent.config.evaluation.mode
    episodes = agent.episodes(num_episodes, mode=mode, seed=seed)
    chosen, values, no_map = [], None, ""
    # A path can be drawn of goals with two coordinates or more; a value map needs goals that are positions.
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

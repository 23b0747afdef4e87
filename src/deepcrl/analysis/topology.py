"""Whether a critic's value follows the paths through a maze or the straight lines through its walls (Figure 9)."""

import heapq
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deepcrl import agent as agent_lib
from deepcrl.agent import LoadedAgent
from deepcrl.analysis.statistics import rank_correlation
from deepcrl.analysis.value_map import ValueMap, value_map, values
from deepcrl.analysis.visits import visits
from deepcrl.config import ConfigError
from deepcrl.envs.layouts import cells
from deepcrl.folder import load_config
from deepcrl.program import make_envs

DIAGONAL = math.sqrt(2.0)
EPISODES = 8
"""Episodes of the agent itself for every goal."""


class OwnWay(NamedTuple):
    """The agent's own way to a goal: one episode, up to the step at which it reaches the goal."""

    position: Float[np.ndarray, "T 2"]
    place: Int[np.ndarray, "T 2"]
    """Grid indices of the positions."""
    value: Float[np.ndarray, "T"]
    """Critic's value of the policy's mean action."""


class Topology(NamedTuple):
    """The critic's value for one goal beside two distances to it: over a whole grid, NaN inside walls, and on the ways
    that the agent itself takes there.

    A critic learns what followed after the actions taken at a place. A place that the agent passes only on its way to
    other goals has a low value however near it is; so what the critic knows of walls shows on the agent's own ways.
    """

    map: ValueMap
    straight: Float[np.ndarray, "I J"]
    """Metres to the goal in a straight line, through walls."""
    path: Float[np.ndarray, "I J"]
    """Metres to the goal along the shortest path over the grid."""
    own_ways: list[OwnWay]
    """Ways of those of `EPISODES` fresh episodes with this goal that reach it."""

    @property
    def rank_straight(self) -> float:
        """Spearman's correlation between value and nearness along the straight line."""
        return rank_correlation(self._free(self.map.values), -self._free(self.straight))

    @property
    def rank_path(self) -> float:
        """Spearman's correlation between value and nearness along the shortest path."""
        return rank_correlation(self._free(self.map.values), -self._free(self.path))

    @property
    def sides_with_path(self) -> float:
        """Share of pairs that the value orders as the shortest path does, of those pairs of grid cells that the two
        distances order differently; ties count half. 1: the critic knows every wall; 0: it knows none."""
        return _sides_with_path(*map(self._free, (self.map.values, self.straight, self.path)))

    @property
    def rank_path_on_own_way(self) -> float:
        """`rank_path` over the grid cells on the agent's own ways; NaN where it does not reach the goal."""
        value, _, path = self._on_own_ways()
        return rank_correlation(value, -path) if len(value) else math.nan

    @property
    def sides_with_path_on_own_way(self) -> float:
        """`sides_with_path` over the grid cells on the agent's own ways; NaN where it does not reach the goal, or where
        straight line and shortest path order all of these cells alike."""
        return _sides_with_path(*self._on_own_ways())

    def _on_own_ways(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean value, straight and path of every grid cell on the own ways; a cell counts once, however many steps are
        spent there."""
        if not self.own_ways:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        places, of = np.unique(np.concatenate([way.place for way in self.own_ways]), axis=0, return_inverse=True)
        value = np.concatenate([way.value for way in self.own_ways])
        mean = np.bincount(of.ravel(), value) / np.bincount(of.ravel())
        on = ((places >= 0) & (places < self.path.shape)).all(axis=1)  # a layout may be open at its border
        places, mean = places[on], mean[on]
        free = np.isfinite(self.path[tuple(places.T)])  # the centre of a grid cell may lie in a wall
        i, j = places[free].T
        return mean[free], self.straight[i, j], self.path[i, j]

    def _free(self, grid: Float[np.ndarray, "I J"]) -> Float[np.ndarray, " K"]:
        return grid[np.isfinite(self.path)]


def _sides_with_path(value: np.ndarray, straight: np.ndarray, path: np.ndarray) -> float:
    def order(x: np.ndarray) -> np.ndarray:
        return np.sign(x[:, None] - x[None, :])

    by_path = order(path)
    differ = by_path * order(straight) < 0
    agree = -by_path * order(value)
    return float(np.mean((1.0 + agree[differ]) / 2.0)) if differ.any() else math.nan


def topology(agent: LoadedAgent, goal: Float[np.ndarray, "G"], resolution: int = 30, seed: int = 0) -> Topology:
    """Topology for one goal. Raises ConfigError as `value_map` does."""
    found = value_map(agent, goal, resolution, seed)
    x, y = np.meshgrid(found.x_centres, found.y_centres, indexing="ij")
    free = np.isfinite(found.values)
    straight = np.where(free, np.hypot(x - goal[0], y - goal[1]), np.nan)
    spacing = float(found.x[1] - found.x[0])
    nearest = np.unravel_index(np.nanargmin(straight), straight.shape)
    # Paths over the grid end at the cell nearest to the goal; its distance to the goal is added to all.
    path = shortest_ways(free, (int(nearest[0]), int(nearest[1]))) * spacing + straight[nearest]
    path = np.where(np.isfinite(path), path, np.nan)
    return Topology(found, straight, path, _own_ways(agent, found, seed))


def _own_ways(agent: LoadedAgent, found: ValueMap, seed: int) -> list[OwnWay]:
    """Ways of fresh episodes that reach the goal; the agent acts in the mode of its evaluations."""
    goal = found.goal
    seen = visits(agent, EPISODES, agent.env.spec.episode_length, seed, agent.config.evaluation.mode, goal)
    at_goal = seen.success & seen.first
    ways = []
    for episode in np.flatnonzero(at_goal.any(axis=0)):
        steps = slice(0, int(at_goal[:, episode].argmax()) + 1)
        position = seen.achieved[steps, episode, :2]
        place = [np.searchsorted(edges, position[:, k]) - 1 for k, edges in enumerate((found.x, found.y))]
        ways.append(OwnWay(position, np.stack(place, axis=1), values(agent, seen.state[steps, episode], goal)))
    return ways


def topologies(
    run_dir: str | Path, *, which: agent_lib.Which | int = "latest", resolution: int = 30, seed: int = 0
) -> list[Topology]:
    """Topology for every goal cell of the maze that a run is evaluated in, by the length of the path from the start.

    Raises:
        ConfigError: when the folder holds no run, the environment is no maze, or the algorithm has no critic.
        CheckpointError: when no checkpoint can be used.
    """
    config = load_config(Path(run_dir))
    scene = make_envs(config)[1].scene
    if scene.layout is None:
        raise ConfigError(f"{config.env.name} has no walls that a way could lead round")
    agent = agent_lib.load_agent(run_dir, which)
    start = agent.episodes(1, seed=seed)
    rest = start.goal[0, 2:]  # heights, where goals have them
    goals = [np.concatenate([cell * scene.cell_size, rest]) for cell in cells(scene.layout, "G")]
    found = [topology(agent, goal, resolution, seed) for goal in goals]
    at = start.start[0, :2]

    def way_from_start(one: Topology) -> float:
        i, j = np.argmin(np.abs(one.map.x_centres - at[0])), np.argmin(np.abs(one.map.y_centres - at[1]))
        return float(np.nan_to_num(one.path[i, j], nan=math.inf))

    return sorted(found, key=way_from_start)


def shortest_ways(free: Bool[np.ndarray, "I J"], goal: tuple[int, int]) -> Float[np.ndarray, "I J"]:
    """Length of the shortest path to `goal` from every cell of a grid, in grid spacings; infinite where there is none.

    Dijkstra's algorithm over the eight neighbours, without cutting corners of walls. The paths exceed the shortest ones
    in the plane by 8% at most.
    """
    length = np.full(free.shape, np.inf)
    length[goal] = 0.0
    queue = [(0.0, *goal)]
    while queue:
        so_far, i, j = heapq.heappop(queue)
        if so_far > length[i, j]:
            continue
        for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            a, b = i + di, j + dj
            inside = 0 <= a < free.shape[0] and 0 <= b < free.shape[1]
            if not inside or not (free[a, b] and free[i, b] and free[a, j]):
                continue
            onward = so_far + (DIAGONAL if di and dj else 1.0)
            if onward < length[a, b]:
                length[a, b] = onward
                heapq.heappush(queue, (onward, a, b))
    return length

"""Choose a few of many episodes to draw: spread over the goals, successes and failures in their true proportion."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from deepcrl.envs.protocol import Scene
from deepcrl.evaluate import Episodes


class Behaviour(NamedTuple):
    """One episode, up to and including its first end."""

    episode: int
    """Its column in `Episodes`."""
    goal: Float[np.ndarray, "G"]
    path: Float[np.ndarray, "T+1 G"]
    """Achieved goals in metres; row 0 is the start."""
    distance: Float[np.ndarray, "T"]
    """Metres to the goal after every step."""
    success: Bool[np.ndarray, "T"]

    @property
    def length(self) -> int:
        """Env steps of the episode."""
        return len(self.success)

    @property
    def time_at_goal(self) -> int:
        """Env steps at the goal."""
        return int(self.success.sum())

    @property
    def reached(self) -> bool:
        return bool(self.success.any())


def behaviour(episodes: Episodes, index: int) -> Behaviour:
    """Behaviour in episode `index`."""
    length = int(episodes.alive[:, index].sum())
    achieved = episodes.achieved[:length, index]
    return Behaviour(
        episode=index,
        goal=episodes.goal[index],
        path=np.concatenate([episodes.start[None, index], achieved]),
        distance=episodes.distance[:length, index],
        success=episodes.success[:length, index],
    )


def all_behaviours(episodes: Episodes) -> list[Behaviour]:
    """Every episode, in order."""
    return [behaviour(episodes, index) for index in range(episodes.goal.shape[0])]


def by_goal(episodes: Iterable[Behaviour]) -> dict[tuple[float, ...], list[Behaviour]]:
    """Episodes grouped by goal, rounded to millimetres, in order of first appearance."""
    groups: dict[tuple[float, ...], list[Behaviour]] = {}
    for one in episodes:
        groups.setdefault(_key(one), []).append(one)
    return groups


def choose(episodes: Episodes, count: int = 16) -> list[Behaviour]:
    """Choose at most `count` episodes, near goals first.

    The share of failures is that among all episodes, rounded; successes and failures that occur have at least one each
    if `count` is 2 or more. Within either kind every goal comes once before any comes twice; too many goals are thinned
    at even ranks of distance. The choice is deterministic.
    """
    every = all_behaviours(episodes)
    reached = [one for one in every if one.reached]
    missed = [one for one in every if not one.reached]
    count = min(count, len(every))
    num_missed = round(count * len(missed) / max(len(every), 1))
    if count >= 2 and reached and missed:
        num_missed = min(max(num_missed, 1), count - 1)
    return sorted(_spread(reached, count - num_missed) + _spread(missed, num_missed), key=_rank)


def farthest_goal(scene: Scene, start: Float[np.ndarray, "G"], goals: Float[np.ndarray, "K G"]) -> int:
    """Index of the goal farthest from `start`: by shortest path over free cells in a maze, by straight line on a plane.

    Only the first two coordinates count. Of equal paths the one with the longer straight line is taken, then the first.
    """
    straight = np.linalg.norm(goals[:, :2] - start[:2], axis=-1)
    if scene.layout is None:
        return int(np.argmax(straight))
    steps = _steps_from(scene.layout, _cell(scene, start))
    ways = [steps.get(_cell(scene, goal), -1) for goal in goals]
    return max(range(len(goals)), key=lambda k: (ways[k], round(float(straight[k]), 3), -k))


def _rank(one: Behaviour) -> tuple:
    """Sort key for display: straight distance from the start in whole metres, then goal, then episode."""
    return round(float(np.linalg.norm(one.goal - one.path[0])), 0), _key(one), one.episode


def _key(one: Behaviour) -> tuple[float, ...]:
    return tuple(np.round(one.goal.astype(float), 3).tolist())


def _spread(episodes: list[Behaviour], count: int) -> list[Behaviour]:
    groups = by_goal(sorted(episodes, key=_rank))
    chosen: list[Behaviour] = []
    turn = 0
    while len(chosen) < count:
        level = [group[turn] for group in groups.values() if turn < len(group)]
        left = count - len(chosen)
        if left < len(level):
            level = [level[k] for k in np.linspace(0, len(level) - 1, left).round().astype(int)]
        chosen += level
        turn += 1
    return chosen


def _cell(scene: Scene, position: Float[np.ndarray, "G"]) -> tuple[int, int]:
    i, j = scene.cell_of(position)
    return int(i), int(j)


def _steps_from(layout: tuple[str, ...], first: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Number of moves from `first` to every cell that can be reached (breadth-first search)."""
    steps, queue = {first: 0}, deque([first])
    while queue:
        i, j = queue.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            inside = 0 <= cell[0] < len(layout) and 0 <= cell[1] < len(layout[cell[0]])
            if inside and cell not in steps and layout[cell[0]][cell[1]] != "#":
                steps[cell] = steps[i, j] + 1
                queue.append(cell)
    return steps

"""The critic's value over the plane, for one goal (paper, figure 9)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deepcrl.agent import LoadedAgent
from deepcrl.config import ConfigError
from deepcrl.envs.layouts import walls
from deepcrl.envs.protocol import EnvSpec, Scene

# Rows per compiled call; the last call is padded to it, so that there is one program.
CHUNK = 1024
# Starts and goals drawn to find the extent of an open plane.
SAMPLES = 128


class ValueMap(NamedTuple):
    """f(phi(s, a), psi(g)) on a grid of positions."""

    x: Float[np.ndarray, "I+1"]
    """Edges in metres; x grows along the rows of a layout."""
    y: Float[np.ndarray, "J+1"]
    """Edges in metres; y grows along the columns of a layout."""
    values: Float[np.ndarray, "I J"]
    """Value at the centre of every grid cell; NaN inside walls."""
    goal: Float[np.ndarray, "G"]

    @property
    def x_centres(self) -> Float[np.ndarray, "I"]:
        return (self.x[1:] + self.x[:-1]) / 2

    @property
    def y_centres(self) -> Float[np.ndarray, "J"]:
        return (self.y[1:] + self.y[:-1]) / 2

    @property
    def best(self) -> Float[np.ndarray, "2"]:
        """Position of the highest value, in metres."""
        i, j = np.unravel_index(np.nanargmax(self.values), self.values.shape)
        return np.array([self.x_centres[i], self.y_centres[j]])


def value_map(agent: LoadedAgent, goal: Float[np.ndarray, "G"], resolution: int = 50, seed: int = 0) -> ValueMap:
    """The critic's value over the plane of the achieved goal, with the action that the policy itself would take.

    The first two coordinates of the achieved goal are set to every point of the grid, and so are entries of the state
    that repeat them (`EnvSpec.goal_copies`); the rest of the state is that of one fresh episode, drawn with `seed`. The
    action is the policy's mean action at that state.

    Args:
        resolution: grid cells along the longer side, rounded up to a whole number per cell of a maze.

    Raises:
        ConfigError: when goals are not positions in a plane, the algorithm has no critic, or `resolution` is below 1.
    """
    spec, scene = agent.env.spec, agent.env.scene
    check_planar(spec, scene)
    if resolution < 1:
        raise ConfigError(f"resolution = {resolution} must be at least 1")
    goal = np.asarray(goal, np.float32)
    fresh = jax.tree.map(np.asarray, agent.env.reset(jax.random.key(seed), SAMPLES))
    x, y = _edges(scene, np.concatenate([fresh.achieved_goal, fresh.goal, goal[None]])[:, :2], resolution)
    found = ValueMap(x, y, np.full((len(x) - 1, len(y) - 1), np.nan, np.float32), goal)

    points = np.stack(np.meshgrid(found.x_centres, found.y_centres, indexing="ij"), axis=-1)
    free = ~_in_wall(scene, points)
    states = np.repeat(fresh.state[:1], free.sum(), axis=0)
    for axis, index in enumerate(spec.goal_indices[:2]):
        states[:, [index, *(spec.goal_copies[axis] if spec.goal_copies else ())]] = points[free][:, axis, None]
    found.values[free] = values(agent, states, goal)
    return found


def check_planar(spec: EnvSpec, scene: Scene) -> None:
    """Raise ConfigError unless the first two coordinates of a goal are a position in the plane that `scene` shows."""
    if spec.goal_size != 2 and not (scene.layout is not None and spec.goal_size > 2):
        raise ConfigError(f"a map needs goals that are positions in a plane; these have {spec.goal_size} coordinate(s)")


def values(agent: LoadedAgent, states: Float[np.ndarray, "K S"], goal: Float[np.ndarray, "G"]) -> np.ndarray:
    """The critic's value [K] of the policy's mean actions at these states, for one goal."""
    count = len(states)
    padded = np.resize(states, (math.ceil(count / CHUNK) * CHUNK, states.shape[1]))
    found = []
    for first in range(0, len(padded), CHUNK):
        rows = jnp.asarray(padded[first : first + CHUNK])
        action = jnp.asarray(agent.act(rows, goal, mode="mean"))
        found.append(agent.value(rows, action, jnp.asarray(goal)))
    return np.concatenate(found)[:count]


def _edges(scene: Scene, points: Float[np.ndarray, "K 2"], resolution: int) -> tuple[np.ndarray, np.ndarray]:
    if scene.layout is None:
        # A square around all sampled starts and goals, with a margin of a tenth.
        middle = (points.max(axis=0) + points.min(axis=0)) / 2
        half = 1.1 * max(float(np.ptp(points, axis=0).max()) / 2, 1e-3)
        steps = np.linspace(-half, half, resolution + 1)
        return middle[0] + steps, middle[1] + steps
    rows, columns = len(scene.layout), max(map(len, scene.layout))
    per_cell = math.ceil(resolution / max(rows, columns))
    x, y = (np.arange(cells * per_cell + 1) / per_cell - 0.5 for cells in (rows, columns))
    return x * scene.cell_size, y * scene.cell_size


def _in_wall(scene: Scene, points: Float[np.ndarray, "I J 2"]) -> np.ndarray:
    """Whether a position lies in a wall cell [I, J]."""
    if scene.layout is None:
        return np.zeros(points.shape[:-1], bool)
    cell = scene.cell_of(points)
    return walls(scene.layout)[cell[..., 0], cell[..., 1]]

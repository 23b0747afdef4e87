"""A short recording of a point maze, with known successes and a failure."""

import numpy as np
import pytest

from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.point_model import point_model
from deepcrl.render import Episode, Recording

LENGTHS = (30, 24)


def walk(length: int, goal: tuple[float, float], failed: bool) -> Episode:
    """From the start cell of the u maze along +y, 0.2 m a step."""
    t = np.arange(length, dtype=np.float32)
    place = np.stack([np.full(length, 4.0, np.float32), 4.0 + 0.2 * t], axis=1)
    goals = np.tile(np.array(goal, np.float32), (length, 1))
    distance = np.linalg.norm(place - goals, axis=1)
    return Episode(place, place, goals, distance, distance < 0.5, failed)


@pytest.fixture(scope="session")
def model():
    return point_model(LAYOUTS["u"])


@pytest.fixture(scope="session")
def recording():
    return Recording([walk(LENGTHS[0], (4.0, 8.0), False), walk(LENGTHS[1], (12.0, 4.0), True)], 0.1, 0.5)

"""The hindsight goal distribution of docs/algorithm.md by enumeration, and a replay that is a Python list."""

import numpy as np


def future_probabilities(episodes: list[int], discount: float) -> np.ndarray:
    """P[i, j] proportional to 1[j > i] 1[e_j = e_i] discount^(j - i) + 1e-5 1[j = i], over one window."""
    length = len(episodes)
    weights = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            if j > i and episodes[j] == episodes[i]:
                weights[i, j] = discount ** (j - i)
        # The diagonal stands for "no future at all": beside a future it is the release's rounding, and is left out.
        if weights[i].sum() == 0.0:
            weights[i, i] = 1e-5
    return weights / weights.sum(axis=1, keepdims=True)


def trajectory_joint(episodes: np.ndarray, discount: float) -> np.ndarray:
    """P[env, i, j] of variant "trajectory": i uniform over all stored rows [time, env], j to the end of its episode."""
    length, num_envs = episodes.shape
    per_env = [future_probabilities(list(episodes[:, env]), discount) for env in range(num_envs)]
    return np.stack(per_env) / (length * num_envs)


def absorbing_joint(episodes: np.ndarray, terminated: np.ndarray, discount: float) -> tuple[np.ndarray, np.ndarray]:
    """Of variant "absorbing": P[env, i, j] of pairs that reach row j, and P[env, i] of those that outlive the end.

    The geometric over all offsets, none left out: what falls beyond the end of a terminated episode is its end.
    """
    length, num_envs = episodes.shape
    reached, ended = np.zeros((num_envs, length, length)), np.zeros((num_envs, length))
    for env in range(num_envs):
        for i in range(length):
            rows = [j for j in range(length) if j > i and episodes[j, env] == episodes[i, env]]
            last = rows[-1] if rows else i
            if not terminated[last, env]:
                reached[env, i] = future_probabilities(list(episodes[:, env]), discount)[i]
                continue
            for j in rows:
                reached[env, i, j] = (1 - discount) * discount ** (j - i - 1)
            ended[env, i] = 1 - reached[env, i].sum()
    return reached / (length * num_envs), ended / (length * num_envs)


def window_joint(episodes: np.ndarray, discount: float, window_length: int) -> np.ndarray:
    """P[env, i, j] of variant "window": every whole window alike, every row of it but the last alike, j within it."""
    length, num_envs = episodes.shape
    window = min(window_length, length)
    joint = np.zeros((num_envs, length, length))
    starts = length - window + 1
    for env in range(num_envs):
        for start in range(starts):
            rows = slice(start, start + window)
            inside = future_probabilities(list(episodes[rows, env]), discount)
            inside[-1] = 0.0
            joint[env, rows, rows] += inside / (num_envs * starts * (window - 1))
    return joint


class ListReplay:
    """The last `capacity` rows of every environment, as lists of (time, row, episode)."""

    def __init__(self, capacity: int, num_envs: int):
        self.capacity = capacity
        self.rows: list[list[tuple[int, dict[str, np.ndarray], int]]] = [[] for _ in range(num_envs)]
        self.time = 0

    def insert(self, columns: dict[str, np.ndarray], episodes: np.ndarray) -> None:
        """Append columns [T, N, size] and episode ids [T, N]; drop what no longer fits."""
        for step, ids in enumerate(episodes):
            for env, rows in enumerate(self.rows):
                row = {name: values[step, env] for name, values in columns.items()}
                rows.append((self.time, row, int(ids[env])))
                if len(rows) > self.capacity:
                    rows.pop(0)
            self.time += 1

    def steps_left(self, time: int, env: int) -> int:
        """Rows after `time` of the same episode, counted one by one."""
        episode = next(e for t, _, e in self.rows[env] if t == time)
        return sum(t > time and e == episode for t, _, e in self.rows[env])

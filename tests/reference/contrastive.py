"""Energies, losses and penalties of docs/algorithm.md, with explicit loops, in float64."""

import itertools
import math
from collections.abc import Callable

import numpy as np


def norm_energy(x: np.ndarray, y: np.ndarray) -> float:
    """-|x - y|, the un-squared distance."""
    return -math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y)))


def l2_energy(x: np.ndarray, y: np.ndarray) -> float:
    """-|x - y|^2."""
    return -sum((a - b) ** 2 for a, b in zip(x, y))


def l1_energy(x: np.ndarray, y: np.ndarray) -> float:
    """-sum |x_k - y_k|."""
    return -sum(abs(a - b) for a, b in zip(x, y))


def dot_energy(x: np.ndarray, y: np.ndarray) -> float:
    """x . y."""
    return sum(a * b for a, b in zip(x, y))


def cosine_energy(x: np.ndarray, y: np.ndarray) -> float:
    """x . y / (|x| |y|), each norm with 1e-6 against zero vectors."""
    size_x, size_y = math.sqrt(dot_energy(x, x)) + 1e-6, math.sqrt(dot_energy(y, y)) + 1e-6
    return dot_energy(x, y) / (size_x * size_y)


def mrn_energy(x: np.ndarray, y: np.ndarray) -> float:
    """Minus the mean over 8 components: the largest positive x_k - y_k of the first half, plus the second half's L2."""
    size, total = len(x) // 8, 0.0
    for start in range(0, len(x), size):
        middle, end = start + size // 2, start + size
        total += max(max(x[k] - y[k], 0.0) for k in range(start, middle))
        total += math.sqrt(sum((x[k] - y[k]) ** 2 for k in range(middle, end)))
    return -total / 8


def iqe_energy(x: np.ndarray, y: np.ndarray) -> float:
    """Minus half the mean and half the maximum, over 8 components, of the length of a union of intervals.

    The length is summed over the pieces between neighbouring ends: a piece counts if some interval covers it.
    """
    size, lengths = len(x) // 8, []
    for start in range(0, len(x), size):
        intervals = [(x[k], max(x[k], y[k])) for k in range(start, start + size)]
        ends = sorted(end for interval in intervals for end in interval)
        pieces = itertools.pairwise(ends)
        lengths.append(sum(b - a for a, b in pieces if any(low <= a and b <= high for low, high in intervals)))
    return -(sum(lengths) / len(lengths) + max(lengths)) / 2


ENERGIES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "norm": norm_energy,
    "l2": l2_energy,
    "l1": l1_energy,
    "dot": dot_energy,
    "cosine": cosine_energy,
    "mrn": mrn_energy,
    "iqe": iqe_energy,
}


def paired(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([ENERGIES[name](a, b) for a, b in zip(x, y, strict=True)])


def pairwise(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([[ENERGIES[name](a, b) for b in y] for a in x])


def logsumexp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def forward_infonce(logits: np.ndarray) -> float:
    """-mean_i [ L_ii - logsumexp_j L_ij ]."""
    size = len(logits)
    return -sum(logits[i, i] - logsumexp([logits[i, j] for j in range(size)]) for i in range(size)) / size


def backward_infonce(logits: np.ndarray) -> float:
    """-mean_j [ L_jj - logsumexp_i L_ij ]."""
    size = len(logits)
    return -sum(logits[j, j] - logsumexp([logits[i, j] for i in range(size)]) for j in range(size)) / size


def symmetric_infonce(logits: np.ndarray) -> float:
    """Mean of the two."""
    return (forward_infonce(logits) + backward_infonce(logits)) / 2.0


def binary_nce(logits: np.ndarray) -> float:
    """mean_ij of -log sigmoid(L_ij) on the diagonal and -log(1 - sigmoid(L_ij)) off it."""
    size, total = len(logits), 0.0
    for i in range(size):
        for j in range(size):
            probability = 1.0 / (1.0 + math.exp(-logits[i, j]))
            total -= math.log(probability if i == j else 1.0 - probability)
    return total / size**2


def flat_nce(logits: np.ndarray) -> float:
    """mean_i c_i, c_i = logsumexp over the negatives j != i of L_ij - L_ii."""
    size = len(logits)
    return sum(logsumexp([logits[i, j] - logits[i, i] for j in range(size) if j != i]) for i in range(size)) / size


LOSSES: dict[str, Callable[[np.ndarray], float]] = {
    "forward": forward_infonce,
    "backward": backward_infonce,
    "symmetric": symmetric_infonce,
    "binary": binary_nce,
    "flat": flat_nce,
}


def logsumexp_penalty(logits: np.ndarray, axes: tuple[int, ...]) -> float:
    """Mean of (logsumexp(L + 1e-6))^2 over rows (axis 1: goals) or columns (axis 0), averaged over the axes given."""
    size, means = len(logits), []
    for axis in axes:
        lines = logits if axis == 1 else logits.T
        means.append(sum(logsumexp([value + 1e-6 for value in line]) ** 2 for line in lines) / size)
    return sum(means) / len(means)

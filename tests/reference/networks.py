"""The networks of docs/algorithm.md on float64 trees of the package's parameters (`numeric.to64`): a loop per layer."""

from typing import Any

import numpy as np
from scipy import special


def dense(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y[o] = sum_i x[i] kernel[i, o] + bias[o]."""
    return np.einsum("...i,io->...o", x, kernel) + bias


def layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Zero mean and unit variance over the last axis, then scale and shift."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * scale + bias


def swish(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x)."""
    return x / (1.0 + np.exp(-x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the probability that a standard normal variable is below x."""
    return x * special.ndtr(x)


def normalise(x: np.ndarray, norm: str, parameters: Any, index: tuple[int, ...] = ()) -> np.ndarray:
    """What stands between a Dense and its activation."""
    if norm in ("layer", "both"):
        return layer_norm(x, parameters.scale[index], parameters.bias[index])
    if norm == "rms":
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * parameters.scale[index]
    if norm == "hyper":
        return x * parameters.scale[index]
    assert (norm, parameters) == ("none", None)
    return x


def affine(x: np.ndarray, parameters: Any, index: tuple[int, ...] = ()) -> np.ndarray:
    """Dense; without a bias where the parameters have none."""
    kernel = parameters.kernel[index]
    return dense(x, kernel, np.zeros(kernel.shape[-1]) if parameters.bias is None else parameters.bias[index])


def trunk(
    x: np.ndarray,
    parameters: Any,
    *,
    backbone: str = "residual",
    norm: str = "layer",
    activation=swish,
    branch_scale: str = "none",
    final_norm: bool = False,
) -> np.ndarray:
    """Stem, blocks and what follows them, of any architecture (docs/algorithm.md), a layer at a time."""
    units = parameters.stack.units
    blocks, block_size = units.dense.kernel.shape[:2]
    if backbone == "preactivation":
        x = affine(x, parameters.stem)
    else:
        x = activation(normalise(affine(x, parameters.stem.dense), norm, parameters.stem.norm))
    for block in range(blocks):
        entry = x
        for layer in range(block_size):
            at = (block, layer)
            if backbone == "preactivation":
                x = affine(activation(normalise(x, norm, units.norm, at)), units.dense, at)
            else:
                x = activation(normalise(affine(x, units.dense, at), norm, units.norm, at))
        if norm == "hyper":  # to length sqrt(W); 1e-6 keeps the gradient finite at 0
            x = np.sqrt(x.shape[-1]) * x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-6 * x.shape[-1])
        if backbone != "plain":
            learnt = norm == "hyper" or branch_scale == "zero"
            scale = parameters.stack.weight[block] if learnt else {"none": 1.0, "depth": 1.0 / blocks}[branch_scale]
            x = entry + scale * x
    if backbone == "preactivation":
        x = activation(normalise(x, norm, parameters.last_norm))
    return layer_norm(x, parameters.final_norm.scale, parameters.final_norm.bias) if final_norm else x


def encoder(x: np.ndarray, parameters: Any, **architecture: Any) -> np.ndarray:
    """Trunk and linear head."""
    return affine(trunk(x, parameters.trunk, **architecture), parameters.head)


def policy(state: np.ndarray, goal: np.ndarray, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-std, log sigma = -5 + 0.5 (2 - (-5)) (tanh(raw) + 1)."""
    features = trunk(np.concatenate([state, goal], axis=-1), parameters.trunk)
    mean = dense(features, parameters.mean.kernel, parameters.mean.bias)
    raw = dense(features, parameters.log_std.kernel, parameters.log_std.bias)
    return mean, -5.0 + 0.5 * (2.0 - (-5.0)) * (np.tanh(raw) + 1.0)


def tanh_gaussian_log_prob(action: np.ndarray, mean: np.ndarray, log_std: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """log p(a) by change of variables: a = tanh(u) has |da/du| = 1 - a^2, here with the release's 1e-6."""
    u, sigma = np.arctanh(action), np.exp(log_std)
    normal = np.exp(-((u - mean) ** 2) / (2.0 * sigma**2)) / np.sqrt(2.0 * np.pi * sigma**2)
    return np.log(normal / (1.0 - action**2 + eps)).sum(axis=-1)


def parameter_count(inputs: int, width: int, depth: int, outputs: tuple[int, ...]) -> int:
    """Dense kernels and biases, LayerNorm scales and shifts, of stem, `depth` layers and one head per output."""
    layers = [inputs, *[width] * depth]
    hidden = sum(fan_in * width + width + 2 * width for fan_in in layers)
    return hidden + sum(width * size + size for size in outputs)

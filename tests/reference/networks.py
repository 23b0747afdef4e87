"""The networks of fact sheet 1.1 on float64 trees of the package's parameters (`numeric.to64`): a loop per layer."""

from typing import Any

import numpy as np


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


def unit(x: np.ndarray, parameters: Any, index: tuple[int, ...] = (), activation=swish) -> np.ndarray:
    """Dense, LayerNorm where there is one, activation; `index` picks a layer of a stack."""
    x = dense(x, parameters.dense.kernel[index], parameters.dense.bias[index])
    if parameters.norm is not None:
        x = layer_norm(x, parameters.norm.scale[index], parameters.norm.bias[index])
    return activation(x)


def trunk(x: np.ndarray, parameters: Any, *, residual: bool = True, activation=swish) -> np.ndarray:
    """Stem, then blocks; the block's input is added after its last activation, and nothing follows the sum."""
    x = unit(x, parameters.stem, activation=activation)
    blocks, block_size = parameters.stack.units.dense.kernel.shape[:2]
    for block in range(blocks):
        entry = x
        for layer in range(block_size):
            x = unit(x, parameters.stack.units, (block, layer), activation)
        if residual:
            x = entry + x
    return x


def encoder(x: np.ndarray, parameters: Any, *, residual: bool = True, activation=swish) -> np.ndarray:
    """Trunk and linear head."""
    features = trunk(x, parameters.trunk, residual=residual, activation=activation)
    return dense(features, parameters.head.kernel, parameters.head.bias)


def policy(state: np.ndarray, goal: np.ndarray, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-std, log sigma = -5 + 0.5 (2 - (-5)) (tanh(raw) + 1)."""
    features = trunk(np.concatenate([state, goal], axis=-1), parameters.trunk)
    mean = dense(features, parameters.mean.kernel, parameters.mean.bias)
    raw = dense(features, parameters.log_std.kernel, parameters.log_std.bias)
    return mean, -5.0 + 0.5 * (2.0 - (-5.0)) * (np.tanh(raw) + 1.0)


def tanh_gaussian_log_prob(action: np.ndarray, mean: np.ndarray, log_std: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """log p(a) by change of variables: a = tanh(u) has |da/du| = 1 - a^2, here with the fact sheet's 1e-6."""
    u, sigma = np.arctanh(action), np.exp(log_std)
    normal = np.exp(-((u - mean) ** 2) / (2.0 * sigma**2)) / np.sqrt(2.0 * np.pi * sigma**2)
    return np.log(normal / (1.0 - action**2 + eps)).sum(axis=-1)


def parameter_count(inputs: int, width: int, depth: int, outputs: tuple[int, ...]) -> int:
    """Dense kernels and biases, LayerNorm scales and shifts, of stem, `depth` layers and one head per output."""
    layers = [inputs, *[width] * depth]
    hidden = sum(fan_in * width + width + 2 * width for fan_in in layers)
    return hidden + sum(width * size + size for size in outputs)

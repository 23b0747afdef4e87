"""Random positions, drawn by several tasks."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs.layouts import Layout, cells


def draw_on_circle(key: PRNGKeyArray, radius: float | Float[Array, ""]) -> Float[Array, "2"]:
    """A point on the circle about the origin, uniform in angle."""
    angle = jax.random.uniform(key, (), maxval=2 * math.pi)
    return radius * jnp.array([jnp.cos(angle), jnp.sin(angle)])


def draw_cell(key: PRNGKeyArray, layout: Layout, cell_size: float, kinds: str) -> Float[Array, "2"]:
    """Centre, in metres, of a uniformly drawn cell whose letter is one of `kinds`."""
    centres = jnp.asarray(cells(layout, kinds) * cell_size, jnp.float32)
    return centres[jax.random.randint(key, (), 0, centres.shape[0])]

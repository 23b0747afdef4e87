"""A point that slides along the walls of a maze: the smallest real task, pure jnp, trained in minutes on a CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.envs.draws import draw_cell
from deepcrl.envs.layouts import Layout, start_cell, stitching_pairs, walls
from deepcrl.envs.protocol import Engine, EnvSpec, Physics, Scene, Task

CELL_SIZE = 4.0
"""Metres, the ant mazes' scale."""
MAX_STEP = 0.6
"""Metres per env step at full action: at least seven steps for every cell."""
RADIUS = 0.5
"""Metres; the point collides as a disc of this radius."""
SUCCESS_RADIUS = 0.5
START_NOISE = 0.1
SUBSTEPS = 2
"""A substep is shorter than the radius, so that the centre never enters a wall."""


def point_task(layout: Layout, episode_length: int | None) -> Task:
    """Reach the centre of a goal cell. State and goal are the position [2] in metres."""
    spec = EnvSpec(
        state_size=2,
        goal_size=2,
        goal_indices=(0, 1),
        action_size=2,
        episode_length=episode_length or 200,
        success_radius=SUCCESS_RADIUS,
    )
    start = jnp.asarray(start_cell(layout) * CELL_SIZE)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        start_key, goal_key = jax.random.split(key)
        position = start + jax.random.uniform(start_key, (2,), minval=-START_NOISE, maxval=START_NOISE)
        return {"qpos": position}, draw_cell(goal_key, layout, CELL_SIZE, "G")

    return Task(
        spec=spec,
        scene=Scene(layout, CELL_SIZE),
        reset=reset,
        observe=lambda physics: physics["qpos"],
        control=lambda action, physics: MAX_STEP * action / jnp.maximum(1.0, jnp.linalg.norm(action)),
    )


def point_stitching_task(layout: Layout, distances: tuple[int, ...], episode_length: int | None) -> Task:
    """A corridor maze whose starts and goals are cell centres one of `distances` cells apart (paper, Figure 11)."""
    pairs, probabilities = stitching_pairs(layout, distances)
    centres = jnp.asarray(pairs * CELL_SIZE, jnp.float32)

    def reset(key: PRNGKeyArray) -> tuple[Physics, Float[Array, "2"]]:
        start, goal = centres[jax.random.choice(key, len(centres), p=jnp.asarray(probabilities))]
        return {"qpos": start}, goal

    return point_task(layout, episode_length)._replace(reset=reset)


def point_engine(layout: Layout) -> Engine:
    """Build an engine whose substeps move the disc by the control, then push it out of every wall that it overlaps."""
    is_wall_cell = jnp.asarray(walls(layout))
    # Diagonal neighbours last: along a straight wall of several cells the sides must push first, or the corner of the
    # next cell would push the point along the wall.
    offsets = jnp.asarray(sorted(((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)), key=lambda o: abs(o[0]) + abs(o[1])))

    def push_out(position: Array, offset: Array) -> tuple[Array, None]:
        cell = jnp.round(position / CELL_SIZE).astype(jnp.int32) + offset
        inside = jnp.all((cell >= 0) & (cell < jnp.asarray(is_wall_cell.shape)))
        is_wall = inside & is_wall_cell[cell[0], cell[1]]
        nearest = jnp.clip(position, (cell - 0.5) * CELL_SIZE, (cell + 0.5) * CELL_SIZE)
        gap = position - nearest
        distance: Array = jnp.linalg.norm(gap)
        overlaps = is_wall & (distance < RADIUS) & (distance > 0.0)
        out = nearest + gap * (RADIUS / jnp.where(overlaps, distance, 1.0))
        return jnp.where(overlaps, out, position), None

    def substep(position: Array, displacement: Array) -> Array:
        return jax.lax.scan(push_out, position + displacement, offsets, unroll=True)[0]

    def step(physics: Physics, control: Array) -> Physics:
        position = physics["qpos"]
        for _ in range(SUBSTEPS):
            position = substep(position, control / SUBSTEPS)
        return {"qpos": position}

    return Engine(on_device=True, step=step)

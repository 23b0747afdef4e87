"""Records passed between the subpackages, and the legend of their axes.

N  parallel environments      T  env steps per collection     U  updates per collection
B  pairs per update           S  state size                   G  goal size
A  action size                R  representation size          W  network width
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

Metrics = dict[str, Any]
"""Name to scalar."""


class Transition(NamedTuple):
    """One env step of every environment; collections stack T of them on a leading axis.

    `next_state` is the true next state, also where an episode ended and the environment was reset.
    `episode_id` counts the episodes of one environment: equal ids in one column are one trajectory.
    """

    state: Float[Array, "*time N S"]
    action: Float[Array, "*time N A"]
    goal: Float[Array, "*time N G"]
    next_state: Float[Array, "*time N S"]
    success: Bool[Array, "*time N"]
    terminated: Bool[Array, "*time N"]
    truncated: Bool[Array, "*time N"]
    episode_id: Int[Array, "*time N"]


class Batch(NamedTuple):
    """Positive pairs: `goal[i]` was reached after `state[i]`, `action[i]` in the same trajectory.

    `ended[i]`: the outcome of the pair is the end of its episode instead of `goal[i]`; None unless the goal sampling is
    "absorbing".
    """

    state: Float[Array, "B S"]
    action: Float[Array, "B A"]
    goal: Float[Array, "B G"]
    ended: Bool[Array, "B"] | None = None


class StepBatch(NamedTuple):
    """Single env steps with a goal each, commanded or achieved later; `next_state` is the true one."""

    state: Float[Array, "B S"]
    action: Float[Array, "B A"]
    goal: Float[Array, "B G"]
    next_state: Float[Array, "B S"]
    terminated: Bool[Array, "B"]

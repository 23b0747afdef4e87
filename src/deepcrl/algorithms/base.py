"""What an algorithm is: a record of plain functions, closed over its configuration."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from deepcrl.nn.encoder import Trunk
from deepcrl.replay.buffer import Replay
from deepcrl.types import Metrics

Agent = Any
"""The algorithm's own state, a pytree: networks, optimiser states, temperature."""
Batch = Any
"""What one update learns from, a pytree of rows: `types.Batch`, `types.StepBatch` or its own record."""


class Algorithm(NamedTuple):
    """Everything the loop needs to know of an algorithm."""

    columns: tuple[str, ...]
    """Fields of Transition that the replay must store; the episode's id is always there."""
    init: Callable[[PRNGKeyArray], Agent]
    act: Callable[[Agent, Float[Array, "N S"], Float[Array, "N G"], PRNGKeyArray, str], Float[Array, "N A"]]
    """(agent, state, goal, key, mode) to actions in [-1, 1]."""
    draw: Callable[[PRNGKeyArray, Replay, tuple[int, ...]], Any]
    """(key, replay, shape) to indices of that many training examples, drawn together before the updates."""
    relabel: Callable[[Replay, Any], Batch]
    """(replay, indices [B]) to the rows of one batch; nothing but those rows is read."""
    update: Callable[[Agent, Batch, PRNGKeyArray], tuple[Agent, Metrics]]
    diagnose: Callable[[Agent, Batch], Metrics]
    """What the networks have learnt, on one batch; once per collection."""
    probes: "Probes"


class Probes(NamedTuple):
    """Ways to look into an agent; None where an algorithm has no such thing. Batched like `act`."""

    value: Callable[[Agent, Array, Array, Array], Array] | None = None
    """(agent, state, action, goal) to the critic's value."""
    embed_state_action: Callable[[Agent, Array, Array], Array] | None = None
    embed_goal: Callable[[Agent, Array], Array] | None = None
    trunks: Callable[[Agent, Array, Array, Array], dict[str, "TrunkView"]] | None = None
    """(agent, state, action, goal) to its trunks by name, to be looked at block by block."""


class TrunkView(NamedTuple):
    """One network's trunk, what goes into it, and how it is being changed."""

    trunk: Trunk
    inputs: Float[Array, "N inputs"]
    gradient: Trunk
    """Mean of the last gradients, about ten: Adam's first moment."""

"""The interface of an algorithm: a record of plain functions, closed over its configuration."""

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
    """Everything the training loop needs to know about an algorithm."""

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
    """(agent, batch) to metrics of what the networks have learnt; called once per collection."""
    probes: "Probes"


class Probes(NamedTuple):
    """Functions that inspect an agent, batched like `act`; None where the algorithm has no such quantity."""

    value: Callable[[Agent, Array, Array, Array], Array] | None = None
    """(agent, state, action, goal) to the critic's value."""
    embed_state_action: Callable[[Agent, Array, Array], Array] | None = None
    embed_goal: Callable[[Agent, Array], Array] | None = None
    trunks: Callable[[Agent, Array, Array, Array], dict[str, "TrunkView"]] | None = None
    """(agent, state, action, goal) to views of its trunks, by name, for analyses block by block."""


class TrunkView(NamedTuple):
    """One network's trunk, its inputs and its recent gradient."""

    trunk: Trunk
    inputs: Float[Array, "N inputs"]
    gradient: Trunk
    """Adam's first moment: a mean of about the last ten gradients."""

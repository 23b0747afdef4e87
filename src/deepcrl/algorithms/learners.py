"""One agent collects; others, the learners, learn only from its replay (paper, section 4.3 and Figure 8).

The collector and the learners are joined into one `Algorithm` whose agent is the tuple of their agents. The collector's
random numbers are those of a run without learners.

A learner has the collector's settings except for its own changes. If it changes `network.depth`, that is the depth of
both actor and critic, whatever `actor_depth` and `critic_depth` the collector has, unless it sets these too; likewise
`network.width`. It never collects, so it cannot change `agent.explore`.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from deepcrl.algorithms.base import Agent, Algorithm, Probes
from deepcrl.config import Config, ConfigError, agent_defaults, override
from deepcrl.types import Metrics


def configs(config: Config) -> list[Config]:
    """The collector's configuration and those of its learners. Raises ConfigError for changes a learner cannot have."""
    collector = override(config, {"learners": ()})
    return [collector, *(_learner(collector, text) for text in config.learners)]


@contextmanager
def naming(text: str) -> Iterator[None]:
    """Name this learner in the message of a ConfigError raised in the block."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"learners = {text!r}: {error}") from None


def _learner(collector: Config, text: str) -> Config:
    with naming(text):
        changes = _changes(text)
        # Not the collector's: it may be "best_of_K", and a learner may have no critic to rank actions.
        base = {"agent.explore": agent_defaults(collector.agent.algorithm).explore}
        for size in ("depth", "width"):
            if f"network.{size}" in changes:
                base |= {f"network.{part}_{size}": None for part in ("actor", "critic")}
        return override(override(collector, base), changes)


def _changes(text: str) -> dict[str, Any]:
    """Parse words such as `network.depth=4` into a mapping from path to value. Raises ConfigError."""
    changes = {}
    for word in text.split():
        path, equals, value = word.partition("=")
        if not equals or path.split(".")[0] not in ("agent", "network"):
            changes = {}
            break
        if path == "agent.explore":
            raise ConfigError("agent.explore is the collector's alone: a learner never collects")
        changes[path] = _value(value)
    if not changes:
        raise ConfigError("must be changes of agent and network fields, such as 'network.depth=4 agent.energy=dot'")
    return changes


def _value(word: str) -> Any:
    """Parse a Python literal or a number, nan and inf included; any other word stays a string."""
    for read in (ast.literal_eval, float):
        try:
            return read(word)
        except (ValueError, SyntaxError):
            pass
    return word


def join(algorithms: Sequence[Algorithm]) -> Algorithm:
    """Join algorithms into one: the first acts, all learn, from the same rows if they sample the same way."""

    def init(key: PRNGKeyArray) -> Agent:
        return tuple(algorithm.init(_own(key, i)) for i, algorithm in enumerate(algorithms))

    def update(agent: Agent, batch: Any, key: PRNGKeyArray) -> tuple[Agent, Metrics]:
        done = [a.update(agent[i], batch[i], _own(key, i)) for i, a in enumerate(algorithms)]
        return tuple(agent for agent, _ in done), _merge([metrics for _, metrics in done])

    collector = member(algorithms, 0)
    return collector._replace(
        columns=tuple(dict.fromkeys(name for algorithm in algorithms for name in algorithm.columns)),
        init=init,
        draw=lambda key, replay, shape: tuple(a.draw(key, replay, shape) for a in algorithms),
        relabel=lambda replay, indices: tuple(a.relabel(replay, indices[i]) for i, a in enumerate(algorithms)),
        update=update,
        diagnose=lambda agent, batch: _merge([a.diagnose(agent[i], batch[i]) for i, a in enumerate(algorithms)]),
    )


def member(algorithms: Sequence[Algorithm], index: int) -> Algorithm:
    """One of the joined algorithms, with an `act` and probes that take the joined agent."""
    own = algorithms[index]

    def part(function: Callable | None) -> Callable | None:
        return function and (lambda agent, *rest: function(agent[index], *rest))

    probes = Probes(*(part(function) for function in own.probes))
    return own._replace(act=lambda agent, *rest: own.act(agent[index], *rest), probes=probes)


def metric_prefix(index: int) -> str:
    """Prefix of this member's metric names; empty for the collector."""
    return f"learner_{index}/" if index else ""


def _merge(metrics: Sequence[Metrics]) -> Metrics:
    return {f"{metric_prefix(i)}{key}": value for i, found in enumerate(metrics) for key, value in found.items()}


def _own(key: PRNGKeyArray, index: int) -> PRNGKeyArray:
    # `split` folds in small numbers: with one of these the member would share keys with the collector.
    return jax.random.fold_in(key, 2**31 + index) if index else key

"""One network collects, others learn from its replay only (paper, section 4.3 and Figure 8).

The collector and the learners are joined to one `Algorithm` whose agent is the tuple of their agents. The collector's
random numbers are those of a run without learners.

A learner has the collector's settings, but for its own changes. Its `network.depth` is that of actor and critic, also
where the collector's have their own, unless it changes these besides; so is its `network.width`. It never collects, so
that `agent.explore` is not its to change.
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
    """The collector's configuration and those of its learners. Raises ConfigError for changes no learner can have."""
    collector = override(config, {"learners": ()})
    return [collector, *(_learner(collector, text) for text in config.learners)]


@contextmanager
def named(text: str) -> Iterator[None]:
    """A ConfigError of the block says that it is about this learner."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"learners = {text!r}: {error}") from None


def _learner(collector: Config, text: str) -> Config:
    with named(text):
        changes = _changes(text)
        # How the collector explores is nothing to a learner, which may have no critic to rank actions.
        base = {"agent.explore": agent_defaults(collector.agent.algorithm).explore}
        for size in ("depth", "width"):
            if f"network.{size}" in changes:
                base |= {f"network.{part}_{size}": None for part in ("actor", "critic")}
        return override(override(collector, base), changes)


def _changes(text: str) -> dict[str, Any]:
    """Words such as `network.depth=4` as a mapping from path to value. Raises ConfigError."""
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
    """A Python literal or number, nan and inf among them; else the word itself."""
    for read in (ast.literal_eval, float):
        try:
            return read(word)
        except (ValueError, SyntaxError):
            pass
    return word


def join(algorithms: Sequence[Algorithm]) -> Algorithm:
    """The first algorithm acts; all of them learn, from the same rows where they draw them alike."""

    def init(key: PRNGKeyArray) -> Agent:
        return tuple(algorithm.init(_own(key, i)) for i, algorithm in enumerate(algorithms))

    def update(agent: Agent, batch: Any, key: PRNGKeyArray) -> tuple[Agent, Metrics]:
        done = [a.update(agent[i], batch[i], _own(key, i)) for i, a in enumerate(algorithms)]
        return tuple(agent for agent, _ in done), _merge([metrics for _, metrics in done])

    collector = view(algorithms, 0)
    return collector._replace(
        columns=tuple(dict.fromkeys(name for algorithm in algorithms for name in algorithm.columns)),
        init=init,
        draw=lambda key, replay, shape: tuple(a.draw(key, replay, shape) for a in algorithms),
        relabel=lambda replay, indices: tuple(a.relabel(replay, indices[i]) for i, a in enumerate(algorithms)),
        update=update,
        diagnose=lambda agent, batch: _merge([a.diagnose(agent[i], batch[i]) for i, a in enumerate(algorithms)]),
    )


def view(algorithms: Sequence[Algorithm], index: int) -> Algorithm:
    """One of the joined algorithms, acting and probed on the joined agent."""
    own = algorithms[index]

    def part(function: Callable | None) -> Callable | None:
        return function and (lambda agent, *rest: function(agent[index], *rest))

    probes = Probes(*(part(function) for function in own.probes))
    return own._replace(act=lambda agent, *rest: own.act(agent[index], *rest), probes=probes)


def name(index: int) -> str:
    """What metrics of this member begin with; the collector's have their plain names."""
    return f"learner_{index}/" if index else ""


def _merge(metrics: Sequence[Metrics]) -> Metrics:
    return {f"{name(i)}{key}": value for i, found in enumerate(metrics) for key, value in found.items()}


def _own(key: PRNGKeyArray, index: int) -> PRNGKeyArray:
    # To fold in a small number is what `split` does: the member would share keys with the collector.
    return jax.random.fold_in(key, 2**31 + index) if index else key

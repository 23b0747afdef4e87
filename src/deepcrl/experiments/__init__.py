"""Every figure and table of the paper as a record: its question, its runs, and the paper's own numbers."""

from deepcrl.config import ConfigError, near_matches
from deepcrl.experiments.record import Cell, Experiment, Scale, cells
from deepcrl.experiments.records import EXPERIMENTS

__all__ = ["EXPERIMENTS", "Cell", "Experiment", "Scale", "cells", "lookup"]


def lookup(name: str) -> Experiment:
    """The experiment of that name. Raises ConfigError with near matches when there is none."""
    if name not in EXPERIMENTS:
        raise ConfigError(f"no experiment is called {name!r}; {near_matches(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]

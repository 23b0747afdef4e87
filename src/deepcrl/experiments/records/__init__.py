"""All experiments, as data, in modules by subject."""

from deepcrl.experiments.record import Experiment
from deepcrl.experiments.records import insight, limits, methods, scaling

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in scaling.EXPERIMENTS + limits.EXPERIMENTS + insight.EXPERIMENTS + methods.EXPERIMENTS
}

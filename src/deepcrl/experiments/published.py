"""The paper's numbers as tables, for pages of scales whose cells are not the paper's."""

from deepcrl.experiments.record import Experiment, Published
from deepcrl.experiments.results import CLOCK
from deepcrl.report.text import MISSING


def shown(number: Published | None, unit: float = 1.0) -> str:
    """A number with its standard error, both divided by `unit`."""
    if number is None:
        return MISSING
    error = f" ± {number.error / unit:.4g}" if number.error else ""
    return f"{number.value / unit:.4g}{error}"


def table(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a column for every label along the abscissa, a row for every combination of the others. Times
    are in hours, as the paper gives them."""
    labels: dict[str, dict[str, None]] = {}
    for number in experiment.published:
        for axis, label in number.at.items():
            labels.setdefault(axis, {})[label] = None
    across = experiment.x if experiment.x in labels else list(labels)[-1]
    down = [axis for axis in labels if axis != across]
    rows: dict[tuple[str, ...], dict[str, Published]] = {}
    for number in experiment.published:
        rows.setdefault(tuple(number.at[axis] for axis in down), {})[number.at[across]] = number
    unit, suffix = (3600.0, " (h)") if experiment.metric == CLOCK else (1.0, "")
    header = [*down, *(f"{across} {label}{suffix}" for label in labels[across])]
    body = [[*key, *(shown(own.get(label), unit) for label in labels[across])] for key, own in rows.items()]
    return header, body


def pass_table(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Header and rows: hours until the paper's deep network passed the final score named by `passes`, for each task."""
    assert experiment.passes is not None
    body = [[task, "never" if hours is None else f"{hours:.2f}"] for task, hours in experiment.passed_after.items()]
    return ["task", f"{experiment.passes[1]} passed after (h)"], body

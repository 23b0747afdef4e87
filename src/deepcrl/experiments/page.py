"""An experiment's report, as Markdown with pictures and as one self-contained HTML page."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepcrl.analysis.statistics import Estimate
from deepcrl.checkpoint import CheckpointError
from deepcrl.config import ConfigError
from deepcrl.experiments import document, published, runs
from deepcrl.experiments.document import Code, Document, Heading, Part, Picture, Table, Words
from deepcrl.experiments.record import Experiment
from deepcrl.experiments.results import (
    CLOCK,
    VERDICTS,
    Result,
    claim_words,
    depth_words,
    goal_tables,
    level_table,
    pass_table,
    state_words,
    value_of,
)
from deepcrl.files import replace_file
from deepcrl.folder import load_machine
from deepcrl.report.charts import Series, interval_chart, line_chart
from deepcrl.report.findings import FINDINGS, kept
from deepcrl.report.text import MISSING, finite, number

TIME_AT_GOAL = "time_at_goal"
AGREEMENT = "Agreement with the paper"
STATE = "; "
"""Separator before a page's words on the state of its runs, by which `state_said` finds them."""


def command(experiment: Experiment, scale: str) -> str:
    return f"deepcrl experiment run {experiment.name} --scale {scale}"


def write(experiment: Experiment, scale: str, found: Sequence[Result], folder: Path, out: Path) -> tuple[Path, Path]:
    """Write NAME-SCALE.md, its pictures and NAME-SCALE.html into `folder`; returns the paths of the two pages."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{experiment.name}-{scale}"
    content = compose(experiment, scale, found, out)
    text, pictures = document.markdown(content, stem)
    for old in (*folder.glob(f"{stem}-*.svg"), *folder.glob(f"{stem}-*.png")):
        if old.name not in pictures:
            old.unlink()
    for name, picture in pictures.items():
        if isinstance(picture, bytes):
            (folder / name).write_bytes(picture)
        else:
            replace_file(folder / name, picture)
    return (
        replace_file(folder / f"{stem}.md", text),
        replace_file(folder / f"{stem}.html", document.html(content, f"deepcrl, {experiment.source}")),
    )


def compose(experiment: Experiment, scale: str, found: Sequence[Result], out: Path) -> Document:
    """Compose the page."""
    columns, lines = table_of(found)
    analysed = {kind: _analysed(kind, found, out) for kind in experiment.analyses}
    parts: list[Part] = [
        Words(f"The paper: {experiment.finding}"),
        Words(f"Scale {scale}, seeds {seeds_words(found)}{STATE}{state_words(found)}."),
        Code(command(experiment, scale)),
    ]
    numbers = [[one for several in analysed.values() for one in several.numbers[i]] for i in range(len(found))]
    if claims := claim_words(experiment, found, numbers):
        parts += [Heading(AGREEMENT), *map(Words, claims)]
    parts += [
        Heading("Scores"),
        Words(f"{experiment.metric}: {_metric_words(experiment)}"),
        Table("Scores by cell", columns, lines, len(columns) - len(found[0].cell.labels)),
        *map(Words, depth_words(experiment, found)),
        *_scores_pictures(experiment, found),
        *papers_numbers(experiment, found),
    ]
    if levels := experiment.scales[scale].levels:
        parts += [
            Heading("When scores were first reached"),
            Words(
                "Env steps and wall time of the first evaluation at or above a score: median over the seeds that came "
                "so far, and in brackets how many did. Wall times are of runs beside others, on one core each."
            ),
            Table("First evaluations at or above a score", *level_table(levels, found), len(levels)),
        ]
    if experiment.passes and experiment.passes[1] in {result.cell.labels[experiment.passes[0]] for result in found}:
        parts += [
            Heading(f"When the final score of {experiment.passes[1]} was passed"),
            Words(
                "Env steps and wall time of the first evaluation at or above the mean final score (last five "
                f"evaluations) of {experiment.passes[1]} in the same environment; medians and counts as above."
            ),
            Table(f"When {experiment.passes[1]} was passed", *pass_table(experiment, found), 2),
        ]
    if by_env := goal_tables(found):
        parts += [
            Heading("By goal"),
            Words(
                "Goals by the maze's cell, row and column: share of the last five evaluations' episodes that reach it; "
                "in brackets the seeds that came to reach it in half of them, and after how many env steps (median)."
            ),
        ]
        for env, (header, body) in by_env.items():
            number = len(header) - len(found[0].cell.labels)
            parts += [Words(f"In {env}:"), Table(f"Episodes that reach the goal, in {env}", header, body, number)]
    if curves := list(_curves(experiment, found)):
        parts += [Heading("Learning"), Words(f"Mean over seeds, by {experiment.x}."), *curves]
    for kind, several in analysed.items():
        parts += _analysis(kind, found, several)
    if experiment.note:
        parts += [Heading("Notes"), Words(experiment.note)]
    facts = circumstances(found, out)
    if facts:
        made = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
        parts += [Heading("Made with"), Words(made)]
    return Document(f"{experiment.source}: {experiment.name}", experiment.question, parts)


def state_said(text: str) -> str | None:
    """State of a page's runs, parsed from its Markdown; None when it states none."""
    line = next((line for line in text.splitlines() if line.startswith("Scale ")), "")
    return line.partition(STATE)[2].removesuffix(".") or None


def agreement_said(text: str) -> str | None:
    """How many of the paper's claims a page's runs agree with, go against or leave open, parsed from its Markdown; None
    when it tests none."""
    section = text.partition(f"\n## {AGREEMENT}\n")[2].partition("\n## ")[0]
    counts = {word: sum(section.count(f": {said}") for said in verdicts) for word, verdicts in VERDICTS.items()}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"claims: {words}" if words else None


def table_of(found: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: labels, runs done, mean and interquartile mean with 95% intervals, the final distance if
    the metric is a time at goal, and the paper's numbers if it has any for these labels."""
    timed = found[0].metric.endswith(TIME_AT_GOAL)
    distance = ["final distance (m)"] if timed else []
    paper = ["paper"] if any(result.published for result in found) else []
    columns = [*found[0].cell.labels, "runs", "mean", "interquartile mean", *distance, *paper]
    lines = []
    for result in found:
        done = sum(state == "done" for state in result.states.values())
        lines.append(
            [
                *result.cell.labels.values(),
                f"{done} of {len(result.states)}",
                _shown(result.mean),
                _shown(result.interquartile),
                *([_final_distance(result)] if timed else []),
                *(published.shown(result.published) for _ in paper),
            ]
        )
    return columns, lines


def papers_numbers(experiment: Experiment, found: Sequence[Result]) -> Iterator[Part]:
    """The paper's numbers for its own cells, unless `table_of` shows them beside ours, and its times for `passes`."""
    beside = any(result.published for result in found)
    if (experiment.published and not beside) or experiment.passed_after:
        yield Heading("The paper's numbers")
        if not beside:
            yield Words(
                "Of its own scale: its robots, 100 to 400 million env steps. "
                "With ours only their order can be compared."
            )
    if experiment.published and not beside:
        header, body = published.table(experiment)
        across = sum(name.startswith(f"{experiment.x} ") for name in header)
        yield Table("The paper's numbers", header, body, across)
    if experiment.passed_after:
        yield Table("The paper's times", *published.pass_table(experiment), 1)


def _final_distance(result: Result) -> str:
    """Final distance in metres, mean over runs, each over the evaluations of its score. It separates runs that never
    reach a goal."""
    name = result.metric.removesuffix(TIME_AT_GOAL) + "final_distance"
    values = [value_of(name, some) for some in result.rows.values()]
    return f"{np.mean(values):.2f}" if values else MISSING


def _shown(found: Estimate | None) -> str:
    return MISSING if found is None else str(found)


def circumstances(found: Sequence[Result], out: Path) -> dict[str, str]:
    """Dates, hardware and git revisions of the finished runs, from their machine.json, oldest first."""
    machines = []
    for result in found:
        for seed, folder in runs.folders(result.cell, out).items():
            if result.states[seed] == "done":
                machines.append(load_machine(folder))
    machines.sort(key=lambda machine: str(machine.get("date")))
    words: dict[str, str] = {}
    for key in ("date", "processor", "cores", "device", "git_revision"):
        values = list(dict.fromkeys(str(machine[key]) for machine in machines if machine.get(key) is not None))
        if key == "date" and len(values) > 1:
            words[key] = f"{values[0]} to {values[-1]}"
        elif values:
            words[key] = ", ".join(re.sub(r"^([0-9a-f]{10})[0-9a-f]{30}", r"\1", value) for value in values)
    return words


def seeds_words(found: Sequence[Result]) -> str:
    seeds = sorted({seed for result in found for seed in result.cell.seeds})
    return ", ".join(map(str, seeds))


def _metric_words(experiment: Experiment) -> str:
    if experiment.metric == CLOCK:
        return "seconds of the whole run; mean over seeds with 95% bootstrap intervals."
    return (
        "each run's last five evaluations, averaged; mean over seeds with 95% bootstrap intervals, too narrow for few."
    )


def _x(experiment: Experiment, found: Sequence[Result]) -> str:
    """The axis along the abscissa: the experiment's, or the last one at a scale that lacks it."""
    axes = list(found[0].cell.labels)
    return experiment.x if experiment.x in axes else axes[-1]


def _scores_pictures(experiment: Experiment, found: Sequence[Result]) -> Iterator[Picture]:
    """The score along the x axis: a picture for every task, a colour for every combination of the other labels."""
    x = _x(experiment, found)
    panels: dict[str, dict[str, dict[str, tuple[float, float, float]]]] = {}
    for result in found:
        if result.mean is None:
            continue
        labels, mean = dict(result.cell.labels), result.mean
        place = labels.pop(x)
        task = labels.pop("task", "")
        low, high = (mean.value if end is None else end for end in (mean.low, mean.high))
        series = panels.setdefault(task, {}).setdefault(", ".join(labels.values()), {})
        series[place] = (mean.value, low, high)
    for task, series in panels.items():
        if max(map(len, series.values())) > 1:
            label = f"{experiment.metric} by {x}{f', {task}' if task else ''}"
            yield Picture(label, interval_chart(list(series.items()), label=label))


def _curves(experiment: Experiment, found: Sequence[Result]) -> Iterator[Picture]:
    """The metric over env steps, mean over seeds: a panel for every combination of labels but those of the x axis."""
    if experiment.metric == CLOCK:
        return
    panels: dict[str, list[Series]] = {}
    end, x = 1.0, _x(experiment, found)
    for result in found:
        if not result.rows:
            continue
        rest = ", ".join(f"{key} {label}" for key, label in result.cell.labels.items() if key != x)
        every = list(result.rows.values())
        env_steps = [row["env_steps"] for row in every[0]]
        values = zip(*([row.get(result.metric) for row in some] for some in every), strict=True)
        known = [(step, list(filter(finite, several))) for step, several in zip(env_steps, values, strict=True)]
        points = [(step, float(np.mean(several))) for step, several in known if several]
        panels.setdefault(rest, []).append(Series(result.cell.labels[x], points))
        end = max(end, float(env_steps[-1]))
    for name, series in panels.items():
        shown = name or experiment.name
        yield Picture(shown, line_chart(series, label=shown, x_max=end, zero=True))


class _Analysed(NamedTuple):
    """Results of one analysis on the finished runs."""

    numbers: list[list[dict[str, float]]]
    """For each result, the numbers of each of its runs."""
    pictures: list[Picture]
    """One for each result, of its first run that has one."""
    problems: list[str]


def _analysed(kind: str, found: Sequence[Result], out: Path) -> _Analysed:
    numbers, pictures, problems = [], [], {}
    for result in found:
        own, pictured = [], False
        for seed, folder in runs.folders(result.cell, out).items():
            if result.states[seed] != "done":
                continue
            try:
                one = kept(kind, folder)
            except (ConfigError, CheckpointError) as error:
                problems[str(error).replace(str(folder), folder.name)] = None
                continue
            if one.picture and not pictured:
                pictured = True
                caption = f": {one.caption}" if one.caption else ""
                pictures.append(Picture(f"{result.cell.name()}, seed {seed}{caption}", one.picture))
            own.append(one.numbers)
        numbers.append(own)
    return _Analysed(numbers, pictures, list(problems))


def _analysis(kind: str, found: Sequence[Result], analysed: _Analysed) -> Iterator[Part]:
    """A table of every cell's numbers, mean over its runs, and a picture of each cell's first run."""
    yield Heading(f"{kind.capitalize()}: {FINDINGS[kind].about}")
    columns = list(dict.fromkeys(name for several in analysed.numbers for one in several for name in one))
    rows = []
    for result, several in zip(found, analysed.numbers, strict=True):
        values = [[one[name] for one in several if name in one and math.isfinite(one[name])] for name in columns]
        shown = [number(float(np.mean(own))) if own else MISSING for own in values]
        rows.append([*result.cell.labels.values(), str(len(several)), *shown])
    if columns:
        names = list(found[0].cell.labels)
        yield Table(f"{kind} by cell", [*names, "runs", *columns], rows, len(columns) + 1)
    for problem in analysed.problems:
        yield Words(f"Not for all: {problem}.")
    yield from analysed.pictures

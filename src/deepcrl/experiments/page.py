"""An experiment's report, as Markdown and as one self-contained HTML page, and the index of all of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from deepcrl.analysis.statistics import Estimate
from deepcrl.experiments import runs
from deepcrl.experiments.record import Experiment
from deepcrl.experiments.results import Result, depth_words, state_words
from deepcrl.report.build import replace_file
from deepcrl.report.charts import Series, line_chart
from deepcrl.report.html import Markup, page, section, table, tag

MISSING = "–"


def command(experiment: Experiment, scale: str) -> str:
    return f"deepcrl experiment run {experiment.name} --scale {scale}"


def write(experiment: Experiment, scale: str, found: Sequence[Result], folder: Path, out: Path) -> tuple[Path, Path]:
    """Write NAME-SCALE.md and NAME-SCALE.html into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{experiment.name}-{scale}"
    facts = circumstances(found, out)
    return (
        replace_file(folder / f"{stem}.md", markdown(experiment, scale, found, facts)),
        replace_file(folder / f"{stem}.html", html(experiment, scale, found, facts)),
    )


def table_of(found: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: labels, runs done, mean and interquartile mean with 95% intervals, the paper's number."""
    names = list(found[0].cell.labels)
    columns = [*names, "runs", "mean", "interquartile mean", "paper"]
    lines = []
    for result in found:
        done = sum(state == "done" for state in result.states.values())
        number = result.published
        lines.append(
            [
                *result.cell.labels.values(),
                f"{done} of {len(result.states)}",
                _shown(result.mean),
                _shown(result.interquartile),
                MISSING if number is None else f"{number.value:g}" + (f" ± {number.error:g}" if number.error else ""),
            ]
        )
    return columns, lines


def _shown(found: Estimate | None) -> str:
    return MISSING if found is None else str(found)


def circumstances(found: Sequence[Result], out: Path) -> dict[str, str]:
    """On what the runs were made, and from which revision; from their machine.json."""
    machines = []
    for result in found:
        for seed, folder in runs.folders(result.cell, out).items():
            if result.states[seed] == "done":
                machines.append(json.loads((folder / "machine.json").read_text()))
    words: dict[str, str] = {}
    for key in ("date", "processor", "cores", "device", "git_revision"):
        values = sorted({str(machine[key]) for machine in machines if key in machine})
        if values:
            words[key] = values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"
    return words


def seeds_words(found: Sequence[Result]) -> str:
    seeds = sorted({seed for result in found for seed in result.cell.seeds})
    return ", ".join(map(str, seeds))


def markdown(experiment: Experiment, scale: str, found: Sequence[Result], facts: dict[str, str]) -> str:
    """The page for docs/results."""
    columns, lines = table_of(found)
    text = [
        f"# {experiment.source}: {experiment.name}",
        "",
        f"**{experiment.question}**",
        "",
        f"The paper: {experiment.finding}",
        "",
        f"Scale `{scale}`, seeds {seeds_words(found)}; {state_words(found)}.",
        "",
        "```bash",
        command(experiment, scale),
        "```",
        "",
        f"`{experiment.metric}`: {_metric_words(experiment)}",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
        *(f"- {words}" for words in depth_words(experiment, found)),
        "",
    ]
    if experiment.note:
        text += [experiment.note, ""]
    if facts:
        text += ["; ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()), ""]
    return "\n".join(text)


def _metric_words(experiment: Experiment) -> str:
    if experiment.metric == "wall_s":
        return "seconds of the whole run; mean over seeds with 95% bootstrap intervals."
    return (
        "each run's last five evaluations, averaged; mean over seeds with 95% bootstrap intervals, too narrow for few."
    )


def html(experiment: Experiment, scale: str, found: Sequence[Result], facts: dict[str, str]) -> Markup:
    """The page that opens without a network."""
    columns, lines = table_of(found)
    numeric = range(len(columns) - 4, len(columns))
    header = tag(
        "header",
        tag("p", f"deepcrl, {experiment.source}", class_="kind"),
        tag("h1", experiment.name),
        tag("p", experiment.question, class_="lead"),
    )
    scores = table(columns, lines, caption="Scores by cell", numeric=numeric, class_="wide")
    made = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    return page(
        f"{experiment.source}: {experiment.name} – deepcrl",
        header,
        tag(
            "main",
            section("The paper's answer", experiment.finding, tag("p", experiment.note) if experiment.note else ""),
            section(
                "Scores",
                f"{experiment.metric}: {_metric_words(experiment)}",
                scores,
                *(tag("p", words) for words in depth_words(experiment, found)),
            ),
            _curves(experiment, found),
            section(
                "Made with",
                f"Scale {scale}, seeds {seeds_words(found)}; {state_words(found)}. {made}",
                tag("pre", command(experiment, scale)),
            ),
        ),
    )


def _curves(experiment: Experiment, found: Sequence[Result]) -> Markup:
    """The metric over env steps, mean over seeds: a panel for every combination of labels but those of the x axis."""
    if experiment.metric == "wall_s":
        return Markup("")
    panels: dict[str, list[Series]] = {}
    end = 1.0
    axes = list(found[0].cell.labels)
    x = experiment.x if experiment.x in axes else axes[-1]  # the smallest scale may do without it
    for result in found:
        if not result.rows:
            continue
        rest = ", ".join(f"{key} {label}" for key, label in result.cell.labels.items() if key != x)
        steps = [row["env_steps"] for row in next(iter(result.rows.values()))]
        values = zip(*([row[experiment.metric] for row in some] for some in result.rows.values()), strict=True)
        points = [(step, sum(several) / len(several)) for step, several in zip(steps, values, strict=True)]
        panels.setdefault(rest, []).append(Series(result.cell.labels[x], points))
        end = max(end, float(steps[-1]))
    figures = [
        tag("figure", tag("h3", name or experiment.name), line_chart(series, label=name, x_max=end), class_="panel")
        for name, series in panels.items()
    ]
    about = f"Mean over seeds, by {x}."
    return section("Learning", about, tag("div", *figures, class_="charts")) if figures else Markup("")


def index(experiments: Sequence[Experiment]) -> str:
    """All experiments as the table of docs/experiments.md."""
    lines = ["| in the paper | question | the paper's answer | `deepcrl experiment run` |", "|---|---|---|---|"]
    lines += [f"| {one.source} | {one.question} | {one.finding} | `{one.name}` |" for one in experiments]
    return "\n".join(lines) + "\n"

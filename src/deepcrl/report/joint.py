"""One page for several seeds of one configuration: their scores, intervals, curves, and a link to each run's report."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from deepcrl.files import replace_file
from deepcrl.nn.encoder import network_words
from deepcrl.report import details, sections, text
from deepcrl.report.build import FILE
from deepcrl.report.charts import Series, line_chart
from deepcrl.report.html import Markup, page, section, table, tag
from deepcrl.report.panels import BEHAVIOUR, Panel
from deepcrl.report.record import Record, column, read, score
from deepcrl.seeds import run_dirs, summarise


def joint_report(out: str | Path) -> Path:
    """Write `report.html` and `summary.json` into the folder of several seeds; returns the page's path.

    Raises:
        ConfigError: when the folder holds no runs of several seeds.
    """
    out = Path(out).resolve()
    return replace_file(out / FILE, compose([read(run_dir) for run_dir in run_dirs(out)], summarise(out)))


def compose(records: Sequence[Record], summary: dict) -> Markup:
    """Compose the page."""
    config = records[0].config
    banners = [
        tag("p", f"{record.run_dir.name}: {words}", class_="banner", role="status")
        for record in records
        for words in sections.warnings(record)
    ]
    header = tag(
        "header",
        tag("p", "deepcrl, several seeds", class_="kind"),
        tag("h1", config.env.name),
        tag("p", f"{config.agent.algorithm}, {network_words(config.network)}, {len(records)} seeds", class_="lead"),
        *banners,
    )
    return page(
        f"{config.env.name}, {config.agent.algorithm}, {len(records)} seeds – deepcrl",
        header,
        tag("main", _estimates(summary), _curves(records), _runs(records), details.configuration(config)),
    )


def _estimates(summary: dict) -> Markup:
    rows = []
    for panel in BEHAVIOUR:
        found = summary.get(panel.series[0][0])
        if found:
            rows.append((panel.title, *(_interval(found[name], panel) for name in ("mean", "interquartile_mean"))))
    if not rows:
        return section("Scores", "No run has been evaluated after training began.")
    about = (
        "Over seeds, with 95% bootstrap intervals; a run's score is the mean of its last five evaluations. "
        "Few seeds make an interval too narrow."
    )
    return section("Scores", about, table(("score", "mean", "interquartile mean"), rows, caption="Scores over seeds"))


def _interval(found: dict, panel: Panel) -> str:
    show = sections.SHOW[panel.unit]
    inside = "" if found["low"] is None else f" [{show(found['low'])}, {show(found['high'])}]"
    return show(found["value"]) + inside


def _curves(records: Sequence[Record]) -> Markup:
    figures = []
    for panel in BEHAVIOUR:
        by_step: dict[int, list[float]] = {}
        for record in records:
            for steps, value in column(record, panel.series[0][0]):
                if value is not None:
                    by_step.setdefault(steps, []).append(value)
        if not by_step:
            continue
        curves = [
            Series(label, [(steps, of(values)) for steps, values in sorted(by_step.items())])
            for label, of in (("mean", statistics.fmean), ("highest", max), ("lowest", min))
        ]
        chart = line_chart(
            curves,
            label=panel.title,
            x_max=max(by_step),
            show=sections.SHOW[panel.unit],
            zero=bool(panel.unit),
        )
        figures.append(
            tag("figure", tag("h3", panel.title), tag("p", panel.about, class_="about"), chart, class_="panel")
        )
    return section("Learning", "Of all seeds at each evaluation.", tag("div", *figures, class_="charts"))


def _runs(records: Sequence[Record]) -> Markup:
    rows = []
    for record in records:
        scores = [score(record, panel.series[0][0], panel.higher_is_better).mean for panel in BEHAVIOUR]
        shown = [
            text.MISSING if value is None else sections.SHOW[panel.unit](value)
            for panel, value in zip(BEHAVIOUR, scores, strict=True)
        ]
        name, there = record.run_dir.name, (record.run_dir / FILE).exists()
        link = tag("a", name, href=f"{name}/{FILE}") if there else name
        rows.append((link, f"{record.env_steps:,}", *shown))
    head = ("run", "env steps", *(panel.title for panel in BEHAVIOUR))
    return section(
        "Runs",
        "Each has a report of its own.",
        table(head, rows, caption="Runs", numeric=range(1, len(head)), class_="wide"),
    )

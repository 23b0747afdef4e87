"""Report sections on a run's results; each function returns markup."""

import numpy as np

from deepcrl import config as config_lib
from deepcrl.analysis import all_behaviours
from deepcrl.analysis.statistics import LAST
from deepcrl.nn.encoder import network_words
from deepcrl.report import maps, text
from deepcrl.report.charts import COLOURS, Series, line_chart, share_bar
from deepcrl.report.html import Markup, join, section, table, tag
from deepcrl.report.look import Look
from deepcrl.report.panels import BEHAVIOUR, PHASES, Panel, Unit, training_panels
from deepcrl.report.record import Record, Score, column, rates, score, seconds

SHOW = {
    "": text.number,
    "steps": lambda value: text.number(value, 1),
    "share": text.percent,
    "m": text.metres,
}


def header(record: Record) -> Markup:
    """Head of the page: what was run, how far it got, and warnings."""
    config, rows = record.config, record.rows
    last = rows[-1] if rows else {}
    facts = [
        ("env steps", f"{record.env_steps:,} of {config.train.total_env_steps:,}"),
        ("gradient steps", text.number(last.get("gradient_steps", 0))),
        ("wall time", text.duration(last.get("wall_s"))),
        ("evaluations", f"{len(rows):,} of {config.evaluation.num_evals + 1:,}"),
        ("device", (record.machine or {}).get("device", text.MISSING)),
        ("configuration", tag("code", config_lib.config_id(config))),
    ]
    return tag(
        "header",
        tag("p", "deepcrl run", class_="kind"),
        tag("h1", config.env.name),
        tag("p", f"{config.agent.algorithm}, {network_words(config.network)}, seed {config.seed}", class_="lead"),
        *(tag("p", words, class_="banner", role="status") for words in warnings(record)),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def warnings(record: Record) -> list[str]:
    """Warnings for the top of the page: training has diverged, is not finished, or has not been evaluated yet."""
    found = []
    if record.diverged:
        names = ", ".join(name.removeprefix("train/") for name in record.diverged)
        found.append(f"Training diverged: {names} not finite at {record.env_steps:,} env steps.")
    if not record.rows:
        found.append("No evaluation yet: the run has just started, or stopped before its first one.")
    elif not record.finished:
        total = record.config.train.total_env_steps
        found.append(
            f"Not finished: interrupted, or still running, at {record.env_steps:,} of {total:,} env steps "
            f"({text.percent(record.env_steps / total)}). The numbers are those of the run so far."
        )
    if record.rows and not record.trained:
        found.append("Only the untrained policy has been evaluated so far.")
    return found


def scores(record: Record, episode_length: int | None) -> Markup:
    """The three main scores: last, mean of the last few, best, and the untrained policy's."""
    return tag("section", *(_score(record, panel, episode_length) for panel in BEHAVIOUR), class_="scores")


def _score(record: Record, panel: Panel, episode_length: int | None) -> Markup:
    found = score(record, panel.series[0][0], panel.higher_is_better)
    show = SHOW[panel.unit]
    unit = f" of {episode_length:,} steps" if panel.unit == "steps" and episode_length else ""
    if found.last is None:
        value = tag("p", tag("small", "none yet" if not record.trained else "not finite"), class_="value")
    else:
        value = tag("p", show(found.last), tag("small", unit) if unit else "", class_="value")
    rows = [
        (_mean_words(found), show(found.mean)),
        ("best", join([show(found.best), tag("small", _best_words(found))], " ")),
        ("untrained", show(found.untrained)),
    ]
    beside = tag("dl", *(part for name, content in rows for part in (tag("dt", name), tag("dd", content))))
    about = tag("p", "last evaluation", class_="about")
    return tag("div", tag("h3", panel.title), value, about, beside, class_="score")


def _mean_words(found: Score) -> str:
    return f"mean of last {found.averaged}" if found.averaged else f"mean of last {LAST}"


def _best_words(found: Score) -> str:
    return "" if found.best_at is None else f"at {text.steps(found.best_at)} steps"


def behaviour_curves(record: Record, episode_length: int | None) -> Markup:
    """Learning curves of the evaluations."""
    if not record.rows:
        return Markup("")
    config = record.config.evaluation
    about = (
        f"Each evaluation plays {config.num_envs:,} fresh episodes in {config.env or record.config.env.name} "
        f"with actions in mode “{config.mode}”. The first is of the untrained policy."
    )
    panels = [_panel(record, panel, episode_length) for panel in BEHAVIOUR]
    return section("Learning", about, tag("div", *panels, class_="charts"))


def training_curves(record: Record) -> Markup:
    """Curves of the training metrics: losses, gradient norms, diagnostics."""
    columns = sorted({key for row in record.rows for key in row})
    panels = [_panel(record, panel, None) for panel in training_panels(columns)]
    about = "Means over the updates between two evaluations. Diagnostics are taken once per collection."
    if not panels:
        return section("Training", "No update has been made yet, so there is nothing to show.")
    return section("Training", about, tag("div", *panels, class_="charts"))


def _panel(record: Record, panel: Panel, episode_length: int | None) -> Markup:
    series = [Series(name, column(record, key)) for key, name in panel.series]
    values = [value for one in series for value in one.values]
    top, reference = None, None
    if panel.unit == "share" and values and max(values) > 0.3:
        top = 1.0
    # The longest possible time is drawn once the curve comes near it; before, it would only flatten the curve.
    if panel.unit == "steps" and episode_length and values and max(values) > episode_length / 2:
        top, reference = float(episode_length), (float(episode_length), f"{episode_length:,} possible")
    unbounded = panel.unit == "steps" and episode_length and reference is None
    about = panel.about + (f" {episode_length:,} are possible." if unbounded else "")
    chart = line_chart(
        series,
        label=panel.title,
        x_max=record.env_steps,
        show=SHOW[panel.unit],
        tick=_tick(panel.unit),
        zero=bool(panel.unit),
        top=top,
        reference=reference,
    )
    return tag("figure", tag("h3", panel.title), tag("p", about, class_="about"), chart, class_="panel")


def _tick(unit: Unit):
    return (lambda value: f"{100 * value:.4g}%") if unit == "share" else None


def episodes(look: Look | None, problem: str) -> Markup:
    """Drawings of the agent's episodes, or why there are none."""
    title = "Behaviour"
    if look is None:
        return section(title, f"No pictures of behaviour: {problem}.")
    total, radius = look.episodes.goal.shape[0], look.env.spec.success_radius
    if not look.chosen:
        return section(
            title, f"No pictures of behaviour: goals have {look.env.spec.goal_size} coordinate, not a plane."
        )
    reached = sum(one.reached for one in look.chosen)
    deep = "" if look.env.spec.goal_size == 2 else " Seen from above: further coordinates count, but do not show."
    about = (
        f"{total} fresh episodes after {look.env_steps:,} env steps, actions in mode “{look.mode}”: "
        f"{text.percent(look.share_reached)} reached the goal. {len(look.chosen)} are drawn, spread over the goals, "
        f"{reached} that reached it and {len(look.chosen) - reached} that did not; captions count all. Square: start. "
        f"Circle: goal, with its success radius of {radius:g} m. Solid to a dot: reached. Dashed to a cross: missed."
        + deep
    )
    pictures = maps.behaviour_maps(look.env.scene, look.chosen, all_behaviours(look.episodes), radius)
    return section(title, about, tag("div", *pictures, class_="episodes"))


def replay(look: Look | None) -> Markup:
    """The interactive 3-D replay of episodes; empty if there is none."""
    if look is None or look.replay is None:
        return Markup("")
    about = f"Episodes of this agent, actions in mode “{look.mode}”. Drag to turn, scroll to zoom, space to play."
    return section("Replay", about, tag("iframe", srcdoc=look.replay, title="3-D replay", class_="replay"))


def values(look: Look | None) -> Markup:
    """The critic's value map, or why there is none; empty without an agent."""
    if look is None:
        return Markup("")
    title, found = "What the critic values", look.values
    if found is None:
        return section(title, f"No value map: {look.no_map}.")
    away = float(np.linalg.norm(found.best - found.goal[:2]))
    walls = " A good critic falls off along the way that must be walked, not along the straight line through walls."
    if look.env.scene.layout is None:
        walls = ""
    start = look.episodes.start[0]
    picture = maps.value_figure(look.env.scene, found, start, look.env.spec.success_radius)
    words = [
        tag("p", "The critic’s value f(φ(s, a), ψ(g)) of being at every place, for one goal: the farthest one met."),
        tag(
            "p",
            "The position in the state is replaced; the rest is that of a reset, and the action is the policy’s mean.",
        ),
        tag(
            "p",
            f"It is highest {text.metres(away)} from the goal.{walls}",
        ),
        tag("p", "Square: start. Circle with a cross: goal and success radius."),
    ]
    return section(title, "", tag("figure", picture, tag("figcaption", *words), class_="value-map"))


def time_spent(record: Record) -> Markup:
    """Where the wall-clock time went, and how fast the run was."""
    spent = seconds(record)
    total = sum(spent.values())
    if not total:
        return section("Time", "Nothing has been timed yet.")
    rows = [
        (
            join([tag("span", class_=f"key s{k % COLOURS}", aria_hidden="true"), name]),
            f"{number:,.1f}",
            text.percent(number / total),
            PHASES.get(name, ""),
        )
        for k, (name, number) in enumerate(spent.items())
    ]
    spoken = ", ".join(f"{name} {text.percent(number / total)}" for name, number in spent.items())
    parts = table(
        ("phase", "seconds", "share", ""), rows, caption="Seconds per phase", numeric=(1, 2), class_="wide phases"
    )
    speed = [(name, text.number(value)) for name, value in rates(record).items()]
    return section(
        "Time",
        "Up to the last evaluation.",
        share_bar(list(spent.items()), f"Share of wall time: {spoken}"),
        tag(
            "div",
            parts,
            table(("median rate between evaluations", ""), speed, caption="Rates", numeric=(1,), class_="wide"),
            class_="columns",
        ),
    )

"""The sections of a report, each from what it needs to markup."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepcrl import config as config_lib
from deepcrl.config import Config
from deepcrl.report import maps, text
from deepcrl.report.charts import Series, line_chart, share_bar
from deepcrl.report.html import Markup, join, table, tag
from deepcrl.report.look import Look
from deepcrl.report.panels import BEHAVIOUR, PHASES, Panel, Unit, training_panels
from deepcrl.report.record import LAST, Record, Score, column, flat, preset_values, rates, score, seconds

SHOW = {
    "": text.number,
    "steps": lambda value: text.number(value, 1),
    "share": text.percent,
    "m": text.metres,
}


def header(record: Record) -> Markup:
    """What was run, how far it came, and what is wrong with it if anything is."""
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
        tag("p", f"{config.agent.algorithm}, {network_words(config)}, seed {config.seed}", class_="lead"),
        *(tag("p", words, class_="banner", role="status") for words in warnings(record)),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def network_words(config: Config) -> str:
    """Depth and width; for actor and critic apart where they differ."""

    def pair(name: str, common: int, actor: int | None, critic: int | None) -> str:
        actor, critic = actor or common, critic or common
        return f"{name} {actor:,}" if actor == critic else f"actor {name} {actor:,}, critic {name} {critic:,}"

    net = config.network
    depth = pair("depth", net.depth, net.actor_depth, net.critic_depth)
    return f"{depth}, {pair('width', net.width, net.actor_width, net.critic_width)}"


def warnings(record: Record) -> list[str]:
    """What a reader must know before any number."""
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
    """The three numbers that count, with what they are to be compared with."""
    return tag("section", *(_score(record, panel, episode_length) for panel in BEHAVIOUR), class_="scores")


def _score(record: Record, panel: Panel, episode_length: int | None) -> Markup:
    found = score(record, panel.series[0][0], panel.higher_is_better)
    show = SHOW[panel.unit]
    unit = f" of {episode_length:,} steps" if panel.unit == "steps" and episode_length else ""
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
    return "" if found.best_at is None else f"at {text.steps(found.best_at)} env steps"


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
    return _section("Learning", about, tag("div", *panels, class_="charts"))


def training_curves(record: Record) -> Markup:
    """Learning curves of what happens inside."""
    columns = sorted({key for row in record.rows for key in row})
    panels = [_panel(record, panel, None) for panel in training_panels(columns)]
    about = "Means over the updates between two evaluations. Diagnostics are taken once per collection."
    if not panels:
        return _section("Inside", "No update has been made yet, so there is nothing to show.")
    return _section("Inside", about, tag("div", *panels, class_="charts"))


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
    """What the agent does."""
    title = "Behaviour"
    if look is None:
        return _section(title, f"No pictures of behaviour: {problem}.")
    total, radius = look.episodes.goal.shape[0], look.env.spec.success_radius
    if not look.chosen:
        return _section(title, f"No pictures of behaviour: goals have {look.env.spec.goal_size} coordinate, not a plane.")
    reached = sum(one.reached for one in look.chosen)
    flat_words = "" if look.env.spec.goal_size == 2 else " Seen from above: further coordinates count, but do not show."
    about = (
        f"{len(look.chosen)} of {total} fresh episodes after {look.env_steps:,} env steps, actions in mode "
        f"“{look.mode}”. Of all {total}, {text.percent(look.share_reached)} reached the goal; of those drawn, "
        f"{reached} did and {len(look.chosen) - reached} did not, spread over the goals. Square: start. Green circle: "
        f"the success radius of {text.number(radius)} m. Solid to a dot: reached. Dashed to a cross: missed." + flat_words
    )
    return _section(title, about, tag("div", *maps.behaviour_maps(look.env.scene, look.chosen, radius), class_="episodes"))


def values(look: Look | None) -> Markup:
    """What the critic believes."""
    if look is None:
        return Markup("")
    title, found = "Critic", look.values
    if found is None:
        return _section(title, f"No value map: {look.no_map}.")
    away = float(np.linalg.norm(found.best - found.goal[:2]))
    start = look.episodes.start[0]
    picture = maps.value_figure(look.env.scene, found, start, look.env.spec.success_radius)
    words = [
        tag("p", "The critic’s value f(φ(s, a), ψ(g)) of being at every place, for one goal: the farthest one met."),
        tag("p", "The position in the state is replaced; the rest is that of a reset, and the action is the policy’s mean."),
        tag(
            "p",
            f"It is highest {text.metres(away)} from the goal. A good critic falls off along the way that must be "
            "walked, not along the straight line through walls.",
        ),
        tag("p", "Square: start. Circle with a cross: goal and success radius."),
    ]
    return _section(title, "", tag("figure", picture, tag("figcaption", *words), class_="value-map"))


def time_spent(record: Record) -> Markup:
    """Where the wall-clock time went, and how fast the run was."""
    spent = seconds(record)
    total = sum(spent.values())
    if not total:
        return _section("Time", "Nothing has been timed yet.")
    rows = [
        (
            join([tag("span", class_=f"key s{min(k, 5)}", aria_hidden="true"), name]),
            f"{number:,.1f}",
            text.percent(number / total),
            PHASES.get(name, ""),
        )
        for k, (name, number) in enumerate(spent.items())
    ]
    spoken = ", ".join(f"{name} {text.percent(number / total)}" for name, number in spent.items())
    parts = table(("phase", "seconds", "share", ""), rows, caption="Seconds per phase", numeric=(1, 2), class_="wide")
    speed = [(name, text.number(value)) for name, value in rates(record).items()]
    return _section(
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


def configuration(config: Config) -> Markup:
    """Every field, and where it departs from the preset of its environment."""
    usual = preset_values(config)
    rows, changed = [], 0
    for path, value in flat(config).items():
        differs = usual is not None and usual.get(path) != value
        changed += differs
        name = tag("code", tag("b", path, class_="changed") if differs else path)
        content = tag("b", _json(value), class_="changed") if differs else _json(value)
        rows.append((name, content, f"preset: {_json(usual[path])}" if differs and usual is not None else ""))
    about = "This environment has no preset in this installation to compare with."
    if usual is not None:
        about = f"{changed} of {len(rows)} fields differ from the preset of {config.env.name}." if changed else (
            f"All {len(rows)} fields are as in the preset of {config.env.name}."
        )
    half = (len(rows) + 1) // 2
    parts = [
        table(("field", "value", ""), part, caption=f"Configuration, part {k} of 2", class_="wide")
        for k, part in enumerate((rows[:half], rows[half:]), 1)
    ]
    return _section("Configuration", about, tag("div", *parts, class_="columns"))


def machine(record: Record) -> Markup:
    """Where it ran."""
    if record.machine is None:
        return _section("Machine", "No readable machine.json in this run folder.")
    rows = [(name.replace("_", " "), _json(value)) for name, value in record.machine.items() if not _nested(value)]
    nested = [(name, value) for name, value in record.machine.items() if _nested(value)]
    parts = [table(("machine", ""), rows, caption="Machine", class_="wide")]
    for name, value in nested:
        parts.append(table((name, ""), [(k, _json(v)) for k, v in value.items()], caption=name, class_="wide"))
    return _section("Machine", "", tag("div", *parts, class_="columns"))


def reproduce(record: Record) -> Markup:
    """How to run it again, to the same numbers on the same machine and versions."""
    folder = record.run_dir.resolve().name
    code = (
        "import json\nfrom pathlib import Path\n\nfrom deepcrl import config, train\n\n"
        f"again = config.from_dict(json.loads(Path({folder + '/config.json'!r}).read_text()))\n"
        f"train.train(again, {folder + '-again'!r})\n"
    )
    data = json.dumps(config_lib.to_dict(record.config), indent=2)
    go_on = [] if record.finished else [tag("p", "Continue this run:"), tag("pre", f"deepcrl resume {folder}")]
    return _section(
        "Reproduce",
        "",
        *go_on,
        tag("p", "Repeat it from its configuration; the seed decides every random number."),
        tag("pre", code),
        tag("details", tag("summary", "config.json"), tag("pre", data)),
        _evaluations(record.rows),
    )


def _evaluations(rows: Sequence[dict[str, Any]]) -> Markup:
    names = list(dict.fromkeys(key for row in rows for key in row))
    if not names:
        return Markup("")
    body = [[text.number(row.get(name)) if name in row else "" for name in names] for row in rows]
    inner = table(names, body, caption="All evaluations", numeric=range(len(names)), class_="dense")
    return tag("details", tag("summary", "All evaluations, as numbers"), inner)


def _section(title: str, about: object, *content: object) -> Markup:
    return tag("section", tag("h2", title), tag("p", about, class_="about") if about else "", *content)


def _nested(value: Any) -> bool:
    return isinstance(value, dict)


def _json(value: Any) -> str:
    """A value of the configuration or the machine, as JSON; text without quotes, large numbers with separators."""
    if isinstance(value, str):
        return value
    if value is None:
        return text.MISSING
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)

"""Report sections for repeating a run: configuration, machine, commands, all numbers."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from deepcrl import config as config_lib
from deepcrl.config import Config, flatten
from deepcrl.report import text
from deepcrl.report.html import Markup, section, table, tag
from deepcrl.report.record import Record, preset_values


def configuration(config: Config) -> Markup:
    """Table of all fields, marking those that differ from the environment's preset."""
    usual = preset_values(config)
    rows, changed = [], 0
    for path, value in flatten(config).items():
        differs = usual is not None and usual.get(path) != value
        changed += differs
        name = tag("code", tag("b", path, class_="changed") if differs else path)
        content = tag("b", _json(value), class_="changed") if differs else _json(value)
        rows.append((name, content, f"preset: {_json(usual[path])}" if differs and usual is not None else ""))
    about = "This environment has no preset in this installation to compare with."
    if usual is not None:
        about = (
            f"{changed} of {len(rows)} fields differ from the preset of {config.env.name}."
            if changed
            else (f"All {len(rows)} fields are as in the preset of {config.env.name}.")
        )
    half = (len(rows) + 1) // 2
    parts = [
        table(("field", "value", ""), part, caption=f"Configuration, part {k} of 2", class_="wide")
        for k, part in enumerate((rows[:half], rows[half:]), 1)
    ]
    return section("Configuration", about, tag("div", *parts, class_="columns"))


def machine(record: Record) -> Markup:
    """Tables of machine.json: hardware and versions that the run was made with."""
    if record.machine is None:
        return section("Machine", "No readable machine.json in this run folder.")
    rows = [(name.replace("_", " "), _json(value)) for name, value in record.machine.items() if not _nested(value)]
    nested = [(name, value) for name, value in record.machine.items() if _nested(value)]
    parts = [table(("machine", ""), rows, caption="Machine", class_="wide")]
    for name, value in nested:
        parts.append(table((name, ""), [(k, _json(v)) for k, v in value.items()], caption=name, class_="wide"))
    return section("Machine", "", tag("div", *parts, class_="columns"))


def reproduce(record: Record) -> Markup:
    """Commands that resume or repeat the run: the same machine and versions give the same numbers."""
    folder = record.run_dir.name
    code = (
        "import json\nfrom pathlib import Path\n\nimport deepcrl\n\n"
        f"data = json.loads(Path({folder + '/config.json'!r}).read_text())\n"
        f"deepcrl.train(deepcrl.config.from_dict(data), {folder + '-again'!r})\n"
    )
    data = json.dumps(config_lib.to_dict(record.config), indent=2)
    resume = f"deepcrl resume {shlex.quote(folder)}"
    go_on = [] if record.finished else [tag("p", "Continue this run:"), tag("pre", resume)]
    return section(
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


def _nested(value: Any) -> bool:
    return isinstance(value, dict)


def _json(value: Any) -> str:
    """A value of the configuration or the machine, as JSON; text without quotes, large numbers with separators."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)

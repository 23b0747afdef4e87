"""The numbers behind the pages: RUNS, a file beside them with one line for each finished run.

Run folders are large and stay on the machine that trained them. This file suffices to write the pages again, and merges
runs of several machines: `unpack` turns its lines into run folders that count as done and can be reported, but not
resumed or rendered, since they have no checkpoints.
"""

import base64
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepcrl.config import ConfigError
from deepcrl.experiments import runs
from deepcrl.experiments.results import Result
from deepcrl.files import replace_file
from deepcrl.folder import load_machine
from deepcrl.logging import rows
from deepcrl.report.findings import FOLDER

RUNS = "runs.jsonl"
DIGITS = 7
"""Significant digits that are kept: as many as float32 has."""


def pack(pages: Path, found: Sequence[Result], out: Path) -> Path:
    """Add an experiment's finished runs to PAGES/RUNS in place of their earlier lines, sorted by name. Pictures of
    analyses are kept for the first seed of every cell, and for runs that already have some there."""
    lines = _read(pages)
    for result in found:
        for seed, folder in runs.folders(result.cell, out).items():
            if result.states[seed] == "done":
                with_pictures = seed == result.cell.seeds[0] or bool(lines.get(folder.name, {}).get("pictures"))
                lines[folder.name] = _line(folder, with_pictures)
    text = "".join(json.dumps(lines[name]) + "\n" for name in sorted(lines))
    return replace_file(pages / RUNS, text)


def unpack(pages: Path, out: Path) -> int:
    """Make a run folder in OUT for every line of PAGES/RUNS that has none there; returns how many were made.

    Raises:
        ConfigError: for an invalid line, before anything is made.
    """
    made = 0
    for name, line in _read(pages).items():
        folder = out / "runs" / name
        if folder.exists():
            continue
        draft = folder.with_name(f"{name}.{os.getpid()}.draft")  # another process may unpack at the same time
        (draft / FOLDER).mkdir(parents=True, exist_ok=True)
        (draft / "config.json").write_text(json.dumps(line["config"], indent=2) + "\n")
        (draft / "machine.json").write_text(json.dumps(line["machine"], indent=2) + "\n")
        (draft / rows.FILE).write_text("".join(json.dumps(row) + "\n" for row in _rows(line["columns"])))
        for kind, finding in line["analysis"].items():
            (draft / FOLDER / f"{kind}.json").write_text(json.dumps(finding) + "\n")
        for picture, content in line["pictures"].items():
            (draft / FOLDER / picture).write_bytes(base64.b64decode(content))
        try:
            draft.replace(folder)
            made += 1
        except OSError:
            shutil.rmtree(draft)
            if not folder.exists():  # else another process was first
                raise
    return made


def _read(pages: Path) -> dict[str, dict[str, Any]]:
    """Parsed lines by run name. Raises ConfigError for an invalid line."""
    path, found = pages / RUNS, {}
    # Bytes that are no text are replaced, so that they end as an invalid line with its number.
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            _check(line)
            found[line["run"]] = line
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"pages = {str(pages)!r}: line {number} of {RUNS} is no run") from error
    return found


def _check(line: dict[str, Any]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError unless `unpack` can make a run folder of a line."""
    if Path(line["run"]).name != line["run"]:
        raise ValueError("the run's name leads out of its folder")
    if not all(type(row["env_steps"]) is int for row in _rows(line["columns"])):
        raise ValueError("rows are counted in whole env steps")
    if not all(isinstance(line[key], dict) for key in ("config", "machine", "analysis", "pictures")):
        raise TypeError("its parts are objects")
    if any(Path(name).name != name for name in (*line["analysis"], *line["pictures"])):
        raise ValueError("a file's name leads out of its folder")
    for content in line["pictures"].values():
        base64.b64decode(content)


def _line(folder: Path, with_pictures: bool) -> dict[str, Any]:
    findings, pictures = {}, {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            finding = dict(json.loads(path.read_text()))
        except (ValueError, TypeError):
            continue  # damaged; `report.findings.kept` runs the analysis again where there is a checkpoint
        findings[path.stem] = finding if with_pictures else finding | {"svg": None}
        if with_pictures and (png := path.with_suffix(".png")).exists():
            pictures[png.name] = base64.b64encode(png.read_bytes()).decode()
    return {
        "run": folder.name,
        "config": json.loads((folder / "config.json").read_text()),
        "machine": load_machine(folder),
        "columns": _columns(rows.read(folder)),
        "analysis": findings,
        "pictures": pictures,
    }


def _columns(some: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Metrics rows as columns, only those that reports of experiments read: counts, wall time and evaluations; null
    where a row lacks one."""
    names = dict.fromkeys(name for row in some for name in row if not name.startswith(("train/", "time/")))
    return {name: [_short(row.get(name)) for row in some] for name in names}


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Inverse of `_columns`."""
    return [
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for values in zip(*columns.values(), strict=True)
    ]


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value

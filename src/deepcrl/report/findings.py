"""Analyses of single runs, one row of FINDINGS for each: numbers to compare runs by, a text, and a picture."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepcrl.agent import Which
from deepcrl.analysis.blocks import block_norms
from deepcrl.analysis.blocks import text as blocks_text
from deepcrl.analysis.coverage import coverage
from deepcrl.analysis.embeddings import embeddings
from deepcrl.analysis.topology import topologies
from deepcrl.analysis.units import units
from deepcrl.config import ConfigError
from deepcrl.envs.layouts import start_cell
from deepcrl.files import replace_file
from deepcrl.folder import load_config
from deepcrl.logging import rows
from deepcrl.program import make_envs
from deepcrl.report import maps, text
from deepcrl.report.charts import Series, line_chart, scatter_chart
from deepcrl.report.html import Markup, picture_file

FOLDER = "analysis"
"""Subfolder of a run folder that holds the results."""


class Finding(NamedTuple):
    """What one analysis found in one run."""

    numbers: dict[str, float]
    """Finite ones only."""
    words: str
    picture: Markup | bytes | None
    """SVG, or the bytes of a PNG file; None where both the file and the checkpoints to draw it from are gone."""
    caption: str = ""
    """Caption of the picture: what it shows, and numbers that belong to it."""


class Kind(NamedTuple):
    """An analysis."""

    about: str
    find: Callable[[Path, Which | int], Finding]
    edition: int = 1
    """Version of the analysis: results that another one has left in a run's folder are made again."""


def find(kind: str, run_dir: str | Path, which: Which | int = "latest") -> Finding:
    """Run one analysis on a run's checkpoint.

    Raises:
        ConfigError: when the folder holds no run, or one that this analysis does not apply to.
        CheckpointError: when no checkpoint can be used.
    """
    found = FINDINGS[kind].find(Path(run_dir), which)
    return found._replace(numbers={name: value for name, value in found.numbers.items() if math.isfinite(value)})


def kept(kind: str, run_dir: Path) -> Finding:
    """One analysis of a run's newest checkpoint, made once: a result that `write` has left there for the same env steps
    and edition is read again; without checkpoints even if its picture is missing. Raises as `find` does."""
    folder = run_dir / FOLDER
    try:
        data = json.loads((folder / f"{kind}.json").read_text())
        if (data["env_steps"], data.get("edition", 1)) == (_env_steps(run_dir), FINDINGS[kind].edition):
            png = folder / f"{kind}.png"
            picture = Markup(data["svg"]) if data["svg"] else png.read_bytes() if png.exists() else None
            if picture or not (run_dir / "checkpoints").exists():
                return Finding(data["numbers"], data["words"], picture, data.get("caption", ""))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no result yet, a damaged one, or one in another version's format
    found = find(kind, run_dir)
    write(found, run_dir, kind)
    return found


def write(finding: Finding, run_dir: Path, kind: str, which: Which | int = "latest") -> Path:
    """Write the picture as KIND.svg or KIND.png into the run's folder `analysis`, and the rest as KIND.json beside it;
    unless `which` is "latest", the files are named KIND-WHICH. Returns the picture's path."""
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = kind if which == "latest" else f"{kind}-{which}"
    picture = finding.picture
    assert picture is not None
    svg = picture if isinstance(picture, Markup) else None
    made = {"env_steps": _env_steps(run_dir), "edition": FINDINGS[kind].edition}
    path = folder / f"{name}.{'svg' if svg else 'png'}"
    path.write_bytes(picture if isinstance(picture, bytes) else picture_file(picture).encode())
    data = made | {"numbers": finding.numbers, "words": finding.words, "svg": svg, "caption": finding.caption}
    replace_file(folder / f"{name}.json", json.dumps(data, indent=1) + "\n")
    return path


def _env_steps(run_dir: Path) -> int:
    """Env steps at the run's last metrics row. Raises ConfigError when there is none."""
    if not (found := rows.read(run_dir)):
        raise ConfigError(f"{str(run_dir)!r} holds no rows of metrics")
    return found[-1]["env_steps"]


def _topology(run_dir: Path, which: Which | int) -> Finding:
    found = topologies(run_dir, which=which)
    columns = {
        "rank_straight": "rank by straight line",
        "rank_path": "by shortest way",
        "sides_with_path": "sides with the way",
        "rank_path_on_own_way": "on its own way: rank",
        "sides_with_path_on_own_way": "sides",
    }
    numbers = {name: _mean([getattr(one, name) for one in found]) for name in columns}
    lines = ["   ".join(["goal in metres  ", *columns.values()])]
    for one in found:
        cells = [f"{getattr(one, name):{len(head)}.2f}" for name, head in columns.items()]
        lines.append("   ".join([f"({one.map.goal[0]:g}, {one.map.goal[1]:g})".ljust(16), *cells]))
    env = make_envs(load_config(run_dir))[1]
    assert env.scene.layout is not None
    start = start_cell(env.scene.layout) * env.scene.cell_size
    # Draw the farthest goal that the agent reaches, since its own ways are drawn too; else the farthest of all.
    drawn = next((one for one in reversed(found) if one.own_ways), found[-1])
    ways = [way.position for way in drawn.own_ways]
    picture = maps.value_figure(env.scene, drawn.map, start, env.spec.success_radius, ways)
    caption = (
        f"the value for goal ({drawn.map.goal[0]:g}, {drawn.map.goal[1]:g}); rank correlation with nearness in a "
        f"straight line {drawn.rank_straight:.2f}, along the shortest way {drawn.rank_path:.2f}"
    )
    return Finding(numbers, "\n".join(lines), picture, caption)


def _embeddings(run_dir: Path, which: Which | int) -> Finding:
    found = embeddings(run_dir, which=which)
    share = found.distance / max(float(found.distance.max()), 1e-9)
    numbers = {"spread_near_goal": found.spread_near_goal, "explained_by_plane": float(found.explained.sum())}
    words = (
        f"{len(found.distance)} steps to a goal {found.distance[0]:.1f} m away; its first two principal components "
        f"hold {text.percent(float(found.explained.sum()))} of the variance.\n"
        f"Spread of the last quarter, of the whole way's: {found.spread_near_goal:.2f}"
    )
    points = [(float(x), float(y)) for x, y in found.plane]
    titles = [f"step {k}, {away:.1f} m to the goal" for k, away in enumerate(found.distance)]
    colours = [maps.colour(1.0 - float(part)) for part in share]
    label = "Embeddings along an episode, first two principal components; yellow is near the goal"
    return Finding(numbers, words, scatter_chart(points, colours, label=label, titles=titles))


def _blocks(run_dir: Path, which: Which | int) -> Finding:
    norms = block_norms(run_dir, which=which)
    numbers = {f"{name}, last over first": float(one.added[-1] / one.added[0]) for name, one in norms.items()}
    series = [Series(name, list(enumerate(one.added.tolist(), 1))) for name, one in norms.items()]
    deepest = max(len(one.added) for one in norms.values())
    chart = line_chart(series, label="What every block adds", x_max=deepest, unit="block", zero=True)
    return Finding(numbers, blocks_text(norms), chart)


def _units(run_dir: Path, which: Which | int) -> Finding:
    found = units(run_dir, which=which)
    numbers = {f"{name}, rank at the end": float(one.rank[-1]) for name, one in found.items()}
    numbers |= {f"{name}, dormant": float(one.dormant.mean()) for name, one in found.items()}
    lines = []
    for name, one in found.items():
        lines += [
            f"{name}, width {one.width}; effective rank after the stem: {one.rank[0]:.1f}",
            "block  rank  dormant",
        ]
        lines += [f"{k:5} {rank:5.1f} {dead:7.1%}" for k, (rank, dead) in enumerate(zip(one.rank[1:], one.dormant))]
    series = [Series(name, list(enumerate(one.rank.tolist()))) for name, one in found.items()]
    deepest = max(len(one.dormant) for one in found.values())
    chart = line_chart(
        series, label="Effective rank of what leaves every block", x_max=deepest, unit="block", zero=True
    )
    return Finding(numbers, "\n".join(lines), chart)


def _coverage(run_dir: Path, which: Which | int) -> Finding:
    if which != "latest":
        raise ConfigError(f"which = {which!r}: coverage is of a run's whole replay; only 'latest' has all of it")
    found = coverage(run_dir)
    reached = np.isfinite(found.first_visit)
    free = int((~np.isnan(found.first_visit)).sum())
    when = {
        f"env steps to {share:.0%} of the cells": _first(found.env_steps, found.share >= share) for share in (0.5, 1)
    }
    numbers = {"share of the cells": float(reached.sum() / free), **when}
    lines = [f"{reached.sum()} of {free} free cells visited; thousands of env steps before the first visit:"]
    lines += [" ".join(map(_visit, row)) for row in found.first_visit]
    if found.first_step:
        lines.append(f"The replay has forgotten what came before env step {found.first_step:,}.")
    points = [(float(x), float(y)) for x, y in zip(found.env_steps, found.share, strict=True)]
    chart = line_chart(
        [Series("", points)],
        label="Share of the free cells visited",
        x_max=points[-1][0],
        show=text.percent,
        zero=True,
        top=1.0,
    )
    return Finding(numbers, "\n".join(lines), chart)


def _visit(env_steps: float) -> str:
    if math.isnan(env_steps):
        return "    #"
    return "never" if math.isinf(env_steps) else f"{env_steps / 1e3:5.0f}"


def _strip(run_dir: Path, which: Which | int) -> Finding:
    from deepcrl.render.strip import png, strip  # loads MuJoCo

    image, words = strip(run_dir, which=which)
    return Finding({}, words, png(image))


def _first(values: np.ndarray, when: np.ndarray) -> float:
    return float(values[np.argmax(when)]) if when.any() else math.inf


def _mean(values: list[float]) -> float:
    """Mean of the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


FINDINGS: dict[str, Kind] = {
    "topology": Kind("whether the critic's value follows the ways through a maze (Figure 9)", _topology, edition=2),
    "embeddings": Kind("embeddings along an episode that reaches its goal (Figure 10)", _embeddings, edition=2),
    "blocks": Kind("what every residual block adds, and the size of its gradient (Figure 17)", _blocks),
    "units": Kind("effective rank and dormant units, block by block", _units),
    "coverage": Kind("which cells of a maze were visited, and when", _coverage),
    "strip": Kind("one episode as a row of pictures (Figure 3)", _strip),
}

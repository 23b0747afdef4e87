"""The plane from above as SVG: walls, paths, goals, the critic's value.

As in a layout's text, x grows downwards (rows) and y to the right (columns).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deepcrl.analysis import Behaviour, ValueMap, by_goal
from deepcrl.envs.layouts import cells
from deepcrl.envs.protocol import Scene
from deepcrl.report import text
from deepcrl.report.charts import linear_axis, nice_step, tick_text
from deepcrl.report.html import Markup, join, svg, tag

SIZE = 200.0
"""Longer side of a map of one episode, in picture units."""
LARGE = 480.0
"""Longer side of a value map."""
MARGIN = 26.0
"""Space for ticks beside a map without walls."""
LEVELS = 64
"""Colours of a value map."""
RIM = 0.3
"""Part of a closed maze's outer walls that is shown, in cells."""
NEAR = 0.5
"""Picture units below which two points of a path are drawn as one."""

# viridis, every sixteenth colour: perceptually uniform, also in grey and for all common kinds of colour vision.
VIRIDIS = tuple(
    bytes.fromhex(
        "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c"
        "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
    )
)
"""Red, green and blue of all colour stops, in one flat sequence."""


class View(NamedTuple):
    """A rectangle of the plane, and its mapping to picture coordinates."""

    scene: Scene
    low: tuple[float, float]
    """Least x and y, in metres."""
    high: tuple[float, float]
    scale: float
    """Picture units per metre."""
    margin: float

    @property
    def width(self) -> float:
        return self.margin + (self.high[1] - self.low[1]) * self.scale

    @property
    def height(self) -> float:
        return self.margin + (self.high[0] - self.low[0]) * self.scale

    def at(self, position: Float[np.ndarray, "..."]) -> tuple[float, float]:
        """Picture coordinates (right, down) of a position (x, y, ...) in metres."""
        x, y = float(position[0]), float(position[1])
        return self.margin + (y - self.low[1]) * self.scale, (x - self.low[0]) * self.scale


def make_view(scene: Scene, points: Float[np.ndarray, "K 2"], size: float) -> View:
    """The whole maze up to the rim of its outer walls, or on an open plane a square around all points."""
    if scene.layout is not None:
        rows, columns = len(scene.layout), max(map(len, scene.layout))
        cut = 1 - RIM if _closed(scene.layout) else 0.0
        low, high = (cut - 0.5) * scene.cell_size, [(n - 0.5 - cut) * scene.cell_size for n in (rows, columns)]
        return View(scene, (low, low), (high[0], high[1]), size / (max(high) - low), 0.0)
    least, most = points.min(axis=0), points.max(axis=0)
    middle, half = (least + most) / 2, 0.55 * max(float((most - least).max()), 1e-3)
    low, high = middle - half, middle + half
    return View(scene, (low[0], low[1]), (high[0], high[1]), (size - MARGIN) / (2 * half), MARGIN)


def behaviour_maps(
    scene: Scene, chosen: Sequence[Behaviour], every: Sequence[Behaviour], radius: float
) -> list[Markup]:
    """One captioned figure per goal of the chosen episodes, all of the same extent.

    The paths are those of `chosen`; the caption counts all episodes of that goal in `every`. `radius` is the success
    radius in metres.
    """
    goals = np.array([one.goal[:2] for one in chosen])
    points = np.concatenate([*(one.path[:, :2] for one in chosen), goals - radius, goals + radius])
    view = make_view(scene, points, SIZE)
    groups = by_goal(every)
    return [_goal_map(view, drawn, groups[goal], radius) for goal, drawn in by_goal(chosen).items()]


def value_figure(
    scene: Scene,
    found: ValueMap,
    start: Float[np.ndarray, "G"],
    radius: float,
    ways: Sequence[Float[np.ndarray, "K G"]] = (),
) -> Markup:
    """The value map with walls, the goal, a start, the agent's paths to the goal and a colour bar."""
    view = make_view(scene, np.array([[found.x[0], found.y[0]], [found.x[-1], found.y[-1]]]), LARGE)
    if scene.layout is None:  # the map's own extent, without further margin
        scale = (LARGE - MARGIN) / (found.x[-1] - found.x[0])
        view = View(scene, (found.x[0], found.y[0]), (found.x[-1], found.y[-1]), scale, MARGIN)
    low, high = float(np.nanmin(found.values)), float(np.nanmax(found.values))
    bar_left = view.width + 18
    label = (
        f"Critic value over the plane for the goal at {_position(found.goal)}: from {text.number(low)} to "
        f"{text.number(high)}, highest at {_position(found.best)}"
    )
    inner = tag(
        "svg",
        _heat(view, found, low, high),
        _ground(view),
        *(tag("path", d=_path(view, way), class_="way on-map") for way in ways),
        _spot(view, start, "start on-map"),
        _goal(view, found.goal, radius, "goal on-map"),
        width=view.width,
        height=view.height,
        class_="map",
    )
    return svg(bar_left + 60, view.height, label, inner, _colour_bar(bar_left, view.height, low, high), class_="large")


def colour(share: float) -> str:
    """Colour of the value map at `share` of its range, 0 to 1."""
    stops = [VIRIDIS[k : k + 3] for k in range(0, len(VIRIDIS), 3)]
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    k = min(int(place), len(stops) - 2)
    return "#" + "".join(f"{round(a + (b - a) * (place - k)):02x}" for a, b in zip(stops[k], stops[k + 1]))


def _closed(layout: tuple[str, ...]) -> bool:
    """Whether all outer cells are walls."""
    return all(set(row[0] + row[-1]) == {"#"} for row in layout) and set(layout[0] + layout[-1]) == {"#"}


def _goal_map(view: View, drawn: Sequence[Behaviour], every: Sequence[Behaviour], radius: float) -> Markup:
    goal = drawn[0].goal
    reached = sum(one.reached for one in every)
    time = text.number(float(np.mean([one.time_at_goal for one in every])), 1)
    away = text.metres(float(np.mean([one.distance[-1] for one in every])))
    counts = f"{reached} of {len(every)} reached"
    if len(every) == 1:
        counts = "reached" if reached else "missed"
    detail = f"{time} steps there; ends {away} away"
    picture = svg(
        view.width,
        view.height,
        f"Goal at {_position(goal)}: {counts}; {detail}. {len(drawn)} drawn.",
        _ground(view),
        _goal(view, goal, radius, "goal"),
        *(_journey(view, one) for one in drawn),
        *(_spot(view, one.path[0], "start") for one in drawn),
        class_="map",
    )
    verdict = "reached" if reached == len(every) else "missed" if reached == 0 else "mixed"
    mark = {"reached": "● ", "missed": "× ", "mixed": ""}[verdict]
    words = [tag("b", mark + counts, class_=verdict), tag("br"), detail]
    return tag("figure", picture, tag("figcaption", *words), class_="episode")


def _journey(view: View, one: Behaviour) -> Markup:
    """A path and how it ended."""
    verdict = "reached" if one.reached else "missed"
    first = f" after {int(np.argmax(one.success)) + 1} steps" if one.reached else ""
    title = tag("title", f"{verdict}{first}; {one.time_at_goal} of {one.length} steps at the goal")
    return tag("g", title, tag("path", d=_path(view, one.path), class_=f"path {verdict}"), _end(view, one))


def _position(position: Float[np.ndarray, "G"]) -> str:
    return f"({', '.join(text.number(float(v), 1) for v in position)}) m"


def _path(view: View, path: Float[np.ndarray, "K G"]) -> str:
    """SVG path; points that nearly coincide with the one before are left out, the last is kept."""
    places = [view.at(position) for position in path]
    kept = [places[0]]
    for place in places[1:]:
        if np.hypot(place[0] - kept[-1][0], place[1] - kept[-1][1]) >= NEAR:
            kept.append(place)
    if kept[-1] != places[-1]:
        kept.append(places[-1])
    return "M" + "L".join(f"{right:.1f} {down:.1f}" for right, down in kept)


def _ground(view: View) -> Markup:
    """Walls, one subpath per cell; without walls, plain axes in metres."""
    layout, side = view.scene.layout, view.scene.cell_size * view.scale
    if layout is None:
        return _axes(view)
    corners = [view.at(corner) for corner in (cells(layout, "#") - 0.5) * view.scene.cell_size]
    drawn = "".join(f"M{right:.2f} {down:.2f}h{side:.2f}v{side:.2f}h-{side:.2f}z" for right, down in corners)
    return tag("path", d=drawn, class_="walls")


def _axes(view: View) -> Markup:
    span = view.high[0] - view.low[0]
    step = nice_step(span, 4)
    right, down = view.width, view.height
    parts = [tag("rect", x=view.margin, y=0, width=right - view.margin, height=down - view.margin, class_="frame")]
    for axis in (0, 1):
        first = int(np.ceil(view.low[axis] / step))
        for k in range(first, int(np.floor(view.high[axis] / step)) + 1):
            words = text.number(k * step)
            if axis == 0:
                place = (k * step - view.low[0]) * view.scale
                parts.append(tag("text", words, x=view.margin - 4, y=place + 3, class_="tick", text_anchor="end"))
            else:
                place = view.margin + (k * step - view.low[1]) * view.scale
                parts.append(
                    tag("text", words, x=place, y=down - view.margin + 12, class_="tick", text_anchor="middle")
                )
    return join(parts)


def _goal(view: View, goal: Float[np.ndarray, "G"], radius: float, class_: str) -> Markup:
    """The success circle to scale, with a cross at its centre."""
    right, down = view.at(goal)
    arm = 3.5 if "on-map" not in class_ else 6.0
    cross = f"M{right - arm:.1f} {down:.1f}h{2 * arm}M{right:.1f} {down - arm:.1f}v{2 * arm}"
    circle = tag("circle", cx=right, cy=down, r=max(radius * view.scale, 1.0))
    return tag("g", circle, tag("path", d=cross), class_=class_)


def _spot(view: View, position: Float[np.ndarray, "G"], class_: str) -> Markup:
    right, down = view.at(position)
    return tag("rect", x=right - 3.5, y=down - 3.5, width=7, height=7, class_=class_)


def _end(view: View, one: Behaviour) -> Markup:
    right, down = view.at(one.path[-1])
    if one.reached:
        return tag("circle", cx=right, cy=down, r=3, class_="stop reached")
    arms = "".join(f"M{right - 4:.1f} {down + s * 4:.1f}L{right + 4:.1f} {down - s * 4:.1f}" for s in (1, -1))
    return tag("path", d=arms, class_="stop missed")


def _heat(view: View, found: ValueMap, low: float, high: float) -> Markup:
    """Heat map of the grid: neighbours of one colour are merged along y, with one SVG path per colour."""
    span = (high - low) or 1.0
    levels = np.where(np.isnan(found.values), -1, np.floor((found.values - low) / span * (LEVELS - 1) + 0.5))
    runs: dict[int, list[str]] = {}
    for i, row in enumerate(levels.astype(int)):
        cuts = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for first, last in pairwise(cuts):
            if row[first] >= 0:
                runs.setdefault(int(row[first]), []).append(f"M{first} {i}h{last - first}v1h-{last - first}z")
    side = (found.y[1] - found.y[0]) * view.scale
    left, top = view.at(np.array([found.x[0], found.y[0]]))
    paths = [tag("path", d="".join(runs[k]), fill=colour(k / (LEVELS - 1))) for k in sorted(runs)]
    return tag("g", *paths, transform=f"translate({left:.3f} {top:.3f}) scale({side:.5f})", class_="heat")


def _colour_bar(left: float, height: float, low: float, high: float) -> Markup:
    top, bottom, width = 6.0, height - 6.0, 12.0
    step = (bottom - top) / LEVELS
    bars = [
        tag("rect", x=left, y=bottom - (k + 1) * step, width=width, height=step + 0.5, fill=colour(k / (LEVELS - 1)))
        for k in range(LEVELS)
    ]
    span = (high - low) or 1.0
    axis = linear_axis(low, high, 6)
    show = tick_text(axis)
    inner = [v for v in axis.ticks if low <= v <= high]
    ticks = []
    for value in inner:
        y = bottom - (value - low) / span * (bottom - top)
        ticks.append(tag("line", x1=left + width, x2=left + width + 4, y1=y, y2=y, class_="base"))
        ticks.append(tag("text", show(value), x=left + width + 8, y=y + 4, class_="tick"))
    return tag("g", tag("g", *bars, class_="heat"), *ticks)

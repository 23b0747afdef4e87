"""Curves, bars and points as SVG, by hand: no dependency, the same bytes every time, colours from the style sheet."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from deepcrl.report import text
from deepcrl.report.html import Markup, join, svg, tag

WIDTH, HEIGHT = 360.0, 196.0
TOP, BOTTOM = 14.0, 24.0
CHARACTER = 7.5
"""Upper bound on the width of a label's character: bold, in the widest of the possible fonts."""
WIDE_UNIT = 72.0
"""Least space right of the plot, for the words "env steps" beside the last tick."""
LEAST_PLOT = 170.0
"""Least width of the plot itself: long names beside it make the chart wider instead."""
LINE = 12.0
"""Least distance between two labels."""
MANY = 40
"""A curve with more points than this has no visible markers."""
COLOURS = 6
"""Colours of series in picture.css, s0 to s5; a seventh series has that of the first again."""

Points = Sequence[tuple[float, float | None]]


class Series(NamedTuple):
    """One curve; a missing value breaks the line."""

    name: str
    points: Points

    @property
    def values(self) -> list[float]:
        return [y for _, y in self.points if y is not None]


class Axis(NamedTuple):
    """A scale from data to [0, 1] with its ticks."""

    ticks: list[float]
    place: Callable[[float], float]
    logarithmic: bool = False


def nice_step(span: float, count: int) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that divides `span` into at most `count` parts."""
    raw = max(span, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))


def linear_axis(low: float, high: float, count: int = 4) -> Axis:
    """An axis that starts and ends at a tick."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        margin = abs(high) * 0.1 or 1.0
        low, high = low - margin, high + margin
    step = nice_step(high - low, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [k * step for k in range(first, last + 1)]
    return Axis(ticks, lambda v: (v - ticks[0]) / (ticks[-1] - ticks[0]))


def log_axis(low: float, high: float) -> Axis:
    """An axis over whole decades; about four of them are marked."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = math.ceil((last - first) / 4)
    ticks = [10.0**k for k in range(first, last + 1, stride)]
    return Axis(ticks, lambda v: (math.log10(v) - first) / (last - first), True)


def tick_text(axis: Axis) -> Callable[[float], str]:
    """A function that formats ticks, all with as many decimals as their distance needs."""
    if axis.logarithmic:
        return lambda v: f"{v:g}"
    step = axis.ticks[1] - axis.ticks[0]
    if max(map(abs, axis.ticks)) >= 1e4:
        return lambda v: text.steps(v).replace("-", text.MINUS)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return lambda v: text.number(0.0 if abs(v) < step / 2 else v, decimals)


def value_axis(values: Sequence[float], zero: bool, top: float | None) -> Axis:
    """An axis from 0 to `top` (by default the maximum) if `zero` and no value is negative; otherwise over the range of
    the values, logarithmic if they are positive and span more than two decades."""
    low, high = min(values), max(values)
    if zero and low >= 0:
        return linear_axis(0.0, top or high or 1.0)
    if low > 0 and high / low > 100:
        return log_axis(low, high)
    return linear_axis(low, high)


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_max: float,
    show: Callable[[float], str] = text.number,
    tick: Callable[[float], str] | None = None,
    zero: bool = False,
    top: float | None = None,
    reference: tuple[float, str] | None = None,
    unit: str = "env steps",
) -> Markup:
    """Curves, labelled at their ends.

    Args:
        label: what the chart shows, for a reader who cannot see it.
        x_max: right end of the horizontal axis, which starts at 0.
        show: formats a value, for end labels and tooltips.
        tick: formats a tick; by default with as many decimals as the distance of ticks needs.
        zero: start the vertical axis at zero if no value is negative.
        top: upper end of a vertical axis that starts at zero; by default the maximum.
        reference: a level to mark, and its label; left out unless it lies within the axis.
        unit: unit of the horizontal axis.
    """
    drawn = [one for one in series if one.values]
    if not drawn:
        return tag("p", "No finite value yet.", class_="note")
    y_axis = value_axis([v for one in drawn for v in one.values], zero, top)
    tick = tick or tick_text(y_axis)
    ends = [f"{one.name} {show(one.values[-1])}".strip() for one in drawn]
    left = 10 + CHARACTER * max(len(tick(v)) for v in y_axis.ticks)
    beside = max(WIDE_UNIT, 12 + CHARACTER * max(map(len, ends)))
    right = max(WIDTH - beside, left + LEAST_PLOT)

    def across(x: float) -> float:
        return left + x / max(x_max, 1.0) * (right - left)

    def down(y: float) -> float:
        return TOP + (1 - y_axis.place(y)) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(down, y_axis, tick, left, right), _x_axis(across, x_max, right, unit)]
    if reference is not None and y_axis.ticks[0] <= reference[0] <= y_axis.ticks[-1]:
        y = down(reference[0])
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="reference"))
        parts.append(tag("text", reference[1], x=left + 4, y=y - 4, class_="muted"))
    places = _spread_labels([down(one.values[-1]) for one in drawn])
    for index, one in enumerate(drawn):
        parts.append(_curve(one, index, across, down, show, unit))
        parts.append(tag("text", ends[index], x=right + 8, y=places[index] + 4, class_=f"end s{index % COLOURS}"))
    spoken = "; ".join(f"{end} at the end" for end in ends)
    return svg(right + beside, HEIGHT, f"{label} over {unit}: {spoken}", *parts, class_="chart")


def interval_chart(
    series: Sequence[tuple[str, Mapping[str, tuple[float, float, float]]]],
    *,
    label: str,
    show: Callable[[float], str] = text.number,
) -> Markup:
    """Values with error bars over labels on the x axis, in order of first appearance; one colour per series. If all
    labels are numbers, a line joins the values.

    Args:
        series: for each a name, and (value, low, high) by x label.
    """
    series = [(name, values) for name, values in series if values]
    places = list(dict.fromkeys(place for _, values in series for place in values))
    if not places:
        return tag("p", "No value yet.", class_="note")
    every = [level for _, values in series for three in values.values() for level in three]
    axis = value_axis(every, zero=True, top=None)
    tick = tick_text(axis)
    left = 10 + CHARACTER * max(len(tick(v)) for v in axis.ticks)
    beside = 12 + CHARACTER * max(len(name) for name, _ in series)
    right = max(WIDTH - beside, left + LEAST_PLOT)
    slot = (right - left) / len(places)

    def down(y: float) -> float:
        return TOP + (1 - axis.place(y)) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(down, axis, tick, left, right)]
    tilted = max(map(len, places)) * CHARACTER > slot
    ordered = all(place.replace(".", "", 1).isdigit() for place in places)
    for k, place in enumerate(places):
        x, y = left + (k + 0.5) * slot, HEIGHT - 8 + (LINE if tilted and k % 2 else 0)
        parts.append(tag("text", place, x=x, y=y, class_="tick", text_anchor="middle"))
    ends = []
    for index, (name, values) in enumerate(series):
        shift = (index - (len(series) - 1) / 2) * min(7.0, 0.6 * slot / len(series))
        marks, points = [], []
        for place, (value, low, high) in values.items():
            x = left + (places.index(place) + 0.5) * slot + shift
            points.append((x, down(value)))
            spoken = f"{name} {place}: {show(value)} [{show(low)}, {show(high)}]".strip()
            marks.append(tag("line", x1=x, x2=x, y1=down(low), y2=down(high), class_="line"))
            marks.append(tag("circle", tag("title", spoken), cx=x, cy=down(value), r=3, class_="dot"))
        if ordered:
            line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            marks.append(tag("path", d=line, class_="line", stroke_dasharray="2 3"))
        parts.append(tag("g", *marks, class_=f"s{index % COLOURS}"))
        ends.append(points[-1][1])
    for index, (y, (name, _)) in enumerate(zip(_spread_labels(ends), series, strict=True)):
        parts.append(tag("text", name, x=right + 8, y=y + 4, class_=f"end s{index % COLOURS}"))
    return svg(right + beside, HEIGHT + (LINE if tilted else 0), label, *parts, class_="chart")


def scatter_chart(
    points: Sequence[tuple[float, float]], colours: Sequence[str], *, label: str, titles: Sequence[str]
) -> Markup:
    """Scatter plot of 2-D points, joined in order; both axes have the same scale and are not drawn."""
    (low_x, high_x), (low_y, high_y) = ((min(v), max(v)) for v in zip(*points, strict=True))
    scale = min((WIDTH - 20) / (high_x - low_x or 1.0), (HEIGHT - 20) / (high_y - low_y or 1.0))

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return 10 + (point[0] - low_x) * scale, HEIGHT - 10 - (point[1] - low_y) * scale

    places = [at(point) for point in points]
    line = tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), class_="grid", fill="none")
    dots = [
        tag("circle", tag("title", title), cx=x, cy=y, r=3.5, fill=colour)
        for (x, y), colour, title in zip(places, colours, titles, strict=True)
    ]
    return svg(WIDTH, HEIGHT, label, line, *dots, class_="chart")


def share_bar(shares: Sequence[tuple[str, float]], label: str) -> Markup:
    """One stacked bar without a legend: the caller draws one, in the same order and colours."""
    width, height = 720.0, 22.0
    total = sum(value for _, value in shares) or 1.0
    parts, left = [], 0.0
    for index, (name, value) in enumerate(shares):
        part = width * value / total
        title = tag("title", f"{name}: {text.percent(value / total)}")
        # Leave a thin gap between neighbours, so that colour is not the only difference.
        parts.append(
            tag(
                "rect", title, x=left, y=0, width=max(part - 1.5, 0.5), height=height, class_=f"fill s{index % COLOURS}"
            )
        )
        left += part
    return svg(width, height, label, *parts, class_="bar", preserveAspectRatio="none")


def _grid(down: Callable, axis: Axis, tick: Callable[[float], str], left: float, right: float) -> Markup:
    parts = []
    for value in axis.ticks:
        y = down(value)
        kind = "base" if value == axis.ticks[0] else "grid"
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_=kind))
        parts.append(tag("text", tick(value), x=left - 6, y=y + 4, class_="tick", text_anchor="end"))
    if axis.logarithmic:
        parts.append(tag("text", "log scale", x=left + 4, y=TOP + 8, class_="muted"))
    return join(parts)


def _x_axis(across: Callable, x_max: float, right: float, unit: str) -> Markup:
    step = nice_step(max(x_max, 1.0), 4)
    ticks = [k * step for k in range(math.floor(x_max / step + 1e-9) + 1)]
    parts = [tag("text", text.steps(x), x=across(x), y=HEIGHT - 8, class_="tick", text_anchor="middle") for x in ticks]
    return join([*parts, tag("text", unit, x=right + 18, y=HEIGHT - 8, class_="muted")])


def _curve(
    one: Series, index: int, across: Callable, down: Callable, show: Callable[[float], str], unit: str
) -> Markup:
    pieces, drawing = [], False
    for x, y in one.points:
        if y is None:
            drawing = False
            continue
        pieces.append(f"{'L' if drawing else 'M'}{across(x):.1f} {down(y):.1f}")
        drawing = True
    finite = [(x, y) for x, y in one.points if y is not None]
    quiet = " quiet" if len(finite) > MANY else ""
    dots = []
    for x, y in finite:
        title = tag("title", f"{one.name} {show(y)} at {x:,.0f} {unit}".strip())
        dots.append(tag("circle", title, cx=across(x), cy=down(y), r=2, class_=f"dot{quiet}"))
    return tag("g", tag("path", d="".join(pieces), class_="line"), *dots, class_=f"s{index % COLOURS}")


def _spread_labels(places: list[float]) -> list[float]:
    """Move labels apart until none overlap, keeping their order."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + LINE)
    excess = max([0.0, *(moved[k] - (HEIGHT - BOTTOM) for k in order[-1:])])
    return [place - excess for place in moved]

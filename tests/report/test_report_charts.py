"""Where a chart draws what."""

import re
from xml.etree import ElementTree

import pytest

from deepcrl.report import charts, text
from deepcrl.report.charts import Series, line_chart, linear_axis, value_axis
from deepcrl.report.html import picture_file


def test_axes_enclose_the_values_at_round_steps():
    assert linear_axis(0.0, 7.3).ticks == [0, 2, 4, 6, 8]
    assert linear_axis(-0.3, 0.7).ticks == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5, 0.75])
    axis = value_axis([0.02, 300.0], zero=False, top=None)
    assert axis.logarithmic
    assert axis.place(0.01) == 0
    assert axis.place(1000.0) == 1
    flat = value_axis([5.0, 5.0], zero=False, top=None)
    assert flat.place(5.0) == pytest.approx(0.5)
    assert value_axis([0.0, 0.0], zero=True, top=None).ticks[0] == 0


def test_points_lie_where_the_axes_say(parse):
    page = parse(line_chart([Series("", [(0, 0.0), (50, 10.0), (100, 5.0)])], label="L", x_max=100, zero=True))
    dots = [(float(a["cx"]), float(a["cy"])) for a in page.all("circle")]
    base, top = charts.HEIGHT - charts.BOTTOM, charts.TOP
    assert dots[0][1] == base
    assert dots[1][1] == pytest.approx(top, abs=0.01)
    assert dots[2][1] == pytest.approx((base + top) / 2, abs=0.01)
    assert dots[1][0] == pytest.approx((dots[0][0] + dots[2][0]) / 2, abs=0.01)
    drawn = re.findall(r"[ML]([\d.]+) ([\d.]+)", page.all("path", "line")[0]["d"])
    assert [float(x) for x, _ in drawn] == pytest.approx([x for x, _ in dots], abs=0.06)
    assert [float(y) for _, y in drawn] == pytest.approx([y for _, y in dots], abs=0.06)


def test_intervals_stand_over_their_places_at_the_height_of_their_ends(parse):
    """Ticks of 0 to 10: value 5 is in the middle, its interval from a tenth to the top."""
    series = [("a", {"4": (5.0, 1.0, 10.0), "8": (10.0, 10.0, 10.0)}), ("b", {"8": (0.0, 0.0, 0.0)})]
    page = parse(charts.interval_chart(series, label="L"))
    base, top = charts.HEIGHT - charts.BOTTOM, charts.TOP
    (a4, a8, b8) = [(float(dot["cx"]), float(dot["cy"])) for dot in page.all("circle")]
    assert [y for _, y in (a4, a8, b8)] == pytest.approx([(base + top) / 2, top, base], abs=0.01)
    whisker = page.all("line", "line")[0]
    assert float(whisker["y1"]) == pytest.approx(base - 0.1 * (base - top), abs=0.01)
    assert float(whisker["y2"]) == pytest.approx(top, abs=0.01)
    four, eight = (float(text["x"]) for text in page.all("text", "tick") if text.get("text-anchor") == "middle")
    assert a4[0] - four == pytest.approx(a8[0] - eight, abs=0.01)
    assert (a8[0] + b8[0]) / 2 == pytest.approx(eight, abs=0.01)
    assert "No value yet." in charts.interval_chart([], label="L")


def test_a_line_joins_intervals_at_numbers_and_not_at_names(parse):
    def lines(*places):
        chart = charts.interval_chart([("a", dict.fromkeys(places, (5.0, 1.0, 10.0)))], label="L")
        return len(parse(chart).all("path", "line"))

    assert lines("4", "16", "0.5") == 1
    assert lines("crl", "sac") == 0


def test_a_picture_file_names_its_colours_itself_light_and_dark():
    """What looks up names of colours is browsers alone: Inkscape and others would draw all in black."""
    chart = line_chart([Series("a", [(0, 1.0), (10, 2.0)])], label="L", x_max=10)
    file = picture_file(chart)
    light, dark = file.split("@media screen and (prefers-color-scheme: dark)")
    assert "var(" not in file
    assert ".s0 { color: #0b62a8; }" in light
    assert ".s0 { color: #62b1f0; }" in dark
    assert file.startswith("<svg ")
    picture = ElementTree.fromstring(file).attrib
    assert f"0 0 {picture['width']} {picture['height']}" == picture["viewBox"]


@pytest.mark.parametrize("name", ["short", "a name of a hundred characters, " * 3])
def test_names_beside_a_plot_leave_it_its_width_and_stay_within_the_chart(parse, name):
    intervals = charts.interval_chart([(name, {"4": (5.0, 1.0, 10.0)})], label="L")
    curves = line_chart([Series(name, [(0, 1.0), (10, 2.0)])], label="L", x_max=10)
    for chart in (intervals, curves):
        page = parse(chart)
        (picture,) = page.all("svg")
        base = page.all("line", "base")[0]
        label = page.all("text", "end")[0]
        assert float(base["x2"]) - float(base["x1"]) >= charts.LEAST_PLOT
        assert float(label["x"]) + charts.CHARACTER * len(name) <= float(picture["viewbox"].split()[2])


def test_scattered_points_keep_their_shape(parse):
    """A right triangle of sides 3 and 4, whichever way the picture is stretched."""
    points = [(1.0, 1.0), (5.0, 1.0), (5.0, 4.0)]
    page = parse(charts.scatter_chart(points, ["#000000", "#111111", "#222222"], label="L", titles=["a", "b", "c"]))
    (ax, ay), (bx, by), (cx, cy) = [(float(dot["cx"]), float(dot["cy"])) for dot in page.all("circle")]
    assert ay == by
    assert bx == cx
    assert (by - cy) / (bx - ax) == pytest.approx(3 / 4, abs=0.001)
    assert [dot["fill"] for dot in page.all("circle")] == ["#000000", "#111111", "#222222"]


def test_labels_do_not_overlap_and_keep_their_order():
    places = charts._spread_labels([50.0, 51.0, 50.5])
    assert places[0] + charts.LINE <= places[2]
    assert places[2] + charts.LINE <= places[1]
    low = charts._spread_labels([charts.HEIGHT - charts.BOTTOM] * 3)
    assert max(low) <= charts.HEIGHT - charts.BOTTOM


def test_nothing_finite_is_said(parse):
    page = parse(line_chart([Series("a", [(0, None)])], label="L", x_max=0))
    assert page.text() == "No finite value yet."


def test_shares_fill_the_bar(parse):
    page = parse(charts.share_bar([("a", 3.0), ("b", 1.0)], "L"))
    first, second = page.all("rect")
    assert float(second["x"]) == pytest.approx(540)
    assert float(first["width"]) == pytest.approx(538.5)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234567, "1,234,567"),
        (-4.1234567, "−4.123"),
        (0.0123456, "0.01235"),
        (1.5e-7, "1.500e−07"),
        (1e20, "1.000e+20"),
        (float("nan"), "—"),
        (None, "—"),
    ],
)
def test_numbers(value, shown):
    assert text.number(value) == shown


def test_durations():
    assert [text.duration(s) for s in (8.24, 133, 3900, 180_000)] == ["8.2 s", "2 min 13 s", "1 h 05 min", "2 d 2 h"]

"""Episodes, mazes and value maps: what lies where, and which way is up."""

import re

import numpy as np
import pytest

from deepcrl.analysis import ValueMap, all_behaviours, choose, farthest_goal
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.protocol import Scene
from deepcrl.evaluate import Episodes
from deepcrl.report import maps

J = Scene(LAYOUTS["j"], 4.0)
START = (4.0, 4.0)


def episodes_to(goals: list[tuple[float, float]], reached: list[bool], steps: int = 10, start=START) -> Episodes:
    """Straight walks from the start, to the goal or half the way; the second half of each is spent at its end."""
    goal = np.array(goals, np.float32)
    share = np.minimum(np.arange(1, steps + 1) * 2 / steps, 1.0)[None] * np.where(reached, 1.0, 0.5)[:, None]
    first = np.tile(np.array(start, np.float32), (len(goals), 1))
    achieved = first + (goal - first) * share.T[..., None]
    distance = np.linalg.norm(achieved - goal, axis=-1)
    return Episodes(first, goal, achieved, distance, distance < 0.5, {}, np.ones((steps, len(goals)), bool))


def test_choice_keeps_the_proportion_and_spreads_over_goals():
    goals = [(8.0, 12.0), (12.0, 8.0), (12.0, 12.0)] * 8
    chosen = choose(episodes_to(goals, [True] * 18 + [False] * 6), 8)
    assert [one.reached for one in chosen].count(False) == 2
    assert {tuple(one.goal) for one in chosen if one.reached} == set(goals)
    assert len({tuple(one.goal) for one in chosen if not one.reached}) == 2
    assert len({one.episode for one in chosen}) == 8


@pytest.mark.parametrize("outcomes", [[True] * 99 + [False], [True] + [False] * 99])
def test_choice_shows_a_kind_that_is_rare(outcomes):
    chosen = choose(episodes_to([(8.0, 12.0)] * 100, outcomes), 16)
    assert len(chosen) == 16
    assert {one.reached for one in chosen} == {True, False}


def test_choice_takes_far_goals_as_well_where_all_are_different():
    angles = np.linspace(0, np.pi, 100)
    goals = [(float(4 + r * np.cos(a)), float(4 + r * np.sin(a))) for r, a in zip(np.linspace(1, 100, 100), angles)]
    chosen = choose(episodes_to(goals, [True] * 100), 5)
    assert [one.episode for one in chosen] == [0, 25, 50, 74, 99]


def test_the_share_of_failures_is_rounded_to_the_nearest():
    chosen = choose(episodes_to([(8.0, 12.0)] * 5, [True, True, False, False, False]), 3)
    assert [one.reached for one in chosen].count(False) == 2


def test_choice_of_few_takes_all():
    assert len(choose(episodes_to([(8.0, 12.0)] * 3, [True, False, True]), 16)) == 3


def test_episodes_end_at_their_first_end():
    episodes = episodes_to([(8.0, 12.0)], [True])
    alive = np.arange(10)[:, None] < 6
    (one,) = all_behaviours(episodes._replace(alive=alive))
    assert one.length == 6
    assert len(one.path) == 7
    assert one.time_at_goal == 2
    np.testing.assert_array_equal(one.path[0], START)


def test_farthest_goal_is_so_along_the_maze():
    goals = np.array([(8.0, 12.0), (12.0, 12.0), (12.0, 8.0)])
    start = np.array(START)
    assert farthest_goal(J, start, goals) == 2
    # On a plane (12, 12) is the farthest.
    assert farthest_goal(Scene(None, 1.0), start, goals) == 1


def test_walls_and_paths_lie_as_in_the_layout(parse):
    chosen = all_behaviours(episodes_to([(12.0, 8.0)], [False]))
    (figure,) = maps.behaviour_maps(J, chosen, chosen, radius=0.5)
    page = parse(figure)
    walls = re.findall(r"M(-?[\d.]+) (-?[\d.]+)h([\d.]+)", page.all("path", "walls")[0]["d"])
    assert len(walls) == sum(row.count("#") for row in LAYOUTS["j"])
    side = float(walls[0][2])
    low = (1 - maps.RIM - 0.5) * side  # picture coordinates begin at the rim
    drawn = {(round((float(y) + low) / side + 0.5), round((float(x) + low) / side + 0.5)) for x, y, _ in walls}
    assert drawn == {(i, j) for i, row in enumerate(LAYOUTS["j"]) for j, cell in enumerate(row) if cell == "#"}

    def at(i: float, j: float) -> tuple[float, float]:
        return pytest.approx((j * side - low, i * side - low), abs=0.06)

    path = page.all("path", "path")[0]
    places = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", path["d"])]
    assert path["class"] == "path missed"
    assert places[0] == at(1, 1)  # the cell R
    assert places[-1] == at(2, 1.5)  # half the way from (1, 1) to (3, 2): down and right
    goal = next(a for a in page.all("circle") if "class" not in a)
    assert (float(goal["cx"]), float(goal["cy"])) == at(3, 2)
    assert float(goal["r"]) == pytest.approx(0.5 / 4.0 * side, abs=0.01)


def test_captions_count_all_episodes_of_a_goal_and_words_tell_the_outcome(parse):
    every = all_behaviours(episodes_to([(8.0, 12.0)] * 4 + [(12.0, 8.0)], [True, True, False, True, False]))
    figures = maps.behaviour_maps(J, [every[0], every[2], every[4]], every, radius=0.5)
    near, far = map(parse, figures)
    assert "3 of 4 reached" in near.text("figcaption.")
    assert len(near.all("path", "path")) == 2
    assert len(near.all("circle", "stop")) == 1
    assert len(near.all("path", "stop")) == 1
    assert "× missed" in far.text("figcaption.")
    assert "missed" in (far.all("svg")[0]["aria-label"] or "")


def test_open_plane_has_axes_and_no_walls(parse):
    chosen = all_behaviours(episodes_to([(10.0, 0.0)], [True], start=(0.0, 0.0)))
    page = parse(maps.behaviour_maps(Scene(None, 1.0), chosen, chosen, radius=0.5)[0])
    assert not page.all("path", "walls")
    assert len(page.all("rect", "frame")) == 1
    assert "10" in page.text("text.tick")


def test_value_figure_puts_rows_downwards_and_leaves_walls_out(parse):
    values = np.array([[0.0, 1.0, np.nan], [2.0, 2.0, 3.0]])
    found = ValueMap(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0, 3.0]), values, np.array([1.5, 2.5]))
    page = parse(maps.value_figure(Scene(None, 1.0), found, np.array([0.5, 0.5]), radius=0.25))
    cells = {a["fill"]: a["d"] for a in page.all("path") if "fill" in a}
    assert cells[maps.colour(0.0)] == "M0 0h1v1h-1z"
    assert cells[maps.colour(1.0)] == "M2 1h1v1h-1z"
    assert cells[maps.colour(42 / 63)] == "M0 1h2v1h-2z"  # two cells of one value are one run
    assert len(cells) == 4
    assert "highest at (1.5, 2.5) m" in (page.all("svg")[0]["aria-label"] or "")
    assert not page.all("path", "way")


def test_ways_on_the_value_figure_go_down_with_x_and_right_with_y(parse):
    found = ValueMap(np.arange(3.0), np.arange(4.0), np.zeros((2, 3)), np.array([1.5, 2.5]))
    ways = [np.array([[0.5, 0.5], [0.5, 2.5], [1.5, 2.5]]), np.array([[0.5, 0.5], [1.5, 0.5]])]
    page = parse(maps.value_figure(Scene(None, 1.0), found, ways[0][0], 0.25, ways))
    drawn = [re.findall(r"[ML]([\d.]+) ([\d.]+)", path["d"]) for path in page.all("path", "way")]
    (a, b, c), (first, last) = (np.array(points, float) for points in drawn)
    assert (a == first).all()
    assert a[1] == b[1]
    assert b[0] == c[0]
    assert b[0] - a[0] == pytest.approx(2 * (c[1] - b[1]), abs=0.2)
    assert last[0] == a[0]
    assert last[1] == c[1] > a[1]


def test_colours_are_those_of_viridis():
    import matplotlib

    for share in np.linspace(0, 1, 9):
        expected = 255 * np.array(matplotlib.colormaps["viridis"](share)[:3])
        found = [int(maps.colour(share)[k : k + 2], 16) for k in (1, 3, 5)]
        np.testing.assert_allclose(found, expected, atol=3)

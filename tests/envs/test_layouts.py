"""The mazes as text against a table of the release's, and their cover by rectangles."""

import hashlib

import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.layouts import LAYOUTS, cells, corridor, start_cell, stitching_pairs, wall_boxes

# name: rows, columns, walls, goals, start cell, of the release; "l" and "j" are ours
TABLE = {
    "l": (5, 5, 20, 2, (1, 1)),
    "j": (5, 5, 19, 3, (1, 1)),
    "u": (5, 5, 18, 6, (1, 1)),
    "u_eval": (5, 5, 18, 3, (1, 1)),
    "u_single_eval": (5, 5, 18, 1, (1, 1)),
    "u_eval_1f2f3f": (5, 5, 18, 3, (1, 1)),
    "u_eval_1f2f3f4f": (5, 5, 18, 4, (1, 1)),
    "u_eval_1f2f3f4f5f": (5, 5, 18, 5, (1, 1)),
    "u_eval_5f6f": (5, 5, 18, 2, (1, 1)),
    "u2": (5, 6, 21, 8, (1, 1)),
    "u2_eval": (5, 6, 21, 4, (1, 1)),
    "u2_single": (5, 6, 21, 1, (1, 1)),
    "u3": (5, 7, 24, 10, (1, 1)),
    "u3_eval": (5, 7, 24, 5, (1, 1)),
    "u3_single_eval": (5, 7, 24, 1, (1, 1)),
    "u4": (7, 5, 24, 10, (2, 1)),
    "u4_eval": (7, 5, 24, 4, (2, 1)),
    "u4_single": (7, 5, 24, 1, (2, 1)),
    "u5": (7, 8, 39, 16, (2, 1)),
    "u5_eval": (7, 8, 39, 8, (2, 1)),
    "u5_single_eval": (7, 8, 39, 1, (2, 1)),
    "u6": (7, 7, 34, 14, (2, 1)),
    "u6_eval": (7, 7, 34, 7, (2, 1)),
    "u7": (7, 6, 29, 12, (2, 1)),
    "u7_eval": (7, 6, 29, 6, (2, 1)),
    "big": (8, 8, 38, 25, (1, 1)),
    "big_eval": (8, 8, 38, 9, (1, 1)),
    "big_eval_10": (8, 8, 38, 10, (1, 1)),
    "hardest": (9, 12, 62, 45, (1, 1)),
    "ball_u": (5, 5, 18, 5, (1, 1)),
    "ball_big": (8, 8, 38, 20, (1, 1)),
}


def test_no_letter_of_the_releases_mazes_has_changed():
    """Its 25 training and evaluation mazes were compared letter by letter with the drawings of the specification on
    2026-11-27, the ball's and the shortened corridors by eye."""
    text = " ".join(f"{name} {'/'.join(LAYOUTS[name])}" for name in sorted(LAYOUTS) if name not in ("l", "j"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "6ac85fd18907c20b"


def test_every_layout_is_in_the_table():
    assert set(TABLE) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_counts(name):
    layout = LAYOUTS[name]
    rows, columns, walls, goals, start = TABLE[name]
    assert len(layout) == rows
    assert {len(row) for row in layout} == {columns}
    assert len(cells(layout, "#")) == walls
    assert len(cells(layout, "G")) == goals
    assert len(cells(layout, "R")) == 1
    assert tuple(start_cell(layout)) == start
    assert set("".join(layout)) <= set("#RG.B" if name.startswith("ball") else "#RG.")


@pytest.mark.parametrize("name", LAYOUTS)
def test_is_closed(name):
    grid = np.array([list(row) for row in LAYOUTS[name]])
    rim = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
    assert (rim == "#").all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_boxes_cover_every_wall_cell_once(name):
    layout = LAYOUTS[name]
    cover = np.zeros((len(layout), len(layout[0])), int)
    for row, column, rows, columns in wall_boxes(layout):
        cover[row : row + rows, column : column + columns] += 1
    np.testing.assert_array_equal(cover, [[cell == "#" for cell in row] for row in layout])


def test_boxes_are_few():
    assert wall_boxes(LAYOUTS["u"]) == [(0, 0, 1, 5), (1, 0, 4, 1), (1, 4, 4, 1), (2, 1, 1, 2), (4, 1, 1, 3)]
    assert len(wall_boxes(LAYOUTS["big"])) < 20


@pytest.mark.parametrize("name", [name for name in LAYOUTS if f"{name}_eval" in LAYOUTS])
def test_evaluation_keeps_walls_and_start_and_drops_goals(name):
    training, evaluation = LAYOUTS[name], LAYOUTS[f"{name}_eval"]
    np.testing.assert_array_equal(cells(training, "#"), cells(evaluation, "#"))
    np.testing.assert_array_equal(start_cell(training), start_cell(evaluation))
    assert {tuple(cell) for cell in cells(evaluation, "G")} < {tuple(cell) for cell in cells(training, "G")}


def test_single_goal_corridors_are_the_fact_sheet_paths():
    lengths = {"u_single_eval": 7, "u2_single": 9, "u3_single_eval": 11, "u4_single": 11, "u5_single_eval": 17}
    for name, length in lengths.items():
        path = corridor(LAYOUTS[name])
        assert len(path) == length
        np.testing.assert_array_equal(np.abs(np.diff(path, axis=0)).sum(axis=1), 1)
    u = [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    np.testing.assert_array_equal(corridor(LAYOUTS["u_single_eval"]), u)


def test_ball_mazes_have_the_walls_of_the_others():
    assert cells(LAYOUTS["ball_u"], "B").tolist() == [[1, 3]]
    assert cells(LAYOUTS["ball_big"], "B").tolist() == [[3, 2], [3, 4]]
    for name in ("u", "big"):
        np.testing.assert_array_equal(cells(LAYOUTS[f"ball_{name}"], "#"), cells(LAYOUTS[name], "#"))


def test_corridor_refuses_branches():
    with pytest.raises(ValueError, match="ways on at cell"):
        corridor(LAYOUTS["big"])


def test_stitching_pairs_of_the_u_maze():
    pairs, probabilities = stitching_pairs(LAYOUTS["u_single_eval"], (1, 2, 3))
    path = corridor(LAYOUTS["u_single_eval"]).tolist()
    apart = np.array([path.index(goal) - path.index(start) for start, goal in pairs.tolist()])
    np.testing.assert_array_equal(np.bincount(apart), [0, 6, 5, 4])
    np.testing.assert_allclose(probabilities, np.choose(apart - 1, [1 / 18, 1 / 15, 1 / 12]))


@pytest.mark.parametrize("distances", [(1, 7), (0,), (-1, 2)])
def test_distances_that_no_two_cells_have_are_refused(distances):
    with pytest.raises(ConfigError, match="must lie between 1 and 6"):
        stitching_pairs(LAYOUTS["u_single_eval"], distances)

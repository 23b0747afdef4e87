"""The mazes as text against the fact sheet's table, and their cover by rectangles."""

import numpy as np
import pytest

from deepcrl.envs.layouts import LAYOUTS, cells, start_cell, wall_boxes

# name: rows, columns, walls, goals, start cell (fact sheet 3.3; "l" and "j" are ours)
TABLE = {
    "l": (5, 5, 20, 2, (1, 1)),
    "j": (5, 5, 19, 3, (1, 1)),
    "u": (5, 5, 18, 6, (1, 1)),
    "u_eval": (5, 5, 18, 3, (1, 1)),
    "u4": (7, 5, 24, 10, (2, 1)),
    "u4_eval": (7, 5, 24, 4, (2, 1)),
    "u5": (7, 8, 39, 16, (2, 1)),
    "u5_eval": (7, 8, 39, 8, (2, 1)),
    "big": (8, 8, 38, 25, (1, 1)),
    "big_eval": (8, 8, 38, 9, (1, 1)),
    "hardest": (9, 12, 62, 45, (1, 1)),
}


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
    assert set("".join(layout)) <= set("#RG.")


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

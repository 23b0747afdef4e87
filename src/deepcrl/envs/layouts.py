"""Mazes as text: '#' wall, 'R' start, 'G' goal candidate, '.' free cell that is never a goal.

Cell (i, j), row i and column j, has its centre at (i, j) * cell_size. The layouts are the paper's (fact sheet 3).
"""

import numpy as np

Layout = tuple[str, ...]


def _rows(text: str) -> Layout:
    return tuple(text.split())


LAYOUTS: dict[str, Layout] = {
    "l": _rows("##### #R..# ###G# ###G# #####"),
    "j": _rows("##### #R..# ###G# ##GG# #####"),
    "u": _rows("##### #RGG# ###G# #GGG# #####"),
    "u_eval": _rows("##### #R..# ###.# #GGG# #####"),
    "u4": _rows("##### #GGG# #R#G# ###G# #G#G# #GGG# #####"),
    "u4_eval": _rows("##### #...# #R#.# ###.# #G#.# #GGG# #####"),
    "u5": _rows("######## #GGGGGG# #R####G# ######G# #G####G# #GGGGGG# ########"),
    "u5_eval": _rows("######## #......# #R####.# ######.# #G####G# #GGGGGG# ########"),
    "big": _rows("######## #RG##GG# #GG#GGG# ##GGG### #GG#GGG# #G#GG#G# #GGG#GG# ########"),
    # The ant's list of nine goals; the humanoid's has a tenth.
    "big_eval": _rows("######## #R.##GG# #..#..G# ##...### #..#...# #.#G.#G# #.GG#GG# ########"),
    "hardest": _rows(
        "############ #RGGG#GGGGG# #G##G#G#G#G# #GGGGGG#GGG# #G####G###G# "
        "#GG#G#GGGGG# ##G#G#G#G### #GG#GGG#GGG# ############"
    ),
}


def cells(layout: Layout, kinds: str) -> np.ndarray:
    """Indices [count, 2] of the cells whose letter is one of `kinds`, row by row."""
    return np.array([(i, j) for i, row in enumerate(layout) for j, cell in enumerate(row) if cell in kinds])


def start_cell(layout: Layout) -> np.ndarray:
    """Index [2] of the one start cell."""
    return cells(layout, "R")[0]


def wall_boxes(layout: Layout) -> list[tuple[int, int, int, int]]:
    """Cover the wall cells by few rectangles (first row, first column, rows, columns), each cell exactly once."""
    free = np.array([[cell == "#" for cell in row] for row in layout])
    boxes = []
    for i, j in cells(layout, "#"):
        if not free[i, j]:
            continue
        width = 1
        while j + width < free.shape[1] and free[i, j + width]:
            width += 1
        height = 1
        while i + height < free.shape[0] and free[i + height, j : j + width].all():
            height += 1
        free[i : i + height, j : j + width] = False
        boxes.append((int(i), int(j), height, width))
    return boxes

"""Mazes as text: '#' wall, 'R' start, 'G' goal candidate, 'B' start of a ball, '.' free cell that is never a goal.

Cell (i, j), row i and column j, has its centre at (i, j) * cell_size. The layouts are those of the paper's release.
"""

import numpy as np

from deepcrl.config import ConfigError

Layout = tuple[str, ...]


def _rows(text: str) -> Layout:
    return tuple(text.split())


LAYOUTS: dict[str, Layout] = {
    "l": _rows("##### #R..# ###G# ###G# #####"),
    "j": _rows("##### #R..# ###G# ##GG# #####"),
    "u": _rows("##### #RGG# ###G# #GGG# #####"),
    "u_eval": _rows("##### #R..# ###.# #GGG# #####"),
    "u_single_eval": _rows("##### #R..# ###.# #G..# #####"),
    "u_eval_1f2f3f": _rows("##### #RGG# ###G# #...# #####"),
    "u_eval_1f2f3f4f": _rows("##### #RGG# ###G# #..G# #####"),
    "u_eval_1f2f3f4f5f": _rows("##### #RGG# ###G# #.GG# #####"),
    "u_eval_5f6f": _rows("##### #R..# ###.# #GG.# #####"),
    "u2": _rows("###### #RGGG# ####G# #GGGG# ######"),
    "u2_eval": _rows("###### #R...# ####.# #GGGG# ######"),
    "u2_single": _rows("###### #R...# ####.# #G...# ######"),
    "u3": _rows("####### #RGGGG# #####G# #GGGGG# #######"),
    "u3_eval": _rows("####### #R....# #####.# #GGGGG# #######"),
    "u3_single_eval": _rows("####### #R....# #####.# #G....# #######"),
    "u4": _rows("##### #GGG# #R#G# ###G# #G#G# #GGG# #####"),
    "u4_eval": _rows("##### #...# #R#.# ###.# #G#.# #GGG# #####"),
    "u4_single": _rows("##### #...# #R#.# ###.# #G#.# #...# #####"),
    "u5": _rows("######## #GGGGGG# #R####G# ######G# #G####G# #GGGGGG# ########"),
    "u5_eval": _rows("######## #......# #R####.# ######.# #G####G# #GGGGGG# ########"),
    "u5_single_eval": _rows("######## #......# #R####.# ######.# #G####.# #......# ########"),
    "u6": _rows("####### #GGGGG# #R###G# #####G# #G###G# #GGGGG# #######"),
    "u6_eval": _rows("####### #.....# #R###.# #####.# #G###G# #GGGGG# #######"),
    "u7": _rows("###### #GGGG# #R##G# ####G# #G##G# #GGGG# ######"),
    "u7_eval": _rows("###### #....# #R##.# ####.# #G##G# #GGGG# ######"),
    "big": _rows("######## #RG##GG# #GG#GGG# ##GGG### #GG#GGG# #G#GG#G# #GGG#GG# ########"),
    # The paper's ant has these nine goals; its humanoid and everything in JaxGCRL have the ten of "big_eval_10".
    "big_eval": _rows("######## #R.##GG# #..#..G# ##...### #..#...# #.#G.#G# #.GG#GG# ########"),
    "big_eval_10": _rows("######## #R.##GG# #..#.GG# ##...### #..#...# #.#G.#G# #.GG#GG# ########"),
    "hardest": _rows(
        "############ #RGGG#GGGGG# #G##G#G#G#G# #GGGGGG#GGG# #G####G###G# "
        "#GG#G#GGGGG# ##G#G#G#G### #GG#GGG#GGG# ############"
    ),
    "ball_u": _rows("##### #RGB# ###G# #GGG# #####"),
    "ball_big": _rows("######## #R.##GG# #..#GGG# ##BGB### #GG#GGG# #G#GG#G# #GGG#GG# ########"),
}


def cells(layout: Layout, kinds: str) -> np.ndarray:
    """Indices [count, 2] of the cells whose letter is one of `kinds`, row by row."""
    return np.array([(i, j) for i, row in enumerate(layout) for j, cell in enumerate(row) if cell in kinds])


def walls(layout: Layout) -> np.ndarray:
    """Whether each cell [rows, columns] is a wall; rows shorter than the longest end in walls."""
    columns = max(map(len, layout), default=0)
    rows = [[cell == "#" for cell in row.ljust(columns, "#")] for row in layout]
    return np.array(rows, bool).reshape(len(layout), columns)


def start_cell(layout: Layout) -> np.ndarray:
    """Index [2] of the one start cell."""
    return cells(layout, "R")[0]


def wall_boxes(layout: Layout) -> list[tuple[int, int, int, int]]:
    """Cover the wall cells by few rectangles (first row, first column, rows, columns), each cell exactly once."""
    left = walls(layout)
    boxes = []
    for i, j in cells(layout, "#"):
        if not left[i, j]:
            continue
        width = 1
        while j + width < left.shape[1] and left[i, j + width]:
            width += 1
        height = 1
        while i + height < left.shape[0] and left[i + height, j : j + width].all():
            height += 1
        left[i : i + height, j : j + width] = False
        boxes.append((int(i), int(j), height, width))
    return boxes


def corridor(layout: Layout) -> np.ndarray:
    """Cells [length, 2] of the path from the start to the only goal of a maze without branches.

    Raises ValueError for a maze with branches, or whose corridor ends elsewhere.
    """
    path = [tuple(start_cell(layout))]
    while layout[path[-1][0]][path[-1][1]] != "G":
        i, j = path[-1]
        onward = [c for c in ((i, j + 1), (i + 1, j), (i, j - 1), (i - 1, j)) if layout[c[0]][c[1]] != "#"]
        onward = [cell for cell in onward if cell not in path]
        if len(onward) != 1:
            raise ValueError(f"the corridor has {len(onward)} ways on at cell {(int(i), int(j))}; it must have one")
        path.append(onward[0])
    return np.array(path)


def stitching_pairs(layout: Layout, distances: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(start, goal) pairs of cells [P, 2, 2] that are one of `distances` steps apart along the corridor, and their
    probabilities [P]: uniform over distances, then over pairs of one distance (Figure 11; docs/fidelity.md).

    Raises:
        ConfigError: for a distance that no two cells of the corridor have.
    """
    path = corridor(layout)
    if outside := [k for k in distances if not 0 < k < len(path)]:
        raise ConfigError(f"distances = {distances} must lie between 1 and {len(path) - 1}; {outside[0]} does not")
    pairs = [np.stack([path[:-k], path[k:]], axis=1) for k in distances]
    weights = [np.full(len(some), 1.0 / len(some)) for some in pairs]
    return np.concatenate(pairs), np.concatenate(weights) / len(distances)

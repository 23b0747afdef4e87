"""The environments' page is what the table says, and every picture that it shows is there."""

import re
from pathlib import Path

from deepcrl.envs import catalogue

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_generated_from_the_table():
    page = (DOCS / "environments.md").read_text()
    assert catalogue.markdown() in page, "refresh it: deepcrl list envs --markdown"


def test_every_picture_is_there():
    pictures = re.findall(r"\]\((images/envs/[^)]+)\)", (DOCS / "environments.md").read_text())
    assert len(pictures) == len(set(pictures)) > 40
    assert not [name for name in pictures if not (DOCS / name).is_file()]


def test_a_row_says_what_the_environment_is():
    row = next(row for row in catalogue.rows() if row.name == "arm_grasp")
    assert row == ("arm_grasp", 23, 7, 5, 1000, 0.05, "mujoco, mjx, warp", "")


def test_the_readme_counts_right():
    (count,) = re.findall(r"\[(\d+) environments\]", (DOCS.parent / "README.md").read_text())
    assert int(count) == len(catalogue.rows())

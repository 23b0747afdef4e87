"""The page of several seeds, made from run folders with known rows."""

import json

import numpy as np
import pytest

from deepcrl import ConfigError, cli, seeds
from deepcrl.report import joint_report


@pytest.fixture
def folder(make_run, row, tmp_path):
    """Seeds 2 and 10; the second one is not finished."""
    out = tmp_path / "many"
    out.mkdir()
    for seed, count, shift in ((10, 6, 0.0), (2, 8, 40.0)):
        rows = [row(k, **{"eval/time_at_goal": 10.0 * k + shift, "eval/success_any": 0.1 * k}) for k in range(count)]
        make_run(rows, f"run-{seed}").rename(out / f"seed-{seed}")
    return out


def test_scores_intervals_and_runs_are_on_the_page(folder, parse):
    (folder / "seed-10" / "report.html").touch()
    page = parse(joint_report(folder).read_text(encoding="utf-8"))
    scores = {2: np.mean([10.0 * k + 40.0 for k in range(3, 8)]), 10: np.mean([10.0 * k for k in range(1, 6)])}
    summary = json.loads((folder / seeds.SUMMARY).read_text())
    assert summary["eval/time_at_goal"]["scores"] == pytest.approx([scores[2], scores[10]])
    text = page.text("th") + page.text("td")
    mean = np.mean(list(scores.values()))
    assert f"{mean:.1f} [{scores[10]:.1f}, {scores[2]:.1f}]" in text
    assert [a["href"] for a in page.all("a")] == ["seed-10/report.html"]  # the other has none yet
    assert "seed-10" in page.text("p.banner")
    assert "seed-2:" not in page.text("p.banner")
    assert all(link.startswith("a href=seed-") for link in page.loads())  # links are followed, not loaded


def test_the_command_tells_a_folder_of_seeds_from_a_run(folder, capsys):
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")


def test_a_folder_without_seeds_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no runs of several seeds"):
        joint_report(tmp_path)

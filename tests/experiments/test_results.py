"""What is said of an experiment's runs, from rows written by hand."""

import dataclasses
import json

import pytest

from deepcrl.config import ConfigError, override, to_dict
from deepcrl.experiments import cells, lookup, page
from deepcrl.experiments.results import depth_words, results, state_words
from deepcrl.experiments.runs import folders, jobs, states
from deepcrl.logging import rows

DEPTH = lookup("depth")
# Task and depth to the seeds' scores.
SCORES = {
    ("point_u_maze", "4"): (1.0, 2.0, 3.0, 4.0, 100.0),
    ("point_u_maze", "8"): (11.0, 12.0, 13.0, 14.0, 15.0),
    ("point_u_maze", "16"): (50.0, 51.0, 52.0, 53.0, 54.0),
    ("point_u_maze", "32"): (60.0, 61.0, 62.0, 63.0, 64.0),
    ("point_u4_maze", "4"): (0.0,) * 5,
    ("point_u4_maze", "8"): (0.0,) * 5,
}


@pytest.fixture
def out(tmp_path):
    """Finished runs of six of the eight cells, and one that was interrupted."""
    for cell in cells(DEPTH, "laptop"):
        scores = SCORES.get(tuple(cell.labels.values()), ())
        for (seed, folder), score in zip(folders(cell, tmp_path).items(), scores, strict=False):
            write(folder, dataclasses.replace(cell.config, seed=seed), score, cell.config.train.total_env_steps)
    cell = cells(DEPTH, "laptop")[-1]
    write(folders(cell, tmp_path)[0], cell.config, 7.0, cell.config.train.total_env_steps // 2)
    return tmp_path


def write(folder, config, score: float, env_steps: int) -> None:
    """The score is the mean of the last five evaluations: it differs by evaluation, and the first does not count."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    (folder / "machine.json").write_text(json.dumps({"date": "2026-01-02", "cores": 2}))
    for index, own in enumerate((1e6, -2.0, -1.0, 0.0, 1.0, 2.0)):
        steps = env_steps * index // 5
        rows.append(folder, {"env_steps": steps, "gradient_steps": steps // 40, "eval/time_at_goal": score + own})


def test_scores_and_states_are_those_of_the_rows(out):
    found = results(DEPTH, "laptop", out)
    assert state_words(found) == "30 of 40 runs done, 1 interrupted"
    by_labels = {tuple(result.cell.labels.values()): result for result in found}
    for labels, scores in SCORES.items():
        assert list(by_labels[labels].scores.values()) == pytest.approx(scores)
    first = by_labels["point_u_maze", "4"]
    assert first.mean.value == pytest.approx(22.0)
    assert first.interquartile.value == pytest.approx(3.0)
    assert by_labels["point_u4_maze", "32"].mean is None
    assert state_words(results(DEPTH, "smoke", out)) == "not run"


def test_depth_is_put_into_words(out):
    assert depth_words(DEPTH, results(DEPTH, "laptop", out)) == [
        "point_u_maze: the mean gains most at depth 16 [16, 16]; a run of depth 32 scores higher than one of depth 4 "
        "with probability 0.80.",
        "point_u4_maze: the mean grows at no depth; a run of depth 8 scores higher than one of depth 4 with "
        "probability 0.50.",
    ]


def test_only_what_is_left_is_run(out):
    left = jobs(cells(DEPTH, "laptop"), out)
    assert [tuple(job.cell.labels.values()) for job in left] == [("point_u4_maze", "16"), ("point_u4_maze", "32")]
    assert [len(job.folders) for job in left] == [5, 5]


def test_an_empty_folder_is_a_run_not_begun(out):
    cell = cells(DEPTH, "laptop")[-2]
    folders(cell, out)[3].mkdir()
    assert states(cell, out)[3] == "not run"


def test_the_page_has_the_numbers_and_what_is_missing(out):
    text, html = (
        path.read_text() for path in page.write(DEPTH, "laptop", results(DEPTH, "laptop", out), out / "p", out)
    )
    assert "| point_u_maze | 4 | 5 of 5 | 22.00 [" in text
    assert "| point_u4_maze | 32 | 0 of 5 | – | – | – |" in text
    assert "date 2026-01-02; cores 2" in text
    for words in ("22.00 [", "0 of 5", "gains most at depth 16", DEPTH.question, "30 of 40 runs done"):
        assert words in html


def test_a_folder_of_another_configuration_is_refused(out):
    cell = cells(DEPTH, "laptop")[0]
    other = override(cell.config, {"agent.discount": 0.5})
    (folders(cell, out)[0] / "config.json").write_text(json.dumps(to_dict(other)))
    with pytest.raises(ConfigError, match="holds a run of another configuration"):
        results(DEPTH, "laptop", out)

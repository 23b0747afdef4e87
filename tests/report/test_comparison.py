"""Runs side by side: groups, scores, first evaluations at a level, and the depth at which the score jumps."""

import json
import re
from itertools import product

import numpy as np
import pytest

from deepcrl import ConfigError, cli
from deepcrl.report.comparison import compare, depths, table


@pytest.fixture
def folders(make_run, row):
    """Depths 4 and 8, three seeds each: the score of seed s climbs by 1 + s, at depth 8 ten times as fast."""

    def make(depth: int, seed: int, count: int = 8):
        slope = (1.0 + seed) * (10.0 if depth == 8 else 1.0)
        rows = [row(k, **{"eval/time_at_goal": slope * k}) for k in range(count)]
        return make_run(rows, f"run-{depth}-{seed}", {"network.depth": depth, "seed": seed})

    return {(depth, seed): make(depth, seed) for depth, seed in product((8, 4), (2, 0, 1))}


def test_groups_are_what_differs_in_more_than_the_seed(folders):
    found = compare(folders.values())
    assert [(dict(group.settings), list(group.runs)) for group in found.groups] == [
        ({"network.depth": 4}, [0, 1, 2]),
        ({"network.depth": 8}, [0, 1, 2]),
    ]
    assert found.left_out == []
    # The last five of eight evaluations are rows 3 to 7, 5 on average.
    assert found.groups[0].scores() == pytest.approx([5.0, 10.0, 15.0])
    assert found.groups[1].scores() == pytest.approx([50.0, 100.0, 150.0])


def test_the_table_has_scores_chances_and_first_times(folders, row):
    columns, lines = table(compare(folders.values()).groups, levels=(20.0, 1e6))
    by_column = [dict(zip(columns, line, strict=True)) for line in lines]
    assert [one["depth"] for one in by_column] == ["4", "8"]
    assert [one["mean"] for one in by_column] == ["10.00 [5.00, 15.00]", "100.00 [50.00, 150.00]"]
    assert [one["above the first"] for one in by_column] == ["—", "1.00 [1.00, 1.00]"]
    assert [one["first at 1e+06"] for one in by_column] == ["—", "—"]
    # Depth 4 scores 7, 14 and 21 at its end; depth 8 passes 20 at rows 2, 1 and 1.
    at = [row(k)["env_steps"] for k in range(8)]
    assert by_column[0]["first at 20"].startswith(f"{at[7] / 1e3:.4g}k,")
    assert by_column[0]["first at 20"].endswith("(1 of 3)")
    assert by_column[1]["first at 20"].startswith(f"{np.median([at[2], at[1], at[1]]) / 1e3:.4g}k,")
    assert by_column[1]["first at 20"].endswith("(3 of 3)")


def test_the_critical_depth_is_said_for_each_combination_of_the_rest(folders, make_run, row):
    assert depths(compare(folders.values()).groups) == ["the mean gains most at depth 8 [8, 8]."]
    flat = [row(k, **{"eval/time_at_goal": 1.0}) for k in range(3)]
    plain = [
        make_run(flat, f"plain-{depth}", {"network.depth": depth, "network.backbone": "plain"}) for depth in (4, 8)
    ]
    assert depths(compare([*folders.values(), *plain]).groups) == [
        "backbone plain: the mean grows at no depth.",
        "backbone residual: the mean gains most at depth 8 [8, 8].",
    ]


def test_settings_of_some_algorithms_are_compared_among_those(make_run, row):
    flat = [row(k) for k in range(3)]
    crl = [make_run(flat, f"crl-{share}", {"agent.random_goals": share}) for share in (0.0, 0.5)]
    sac = make_run(flat, "sac", {"agent.algorithm": "sac_her"})
    groups = compare([*crl, sac]).groups
    assert [dict(group.settings) for group in groups] == [
        {"agent.algorithm": "crl", "agent.random_goals": 0.0},
        {"agent.algorithm": "crl", "agent.random_goals": 0.5},
        {"agent.algorithm": "sac_her", "agent.random_goals": None},
    ]
    columns, lines = table(groups)
    assert columns[:3] == ["algorithm", "random_goals", "seeds"]
    assert [line[:3] for line in lines] == [["crl", "0", "1"], ["crl", "0.5", "1"], ["sac_her", "—", "1"]]


def test_runs_that_say_nothing_are_left_out_aloud(folders, make_run, row, capsys):
    untrained = make_run([row(0)], "untrained", {"network.depth": 16})
    broken = [row(0), row(1, **{"train/critic_loss": float("nan")})]
    lost = make_run(broken, "lost", {"network.depth": 16, "seed": 1})
    assert cli.main(["compare", *map(str, [*folders.values(), untrained, lost])]) == 0
    said = capsys.readouterr()
    assert "untrained' has not been evaluated" in said.err
    assert "diverged at" in said.err
    assert "the mean gains most at depth 8" in said.out
    assert "16" not in [line.split()[0] for line in said.out.splitlines()]
    with pytest.raises(ConfigError, match=r"has not been evaluated since training began; .*diverged"):
        compare([untrained, lost])


def test_a_folder_of_seeds_is_its_runs_and_locks_are_passed_over(folders, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for seed in (0, 1):
        folders[8, seed].rename(many / f"seed-{seed}")
    lock = tmp_path / "run-8.lock"
    lock.touch()
    (group,) = compare([many, lock, many]).groups
    assert (dict(group.settings), list(group.runs)) == ({}, [0, 1])


def test_one_run_twice_an_unknown_metric_and_no_run_are_refused(folders, tmp_path, capsys):
    run_dir = folders[8, 0]
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (other / name).write_bytes((run_dir / name).read_bytes())
    with pytest.raises(ConfigError, match=r"are the same run: all settings and seed 0"):
        compare([run_dir, other])
    assert cli.main(["compare", str(run_dir), "--metric", "eval/time_at_gaol"]) == 2
    assert "did you mean eval/time_at_goal" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path / "none")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no runs to compare"):
        compare([])


def test_a_metric_that_some_evaluations_lack_is_compared_and_one_that_some_runs_lack_is_not(make_run, row, capsys):
    cell = "eval/success_any/3,2"
    seen = make_run([row(0), row(1, **{cell: 0.25}), row(2), row(3, **{cell: 0.75})], "seen")
    assert cli.main(["compare", str(seen), "--metric", cell, "--levels", "0.5"]) == 0
    assert re.search(r"0\.50 +0\.50 +3k, ", capsys.readouterr().out)
    unseen = make_run([row(0), row(1)], "unseen", {"seed": 1})
    assert cli.main(["compare", str(seen), str(unseen), "--metric", cell]) == 2
    said = capsys.readouterr().err
    assert f"metric = '{cell}' is not in all of these runs" in said
    assert "eval/success_any" in said
    assert f", {cell}" not in said.split("runs;")[1], "what it refuses is not what it proposes"


def test_an_error_names_the_run(make_run, row):
    run_dir = make_run([row(0), row(1)], "odd")
    (run_dir / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"odd': config must be a mapping"):
        compare([run_dir])


def test_learners_are_one_word(make_run, row):
    flat = [row(k) for k in range(3)]
    run_dir = make_run(flat, "with")
    config = json.loads((run_dir / "config.json").read_text())
    config["learners"] = ["network.depth=16", "network.depth=4"]
    (run_dir / "config.json").write_text(json.dumps(config))
    columns, lines = table(compare([run_dir, make_run(flat, "without")]).groups)
    assert columns[0] == "learners"
    assert sorted(line[0] for line in lines) == ["network.depth=16 network.depth=4", "—"]

"""What is said of an experiment's runs, from rows written by hand."""

import dataclasses
import json
import math
import re
import time
import xml.etree.ElementTree as ET

import pytest

from deepcrl.cli import main
from deepcrl.config import ConfigError, override, to_dict
from deepcrl.experiments import EXPERIMENTS, archive, cells, index, lookup, page, runs, watch
from deepcrl.experiments.record import Claim, Published
from deepcrl.experiments.results import (
    _networks,
    claim_words,
    depth_words,
    failures,
    goal_tables,
    level_table,
    pass_table,
    results,
    state_words,
)
from deepcrl.experiments.runs import Job, folders, jobs, largest_first, states
from deepcrl.folder import set_aside
from deepcrl.logging import rows
from deepcrl.report import findings
from deepcrl.report.html import Markup
from deepcrl.report.text import MISSING

DEPTH = lookup("depth")
# Task and depth to the seeds' scores.
SCORES = {
    ("point_u_maze", "4"): (1.0, 2.0, 3.0, 4.0, 100.0),
    ("point_u_maze", "8"): (11.0, 12.0, 13.0, 14.0, 15.0),
    ("point_u_maze", "16"): (50.0, 51.0, 52.0, 53.0, 54.0),
    ("point_u_maze", "32"): (60.0, 61.0, 62.0, 63.0, 64.0),
    ("point_big_maze", "4"): (0.0,) * 5,
    ("point_big_maze", "8"): (0.0,) * 5,
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
    for place, own in enumerate((1e6, -2.0, -1.0, 0.0, 1.0, 2.0)):
        steps = env_steps * place // 5
        scores = {
            "eval/time_at_goal": score + own,
            "eval/final_distance": 100.0 - score + own,
            "eval/success_any/3,2": place / 5.0,
            "eval/success_any/3,10": 0.25,
        }
        rows.append(folder, {"env_steps": steps, "gradient_steps": steps // 40, "wall_s": 0.1 * place, **scores})


def test_scores_and_states_are_those_of_the_rows(out):
    found = results(DEPTH, "laptop", out)
    assert state_words(found) == "30 of 40 runs done, 1 interrupted"
    by_labels = {tuple(result.cell.labels.values()): result for result in found}
    for labels, scores in SCORES.items():
        assert list(by_labels[labels].scores.values()) == pytest.approx(scores)
    first = by_labels["point_u_maze", "4"]
    assert first.mean.value == pytest.approx(22.0)
    assert first.interquartile.value == pytest.approx(3.0)
    assert by_labels["point_big_maze", "32"].mean is None
    assert state_words(results(DEPTH, "smoke", out)) == "not run"


def test_the_table_has_scores_and_distances(out):
    columns, lines = page.table_of(results(DEPTH, "laptop", out))
    assert columns == ["task", "depth", "runs", "mean", "interquartile mean", "final distance (m)"]
    assert lines[1][:3] == ["point_u_maze", "8", "5 of 5"]
    assert lines[1][3].startswith("13.00 [")
    assert lines[1][5:] == ["87.00"]
    assert lines[-1] == ["point_big_maze", "32", "0 of 5", *[MISSING] * 3]
    timed = [result._replace(metric="wall_s") for result in results(DEPTH, "laptop", out)]
    assert page.table_of(timed)[0] == ["task", "depth", "runs", "mean", "interquartile mean"]
    known = page.table_of(results(DEPTH, "paper", out))
    assert (known[0][-1], known[1][0][-1]) == ("paper", "38 ± 4")


def test_a_page_of_other_cells_has_the_papers_numbers_by_themselves(out):
    heading, words, table = page.papers_numbers(DEPTH, results(DEPTH, "laptop", out))
    assert (heading.words, "only their order can be compared" in words.text) == ("The paper's numbers", True)
    assert table.columns == ["task", "depth 4", "depth 64"]
    assert ["ant_u4_maze", "11.4 ± 4.1", "286 ± 36"] in table.rows
    assert list(page.papers_numbers(DEPTH, results(DEPTH, "paper", out))) == [], "they stand beside ours"
    binpick = ["29.6 ± 1.3", "20.7 ± 0.1", "20.7", "18.4 ± 0.3", "8 ± 0.9", "16.2 ± 0.4"]
    for name, line in (
        ("wall_clock", ["humanoid", "1.48", "2.13 ± 0.01", "3.4 ± 0.01", "5.92 ± 0.01", "10.99 ± 0.01"]),
        ("time_to_beat_sac", ["arm_binpick_hard", *binpick]),
        ("baseline_depth", ["td3_her", "humanoid", "168", "0", "0", "0", "0"]),
    ):
        _, _, table, *_ = page.papers_numbers(lookup(name), results(lookup(name), "smoke", out))
        assert line in table.rows
    assert (
        len(list(page.papers_numbers(lookup("time_to_beat_sac"), results(lookup("time_to_beat_sac"), "paper", out))))
        == 2
    )
    for scale in ("laptop", "paper"):
        *_, passed = page.papers_numbers(lookup("time_to_beat_sac"), results(lookup("time_to_beat_sac"), scale, out))
        assert passed.columns == ["task", "sac passed after (h)"]
        assert passed.rows[1::7] == [["ant_big_maze", "0.00"], ["humanoid_u_maze", "never"]]


def test_a_claim_may_be_of_what_analyses_find(out):
    found = results(DEPTH, "laptop", out)
    spread = dataclasses.replace(DEPTH, claims=(Claim("depth", "8", "4", of="spread_near_goal"),))
    assert claim_words(spread, found) == []
    numbers = [[] for _ in found]
    numbers[0] = [{"spread_near_goal": value, "explained": 9.0} for value in (0.1, 0.2, 0.3)]
    numbers[1] = [{"spread_near_goal": value} for value in (0.4, 0.5, 0.6)] + [{"explained": 0.0}]
    (words,) = claim_words(spread, found, numbers)
    assert words.startswith("depth 8 above depth 4, point_u_maze, in spread near goal: agrees; ")
    assert "probability 1.00 [1.00, 1.00]" in words


def test_circumstances_name_every_revision_oldest_first(out):
    found = results(DEPTH, "laptop", out)
    assert page.circumstances(found, out) == {"date": "2026-01-02", "cores": "2"}
    for seed, (day, revision) in enumerate(
        (("03", "c" * 40), ("01", "f" * 40 + "-dirty"), ("04", "a" * 40), ("05", None))
    ):
        own = {"date": f"2026-01-{day}", "cores": 1 + seed // 3, "git_revision": revision}
        (folders(found[0].cell, out)[seed] / "machine.json").write_text(json.dumps(own))
    assert page.circumstances(found, out) == {
        "date": "2026-01-01 to 2026-01-05",
        "cores": "1, 2",
        "git_revision": f"{'f' * 10}-dirty, {'c' * 10}, {'a' * 10}",
    }


def test_depth_is_put_into_words(out):
    assert depth_words(DEPTH, results(DEPTH, "laptop", out)) == [
        "point_u_maze: the mean gains most at depth 16 [16, 16].",
        "point_big_maze: the mean grows at no depth.",
    ]


def test_the_papers_claims_are_compared(out):
    chance = "a run of the first is above one of the second with probability"
    # One of the five seeds of depth 4 is far above: drawn three times among five, which happens in 6% of the draws, it
    # leaves 0.4.
    assert claim_words(DEPTH, results(DEPTH, "laptop", out)) == [
        f"depth 8 above depth 4, point_u_maze: cannot be told; {chance} 0.80 [0.40, 1.00].",
        f"depth 8 above depth 4, point_big_maze: cannot be told; {chance} 0.50 [0.50, 0.50].",
        f"depth 16 above depth 8, point_u_maze: agrees; {chance} 1.00 [1.00, 1.00].",
        f"depth 32 above depth 4, point_u_maze: cannot be told; {chance} 0.80 [0.40, 1.00].",
    ]


def test_goals_and_levels_say_when(out):
    """A goal is reached in 20, 40, ... 100% of the episodes of the five evaluations, another in a quarter, always."""
    found = results(DEPTH, "laptop", out)
    tables = goal_tables(found)
    assert list(tables) == ["point_u_maze_eval", "point_big_maze_eval"]
    for (columns, lines), task in zip(tables.values(), ("point_u_maze", "point_big_maze"), strict=True):
        assert columns == ["task", "depth", "(3,2)", "(3,10)"]
        assert [line[:2] for line in lines] == [[task, depth] for depth in ("4", "8", "16", "32")]
        assert lines[0][2:] == ["60% (5 of 5 after 384k)", "25% (0 of 5)"]
    assert lines[-1] == ["point_big_maze", "32", MISSING, MISSING]
    assert goal_tables([result._replace(metric="wall_s") for result in found]) == tables
    columns, lines = level_table((0.0, 3.5, 500.0), found)
    assert columns == ["task", "depth", "0", "3.5", "500"]
    # Seeds 0 to 4 score 1, 2, 3, 4, 100, plus -2 to 2 from evaluation to evaluation; 3.5 is reached by all but the
    # first, after 100%, 80%, 60% and 20% of the run; 0 by all, seed 0 after 40% and the others at the first evaluation.
    assert lines[0] == ["point_u_maze", "4", "128k, 0.1 s (5 of 5)", "448k, 0.4 s (4 of 5)", MISSING]


def test_learners_have_lines_of_their_own(tmp_path):
    experiment = lookup("collector")
    cell = cells(experiment, "smoke")[0]
    folder = folders(cell, tmp_path)[0]
    write(folder, cell.config, 9.0, cell.config.train.total_env_steps)
    path = folder / rows.FILE
    text = [json.loads(line) for line in path.read_text().splitlines()]
    for row in text:
        row |= {f"eval/learner_{i}/time_at_goal": 10.0 * i + row["eval/time_at_goal"] for i in (1, 2)}
    path.write_text("".join(json.dumps(row) + "\n" for row in text))
    found = results(experiment, "smoke", tmp_path)
    assert [(result.cell.labels["network"], result.scores[0]) for result in found] == [
        ("the collector", 9.0),
        ("depth=8", 19.0),
        ("depth=4", 29.0),
    ]
    assert state_words(found) == "done"


def test_only_what_is_left_is_run(out):
    left = jobs(cells(DEPTH, "laptop"), out)
    assert [tuple(job.cell.labels.values()) for job in left] == [("point_big_maze", "16"), ("point_big_maze", "32")]
    assert [len(job.folders) for job in left] == [5, 5]


def test_an_empty_folder_is_a_run_not_begun(out):
    cell = cells(DEPTH, "laptop")[-2]
    folders(cell, out)[3].mkdir()
    assert states(cell, out)[3] == "not run"


@pytest.mark.parametrize("content", ["", "{", '{"env": 3}'])
def test_a_configuration_that_cannot_be_read_is_that_runs_failure_only(out, content):
    """And where nothing was computed yet, no failure at all."""
    cell = cells(DEPTH, "laptop")[0]
    broken, bare = folders(cell, out)[0], folders(cells(DEPTH, "laptop")[-2], out)[3]
    (broken / "config.json").write_text(content)
    bare.mkdir()
    (bare / "config.json").write_text(content)
    found = results(DEPTH, "laptop", out)
    assert state_words(found) == "29 of 40 runs done, 1 interrupted, 1 failed"
    (failure,) = failures(found, out)
    assert failure.startswith(f"{broken.name}: ")
    assert len(found[0].scores) == 4
    assert states(cells(DEPTH, "laptop")[-2], out)[3] == "not run"
    assert broken in jobs(cells(DEPTH, "laptop"), out)[0].folders.values()


def test_what_is_left_of_a_run_that_never_began_is_set_aside(out):
    folder = folders(cells(DEPTH, "laptop")[-2], out)[3]
    for count in (1, 2):
        folder.mkdir()
        (folder / "config.json").write_text(f"torn {count}")
        set_aside(folder)
        assert not folder.exists()
    kept = [folder.with_name(f"{folder.name}.unreadable-{count}") / "config.json" for count in (1, 2)]
    assert [path.read_text() for path in kept] == ["torn 1", "torn 2"]
    folder.mkdir()
    set_aside(folder)
    assert folder.exists(), "an empty folder is in nobody's way"


def test_a_diverged_or_damaged_run_has_failed(out):
    cell = cells(DEPTH, "laptop")[0]
    diverged, damaged, both = (folders(cell, out)[seed] for seed in (0, 1, 2))
    last = rows.read(diverged)[-1]["env_steps"]
    rows.append(diverged, {"env_steps": last + 7, "train/critic_loss": math.nan, "train/fine": 1.0})
    rows.append(diverged, {"env_steps": cell.config.train.total_env_steps, "train/critic_loss": 1.0})
    (damaged / rows.FILE).write_text("no row\n" + (damaged / rows.FILE).read_text())
    found = results(DEPTH, "laptop", out)
    assert [found[0].states[seed] for seed in (0, 1, 2)] == ["failed", "failed", "done"]
    assert failures(found, out) == [
        f"{diverged.name}: '{diverged}' diverged at {last + 7:,} env steps: train/critic_loss not finite",
        f"{damaged.name}: {damaged / rows.FILE}: line 1 is damaged; it is not JSON",
    ]
    assert sorted(found[0].scores) == [2, 3, 4]
    assert runs.problem(both) == ""


def test_status_says_how_far_an_experiment_is_at_every_scale(out, capsys):
    diverged = folders(cells(DEPTH, "laptop")[0], out)[0]
    rows.append(diverged, {"env_steps": 640_007, "train/critic_loss": math.nan})
    assert main(["experiment", "status", "depth", "--out", str(out)]) == 0
    own = [
        "depth                  paper    not run",
        "depth                  laptop   29 of 40 runs done, 1 interrupted, 1 failed",
        "depth                  smoke    not run",
    ]
    failed = f"failed: {diverged.name}: '{diverged}' diverged at 640,007 env steps: train/critic_loss not finite"
    assert capsys.readouterr().out.splitlines() == [*own, failed]
    assert main(["experiment", "status", "--out", str(out)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == failed, "once, though other experiments share the run"
    assert set(own) <= set(lines)
    assert len(lines) == sum(len(experiment.scales) for experiment in EXPERIMENTS.values())


def test_a_machine_that_cannot_be_read_is_unknown(out):
    cell = cells(DEPTH, "laptop")[0]
    for seed, content in enumerate(("{", "[]", "")):
        (folders(cell, out)[seed] / "machine.json").write_text(content)
    (folders(cell, out)[3] / "machine.json").unlink()
    found = results(DEPTH, "laptop", out)
    assert page.circumstances(found, out) == {"date": "2026-01-02", "cores": "2"}
    (out / "pages").mkdir()
    archive.pack(out / "pages", found, out)
    lines = [json.loads(line) for line in (out / "pages" / archive.RUNS).read_text().splitlines()]
    machines = {line["run"]: line["machine"] for line in lines}
    assert [machines[folders(cell, out)[seed].name] for seed in range(5)] == [{}] * 4 + [
        {"date": "2026-01-02", "cores": 2}
    ]


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in ("config", "machine", "columns", "analysis", "pictures", "run")),
        {"config": []},
        {"run": "../elsewhere"},
        {"columns": {"env_steps": [0, 1], "wall_s": [0.0]}},
        {"columns": {"wall_s": [0.0]}},
        {"pictures": {"../x.png": ""}},
        {"pictures": {"x.png": "x"}},
    ],
    ids=str,
)
def test_a_line_that_is_no_run_is_named_before_anything_is_made(out, tmp_path_factory, change):
    pages, elsewhere = out / "pages", tmp_path_factory.mktemp("elsewhere")
    pages.mkdir()
    archive.pack(pages, results(DEPTH, "laptop", out)[:1], out)
    lines = (pages / archive.RUNS).read_text().splitlines()
    last = {key: value for key, value in (json.loads(lines[-1]) | change).items() if value is not None}
    (pages / archive.RUNS).write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    with pytest.raises(ConfigError, match=rf"line {len(lines)} of runs\.jsonl is no run"):
        archive.unpack(pages, elsewhere)
    assert not list(elsewhere.iterdir())


def test_the_page_has_the_numbers_and_what_is_missing(out):
    plain = dataclasses.replace(DEPTH, analyses=())
    found = results(plain, "laptop", out)
    text, html = (path.read_text() for path in page.write(plain, "laptop", found, out / "p", out))
    assert "| point_u_maze | 4 | 5 of 5 | 22.00 [" in text
    assert f"| point_big_maze | 32 | 0 of 5 | {MISSING} | {MISSING} | {MISSING} |" in text
    pictures = re.findall(r"!\[.*\]\((.*\.svg)\)", text)
    assert len(pictures) == 4, "scores and curves of both mazes"
    for name in pictures:
        assert ET.parse(out / "p" / name).getroot().tag.endswith("svg")
    assert "date 2026-01-02; cores 2" in text
    for words in ("22.00 [", "0 of 5", "gains most at depth 16", DEPTH.question, "30 of 40 runs done"):
        assert words in html


def test_the_index_says_how_far_all_are(out):
    page.write(dataclasses.replace(DEPTH, analyses=()), "laptop", results(DEPTH, "laptop", out), out / "p", out)
    text, html = (path.read_text() for path in index.write([DEPTH, lookup("width")], out / "p", out))
    assert (
        f"| Figure 1, Table 1 | Does the score grow with the depth of actor and critic? | {DEPTH.finding} | depth | "
        "not run | [30 of 40 runs done, 1 interrupted; claims: 1 agree, 3 open](depth-laptop.md) | not run |" in text
    )
    # The runs of depth 4 and width 64 and so on are those of `depth`.
    assert "| width | not run | 12 of 21 runs done | not run |" in text
    assert '<a href="depth-laptop.html">30 of 40 runs done, 1 interrupted; claims: 1 agree, 3 open</a>' in html
    # Where the page is and the runs are not, it is the page that says so.
    text = index.write([DEPTH], out / "p", out / "none")[0].read_text()
    assert "| depth | not run | [30 of 40 runs done, 1 interrupted; claims: 1 agree, 3 open](depth-laptop.md) |" in text


def test_the_index_counts_what_pages_say_of_the_papers_claims(out):
    text = """# Figure 1

## Agreement with the paper

depth 8 above depth 4: agrees; with probability 0.96 [0.84, 1.00].

depth 16 above depth 8: goes against it; with probability 0.08 [0.00, 0.32].

depth 32 above depth 4: cannot be told; with probability 0.50 [0.20, 0.80].

depth 64 above depth 4: one seed cannot tell (it is so there).

## Scores

A note: agrees; with nobody.
"""
    assert page.agreement_said(text) == "claims: 1 agree, 1 against, 2 open"
    assert page.agreement_said("# Figure 1\n\n## Scores\n") is None
    found = results(DEPTH, "laptop", out)
    written = page.write(DEPTH, "laptop", found, out / "pages", out)[0].read_text()
    words = claim_words(DEPTH, found)
    assert (len(words), sum(": agrees; " in line for line in words)) == (4, 1)
    assert page.agreement_said(written) == "claims: 1 agree, 3 open"
    index.write([DEPTH], out / "pages", out)
    assert (
        "| [30 of 40 runs done, 1 interrupted; claims: 1 agree, 3 open](depth-laptop.md) |"
        in (out / "pages" / "index.md").read_text()
    )
    assert f"| {DEPTH.finding} | depth |" in (out / "pages" / "index.md").read_text()


def test_deep_networks_and_many_seeds_are_trained_first(out):
    """By layers times seeds: 48, 32, 20 and 16."""
    left = {cell.labels["depth"]: cell for cell in cells(DEPTH, "laptop") if cell.labels["task"] == "point_u_maze"}
    work = [
        Job(left[depth], dict.fromkeys(range(number), out))
        for depth, number in (("4", 5), ("16", 1), ("16", 3), ("32", 1))
    ]
    order = [(job.cell.labels["depth"], len(job.folders)) for job in largest_first(work)]
    assert order == [("16", 3), ("32", 1), ("4", 5), ("16", 1)]


def test_a_folder_of_another_configuration_is_refused(out):
    cell = cells(DEPTH, "laptop")[0]
    other = override(cell.config, {"agent.discount": 0.5})
    (folders(cell, out)[0] / "config.json").write_text(json.dumps(to_dict(other)))
    with pytest.raises(ConfigError, match="holds a run of another configuration"):
        results(DEPTH, "laptop", out)


def test_pages_are_written_again_without_the_run_folders(out, tmp_path_factory):
    """All but the interrupted run, whose numbers are not kept; and nothing that was kept is trained again."""
    experiment = dataclasses.replace(DEPTH, analyses=("units",))
    pages, elsewhere = out / "pages", tmp_path_factory.mktemp("elsewhere")
    cell = cells(DEPTH, "laptop")[0]
    for seed, folder in folders(cell, out).items():
        finding = findings.Finding({"dead": float(seed)}, "words", Markup(f'<svg viewBox="0 0 9 {seed}"></svg>'))
        findings.write(finding, folder, "units")
    found = [result for result in results(experiment, "laptop", out) if result.cell == cell]
    written = page.write(experiment, "laptop", found, pages, out)
    before = [path.read_text() for path in written]
    archive.pack(pages, results(experiment, "laptop", out), out)
    assert len((pages / archive.RUNS).read_text().splitlines()) == 30

    assert archive.unpack(pages, elsewhere) == 30
    assert archive.unpack(pages, elsewhere) == 0
    again = results(experiment, "laptop", elsewhere)
    assert state_words(again) == "30 of 40 runs done"
    assert sum(len(job.folders) for job in jobs(cells(DEPTH, "laptop"), elsewhere)) == 10
    own = [result for result in again if result.cell == cell]
    assert [path.read_text() for path in page.write(experiment, "laptop", own, pages, elsewhere)] == before
    packed = (pages / archive.RUNS).read_text()
    archive.pack(pages, again, elsewhere)
    assert (pages / archive.RUNS).read_text() == packed
    (pages / archive.RUNS).write_text(packed + packed[:100])
    with pytest.raises(ConfigError, match=r"line 31 of runs\.jsonl is no run"):
        archive.unpack(pages, elsewhere / "new")
    assert not (elsewhere / "new").exists()


def test_one_seed_says_which_way_it_is_and_several_may_go_against_the_paper(out):
    found = [result for result in results(DEPTH, "laptop", out) if result.scores]
    one = [result._replace(scores={0: result.scores[0]}) for result in found]
    assert claim_words(DEPTH, one)[0] == "depth 8 above depth 4, point_u_maze: one seed cannot tell (it is so there)."
    turned = dataclasses.replace(DEPTH, claims=(Claim("depth", "4", "16"), Claim("depth", "8", "16")))
    assert "goes against it" in claim_words(turned, found)[1]
    assert "(it is not so there)" in claim_words(turned, one)[1]


def test_a_clocks_score_is_its_last_and_published_numbers_may_have_errors(out):
    numbers = (
        Published({"task": "point_u_maze", "depth": "4"}, 20.0, 1.5),
        Published({"task": "point_u_maze", "depth": "8"}, 30.0),
    )
    found = results(dataclasses.replace(DEPTH, metric="wall_s", published=numbers), "laptop", out)
    assert list(found[0].scores.values()) == [0.5] * 5
    assert [line[-1] for line in page.table_of(found)[1][:3]] == ["20 ± 1.5", "30", MISSING]


def test_pages_of_seconds_say_when_scores_were_reached_and_passed(out):
    found = results(DEPTH, "laptop", out)
    timed = dataclasses.replace(DEPTH, metric="wall_s", passes=("depth", "4"))
    clocks = results(timed, "laptop", out)
    # Scores, not seconds, which are all below 3.5.
    assert level_table((3.5, 55.0), clocks) == level_table((3.5, 55.0), found)
    columns, lines = pass_table(timed, clocks)
    assert columns == ["task", "depth", "final score of 4", "passed"]
    by_labels = {tuple(line[:2]): line[2:] for line in lines}
    # Depth 4's five seeds end at 22 in the mean; those of depth 8 come to at most 17, those of 16 start at 48.
    assert ("point_u_maze", "4") not in by_labels
    assert by_labels["point_u_maze", "8"] == ["22.00", MISSING]
    assert by_labels["point_u_maze", "16"][1].endswith("(5 of 5)")
    assert by_labels["point_big_maze", "8"] == [MISSING, MISSING]  # 0 is nothing to pass


def test_too_many_goals_for_a_table_have_none(out):
    found = results(DEPTH, "laptop", out)
    many = [{**row, **{f"eval/success_any/9,{k}": 0.0 for k in range(12)}} for row in found[0].rows[0]]
    assert goal_tables([found[0]._replace(rows={0: many})]) == {}


@pytest.mark.parametrize("content", ["{", "3", "[1]"])
def test_a_damaged_finding_is_left_out_of_the_archive(out, content):
    found = results(DEPTH, "laptop", out)[:1]
    folder = folders(found[0].cell, out)[0] / "analysis"
    folder.mkdir()
    (folder / "units.json").write_text(content)
    whole = {"env_steps": 1, "numbers": {}, "words": "", "svg": None}
    (folder / "blocks.json").write_text(json.dumps(whole))
    (out / "pages").mkdir()
    lines = archive.pack(out / "pages", found, out).read_text().splitlines()
    (line,) = (line for line in map(json.loads, lines) if line["run"] == folder.parent.name)
    assert line["analysis"] == {"blocks": whole}


def test_lines_of_other_experiments_stay_and_missing_numbers_stay_missing(out, tmp_path_factory):
    pages, elsewhere = out / "pages", tmp_path_factory.mktemp("elsewhere")
    cell = cells(DEPTH, "laptop")[0]
    folder = folders(cell, out)[0]
    last = {"env_steps": cell.config.train.total_env_steps, "gradient_steps": 9, "wall_s": 0.6}
    rows.append(folder, last | {"eval/time_at_goal": 1.0, "eval/final_distance": 2.0, "eval/success_any/7,7": 1.0})
    pages.mkdir()
    archive.pack(pages, results(DEPTH, "laptop", out), out)
    packed = (pages / archive.RUNS).read_text()
    archive.pack(pages, results(lookup("collector"), "smoke", elsewhere), elsewhere)
    assert (pages / archive.RUNS).read_text() == packed
    archive.unpack(pages, elsewhere)
    seven = [
        {name: float(f"{value:.7g}") if isinstance(value, float) else value for name, value in row.items()}
        for row in rows.read(folder)
    ]
    assert rows.read(folders(cell, elsewhere)[0]) == seven


def test_learners_are_told_apart_by_the_values_of_their_changes():
    collector = cells(lookup("collector"), "smoke")[0]
    changes = ("agent.random_goals=0.5", "agent.logsumexp_penalty=0.5", "network.depth=8", "network.depth=8")
    cell = dataclasses.replace(collector, config=override(collector.config, {"learners": changes}))
    assert [labels["network"] for labels, _ in _networks(lookup("collector"), cell)] == [
        "the collector",
        "random_goals=0.5",
        "logsumexp_penalty=0.5",
        "depth=8 (learner 3)",
        "depth=8 (learner 4)",
    ]


def test_how_much_of_the_work_is_done_goes_by_updates_and_layers(out, capsys):
    """Of two jobs of five runs: the rows written by hand end early in one of depth 32's."""
    found = [cell for cell in cells(DEPTH, "laptop") if cell.labels["task"] == "point_big_maze"]
    shallow, deep = found[0], found[-1]
    work = [Job(cell, folders(cell, out)) for cell in (shallow, deep)]
    total = deep.config.train.total_env_steps
    last = [row["env_steps"] for folder in folders(deep, out).values() for row in rows.read(folder)[-1:]]
    expected = (5 * 4 + 32 * sum(last) / total) / (5 * (4 + 32))
    assert 0.0 < expected < 1.0
    assert watch.share(work) == pytest.approx(expected)
    (folders(shallow, out)[0]).mkdir(exist_ok=True)
    (folders(shallow, out)[0] / rows.FILE).write_bytes(b"no row\n")  # a damaged run counts as not begun
    damaged = expected - 4 / (5 * (4 + 32))
    assert watch.share(work) == pytest.approx(damaged)
    assert watch.words(0.5, 0.25, 60.0) == "50% of the work done, left 2 min 00 s"
    assert watch.words(0.25, 0.25, 60.0) == "25% of the work done, left ?"
    said, give_up = "", time.monotonic() + 30
    with watch.lines(work, every_s=0.05):
        while "\n" not in said and time.monotonic() < give_up:
            time.sleep(0.01)
            said += capsys.readouterr().out
    assert said.startswith(f"{damaged:.0%} of the work done, left ?\n")

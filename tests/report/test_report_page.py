"""The page of a run folder that was written by hand: every number on it is known."""

import json
import re
from pathlib import Path

import pytest

from deepcrl.config import ConfigError, config_id
from deepcrl.report import build, report
from deepcrl.report.html import Markup, tag


@pytest.fixture
def page(make_run, parse, row):
    return parse(report(make_run([row(k) for k in range(8)])).read_text(encoding="utf-8"))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_headline_numbers_are_those_of_the_rows(page):
    values = [data for path, data in page.words if path.endswith("p.value")]
    assert values == ["21.0", "87.5%", "5.00 m"]
    beside = squeezed(page.text("div.score"))
    # Means of rows 3 to 7; best of all trained rows; row 0.
    assert "mean of last 5 15.0" in beside
    assert "mean of last 5 62.5%" in beside
    assert "mean of last 5 7.00 m" in beside
    assert "best 21.0 at 7k steps" in beside
    assert "best 5.00 m at 7k steps" in beside
    assert "untrained 0.0" in beside
    assert "untrained 12.00 m" in beside


def test_header_names_the_run(page, config):
    header = squeezed(page.text("header."))
    assert "point_j_maze" in header
    assert "crl, depth 8, width 64, seed 0" in header
    assert config_id(config) in header
    assert "env steps 7,000 of 7,000" in header
    assert "gradient steps 175" in header
    assert "wall time 24.0 s" in header
    assert "evaluations 8 of 8" in header
    assert "abacus" in header
    assert not page.all("p", "banner")


def test_curves_pass_through_the_rows(page):
    labels = [a["aria-label"] for a in page.all("svg", "chart")]
    assert "Time at goal over env steps: 21.0 at the end" in labels
    assert "Energies over env steps: own −2.125 at the end; others −7.500 at the end" in labels
    titles = page.text("title.")
    assert "15.0 at 5,000 env steps" in titles
    assert "own −2.375 at 5,000 env steps" in titles
    # A metric that this package does not know is drawn as well.
    assert "home made over env steps: 3.5" in " ".join(filter(None, labels))


def test_time_split_and_rates(page):
    text = squeezed(page.text("section."))
    # Of 24 s: 7 of updates, 8 * 0.5 of evaluations, 7 * 0.25 of collecting; 11.25 s are nobody's.
    assert "update 7.0 29.2%" in text
    assert "eval 4.0 16.7%" in text
    assert "other 11.2 46.9%" in text
    assert "env steps per second of collecting 4,000" in text
    assert "gradient steps per second of updating 25" in text
    assert "env steps per second over all 500" in text


def test_no_rate_is_made_of_waiting_for_what_is_collected_during_updates(make_run, parse, row):
    page = parse(report(make_run([row(k) for k in range(8)], changes={"train.overlap": True})).read_text())
    assert "per second of collecting" not in page.text("section.")
    assert "env steps per second over all 500" in squeezed(page.text("section."))


def test_configuration_marks_what_differs_from_the_preset(page):
    assert sorted(data for path, data in page.words if path.endswith("code. b.changed")) == [
        "env.num_envs",
        "evaluation.num_evals",
        "train.prefill_steps",
        "train.total_env_steps",
        "train.updates_per_env_steps",
    ]
    text = squeezed(page.text("table."))
    assert "train.total_env_steps 7,000 preset: 640,000" in text
    assert re.search(r"5 of \d+ fields differ from the preset of point_j_maze", page.text("p.about"))


def test_page_loads_nothing_and_is_labelled(page):
    assert page.loads() == []
    assert all(a.get("aria-label") for a in page.all("svg") if a.get("role") == "img")
    assert all("role" in a or a.get("class") == "map" for a in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]
    names = [a.get("http-equiv") for a in page.all("meta")]
    assert "Content-Security-Policy" in names


def test_the_same_run_gives_the_same_bytes(make_run, row):
    rows = [row(k) for k in range(8)]
    first, second = make_run(rows, "run"), make_run(rows, "other")
    page = report(first).read_bytes()
    assert report(first).read_bytes() == page
    assert report(second).read_bytes().replace(b"other/", b"run/").replace(b"other-", b"run-") == page


def test_a_page_is_replaced_whole(make_run, monkeypatch, row):
    run_dir = make_run([row(0)])
    (run_dir / "report.html").write_text("old")
    with open(run_dir / "report.html") as reader:
        assert report(run_dir) == run_dir / "report.html"
        assert reader.read() == "old"  # a reader in the middle of the old page keeps it
    assert (run_dir / "report.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in run_dir.iterdir()} == {"config.json", "machine.json", "metrics.jsonl", "report.html"}

    def fail(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(build.sections, "time_spent", fail)
    before = (run_dir / "report.html").read_bytes()
    with pytest.raises(RuntimeError):
        report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before


def test_text_from_the_folder_is_escaped(make_run, parse, row):
    evil = "<script>alert('1')</script>\"&"
    run_dir = make_run([row(0), row(1, **{"train/<i>x</i>": 1.0})], "a<b>&", {"env.name": evil})
    (run_dir / "machine.json").write_text(json.dumps({"device": evil, evil: {evil: evil}}))
    page = parse(report(run_dir).read_text(encoding="utf-8"))
    assert page.text("h1.") == evil
    assert not page.all("script")
    assert not page.all("i")
    assert "a<b>&" in page.text("pre.")


def test_run_that_has_just_started(make_run, parse):
    page = parse(report(make_run([])).read_text(encoding="utf-8"))
    assert "No evaluation yet" in page.text("p.banner")
    assert "No pictures of behaviour: no usable checkpoint in run/checkpoints." in page.text("p.about")
    assert "none yet" in page.text("p.value")


def test_run_with_the_untrained_policy_only(make_run, parse, row):
    page = parse(report(make_run([row(0)])).read_text(encoding="utf-8"))
    assert "Only the untrained policy" in page.text("p.banner")
    assert "untrained 12.00 m" in squeezed(page.text("div.score"))
    assert "mean of last 5 —" in squeezed(page.text("div.score"))


def test_interrupted_run_is_called_so(make_run, parse, row):
    page = parse(report(make_run([row(k) for k in range(4)])).read_text(encoding="utf-8"))
    assert "interrupted, or still running, at 3,000 of 7,000 env steps (42.9%)" in page.text("p.banner")
    assert "deepcrl resume run" in page.text("pre.")
    assert "mean of last 3 6.0" in squeezed(page.text("div.score"))


def test_values_that_are_not_finite(make_run, parse, row):
    rows = [row(k) for k in range(8)]
    rows[5]["eval/final_distance"] = None
    rows[7] |= {"eval/time_at_goal": None, "train/critic_loss": None, "wall_s": None}
    page = parse(report(make_run(rows)).read_text(encoding="utf-8"))
    assert "Training diverged: critic_loss not finite at 7,000 env steps" in page.text("p.banner")
    beside = squeezed(page.text("div.score"))
    assert "mean of last 5 12.0" in beside  # rows 2 to 6: as in `analysis.statistics.score`
    assert "mean of last 5 7.60 m" in beside  # rows 2, 3, 4, 6, 7
    assert "not finite" in page.text("p.value")
    # The curve of distances is broken in two where row 5 is missing.
    lines = [a["d"] or "" for a in page.all("path", "line")]
    assert sorted({line.count("M") for line in lines}) == [1, 2]


def test_no_run_no_report(tmp_path: Path):
    with pytest.raises(ConfigError, match="not a run folder"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tag_escapes_all_but_markup():
    assert tag("p", "a<b", Markup("<br>"), title='"<', x=1.0, y=-0.001, z=None) == (
        '<p title="&quot;&lt;" x="1" y="0">a&lt;b<br></p>'
    )

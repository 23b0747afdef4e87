"""Every analysis by its name, as a user and as an experiment's page asks for it."""

import io
import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from deepcrl import override, preset, train
from deepcrl.analysis import block_norms
from deepcrl.analysis.coverage import coverage
from deepcrl.analysis.topology import topologies
from deepcrl.cli import main
from deepcrl.render import gl_backend
from deepcrl.report import findings
from deepcrl.report.findings import FINDINGS, kept
from deepcrl.report.html import Markup
from reference.settings import TINY

DRAWN = [kind for kind in FINDINGS if kind not in ("embeddings", "strip")]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of two blocks, so that the last is not the first."""
    run_dir = tmp_path_factory.mktemp("runs") / "deep"
    assert train(override(preset("point_u_maze"), {**TINY, "network.depth": 8}), run_dir).finished
    return run_dir


@pytest.mark.parametrize("kind", DRAWN)
def test_an_analysis_is_printed_drawn_and_made_once(kind, run_dir, capsys, monkeypatch):
    assert main(["analyse", kind, str(run_dir)]) == 0
    said = capsys.readouterr().out
    picture = run_dir / "analysis" / f"{kind}.svg"
    assert f"picture: {picture}" in said
    root = ET.fromstring(picture.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.attrib["width"]) > 100
    monkeypatch.setattr(findings, "find", None)
    found = kept(kind, run_dir)
    assert isinstance(found.picture, Markup)
    assert "xmlns" not in found.picture
    assert found.words in said
    for name, value in found.numbers.items():
        assert f"{name}: {value:.4g}" in said


def test_what_is_kept_is_of_the_newest_agent_only(run_dir, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(run_dir, own)
    newest = kept("units", own)
    assert main(["analyse", "units", str(own), "--which", "best"]) == 0
    assert (own / "analysis" / "units-best.svg").exists()
    assert kept("units", own) == newest
    path = own / "analysis" / "units.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env_steps": 1, "words": "older"}))
    assert kept("units", own).words == newest.words


def test_the_words_have_the_numbers_of_the_analysis(run_dir):
    norms, words = block_norms(run_dir), kept("blocks", run_dir)
    for name, found in norms.items():
        assert f"{name}, {len(found.added)} blocks; leaves the stem: {found.stream[0]:.3g}" in words.words
        assert f"{found.added[-1]:8.3g} {found.stream[-1]:8.3g}" in words.words
        first, last = found.added
        assert abs(last / first - 1.0) > 1e-3
        assert words.numbers[f"{name}, last over first"] == pytest.approx(last / first)
    found = kept("topology", run_dir)
    farthest = topologies(run_dir)[-1]
    assert not farthest.own_ways, "an agent of seconds reaches no goal"
    assert found.caption == (
        f"the value for goal ({farthest.map.goal[0]:g}, {farthest.map.goal[1]:g}); rank correlation with nearness in a "
        f"straight line {farthest.rank_straight:.2f}, along the shortest way {farthest.rank_path:.2f}"
    )
    share = float(np.isfinite(coverage(run_dir).first_visit).sum()) / 7
    assert kept("coverage", run_dir).numbers["share of the cells"] == pytest.approx(share)


@pytest.mark.skipif(gl_backend() is None, reason="no GL backend here")
def test_a_strip_is_a_row_of_pictures(run_dir, capsys):
    from PIL import Image

    from deepcrl.render.strip import png, strip

    image, words = strip(run_dir, pictures=3, width=64, height=48)
    assert image.shape == (48, 192, 3)
    assert words.startswith("An episode that misses its goal, at 0.0, ")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)
    first, last = image[:, :64].astype(int), image[:, 128:].astype(int)
    assert np.abs(first - last).max() > 50, "the point has not moved"


def test_mistakes_are_one_line(run_dir, tmp_path, capsys):
    for args, words in (
        (["block", str(run_dir)], "unknown kind 'block'; did you mean blocks"),
        (["blocks", str(tmp_path)], "is not a run folder"),
        (["coverage", str(run_dir), "--which", "best"], "only 'latest' has all of it"),
        (["embeddings", str(run_dir)], "none of 64 episodes"),
    ):
        assert main(["analyse", *args]) == 2
        said = capsys.readouterr().err.removeprefix(f"looking into {run_dir}\n")
        assert words in said
        assert len(said.splitlines()) == 1


def test_a_run_without_rows_is_one_line(run_dir, tmp_path, capsys):
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert main(["analyse", "blocks", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [f"error: {str(tmp_path / 'run')!r} holds no rows of metrics"]

"""An algorithm without a critic through the whole of a run: train, report, look into its blocks."""

import dataclasses
import json

import pytest

from deepcrl import load_agent, report
from deepcrl.analysis import block_norms
from deepcrl.config import from_dict
from deepcrl.logging import rows


@pytest.fixture(scope="module", params=["gcbc"])
def run_dir(request, tiny_run):
    return tiny_run("point_u_maze", request.param)


def test_a_run_ends_with_its_own_metrics_and_settings(run_dir):
    config = from_dict(json.loads((run_dir / "config.json").read_text()))
    fields = {field.name for field in dataclasses.fields(config.agent)}
    last = rows.read(run_dir)[-1]
    assert ("her_share" in fields) == ("train/reward" in last) == config.agent.algorithm.endswith("her")
    assert ("train/critic_loss" in last) == (config.agent.algorithm != "gcbc")


def test_the_report_shows_what_there_is(run_dir):
    page = report(run_dir, num_episodes=4).read_text(encoding="utf-8")
    assert "fields are as in the preset" in page or "differ from the preset" in page
    has_value = "gcbc" not in page.split("</h1>")[1][:200]
    assert ("No value map" in page) == (not has_value)


def test_its_networks_can_be_looked_into(run_dir):
    agent = load_agent(run_dir)
    norms = block_norms(run_dir, steps=2)
    assert list(norms) == (["actor"] if agent.config.agent.algorithm == "gcbc" else ["actor", "critic"])
    for found in norms.values():
        assert found.added.shape == found.gradient.shape == (1,)
        assert (found.gradient > 0.0).all()

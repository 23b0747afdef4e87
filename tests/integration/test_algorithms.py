"""Every kind of algorithm through the whole of a run: train, resume, report, look into its blocks."""

import dataclasses
import json
import shutil

import pytest

from deepcrl import load_agent, report, resume
from deepcrl.analysis import block_norms
from deepcrl.config import from_dict
from deepcrl.logging import rows


@pytest.fixture(scope="module", params=["sac_her", "gcbc", "qrl"])
def run_dir(request, tiny_run):
    return tiny_run("point_u_maze", request.param)


def test_a_run_ends_with_its_own_metrics_and_settings(run_dir):
    config = from_dict(json.loads((run_dir / "config.json").read_text()))
    fields = {field.name for field in dataclasses.fields(config.agent)}
    last = rows.read(run_dir)[-1]
    assert ("her_share" in fields) == ("train/reward" in last) == config.agent.algorithm.endswith("her")
    assert ("epsilon" in fields) == ("train/constraint_violation" in last) == (config.agent.algorithm == "qrl")
    assert ("train/critic_loss" in last) == (config.agent.algorithm != "gcbc")


def test_a_run_that_lost_its_end_resumes_to_the_same_numbers(tiny_run, tmp_path):
    """TD3 counts its updates beside the networks: it moves the policy after every other one."""
    run_dir = tiny_run("point_u_maze", "td3_her")
    again = tmp_path / "again"
    shutil.copytree(run_dir, again)
    checkpoints = again / "checkpoints"
    shutil.rmtree(max(checkpoints.glob("[0-9]*")))
    found = [{k: v for k, v in row.items() if "time/" not in k and k != "wall_s"} for row in resume(again).rows]
    expected = [{k: v for k, v in row.items() if "time/" not in k and k != "wall_s"} for row in rows.read(run_dir)]
    assert found == expected


def test_the_report_shows_what_there_is(run_dir):
    page = report(run_dir, num_episodes=4).read_text(encoding="utf-8")
    assert "fields are as in the preset" in page or "differ from the preset" in page
    has_value = "gcbc" not in page.split("</h1>")[1][:200]
    assert ("No value map" in page) == (not has_value)


def test_its_networks_can_be_looked_into(run_dir):
    agent = load_agent(run_dir)
    names = {"gcbc": ["actor"], "qrl": ["actor", "phi", "psi", "dynamics"]}
    norms = block_norms(run_dir, steps=2)
    assert list(norms) == names.get(agent.config.agent.algorithm, ["actor", "critic"])
    for found in norms.values():
        assert found.added.shape == found.gradient.shape == (1,)
        assert (found.gradient > 0.0).all()

"""Several seeds of one configuration: the runs are those of each seed alone, and the summary is theirs."""

import importlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import ConfigError, checkpoint, cli, load_agent, override, preset, seeds, train
from deepcrl.analysis.statistics import score
from deepcrl.envs.registry import ENVIRONMENTS
from deepcrl.folder import restore
from deepcrl.lock import held
from deepcrl.logging import rows
from deepcrl.program import init_state
from reference.settings import TINY

SMALL = override(preset(), TINY)


def numbers(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if not key.startswith(("time/", "wall"))} for row in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "runs"
    assert all(result.finished for result in seeds.train_seeds(SMALL, (3, 1), out, together=False))
    return out


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """Both seeds as one vectorised program."""
    out = tmp_path_factory.mktemp("at_once") / "runs"
    assert all(result.finished for result in seeds.train_seeds(SMALL, (3, 1), out))
    return out


def assert_close(found: list[dict], expected: list[dict]) -> None:
    """To what float32 loses where sums are taken in another order."""
    assert [row.keys() for row in numbers(found)] == [row.keys() for row in numbers(expected)]
    for row, other in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_allclose(list(row.values()), list(other.values()), rtol=2e-4, atol=2e-5)


def test_every_seed_is_the_run_it_is_alone(folder, tmp_path):
    alone = train(override(SMALL, {"seed": 1}), tmp_path / "alone")
    assert numbers(alone.rows) == numbers(rows.read(folder / "seed-1"))
    assert numbers(alone.rows) != numbers(rows.read(folder / "seed-3"))


def test_seeds_trained_at_once_are_the_runs_they_are_alone(folder, at_once):
    for seed in (3, 1):
        assert_close(rows.read(at_once / f"seed-{seed}"), rows.read(folder / f"seed-{seed}"))
        program = seeds.check(SMALL, (seed,), folder)[folder / f"seed-{seed}"]
        (one, *_), (other, *_) = (restore(program, out / f"seed-{seed}") for out in (folder, at_once))
        for leaf, expected in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf, expected = jax.random.key_data(leaf), jax.random.key_data(expected)
            np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-3)


def test_seeds_that_stopped_apart_go_on_in_groups(at_once, tmp_path):
    """Seed 1 lost its last checkpoint, as it does when the machine stops between two of them; seed 0 died at once."""
    again = tmp_path / "again"
    shutil.copytree(at_once, again)
    checkpoints = again / "seed-1" / "checkpoints"
    shutil.rmtree(max(checkpoints.glob("[0-9]*")))
    (again / "seed-0").mkdir()
    results = seeds.train_seeds(SMALL, (3, 1, 0), again)
    assert [result.run_dir.name for result in results] == ["seed-3", "seed-1", "seed-0"]
    assert all(result.finished for result in results)
    for seed in (3, 1):
        assert_close(rows.read(again / f"seed-{seed}"), rows.read(at_once / f"seed-{seed}"))


def test_a_kill_between_two_first_saves_leaves_no_row_twice(at_once, tmp_path, monkeypatch):
    out, saved = tmp_path / "killed", []

    def save(*args, **kwargs):
        if saved:
            raise KeyboardInterrupt
        saved.append(checkpoint_save(*args, **kwargs))

    checkpoint_save = checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt):
            seeds.train_seeds(SMALL, (3, 1), out)
    assert [len(rows.read(out / f"seed-{seed}")) for seed in (3, 1)] == [1, 1]
    assert not (out / "seed-1" / "checkpoints").exists()
    assert all(result.finished for result in seeds.train_seeds(SMALL, (3, 1), out))
    for seed in (3, 1):
        assert_close(rows.read(out / f"seed-{seed}"), rows.read(at_once / f"seed-{seed}"))


@pytest.mark.parametrize("together", [True, False])
def test_a_seed_that_diverges_stops_no_other(at_once, tmp_path, monkeypatch, together):
    def poisoned(program):
        state = init_state(program)
        if program.seeds == (3,):
            broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state.agent.critic)
            state = state._replace(agent=state.agent._replace(critic=broken))
        return state

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("deepcrl.folder"), "init_state", poisoned)
        with pytest.raises(FloatingPointError, match=r"seed-3' diverged at .* not finite$"):
            seeds.train_seeds(SMALL, (3, 1), tmp_path, together=together)
    assert_close(rows.read(tmp_path / "seed-1"), rows.read(at_once / "seed-1"))
    assert len(rows.read(tmp_path / "seed-3")) == 2
    assert checkpoint.steps(tmp_path / "seed-3" / "checkpoints") == [0]
    assert json.loads((tmp_path / seeds.SUMMARY).read_text())["seeds"] == [1]
    before = (tmp_path / "seed-3" / rows.FILE).read_bytes()
    with pytest.raises(FloatingPointError, match="seed-3' diverged at"):
        seeds.train_seeds(SMALL, (3, 1), tmp_path, together=together)
    assert (tmp_path / "seed-3" / rows.FILE).read_bytes() == before


@pytest.mark.parametrize("together", [True, False])
def test_seeds_that_another_process_trains_are_refused(folder, together):
    with held(folder / "seed-1"), pytest.raises(ConfigError, match="seed-1' is being trained by another process"):
        seeds.train_seeds(SMALL, (3, 1), folder, together=together)


def test_a_diverged_seed_costs_the_others_no_report(folder, monkeypatch, capsys):
    def diverged(*args: object) -> None:
        raise FloatingPointError("seed-3' diverged")

    monkeypatch.setattr(seeds, "train_seeds", diverged)
    assert cli.main(["train", "--seeds", "1", "3", "--out", str(folder)]) == 1
    assert capsys.readouterr().err.endswith("error: seed-3' diverged\n")
    for name in ("seed-1", "seed-3", "."):
        assert (folder / name / "report.html").exists()


def test_no_summary_is_of_several_configurations(folder):
    with pytest.raises(ConfigError, match="seed-1 holds a run of another configuration"):
        seeds.check(override(SMALL, {"network.depth": 8}), (7,), folder)


def test_only_folders_named_by_a_number_are_seeds(tmp_path):
    for name in ("seed-10", "seed-2", "seed-abc", "seed-", "seed-3.lock", "seed-²"):
        (tmp_path / name).mkdir()
    assert [path.name for path in seeds.run_dirs(tmp_path)] == ["seed-2", "seed-10"]


def test_host_environments_cannot_be_trained_at_once(tmp_path):
    with pytest.raises(ConfigError, match="reacher steps on the host"):
        seeds.train_seeds(preset("reacher"), (0, 1), tmp_path / "x", together=True)
    assert not (tmp_path / "x").exists()


def test_the_summary_is_of_the_runs(folder):
    summary = json.loads((folder / seeds.SUMMARY).read_text())
    assert summary["seeds"] == [1, 3]
    scores = [score(rows.read(folder / f"seed-{seed}"), "eval/final_distance") for seed in (1, 3)]
    assert summary["eval/final_distance"]["scores"] == scores
    assert summary["eval/final_distance"]["mean"]["value"] == np.mean(scores)
    assert f"mean {np.mean(scores):.2f} [" in seeds.text(summary)


def test_only_what_is_missing_is_trained(folder, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    shutil.rmtree(again / "seed-3")
    before = (again / "seed-1" / rows.FILE).read_text()
    results = seeds.train_seeds(SMALL, (1, 3), again, together=False)
    assert (again / "seed-1" / rows.FILE).read_text() == before
    assert numbers(results[1].rows) == numbers(rows.read(folder / "seed-3"))


def test_what_cannot_be_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(ConfigError, match="seeds = 1 1 must be one or more different numbers"):
        seeds.train_seeds(SMALL, (1, 1), tmp_path / "x")
    with pytest.raises(ConfigError, match="seeds = none must be one or more different numbers"):
        seeds.train_seeds(SMALL, (), tmp_path / "x")
    for wrong in (-1, 2**32):
        with pytest.raises(ConfigError, match=f"seeds = {wrong} must be between 0 and 4294967295"):
            seeds.train_seeds(SMALL, (0, wrong), tmp_path / "x")
    with pytest.raises(ConfigError, match="seed-1' is the folder of a single run; several"):
        seeds.train_seeds(SMALL, (0, 1), folder / "seed-1")
    assert not (folder / "seed-1" / "seed-0").exists()
    with pytest.raises(ConfigError, match="seed-1 holds a run of another configuration"):
        seeds.train_seeds(override(SMALL, {"agent.discount": 0.5}), (0, 1), folder)
    with pytest.raises(ConfigError, match=r"network\.depth = 5"):
        seeds.train_seeds(override(SMALL, {"network.depth": 5}), (0, 1), tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not (folder / "seed-0").exists()


def test_agents_of_two_seeds_share_what_is_compiled_and_nothing_else(folder, monkeypatch):
    inputs = {"state": [[4.0, 4.0], [8.0, 12.0]], "goal": [12.0, 4.0]}
    first, second = (load_agent(folder / f"seed-{seed}") for seed in (3, 1))
    assert first.env is second.env
    assert (first.config.seed, second.config.seed) == (3, 1)
    shared = [agent.act(**inputs) for agent in (first, second)]
    assert np.abs(shared[0] - shared[1]).max() > 1e-3
    played = second.episodes(8, mode="mean", seed=1)
    assert np.abs(played.achieved - first.episodes(8, mode="mean", seed=1).achieved).max() > 0.01
    elsewhere = load_agent(folder / "seed-1", env="point_u_maze_single_eval")
    assert elsewhere.env is not first.env
    # Loaded anew it is the same agent, and so is one whose environment has another row of the table by now.
    again = load_agent(folder / "seed-1")
    monkeypatch.setitem(ENVIRONMENTS, SMALL.env.name, ENVIRONMENTS[SMALL.env.name]._replace())
    other = load_agent(folder / "seed-1")
    assert len({id(agent.env) for agent in (second, again, other)}) == 3
    for agent in (again, other):
        np.testing.assert_array_equal(agent.act(**inputs), shared[1])
        np.testing.assert_array_equal(agent.episodes(8, mode="mean", seed=1).achieved, played.achieved)

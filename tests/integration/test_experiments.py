"""Experiments as a user runs them: whole at smoke scale, killed and begun again, with a failing cell, on a cluster."""

import dataclasses
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from deepcrl.cli import main
from deepcrl.config import ConfigError
from deepcrl.experiments import EXPERIMENTS, cells, commands, lookup, pricing, runner, runs, worker
from deepcrl.experiments.results import results
from deepcrl.folder import create_run_dir
from deepcrl.lock import held
from deepcrl.logging import rows
from deepcrl.program import build
from deepcrl.train import Result


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Where all experiments' runs lie; what one has trained, another does not train again."""
    return tmp_path_factory.mktemp("experiments")


def in_this_process(work: list[runs.Job], out: Path, workers: int) -> Iterator[runner.Ended]:
    """In place of `runner.in_processes`, whose own tests follow: one that imports and compiles nothing again."""
    for job in work:
        yield runner.Ended(job, "" if worker.train(job) else "interrupted")


LIKE_ANOTHER = (
    *("budget", "width", "residual", "actor_critic", "batch", "wall_clock", "collector"),
    *("stitching", "baselines", "baseline_depth", "wall_clock_limits", "quasimetric", "layernorm_activation"),
    *("stem_bias", "hyperspherical", "physics"),
)
"""Grids over other settings, whose kinds of runs and findings the others have too; they take minutes together."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_ANOTHER else ()) for name in EXPERIMENTS]
)
def test_every_experiment_runs_whole(name: str, out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "in_processes", in_this_process)
    assert main(["experiment", "run", name, "--scale", "smoke", "--out", str(out), "--jobs", "1"]) == 0
    found = results(lookup(name), "smoke", out)
    assert all(state == "done" for result in found for state in result.states.values())
    page = (out / f"{name}-smoke.md").read_text()
    assert lookup(name).question in page
    assert lookup(name).finding in page
    for result in found:
        assert result.mean is not None
        line = next(
            line for line in page.splitlines() if line.startswith(f"| {' | '.join(result.cell.labels.values())} |")
        )
        assert f"{len(result.states)} of {len(result.states)}" in line
        assert str(result.mean) in line
    assert lookup(name).source in (out / f"{name}-smoke.html").read_text()
    assert not runs.jobs(cells(lookup(name), "smoke"), out), "nothing is run again"


def command(folder: Path, name: str) -> list[str]:
    options = ["--scale", "smoke", "--jobs", "1", "--out", str(folder)]
    return [sys.executable, "-m", "deepcrl.cli", "experiment", "run", name, *options]


def page(folder: Path, name: str) -> tuple[str, list[str]]:
    """A report's text, and what it was made with but for the date and the git revision, which change meanwhile."""
    content, made, facts = (folder / f"{name}-smoke.md").read_text().partition("\n## Made with\n")
    assert made
    return content, [fact for fact in facts.strip().split("; ") if not fact.startswith(("date ", "git revision "))]


def test_a_killed_experiment_goes_on_to_the_same_report(out: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    """Killed in the middle of its first run; the worker that it leaves behind ends by itself, or is waited for."""
    process = subprocess.Popen(command(tmp_path / "x", "width"), stdout=subprocess.DEVNULL)
    first, second = runs.largest_first(runs.jobs(cells(lookup("width"), "smoke"), tmp_path / "x"))
    give_up = time.monotonic() + 240
    while not rows.read(first.folders[0]):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert runs.states(second.cell, tmp_path / "x") == {0: "not run"}
    subprocess.run(command(tmp_path / "x", "width"), check=True, stdout=subprocess.DEVNULL)
    assert main(["experiment", "run", "width", "--scale", "smoke", "--out", str(out), "--jobs", "1"]) == 0
    assert page(tmp_path / "x", "width") == page(out, "width")
    capfd.readouterr()
    assert main(["experiment", "run", "width", "--scale", "smoke", "--out", str(out), "--jobs", "1"]) == 0
    assert "0 runs to do" in capfd.readouterr().out


def test_a_failed_cell_is_named_and_stops_no_other(out: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    assert main(["experiment", "run", "depth", "--scale", "smoke", "--out", str(out)]) == 0
    shutil.copytree(out / "runs", tmp_path / "runs")
    broken, whole = (runs.folders(cell, tmp_path)[0] for cell in cells(lookup("depth"), "smoke"))
    (path,) = (broken / rows.FILE,)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    for checkpoint in (broken / "checkpoints").iterdir():
        (checkpoint / "manifest.json").write_text("{}")
    shutil.rmtree(whole)
    capfd.readouterr()
    assert main(["experiment", "run", "depth", "--scale", "smoke", "--out", str(tmp_path), "--jobs", "1"]) == 1
    said = capfd.readouterr().out
    assert "failed: depth 4: exit code 1" in said
    assert "no usable checkpoint" in said
    assert "depth 8: done" in said
    only = ["--out", str(tmp_path), "--only", "depth=8"]
    assert main(["experiment", "run", "depth", "--scale", "smoke", *only]) == 0
    assert "0 runs to do" in capfd.readouterr().out


def test_a_cluster_trains_the_same_runs(out: Path, tmp_path: Path):
    """Through submitit, with processes of this machine for its jobs."""
    pytest.importorskip("submitit")
    assert main(["experiment", "run", "residual", "--scale", "smoke", "--out", str(out)]) == 0
    work = runs.jobs(cells(lookup("residual"), "smoke"), tmp_path)[:1]
    (ended,) = runner.on_slurm(work, tmp_path, {"timeout_min": 10}, cluster="local")
    assert ended.problem == ""
    for ours, theirs in ((folder, out / "runs" / folder.name) for folder in work[0].folders.values()):
        assert numbers(ours) == numbers(theirs)


def test_what_a_cluster_does_not_know_is_one_line(tmp_path: Path):
    pytest.importorskip("submitit")
    assert commands._pairs(["mem_gb=1.5", "stderr_to_stdout=True", "slurm_partition=gpu", "timeout_min=3"]) == {
        "mem_gb": 1.5,
        "stderr_to_stdout": True,
        "slurm_partition": "gpu",
        "timeout_min": 3,
    }
    for wrong in ({"slurm_foo": 1}, {"timeout_min": "abc"}):
        with pytest.raises(ConfigError, match="^slurm = .*" + next(iter(wrong))):
            list(runner.on_slurm([], tmp_path, wrong, cluster="local"))


def test_a_signal_at_the_end_of_a_run_keeps_the_next_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (job, *_) = runs.jobs(cells(lookup("depth"), "smoke"), tmp_path)
    job = job._replace(folders={seed: tmp_path / f"run-{seed}" for seed in (0, 1, 2)})
    trained = []

    def signalled(group, stop) -> bool:
        trained.extend(group)
        stop.requested = len(trained) == 2
        return True

    monkeypatch.setattr(worker, "_train", signalled)
    assert worker.train(job) is False
    assert trained == [tmp_path / "run-0", tmp_path / "run-1"]


def numbers(run_dir: Path) -> list[dict]:
    return [
        {key: value for key, value in row.items() if key != "wall_s" and not key.startswith("time/")}
        for row in rows.read(run_dir)
    ]


def test_a_plan_is_priced_before_anything_runs(tmp_path: Path, capfd: pytest.CaptureFixture):
    args = ["experiment", "plan", "behaviours", "--scale", "smoke", "--out", str(tmp_path), "--jobs", "1"]
    assert main(args) == 0
    said = capfd.readouterr().out
    assert "1 runs left, 400 env steps, 6 updates" in said
    assert said.count("ms per update") == 1
    assert "of checkpoints" in said
    assert not (tmp_path / "runs").exists()
    assert main([*args, "--no-calibrate"]) == 0
    assert "1 runs left" in capfd.readouterr().out
    some = ["--only", "depth=4", "seed=1", "--no-calibrate"]
    assert main(["experiment", "plan", "depth", "--scale", "smoke", "--out", str(tmp_path), *some]) == 0
    assert "1 runs left, 400 env steps, 6 updates" in capfd.readouterr().out


def test_a_failed_calibration_is_tried_again_and_a_damaged_one_made_anew(tmp_path: Path, monkeypatch):
    work = runs.jobs(cells(lookup("behaviours"), "smoke"), tmp_path)
    answers = [None, [1.0, 2.0, 3.0, 4], [5.0, 6.0, 7.0, 8]]
    monkeypatch.setattr(pricing, "_measured", lambda config, workers: answers.pop(0))
    found = [next(pricing.price(work, 1, tmp_path))[1] for _ in range(3)]
    assert found == [None, (1.0, 2.0, 3.0, 4), (1.0, 2.0, 3.0, 4)]
    (tmp_path / "calibration.json").write_text('{"a": [1.0')
    assert next(pricing.price(work, 1, tmp_path))[1] == (5.0, 6.0, 7.0, 8)


def test_mistakes_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture):
    for args, words in (
        (["experiment", "run", "dept"], "no experiment is called 'dept'; did you mean depth"),
        (["experiment", "walk"], "unknown command 'experiment walk'"),
        (
            ["experiment", "run", "depth", "--slurm", "x", "--launcher", "slurm", "--out", str(tmp_path)],
            "must be KEY=VALUE",
        ),
        (["experiment", "run", "depth", "--scale", "desk"], "scale"),
        (["experiment", "run", "depth", "--jobs", "0", "--out", str(tmp_path)], "jobs = 0 must be at least 1"),
        (["experiment", "status", "--out", __file__], "is no folder"),
    ):
        assert main(args) == 2
        said = capfd.readouterr().err
        assert words in said
        assert len(said.splitlines()) == 1
    assert not os.listdir(tmp_path)


def test_a_run_that_another_process_trains_is_waited_for(out: Path, capfd: pytest.CaptureFixture):
    assert main(["experiment", "run", "width", "--scale", "smoke", "--out", str(out), "--jobs", "1"]) == 0
    cell = cells(lookup("width"), "smoke")[0]
    job = runs.Job(cell, runs.folders(cell, out))
    (folder, *_) = job.folders.values()
    with ThreadPoolExecutor(1) as pool:
        with held(folder):
            assert main(["resume", str(folder)]) == 2
            assert f"'{folder}' is being trained by another process" in capfd.readouterr().err
            waiting = pool.submit(worker.train, job)
            while f"waiting for another process that trains {folder.name}" not in capfd.readouterr().out:
                assert not waiting.done(), waiting.result()
                time.sleep(0.01)
        assert waiting.result(timeout=300)


def test_seeds_are_trained_at_once_where_a_gpu_would_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cell = cells(lookup("width"), "smoke")[0]
    whole = build(cell.config)
    assert not worker.at_once(whole, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert worker.at_once(whole, 2)
    assert not worker.at_once(whole, 1)
    assert not worker.at_once(whole._replace(env=whole.env._replace(on_device=False)), 2)
    monkeypatch.undo()
    found, sizes, real = {}, [], worker.train_at_once
    monkeypatch.setattr(worker, "train_at_once", lambda left, stop: sizes.append(len(left)) or real(left, stop))
    for together in (False, True):
        monkeypatch.setattr(worker, "at_once", lambda program, number, together=together: together)
        job = runs.Job(cell, {seed: tmp_path / f"{together}-{seed}" for seed in (0, 1)})
        assert worker.train(job)
        assert worker.train(job), "there is nothing left to do"
        found[together] = [rows.read(folder) for folder in job.folders.values()]
    assert sizes == [1, 1, 2]
    for alone, beside in zip(found[False], found[True], strict=True):
        for row, other in zip(alone, beside, strict=True):
            names = [name for name in row if not name.startswith("time/") and name != "wall_s"]
            np.testing.assert_allclose(
                [other[name] for name in names], [row[name] for name in names], rtol=2e-4, atol=2e-5
            )
    assert found[True][0][-1]["train/critic_loss"] != found[True][1][-1]["train/critic_loss"]


def test_a_signal_ends_a_job_even_if_one_of_its_seeds_has_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those that were interrupted beside it are not gone on with one by one."""
    cell, begun = cells(lookup("width"), "smoke")[0], []

    def stopped(left, stop):
        begun.append(len(left))
        stop.requested = True
        return {folder: Result(folder, [], False, False) for folder in left}

    monkeypatch.setattr(worker, "at_once", lambda program, number: True)
    monkeypatch.setattr(worker, "train_at_once", stopped)
    create_run_dir(build(cell.config), tmp_path / "broken")
    rows.append(tmp_path / "broken", {"env_steps": 200, "train/critic_loss": math.inf})
    assert not worker.train(runs.Job(cell, {0: tmp_path / "broken", 1: tmp_path / "other"}))
    assert begun == [2]


@pytest.mark.parametrize("together", [False, True])
def test_a_diverged_run_has_failed_and_stops_no_other_seed(
    together: bool, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "at_once", lambda program, number: together)
    cell = cells(lookup("width"), "smoke")[0]
    first, second = (dataclasses.replace(cell.config, seed=seed) for seed in (0, 1))
    job = runs.Job(cell, {0: tmp_path / "broken", 1: tmp_path / "whole"})
    create_run_dir(build(first), tmp_path / "broken")
    rows.append(tmp_path / "broken", {"env_steps": 200, "train/critic_loss": math.inf})
    before = (tmp_path / "broken" / rows.FILE).read_bytes()
    with pytest.raises(ConfigError, match=r"^seed 0: '.*broken' diverged at 200 env steps: train/critic_loss not fin"):
        worker.train(job)
    assert "failed: broken: " in capfd.readouterr().out
    assert (tmp_path / "broken" / rows.FILE).read_bytes() == before
    assert runs.state_of(tmp_path / "broken", first) == "failed"
    assert runs.state_of(tmp_path / "whole", second) == "done"
    # Killed between the last row and the last agent it is not; without any agent it was laid out from its numbers.
    *_, last = sorted((tmp_path / "whole" / "checkpoints").iterdir())
    last.rename(last.with_name("0000000001"))
    assert runs.state_of(tmp_path / "whole", second) == "partly"
    shutil.rmtree(tmp_path / "whole" / "checkpoints")
    assert runs.state_of(tmp_path / "whole", second) == "done"

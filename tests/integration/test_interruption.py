"""Interrupted runs: killed, stopped by a signal, damaged on disk. Every one resumes to the uninterrupted numbers."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from deepcrl import checkpoint, cli, load_agent
from deepcrl.checkpoint import CheckpointError
from deepcrl.cli import INTERRUPTED, parse_train
from deepcrl.config import Config, ConfigError
from deepcrl.folder import create_run_dir, restore
from deepcrl.lock import held
from deepcrl.logging.clock import Clock
from deepcrl.program import Program, TrainState, build, init_state
from deepcrl.train import Result, resume, train

loop = sys.modules["deepcrl.train"]  # the package has a function of this name

POINT = ("--env", "point_u_maze", "--num-envs", "8", "--unroll-length", "20", "--prefill-steps", "40")
ANT = ("--env", "ant", "--num-envs", "4", "--unroll-length", "20", "--prefill-steps", "40", "--episode-length", "50")
SMALL = ("--depth", "4", "--width", "16", "--batch-size", "32", "--eval-envs", "4", "--num-evals", "6")
BUDGETS = {
    "point": (*POINT, *SMALL, "--total-env-steps", "3200"),
    "ant": (*ANT, *SMALL, "--total-env-steps", "1600"),
    "overlap": (*ANT, *SMALL, "--engine", "mujoco", "--total-env-steps", "1600", "--overlap"),
}


def start(*args: str) -> subprocess.Popen:
    """A `deepcrl` process; its output is kept."""
    command = [sys.executable, "-m", "deepcrl.cli", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def numbers(run_dir: Path) -> list[dict]:
    """The rows without what a clock decides."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "wall_s" and not k.startswith("time/")} for row in rows]


def interrupt(process: subprocess.Popen, run_dir: Path, how: int, rows: int) -> None:
    """Send a signal as soon as the run has written `rows` rows; it must not have ended by then."""
    path, give_up = run_dir / "metrics.jsonl", time.monotonic() + 240
    while not path.exists() or len(path.read_text().splitlines()) < rows:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """One uninterrupted run of each kind, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    for name, args in BUDGETS.items():
        train(parse_train(list(args))[0], folder / name)
    return {name: folder / name for name in BUDGETS}


@pytest.mark.parametrize("name", BUDGETS)
def test_a_killed_run_resumes_to_the_same_rows(name: str, whole: dict[str, Path], tmp_path: Path):
    run_dir = tmp_path / "run"
    process = start("train", *BUDGETS[name], "--out", str(run_dir))
    interrupt(process, run_dir, signal.SIGKILL, rows=3)
    finish(process, -signal.SIGKILL)
    assert len(numbers(run_dir)) < 7
    resume(run_dir)
    assert numbers(run_dir) == numbers(whole[name])
    assert len(numbers(run_dir)) == 7


def test_signals_end_with_a_checkpoint_and_the_run_resumes(whole: dict[str, Path], tmp_path: Path):
    run_dir = tmp_path / "run"
    process = start("train", *BUDGETS["point"], "--out", str(run_dir))
    for how, rows in ((signal.SIGTERM, 2), (signal.SIGINT, 4)):
        interrupt(process, run_dir, how, rows)
        output = finish(process, INTERRUPTED)
        assert f"deepcrl resume {run_dir}" in output.replace("\n", "")
        process = start("resume", str(run_dir))
    finish(process)
    assert numbers(run_dir) == numbers(whole["point"])


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_it_used(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
):
    run_dir = tmp_path / "run"
    shutil.copytree(whole["point"], run_dir)
    newest = sorted((run_dir / "checkpoints").iterdir())[-1]
    victim = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"checkpoint {int(newest.name)} in .* is damaged"):
        load_agent(run_dir, int(newest.name))
    resume(run_dir)
    assert f"checkpoint {int(newest.name)} is damaged" in capsys.readouterr().err
    assert numbers(run_dir) == numbers(whole["point"])


def files(run_dir: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    found = (path for path in run_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(run_dir)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_a_finished_run_is_left_as_it_is(whole: dict[str, Path]):
    before = files(whole["point"])
    assert f"already finished: {whole['point']}" in finish(start("resume", str(whole["point"]))).replace("\n", "")
    assert files(whole["point"]) == before


def test_resume_of_a_run_killed_before_its_second_row(whole: dict[str, Path], tmp_path: Path):
    """A checkpoint of zero collections exists then; its row must not be written twice."""
    run_dir = tmp_path / "run"
    process = start("train", *BUDGETS["point"], "--out", str(run_dir))
    interrupt(process, run_dir, signal.SIGKILL, rows=1)
    finish(process, -signal.SIGKILL)
    resume(run_dir)
    assert numbers(run_dir) == numbers(whole["point"])


def test_a_run_without_its_checkpoints_keeps_its_numbers(whole: dict[str, Path], tmp_path: Path):
    """As experiments lay out runs that were trained elsewhere: it is refused, not begun again."""
    run_dir = tmp_path / "run"
    shutil.copytree(whole["point"], run_dir, ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(CheckpointError, match="whose checkpoints are gone"):
        resume(run_dir)
    assert numbers(run_dir) == numbers(whole["point"])


def test_a_run_without_its_numbers_keeps_its_checkpoints(whole: dict[str, Path], tmp_path: Path):
    run_dir = tmp_path / "run"
    shutil.copytree(whole["point"], run_dir, ignore=shutil.ignore_patterns("metrics.jsonl"))
    before = files(run_dir)
    with pytest.raises(CheckpointError, match=r"whose numbers are gone: metrics\.jsonl has no row of 0 env steps"):
        resume(run_dir)
    assert files(run_dir) == before
    lines = (whole["point"] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run_dir / "metrics.jsonl").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(CheckpointError, match=rf"no row of {json.loads(lines[2])['env_steps']:,} env steps"):
        resume(run_dir)


def config_of(name: str) -> Config:
    return parse_train(list(BUDGETS[name]))[0]


def test_a_folder_is_trained_by_one_process_at_a_time(whole: dict[str, Path], tmp_path: Path):
    run_dir = tmp_path / "run"
    shutil.copytree(whole["point"], run_dir)
    (run_dir / "checkpoints" / "draft-1").mkdir()  # which a save under way would be
    before = files(run_dir)
    with held(run_dir):
        assert f"'{run_dir}' is being trained by another process" in finish(start("resume", str(run_dir)), 2)
        with (
            pytest.raises(ConfigError, match="is being trained by another process"),
            held(tmp_path / "x" / ".." / "run"),
        ):
            pass
    assert files(run_dir) == before
    with held(tmp_path / "new"), pytest.raises(ConfigError, match="new' is being trained by another process"):
        train(config_of("point"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert resume(run_dir).already, "it has been let go of"


def poisoned(program: Program) -> TrainState:
    """A beginning whose critic is broken: the first updates give numbers that are not finite."""
    state = init_state(program)
    critic = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state.agent.critic)
    return state._replace(agent=state.agent._replace(critic=critic))


def test_a_diverged_run_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_dir = tmp_path / "run"
    monkeypatch.setattr(loop, "init_state", poisoned)
    with pytest.raises(FloatingPointError, match=r"'.*run' diverged at 800 env steps: train/.* not finite"):
        train(config_of("point"), run_dir)
    monkeypatch.undo()
    assert [row["env_steps"] for row in numbers(run_dir)] == [0, 800]
    assert numbers(run_dir)[1]["train/actor_loss"] is None
    assert checkpoint.steps(run_dir / "checkpoints") == [0], "nothing broken is saved"
    before = files(run_dir)
    with pytest.raises(FloatingPointError, match="diverged at 800 env steps"):
        resume(run_dir)
    assert cli.main(["resume", str(run_dir)]) == 1
    assert files(run_dir) == before


def interrupt_after(collections: int, patch: pytest.MonkeyPatch) -> None:
    """A signal arrives during the last of that many collections."""
    collect = loop._collection

    def interrupted(session, state, index, *rest):
        found = collect(session, state, index, *rest)
        if index == collections - 1:
            signal.raise_signal(signal.SIGINT)
        return found

    patch.setattr(loop, "_collection", interrupted)


def test_what_is_saved_at_an_interruption_has_no_score(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(7, patch)  # between the evaluations after 5 and 8
        assert not train(config_of("point"), run_dir).finished
    assert "stopping after this collection; again to stop at once" in capfd.readouterr().err
    folder = run_dir / "checkpoints"
    assert checkpoint.newest(folder) == 7
    assert json.loads((folder / "0000000007" / checkpoint.MANIFEST).read_text())["score"] is None
    assert checkpoint.best(folder) == 5
    resume(run_dir)
    assert numbers(run_dir) == numbers(whole["point"])


def test_wall_time_goes_on_where_the_run_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first session is made to last long: what begins at zero again is seen, however slow the second one is."""
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Clock", lambda wall_s: Clock(5000.0 + wall_s))
        interrupt_after(7, patch)
        first = train(parse_train([*BUDGETS["point"], "--algorithm", "gcbc"])[0], run_dir)
    manifest = json.loads((run_dir / "checkpoints" / "0000000007" / checkpoint.MANIFEST).read_text())
    saved = manifest["info"]["wall_s"]
    found = resume(run_dir).rows
    assert [row["env_steps"] for row in first.rows] == [0, 800]
    assert [row["env_steps"] for row in found] == [0, 800, 1280, 1760, 2240, 2720, 3200]
    walls = [row["wall_s"] for row in found]
    assert walls == sorted(walls)
    assert 5000.0 < walls[0] < walls[1] <= saved < walls[2]
    assert walls[-1] < 10_000.0, "what came before counts once"


def test_a_run_goes_on_with_the_engine_it_began_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a CPU "auto" is "mujoco"; this run began on "mjx", as on a GPU."""
    config, run_dir, engines = config_of("ant"), tmp_path / "run", []
    assert config.env.engine == "auto"
    program = build(config)
    create_run_dir(build(config, engine="mjx"), run_dir)
    assert json.loads((run_dir / "machine.json").read_text())["engine"] == "mjx"

    def started(program, run_dirs, start, stop) -> list[Result]:
        engines.append(program.engine)
        return [Result(run_dirs[0], [], finished=True)]

    monkeypatch.setattr(loop, "run", started)
    resume(run_dir)
    with pytest.raises(
        ConfigError,
        match=f"^'{run_dir}' began on the engine 'mjx', and env.engine = 'auto' is 'mujoco' here; "
        f"`deepcrl resume {run_dir}` goes on with 'mjx'$",
    ):
        restore(program, run_dir)
    (run_dir / "machine.json").write_text("{}")  # of a version that did not record it
    resume(run_dir)
    assert engines == ["mjx", "mujoco"]
    assert restore(program, run_dir).collections == 0


def test_a_signal_before_the_first_collection_counts(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    run_dir, said = tmp_path / "run", []

    def slow(program):
        said.append(capfd.readouterr().out)
        signal.raise_signal(signal.SIGINT)
        return init_state(program)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "init_state", slow)
        result = train(config_of("point"), run_dir)
    assert (result.finished, result.rows) == (False, [])
    assert "crl on point_u_maze" in said[0], "what is about to run is said before it is prepared"
    assert "preparing" in said[0]
    resume(run_dir)
    assert numbers(run_dir) == numbers(whole["point"])


def test_resume_refuses_a_changed_configuration(whole: dict[str, Path], tmp_path: Path):
    run_dir = tmp_path / "run"
    shutil.copytree(whole["point"], run_dir)
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    config["agent"]["discount"] = 0.5
    path.write_text(json.dumps(config))
    output = finish(start("resume", str(run_dir)), 2)
    assert "config.json has changed" in output.replace("\n", " ")

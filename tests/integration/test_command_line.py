"""The command line as a user meets it: mistakes cost one line, nothing is lost, help names every field."""

import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from deepcrl import cli
from deepcrl.algorithms import ALGORITHMS, DEFAULT_ALGORITHM
from deepcrl.config import Config, ConfigError, EnvConfig, agent_defaults, config_id, override, to_dict
from deepcrl.envs import registry
from deepcrl.flags import config_flags
from deepcrl.folder import create_run_dir
from deepcrl.presets import preset
from deepcrl.program import build
from deepcrl.train import Result

MISTAKES = {
    "unknown environment": (["--env", "ant_u_mze"], ["'ant_u_mze'", "ant_u_maze"]),
    "unknown evaluation environment": (["--eval-env", "ant_u"], ["'ant_u'", "evaluation.env"]),
    "evaluation on another engine": (
        ["--eval-env", "ant"],
        ["evaluation.env = 'ant' is not stepped by 'jax', the engine of point_j_maze"],
    ),
    "evaluation in another body": (
        ["--env", "ant", "--eval-env", "reacher"],
        ["evaluation.env = 'reacher' differs from ant in sizes or rules"],
    ),
    "unknown engine": (["--engine", "warp9"], ["'warp9'", "jax"]),
    "unknown algorithm": (["--algorithm", "clr"], ["'clr'", "crl"]),
    "depth that blocks do not divide": (["--depth", "6"], ["network.depth = 6", "4 and 8"]),
    "actor depth": (["--actor-depth", "2"], ["network.actor_depth = 2", "nearest: 4"]),
    "batch of nothing": (["--batch-size", "0"], ["train.batch_size = 0", "at least 2"]),
    "width beyond memory": (["--width", "1000000000"], ["width 1000000000", "needs at least 268,", "GiB here"]),
    "depth beyond memory": (["--depth", "4000000000"], ["depth 4000000000", "GiB here"]),
    "batch beyond memory": (
        ["--batch-size", "1000000000"],
        ["train.batch_size = 1000000000", "3,725,290,298.5 GiB of"],
    ),
    "replay beyond memory": (
        ["--replay-capacity", "1000000000000"],
        ["train.replay_capacity = 1000000000000", "GiB here"],
    ),
    "candidates beyond memory": (["--explore", f"best_of_{10**20}"], ["agent.explore = 'best_of_1000", "GiB here"]),
    "the same in evaluations": (["--eval-mode", f"best_of_{10**20}"], ["evaluation.mode = 'best_of_1000", "GiB here"]),
    "episodes beyond memory": (["--eval-envs", "1000000000000"], ["evaluation.num_envs = 1000000000000", "GiB here"]),
    "no environments": (["--num-envs", "0"], ["env.num_envs = 0", "at least 1"]),
    "impossible budget": (["--total-env-steps", "1000001"], ["1,000,001", "998,400 and 1,004,800"]),
    "impossible ratio": (["--updates-per-env-steps", "1:77"], ["1:77", "nearest"]),
    "mode": (["--explore", "best_of_1"], ["'best_of_1'", "K >= 2"]),
    "discount": (["--discount", "1.0"], ["agent.discount = 1.0", "between 0 and 1"]),
    "share of goals": (["--random-goals", "1.5"], ["agent.random_goals = 1.5", "between 0 and 1"]),
    "aversion": (["--end-aversion", "1"], ["agent.end_aversion = 1.0", "'absorbing'"]),
    "seed": (["--seed", "-1"], ["seed = -1"]),
    "seed of several": (["--seeds", "0", "4294967296"], ["seeds = 4294967296 must be between 0 and 4294967295"]),
    "no seeds": (["--seeds"], ["seeds = none must be one or more different numbers"]),
    "empty learner": (["--learners", ""], ["learners = '': must be changes of agent and network fields"]),
    "learner's depth": (["--learners", "network.depth=6"], ["learners = 'network.depth=6': network.depth = 6 is not"]),
    "another algorithm's setting": (
        ["--algorithm", "sac", "--energy", "dot"],
        ["'sac' has no agent.energy", "crl, cmd1"],
    ),
    "of another, with =": (["--algorithm=gcbc", "--critic-learning-rate=1e-3"], ["'gcbc' has no agent.critic_learn"]),
    "not a number": (["--batch-size", "many"], ["--batch-size INT", "'many'"]),
    "not a choice": (["--goal-sampling", "windw"], ["'windw'", "'trajectory', 'window'"]),
    "no value": (["--batch-size"], ["--batch-size"]),
    "unknown flag": (["--bach-size", "3"], ["--bach-size", "--batch-size INT"]),
}


@pytest.fixture(autouse=True)
def nothing_compiles(monkeypatch: pytest.MonkeyPatch):
    """Mistakes must be found before training: reaching the run is a failure."""

    def run(*args):
        raise AssertionError("the run was started")

    monkeypatch.setattr(importlib.import_module("deepcrl.train"), "run", run)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    args, wanted = MISTAKES[mistake]
    out = tmp_path / "run"
    base = [] if "--env" in args else ["--env", "point_j_maze", "--num-envs", "128"]
    assert cli.main(["train", "--out", str(out), *base, *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for text in wanted:
        assert text in error
    assert not out.exists()


def test_an_existing_folder_is_refused_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(["train", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "resume" not in error
    assert cli.main(["train", "--out", str(tmp_path / "notes.txt")]) == 2
    assert capsys.readouterr().err == f"error: out = '{tmp_path}/notes.txt' already exists; choose another folder\n"
    (tmp_path / "config.json").write_text("{}")
    assert cli.main(["train", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"choose another folder, or `deepcrl resume {tmp_path}`\n")


def test_an_empty_folder_name_is_not_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    for args in (["--out", ""], ["--out="]):
        assert cli.main(["train", *args]) == 2
        assert capsys.readouterr().err == "error: out = '' must name a folder\n"
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    """A file where a parent folder should be: not even root can write below it."""
    (tmp_path / "file").write_text("")
    assert cli.main(["train", "--out", str(tmp_path / "file" / "run")]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["resume", "evaluate", "report"])
def test_a_folder_without_a_run_is_refused(command: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert cli.main([command, str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "is not a run folder" in error
    assert error.count("\n") == 1


def test_a_bad_value_of_another_command_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert cli.main(["evaluate", str(tmp_path), "--episodes", "few"]) == 2
    error = capsys.readouterr().err
    assert "--episodes INT" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "algorithms", "--markdown"], "--markdown prints the table of environments"),
        (["render", "RUN", "--formats"], "formats must be one or more of html, mp4, gif"),
        (["evaluate", "RUN", "--episodes", "0"], "episodes = 0 must be a whole number, at least 1"),
        (["evaluate", "RUN", "--seed", "-1"], "seed = -1 must be between 0 and 4294967295"),
        (["experiment", "run", "depth", "--slurm", "x=1"], "slurm = 'x=1' needs launcher = 'slurm'"),
        (["experiment", "report", "depth"], "is no folder"),
        (["experiment", "report"], "is no folder"),
    ],
)
def test_options_without_a_say_are_refused(args, words, tmp_path: Path, capsys: pytest.CaptureFixture):
    where = ["--out", str(tmp_path / "typo")] if args[0] == "experiment" else []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(to_dict(preset())))
    assert cli.main([str(tmp_path / "run") if arg == "RUN" else arg for arg in args] + where) == 2
    error = capsys.readouterr().err
    *begun, last = error.splitlines()  # some commands say first what they are about to do
    assert last.startswith("error: ")
    assert words in last
    assert len(begun) <= 1
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "config.json"]


def test_unknown_command(capsys: pytest.CaptureFixture):
    assert cli.main(["trian"]) == 2
    assert "did you mean train" in capsys.readouterr().err


@pytest.mark.parametrize(
    "code",
    [
        "import deepcrl, deepcrl.cli",
        "import deepcrl; deepcrl.override, deepcrl.ConfigError",
        "from deepcrl import cli; cli.main(['--help'])",
        "from deepcrl import cli; cli.main(['--version'])",
    ],
)
def test_what_needs_no_jax_does_not_load_it(code: str):
    check = f"import sys; {code}; sys.exit(bool({{'jax', 'orbax', 'numpy', 'mujoco'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


def test_public_names_are_there_whatever_was_imported_before():
    """`train`, `report` and `evaluate` are also the names of modules."""
    code = (
        "import deepcrl.train, deepcrl.evaluate, deepcrl.report, deepcrl, deepcrl.agent;"
        "from deepcrl import evaluate, report, train;"
        "assert train is deepcrl.train is sys.modules['deepcrl.train'].train;"
        "assert report is deepcrl.report is sys.modules['deepcrl.report'].report;"
        "assert evaluate is deepcrl.evaluate is deepcrl.agent.evaluate;"
        "assert all(getattr(deepcrl, name).__name__ == name for name in deepcrl.__all__);"
        "assert set(deepcrl.__all__) == set(deepcrl._HOME) <= set(dir(deepcrl));"
        "assert deepcrl.checkpoint.restore and not hasattr(deepcrl, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_field_of_the_configuration_is_a_documented_flag(capsys: pytest.CaptureFixture):
    flags = config_flags(preset())
    assert len({flag.name for flag in flags}) == len(flags)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in flags:
        assert f"--{flag.name.replace('_', '-')}" in text, flag.path
    assert {flag.path for flag in flags if flag.doc} >= {"env.name", "network.depth", "agent.loss", "seed"}


def test_flags_reach_the_configuration(tmp_path: Path):
    args = ["--env", "ant", "--depth", "8", "--width", "32", "--actor-depth", "4", "--critic-depth", "12"]
    args += ["--batch-size", "64", "--num-envs", "32", "--seed", "7", "--num-evals", "3", "--total-env-steps", "400000"]
    config, out, _ = cli.parse_train([*args, "--out", str(tmp_path / "x")])
    assert out == tmp_path / "x"
    changes = {"network.depth": 8, "network.width": 32, "network.actor_depth": 4, "network.critic_depth": 12}
    changes |= {"train.batch_size": 64, "env.num_envs": 32, "seed": 7, "evaluation.num_evals": 3}
    assert config == override(preset("ant"), {**changes, "train.total_env_steps": 400_000})


def test_of_a_flag_given_twice_the_last_one_counts(tmp_path: Path):
    """The defaults are then those of the same environment and algorithm."""
    args = ["--env", "ant", "--algorithm=sac", "--env=point_u_maze", "--algorithm", "qrl", "--out", str(tmp_path)]
    assert cli.parse_train(args)[0] == preset("point_u_maze", algorithm="qrl")


def test_no_flags_are_the_quickstart_in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config, first, _ = cli.parse_train([])
    assert config == preset(registry.QUICKSTART)
    assert first == Path("runs") / f"{registry.QUICKSTART}-{config_id(config)}"
    os.makedirs(first)
    assert cli.parse_train([])[1] == first.with_name(first.name + "-2")


def test_defaults_of_a_bare_configuration_are_the_papers():
    config = Config(env=EnvConfig(registry.QUICKSTART), agent=agent_defaults(DEFAULT_ALGORITHM))
    assert (config.network.width, config.train.batch_size, config.train.replay_capacity) == (256, 512, 10_000)
    assert (config.agent.discount, config.agent.logsumexp_penalty, config.network.block_size) == (0.99, 0.1, 4)


def test_scale_paper_takes_the_papers_settings(tmp_path: Path, capsys: pytest.CaptureFixture):
    args = ["--env", "ant_u_maze", "--scale", "paper", "--seed", "4", "--out", str(tmp_path)]
    config, _, _ = cli.parse_train(args)
    bare = Config(env=EnvConfig("ant_u_maze"), agent=agent_defaults(DEFAULT_ALGORITHM), seed=4)
    changes = {"env.auto_reset": "cached", "env.engine": "spring", "agent.goal_sampling": "window"}
    assert config == override(bare, changes)
    assert cli.parse_train([*args, "--depth=64"])[0] == override(config, {"network.depth": 64})
    assert cli.main(["train", "--scale", "huge"]) == 2
    assert capsys.readouterr().err == "error: scale = 'huge' is not one of 'laptop', 'paper'\n"


def test_list_prints_every_environment_and_algorithm(capsys: pytest.CaptureFixture):
    assert cli.main(["list"]) == 0
    table = capsys.readouterr().out
    for name in registry.ENVIRONMENTS:
        assert name in table
    row = next(line for line in table.splitlines() if line.startswith("ant_big_maze ")).split()
    engines = ["mujoco,", "mjx,", "warp,", "spring"]
    assert row == ["ant_big_maze", "29", "2", "8", "1000", "0.5", *engines, "ant_big_maze_eval"]
    assert cli.main(["list", "algorithms"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(ALGORITHMS)
    assert listed[0] == DEFAULT_ALGORITHM


def test_doctor_names_device_cores_and_engines(capsys: pytest.CaptureFixture):
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("device", "usable cores", "mujoco", "optional", "GiB"):
        assert word in text


def test_doctor_says_when_jax_can_use_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def nothing() -> None:
        raise RuntimeError("Unknown backend 'cuda'\nmore of it")

    monkeypatch.setattr(jax, "devices", nothing)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "device      none that JAX can use: Unknown backend 'cuda'\n"


def test_what_could_not_be_measured_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(importlib.import_module("deepcrl.report"), "report", lambda run_dir: run_dir / "report.html")
    row = dict.fromkeys(cli.LAST_SCORES) | {"eval/time_at_goal": 1234.5, "wall_s": 7.0}
    row |= {"env_steps": 5000, "gradient_steps": 20}
    assert cli._finish(Result(Path("run"), [row], finished=True)) == 0
    scores = "eval/time_at_goal 1,234.50  eval/success_any —  eval/final_distance — m"
    assert f"{scores}  after 5,000 env steps, 20 updates, 7 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/report.html"), "a/report.html: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("a reason of its own"), "a reason of its own"),
    ],
)
def test_a_full_disk_costs_one_line(
    failure: OSError, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def full(args: list[str]) -> int:
        raise failure

    monkeypatch.setattr(cli, "report_run", full)
    assert cli.main(["report", "x"]) == 2
    assert capsys.readouterr().err == f"error: {words}\n"


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def interrupted(args: list[str]) -> int:
        raise KeyboardInterrupt

    for command, name in {"evaluate": "evaluate_run", "report": "report_run", "experiment": "_experiment"}.items():
        monkeypatch.setattr(cli, name, interrupted)
        assert cli.main([command]) == 130
        assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("name", ["machine.json", "config.json"])
def test_a_folder_that_cannot_be_filled_is_left_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that is full at either file: nothing stays that neither `train` nor `resume` would take."""
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    program = build(preset())
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        for run_dir in (tmp_path / "new", tmp_path / "empty"):
            with pytest.raises(ConfigError, match=f"out = '{run_dir}' cannot be written: No space left on device"):
                create_run_dir(program, run_dir)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
    create_run_dir(program, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["config.json", "machine.json"]


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m deepcrl.cli list algorithms | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_pipe_that_breaks_elsewhere_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def broken(args: list[str]) -> int:
        raise BrokenPipeError("a worker has died")

    monkeypatch.setattr(cli, "_doctor", broken)
    with pytest.raises(BrokenPipeError, match="a worker has died"):
        cli.main(["doctor"])

"""The commands on existing runs: evaluate, report, render, analyse, compare. Each maps arguments to an exit code."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from deepcrl.config import ConfigError, near_matches
from deepcrl.flags import parse


def evaluate_run(args: list[str]) -> int:
    def options(
        run_dir: tyro.conf.Positional[Path],
        /,
        env: str | None = None,
        episodes: int = 128,
        mode: str | None = None,
        which: Literal["latest", "best"] = "latest",
        seed: int = 0,
    ) -> dict[str, Any]:
        """Evaluate a trained agent on fresh episodes; prints one JSON object.

        Args:
            run_dir: Folder of the run.
            env: Environment to evaluate in, instead of the run's own.
            episodes: Number of episodes.
            mode: "mean", "sample" or "best_of_K"; None acts as the run's evaluations do.
            which: Checkpoint to load.
            seed: Decides starts, goals and sampled actions.
        """
        return {"run_dir": run_dir, "env": env, "num_episodes": episodes, "mode": mode, "which": which, "seed": seed}

    wanted = parse(options, "deepcrl evaluate", args)
    from deepcrl.agent import evaluate
    from deepcrl.folder import load_config

    load_config(wanted["run_dir"])
    say(f"evaluating {wanted['run_dir']}")
    print(json.dumps(evaluate(**wanted)))
    return 0


def report_run(args: list[str]) -> int:
    def options(run_dir: tyro.conf.Positional[Path], /) -> Path:
        """Write report.html from what is in the folder of a run, or of several seeds.

        Args:
            run_dir: Folder of the run, or the one that `deepcrl train --seeds` filled.
        """
        return run_dir

    run_dir = parse(options, "deepcrl report", args)
    from deepcrl.folder import load_config
    from deepcrl.report import joint_report, report

    many = not (run_dir / "config.json").exists() and any(run_dir.glob("seed-*"))
    if not many:
        load_config(run_dir)
    say(f"writing the report of {run_dir}")
    print(joint_report(run_dir) if many else report(run_dir))
    return 0


def render_run(args: list[str]) -> int:
    def options(
        run_dir: tyro.conf.Positional[Path],
        /,
        formats: tuple[Literal["html", "mp4", "gif"], ...] = ("html",),
        env: str | None = None,
        episodes: int = 4,
        mode: str | None = None,
        which: Literal["latest", "best"] = "latest",
        seed: int = 0,
    ) -> dict[str, Any]:
        """Show what a trained agent does; prints the files written.

        Args:
            run_dir: Folder of the run; files are replay.html, replay.mp4 and replay.gif in it.
            formats: "html" is a 3-D page to turn and scrub, made anywhere; "mp4" and "gif" need a GL backend.
            env: Environment to play in instead of the run's evaluation environment.
            episodes: Episodes to show.
            mode: "mean", "sample" or "best_of_K"; None acts as the run's evaluations do.
            which: Newest checkpoint or the best one so far.
            seed: Decides starts, goals and sampled actions.
        """
        return {
            "run_dir": run_dir,
            "formats": formats,
            "env": env,
            "episodes": episodes,
            "mode": mode,
            "which": which,
            "seed": seed,
        }

    chosen = parse(options, "deepcrl render", args)
    from deepcrl.folder import load_config
    from deepcrl.render import render

    load_config(chosen["run_dir"])
    say(f"rendering {chosen['run_dir']}")
    for path in render(**chosen):
        print(path)
    return 0


def analyse_run(args: list[str]) -> int:
    from deepcrl.report.findings import FINDINGS, find, write

    if args and args[0] in ("-h", "--help"):
        print("usage: deepcrl analyse KIND RUN [--which CHECKPOINT]\n")
        print("\n".join(f"  {name:11} {kind.about}" for name, kind in FINDINGS.items()))
        return 0

    def options(
        kind: tyro.conf.Positional[str], run_dir: tyro.conf.Positional[Path], /, which: str = "latest"
    ) -> tuple[str, Path, Any]:
        """Look into a run, print what is found, and write a picture and the numbers into its folder `analysis`.

        Args:
            kind: What to look at; `deepcrl analyse --help` lists the kinds.
            run_dir: Folder of the run.
            which: Checkpoint: "latest", "best", or a number of collections; checkpoint.keep says how many stay.
        """
        return kind, run_dir, int(which) if which.isdecimal() else which

    kind, run_dir, which = parse(options, "deepcrl analyse", args)
    if kind not in FINDINGS:
        raise ConfigError(f"unknown kind {kind!r}; {near_matches(kind, FINDINGS)}")
    from deepcrl.folder import load_config

    load_config(run_dir)
    say(f"looking into {run_dir}")
    found = find(kind, run_dir, which)
    path = write(found, run_dir, kind, which)
    print(found.words)
    print("\n".join(f"{name}: {value:.4g}" for name, value in found.numbers.items()))
    print(f"picture: {path}")
    return 0


def compare_runs(args: list[str]) -> int:
    def options(
        run_dirs: tyro.conf.Positional[tuple[Path, ...]],
        /,
        metric: str = "eval/time_at_goal",
        levels: tuple[float, ...] = (),
    ) -> tuple[tuple[Path, ...], str, tuple[float, ...]]:
        """Scores of runs, each the mean of its last five evaluations, over seeds, by the settings in which they differ:
        mean and interquartile mean with 95% bootstrap intervals, how probably a run is above one of the first line, and
        at which depth the score jumps.

        Args:
            run_dirs: Folders of runs, or of several seeds of one configuration.
            metric: A column of metrics.jsonl, higher being better.
            levels: Say also when this was first reached, in env steps and in wall time.
        """
        return run_dirs, metric, levels

    run_dirs, metric, levels = parse(options, "deepcrl compare", args)
    from deepcrl.report.comparison import compare, depths, table
    from deepcrl.report.text import aligned

    found = compare(run_dirs)
    lines = aligned(*table(found.groups, metric, levels))
    for words in found.left_out:
        say(f"left out: {words}")
    print("\n".join([f"{metric}: each run's last five evaluations, averaged", *lines, *depths(found.groups, metric)]))
    return 0


def say(text: str) -> None:
    """Print a progress message to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)
